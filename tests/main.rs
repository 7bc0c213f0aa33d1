//! Everything a user can see, from outside.

mod cli;
mod clients;
mod install;
mod support;
