//! Does the daemon keep Ollama's contract, seen from outside?
//!
//! Where Vecuna deliberately differs, a comment beside the test says so.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod ask;
mod blobs;
mod conformance;
mod create;
mod edge;
mod embed;
mod fairness;
mod gguf;
mod hub;
mod images;
mod keep_alive;
mod limits;
mod lists;
mod names;
mod openai;
mod outputs;
mod pull;
mod recorded;
mod rerank;
mod show;
mod store;
mod unload;
