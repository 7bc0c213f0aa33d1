//! Everything a user can see, from outside.

mod cli;
mod clients;
mod install;
mod ollama;
mod real;
mod store;
mod support;
mod tidy;
