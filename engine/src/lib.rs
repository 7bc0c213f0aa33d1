//! How a text becomes a vector: plans, weights, tokens, executors and heads.
//!
//! Synchronous and silent: no network, no names, no environment, nothing printed. A model comes in as a map from
//! the paths of its repository to files on disk, and goes out as an [`Embedder`].

mod architectures;
mod embedder;
mod error;
mod executor;
mod gguf;
mod heads;
mod images;
mod kernels;
mod outputs;
mod plan;
mod positions;
mod processor;
mod repository;
mod settings;
mod threads;
mod tokens;
mod tower;
mod weights;

pub use architectures::supports;
pub use embedder::{Description, Embedder, check, describe};
pub use error::Error;
pub use kernels::Isa;
pub use outputs::{Output, Outputs, Vectors};
pub use plan::Plan;
pub use processor::{Arithmetic, Processor};
pub use repository::Scoring;
pub use threads::Threads;
pub use tokens::{Overflow, Prompt, Query, Task, Tokens};

/// The files of a model: path in its repository → file on disk.
pub type Files = std::collections::BTreeMap<String, std::path::PathBuf>;
