//! What is a model? Names, digests, durations, recipes, Modelfiles and the known models.
//!
//! Everything here is pure: no file, no socket, no clock, no environment.

pub mod digest;
pub mod duration;
pub mod human;
pub mod library;
pub mod modelfile;
pub mod name;
pub mod parameters;
pub mod recipe;

pub use digest::{Digest, DigestError};
pub use duration::{DurationError, KeepAlive};
pub use library::{Known, Origin};
pub use modelfile::{Modelfile, ModelfileError};
pub use name::{Locality, Name, NameError, locality};
pub use parameters::{ParameterError, Parameters, Value};
pub use recipe::{Pooling, Precision, Recipe, Rerank, Side};
