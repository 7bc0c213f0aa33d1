//! Which failures a caller can act upon.

/// Why a model could not be read or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository asks for something that this version does not build.
    #[error("{0}")]
    Unsupported(String),
    /// A file of the repository is missing or makes no sense.
    #[error("{file}: {problem}")]
    Repository {
        /// The path inside the repository.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A text has more tokens than the limit and must not be cut.
    #[error("the input length exceeds the context length")]
    TooLong {
        /// Tokens of the text, special tokens included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// The limit leaves no room beside the special tokens.
    #[error("input after truncation exceeds maximum context length")]
    NoRoom,
    /// The text has no tokens, and the model adds none.
    #[error("input exceeds maximum context length and cannot be truncated further")]
    NoTokens,
    /// The model reads texts alone.
    #[error("the model does not read images")]
    NoImages,
    /// An image is none that can be read.
    #[error("the image cannot be read: {0}")]
    Image(String),
    /// A text has more parts than may be had of one.
    #[error("the text has more than {0} chunks")]
    TooManyParts(usize),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A text could not be tokenised.
    #[error("the text cannot be tokenised: {0}")]
    Tokenizer(String),
}

impl Error {
    /// Returns an error about one file of the repository.
    pub(crate) fn file(file: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Repository { file: file.into(), problem: problem.to_string() }
    }
}
