//! Does the store stay whole, whoever is killed, whoever comes at once, and whatever disk and hub do?
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod archive;
mod damage;
mod donors;
mod hub;
mod kills;
mod machine;
mod many;
mod models;
mod murder;
mod names;
mod registries;
mod shared;
mod sharing;
mod space;
mod storm;
mod strangers;
mod untrusted;
mod upkeep;
