//! What an encoder computes, as data: everything is known before a tensor is read.

/// The largest values that a configuration may name; beyond them it is a mistake or an attack.
pub(crate) mod most {
    /// Layers.
    pub(crate) const LAYERS: usize = 1024;
    /// Width of a hidden state or of a feed-forward layer.
    pub(crate) const WIDTH: usize = 1 << 18;
    /// Rows of the token table.
    pub(crate) const VOCABULARY: usize = 1 << 24;
    /// Rows of the position table.
    pub(crate) const POSITIONS: usize = 1 << 22;
}

/// Activation of a feed-forward or dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), with the exact error function.
    Gelu,
    /// The tanh approximation of GELU, which some models were trained with.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x · sigmoid(x).
    Silu,
    /// tanh(x).
    Tanh,
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// x.
    Identity,
}

impl Activation {
    /// Returns the activation that a transformers configuration calls `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_accurate" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "linear" | "identity" => Self::Identity,
            _ => return None,
        })
    }
}

/// An encoder whose blocks normalise after each residual sum (post-LN), with learned positions.
///
/// Rotary, relative and sandwich forms get their fields when their architectures are built.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The `model_type` that it was computed from.
    pub architecture: String,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads; the head size is `hidden / heads`.
    pub heads: usize,
    /// Width inside the feed-forward layer.
    pub inner: usize,
    /// Activation inside the feed-forward layer.
    pub activation: Activation,
    /// Epsilon of every layer norm.
    pub epsilon: f64,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// Row of the position table that the first token uses (RoBERTa starts behind its padding id).
    pub first_position: usize,
    /// Rows of the token type table; 0 when there is none.
    pub token_types: usize,
}

impl Plan {
    /// Returns the most tokens that a text may have, special tokens included.
    pub fn context_length(&self) -> usize {
        self.positions - self.first_position
    }

    /// Returns the number of weights.
    pub fn weights(&self) -> u64 {
        let [h, inner] = [self.hidden as u64, self.inner as u64];
        let norm = 2 * h;
        let tables = (self.vocabulary + self.positions + self.token_types) as u64 * h + norm;
        let attention = 4 * (h * h + h) + norm;
        let feed_forward = 2 * h * inner + inner + h + norm;
        tables + self.layers as u64 * (attention + feed_forward)
    }

    /// Returns the bytes of the weights in memory, at four bytes each.
    pub fn weight_bytes(&self) -> u64 {
        4 * self.weights()
    }

    /// Returns the bytes that forward passes over `tokens` packed tokens need at their peak, the longest text having
    /// `longest` of them: hidden state, query, key, value, context and a few spare, the feed-forward layer twice, and
    /// the attention of one text: its keys and values in panels, and a dozen rows of scores for each head.
    pub fn arena_bytes(&self, tokens: usize, longest: usize) -> u64 {
        let rows = tokens as u64 * (8 * self.hidden + 2 * self.inner) as u64;
        let attention = longest as u64 * (2 * self.hidden + 12 * self.heads) as u64;
        4 * (rows + attention)
    }
}
