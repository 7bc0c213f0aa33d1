//! Does the store keep its promises, and do pulls survive what servers and disks do to them?

mod archive;
mod donors;
mod flaky;
mod hub;
mod oci;
mod pulls;
mod registry;
mod sources;
mod store;
mod transfers;
mod warm;
mod world;
