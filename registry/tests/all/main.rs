//! Does the store keep its promises, and do pulls survive what servers and disks do to them?

mod flaky;
mod hub;
mod inputs;
mod overlay;
mod pulls;
mod sources;
mod store;
mod strangers;
mod transfers;
mod upkeep;
mod warm;
mod world;
