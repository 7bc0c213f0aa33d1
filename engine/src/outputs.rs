//! What a caller may want of a model, and what it gets.

/// Kinds of output that a model can give of one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// One vector per text.
    pub dense: bool,
    /// A weight for each token of the vocabulary that a text stands for; most are 0 and left out.
    pub sparse: bool,
    /// A vector per token.
    pub multivector: bool,
}

impl Outputs {
    /// No output at all.
    pub const NONE: Self = Self { dense: false, sparse: false, multivector: false };
    /// One vector per text.
    pub const DENSE: Self = Self { dense: true, ..Self::NONE };

    /// Returns those of these that are among others too.
    pub fn and(self, others: Self) -> Self {
        Self {
            dense: self.dense && others.dense,
            sparse: self.sparse && others.sparse,
            multivector: self.multivector && others.multivector,
        }
    }

    /// Returns their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.dense, "dense"), (self.sparse, "sparse"), (self.multivector, "multivector")]
            .into_iter()
            .filter_map(|(there, name)| there.then_some(name))
    }
}

impl Default for Outputs {
    fn default() -> Self {
        Self::DENSE
    }
}

/// What a caller wants of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Which of the model's outputs.
    pub outputs: Outputs,
    /// Length 1 whether or not the model's own pipeline ends so.
    pub normalize: bool,
    /// Only so many first values of the one vector.
    pub dimensions: Option<usize>,
}

/// What a model gives of a text; what was not wanted is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// One vector, unless the parts of the text have their own.
    pub dense: Vec<f32>,
    /// The vectors of parts, see [`Embedder::tokenize_parts`](crate::Embedder::tokenize_parts).
    pub parts: Vec<Vec<f32>>,
    /// Weights by token id, none of them 0.
    pub sparse: Vec<(u32, f32)>,
    /// A vector per token.
    pub multivector: Vec<Vec<f32>>,
}

impl Vectors {
    /// Says whether all numbers are finite.
    pub(crate) fn are_finite(&self) -> bool {
        let rows = self.parts.iter().chain(&self.multivector).flatten();
        let weights = self.sparse.iter().map(|(_, weight)| weight);
        self.dense.iter().chain(weights).chain(rows).all(|x| x.is_finite())
    }
}
