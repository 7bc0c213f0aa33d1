//! Does the store keep its promises, and do pulls survive what servers and disks do to them?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod archive;
mod donors;
mod flaky;
mod hub;
mod inputs;
mod oci;
mod overlay;
mod pulls;
mod registry;
mod sources;
mod store;
mod strangers;
mod transfers;
mod upkeep;
mod warm;
mod world;
