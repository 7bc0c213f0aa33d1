//! What an encoder computes, as data: everything is known before a tensor is read.

use crate::positions::{Distances, Relative};

/// Rows of a block for a matrix unit, which waits for weights more than for anything else: they shall pass once for a
/// whole pack, even where inner values then leave the second-level cache.
pub(crate) const TILED_BLOCK_ROWS: usize = 288;

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
    /// Pixels of a side of an image.
    pub(crate) const SIDE: usize = 1 << 12;
}

/// Activation of a feed-forward or dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), with the exact error function.
    Gelu,
    /// The tanh approximation of GELU, which some models were trained with.
    GeluTanh,
    /// x · sigmoid(1.702 · x), which CLIP takes for GELU.
    QuickGelu,
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
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "linear" | "identity" => Self::Identity,
            _ => return None,
        })
    }
}

/// Which norm every norm is, but for those of single heads, which are RMS norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// (x − mean) / √(variance + ε) · weight + bias.
    Layer,
    /// The same without a bias.
    Unbiased,
    /// x / √(mean of x² + ε) · weight.
    Rms,
    /// The same with weights that are stored less one.
    RmsLessOne,
}

impl NormKind {
    /// Returns the number of weights of a norm over so many values.
    fn weights(self, width: u64) -> u64 {
        match self {
            Self::Layer => 2 * width,
            Self::Unbiased | Self::Rms | Self::RmsLessOne => width,
        }
    }
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// norm(x + f(x)), as BERT does (post-LN).
    After,
    /// x + f(norm(x)), and one more norm behind the last block (pre-LN).
    Before,
    /// x + norm(f(norm(x))), and one more norm behind the last block, as Gemma does.
    Around,
    /// norm(x + norm(x + f(x))) in the attention, and norm(x + f(x)) in the feed-forward layer.
    Twice,
}

impl Placement {
    /// Says whether blocks normalise what they give, so that no norm stands before a part of one.
    pub(crate) fn is_after(self) -> bool {
        matches!(self, Self::After | Self::Twice)
    }

    /// Returns how many norms a block has, but for those of queries and keys.
    fn norms(self) -> u64 {
        match self {
            Self::After | Self::Before => 2,
            Self::Twice => 3,
            Self::Around => 4,
        }
    }
}

/// What normalises queries and keys before they are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionNorm {
    /// Nothing.
    None,
    /// An RMS norm of every head, with one weight for all heads of a layer.
    Heads,
    /// The norm of the plan, over all queries of a token, and over all its keys.
    Whole,
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Those of queries, keys and values.
    pub projection: bool,
    /// That behind the attention.
    pub output: bool,
    /// Those into the feed-forward layer.
    pub up: bool,
    /// That out of it.
    pub down: bool,
}

impl Biases {
    /// Every layer has one.
    pub(crate) const ALL: Self = Self { projection: true, output: true, up: true, down: true };
    /// No layer has one.
    pub(crate) const NONE: Self = Self { projection: false, output: false, up: false, down: false };
}

/// Layers in which a token sees only those that stand near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// For each layer, whether it is one.
    pub layers: Vec<bool>,
    /// How far away the farthest token stands that is seen.
    pub reach: usize,
}

/// What an encoder of images reads instead of tokens: square patches of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patches {
    /// Pixels of a side of the image.
    pub image: usize,
    /// Pixels of a side of a patch.
    pub size: usize,
    /// Whether a learned row stands before the patches.
    pub class: bool,
    /// Whether the layer that reads a patch has a bias.
    pub bias: bool,
}

impl Patches {
    /// Returns how many patches an image has.
    pub(crate) fn count(&self) -> usize {
        (self.image / self.size).pow(2)
    }

    /// Returns how many rows an image has.
    pub(crate) fn rows(&self) -> usize {
        self.count() + usize::from(self.class)
    }

    /// Returns how many values a patch has.
    pub(crate) fn width(&self) -> usize {
        3 * self.size * self.size
    }
}

/// How an encoder knows where a token stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A row of a learned table is added to every token.
    Learned {
        /// Rows of the table.
        rows: usize,
        /// The row that the first token uses (RoBERTa starts behind its padding id).
        first: usize,
    },
    /// Queries and keys are turned in pairs of values `(i, i + head_size / 2)`.
    Rotary {
        /// By which angle each pair turns from one token to the next.
        frequencies: Vec<f32>,
        /// The same for layers with a window, where they differ.
        near: Option<Vec<f32>>,
        /// The most tokens that the model was made for.
        context: usize,
    },
    /// It does not, but for the distances between tokens.
    None {
        /// The most tokens that the model was made for.
        context: usize,
    },
}

impl Positions {
    /// Returns the rows of the learned table; 0 when there is none.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Learned { rows, .. } => *rows,
            Self::Rotary { .. } | Self::None { .. } => 0,
        }
    }
}

/// What tasks add to the weights of an encoder: to each matrix a product of two small ones, which is never computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    /// The tasks, each with what stands before its texts.
    pub tasks: Vec<(String, String)>,
    /// Rows of the first small matrix, and columns of the second.
    pub rank: usize,
    /// What their product is multiplied with.
    pub scale: f32,
}

impl Adapters {
    /// Returns the rows of the first small matrices of all tasks.
    pub(crate) fn rows(&self) -> usize {
        self.tasks.len() * self.rank
    }
}

/// Feed-forward layers of which a token passes through a few: those that a router finds likeliest, each as much as its
/// softmax over all of them says. They have no biases but one that all share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// For each layer of the encoder, whether it has them.
    pub layers: Vec<bool>,
    /// How many there are in such a layer.
    pub count: usize,
    /// How many a token passes through.
    pub used: usize,
}

/// An encoder: embeddings, then blocks of self-attention and a feed-forward layer, each part added to what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The `model_type` that it was computed from.
    pub architecture: String,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads, as many as there are queries of a token.
    pub heads: usize,
    /// Heads of the keys and values; each serves `heads / kv_heads` queries that follow one another.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// What normalises queries and keys.
    pub projection_norm: ProjectionNorm,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
    /// Which layers see only what stands near.
    pub window: Option<Window>,
    /// What products of queries and keys are multiplied with.
    pub scale: f32,
    /// What is added to them, by how far a key stands from its query.
    pub distances: Option<Distances>,
    /// Rows for distances that meet queries and keys, which is added to their products before these are multiplied.
    pub relative: Option<Relative>,
    /// Width inside the feed-forward layer.
    pub inner: usize,
    /// Activation inside the feed-forward layer.
    pub activation: Activation,
    /// Whether the feed-forward layer is down(act(gate(x)) · up(x)) instead of down(act(up(x))).
    pub gated: bool,
    /// Which layers have several in place of that one.
    pub experts: Option<Experts>,
    /// Which linear layers have biases.
    pub biases: Biases,
    /// Which norm every norm is, but for those of single heads.
    pub norm: NormKind,
    /// Where a block normalises.
    pub placement: Placement,
    /// Whether the attention of the first block reads what the embeddings give without a norm before it.
    pub bare_start: bool,
    /// Epsilon of every norm.
    pub epsilon: f64,
    /// What stands for tokens in an encoder of images, which has no token table.
    pub patches: Option<Patches>,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// What the rows of that table are multiplied with.
    pub embedding_scale: f32,
    /// How the encoder knows where a token stands.
    pub positions: Positions,
    /// Rows of the token type table; 0 when there is none.
    pub token_types: usize,
    /// Whether the sum of the embeddings is normalised before the first block.
    pub embedding_norm: bool,
    /// What tasks change.
    pub adapters: Option<Adapters>,
}

impl Plan {
    /// Returns the most tokens that a text may have, special tokens included.
    pub fn context_length(&self) -> usize {
        match self.positions {
            Positions::Learned { rows, first } => rows - first,
            Positions::Rotary { context, .. } | Positions::None { context } => context,
        }
    }

    /// Says whether a token's row is all that there is of it: no layer, no special tokens, no limit to speak of.
    pub(crate) fn is_static(&self) -> bool {
        self.layers == 0
    }

    /// Returns how many multiplications so many tokens of a text, or rows of an image, take.
    pub(crate) fn work(&self, tokens: usize) -> u64 {
        let linear = 2 * self.hidden * (self.query_width() + self.key_width())
            + (2 + usize::from(self.gated)) * self.hidden * self.inner;
        (self.layers * tokens * (linear + 2 * self.query_width() * tokens)) as u64
    }

    /// Returns how far a token of this layer sees, where it does not see all.
    pub(crate) fn reach(&self, layer: usize) -> Option<usize> {
        self.window.as_ref().filter(|window| window.layers[layer]).map(|window| window.reach)
    }

    /// Says whether a layer normalises what its attention reads, or what comes of it.
    pub(crate) fn has_attention_norm(&self, layer: usize) -> bool {
        layer > 0 || !self.bare_start
    }

    /// Returns the experts of a layer, where it has some.
    pub(crate) fn experts(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|experts| experts.layers[layer])
    }

    /// Returns the width of all queries of a token, which is also that of what attention gives.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Returns the width of all keys of a token, or of all values.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Returns the number of weights.
    pub fn weights(&self) -> u64 {
        self.table_weights() + self.layer_weights()
    }

    /// Returns the number of weights of embeddings and final norms.
    fn table_weights(&self) -> u64 {
        let h = self.hidden as u64;
        let rows = (self.vocabulary + self.positions.rows() + self.token_types) as u64;
        let distances = self.distances.as_ref().map_or(0, Distances::buckets) * self.heads;
        let ends = [self.embedding_norm, !self.placement.is_after()];
        let patches =
            self.patches.map_or(0, |p| p.width() + usize::from(p.class) + usize::from(p.bias));
        rows * h
            + patches as u64 * h
            + distances as u64
            + self.relative.map_or(0, |relative| self.relative_weights(relative))
            + self.adapters.as_ref().map_or(0, |adapters| self.adapter_weights(adapters))
            + ends.into_iter().filter(|there| *there).count() as u64 * self.norm.weights(h)
    }

    /// Returns the number of weights that make keys and queries of distances.
    fn relative_weights(&self, relative: Relative) -> u64 {
        let [h, query] = [self.hidden as u64, self.query_width() as u64];
        let layers = if relative.shared { 0 } else { self.layers * relative.sides() };
        let norm = if relative.norm { self.norm.weights(h) } else { 0 };
        relative.rows() as u64 * h + norm + layers as u64 * (h + 1) * query
    }

    /// Returns the number of weights of all small matrices; queries, keys and values share the first one.
    fn adapter_weights(&self, adapters: &Adapters) -> u64 {
        let (h, query, key) = (self.hidden, self.query_width(), self.key_width());
        let tables = [self.vocabulary + h, self.token_types + h];
        let layers = [h + query + 2 * key, query + h, h + self.inner, self.inner + h];
        let sizes = tables.iter().sum::<usize>() + self.layers * layers.iter().sum::<usize>();
        (adapters.rows() * sizes) as u64
    }

    /// Returns how many numbers the keys and queries of distances are, which are computed once.
    fn relative_rows(&self) -> u64 {
        let rows = self.relative.map_or(0, |relative| relative.rows() * relative.sides());
        (self.layers * rows * self.query_width()) as u64
    }

    /// Returns the number of weights of all blocks.
    fn layer_weights(&self) -> u64 {
        let [h, inner] = [self.hidden as u64, self.inner as u64];
        let linear = |inputs: u64, outputs: u64, bias: bool| (inputs + u64::from(bias)) * outputs;
        let [query, key] = [self.query_width() as u64, self.key_width() as u64];
        let projection_norms = match self.projection_norm {
            ProjectionNorm::None => 0,
            ProjectionNorm::Heads => 2 * self.head_size as u64,
            ProjectionNorm::Whole => self.norm.weights(query) + self.norm.weights(key),
        };
        let Biases { projection, output, up, down } = self.biases;
        let attention = linear(h, query + 2 * key, projection) + linear(query, h, output);
        let ups = 1 + u64::from(self.gated);
        let feed_forward = ups * linear(h, inner, up) + linear(inner, h, down);
        let norm = self.norm.weights(h);
        let norms = self.placement.norms() * norm + projection_norms;
        let bare = if self.bare_start { norm } else { 0 };
        let is_mixed = |layer: &usize| self.experts(*layer).is_some();
        let mixed = (0..self.layers).filter(is_mixed).count() as u64;
        let count = self.experts.as_ref().map_or(0, |experts| experts.count as u64);
        let experts = count * (2 * h * inner + h) + h;
        let all = self.layers as u64;
        all * (attention + norms) + (all - mixed) * feed_forward + mixed * experts - bare
    }

    /// Says whether a layer is in the last third, where integers cost most of what a text means.
    pub(crate) fn is_late(&self, layer: usize) -> bool {
        layer >= self.layers - self.layers.div_ceil(3)
    }

    /// Returns how many weights the queries, keys and values of late layers have.
    pub(crate) fn late_projection_weights(&self) -> u64 {
        let late = (0..self.layers).filter(|layer| self.is_late(*layer)).count();
        (late * self.hidden * (self.query_width() + 2 * self.key_width())) as u64
    }

    /// Returns the bytes of the weights in memory, those of layers at so many bytes each, and the tables at four.
    pub fn weight_bytes(&self, bytes: usize) -> u64 {
        4 * (self.table_weights() + self.relative_rows()) + bytes as u64 * self.layer_weights()
    }

    /// Returns the bytes that forward passes over `tokens` packed tokens need at their peak on so many threads, the
    /// longest text having `longest` of them: hidden state, query, key, value and context of every token; for each
    /// thread a head of keys and of queries, the angles of positions, a dozen rows of scores, what keys and rows for
    /// distances give, and a block of the feed-forward layer.
    pub fn arena_bytes(&self, tokens: usize, longest: usize, threads: usize) -> u64 {
        const BLOCK_BYTES: u64 = 2 << 20;
        // In f32, and once more as the inputs of the next product, for which they are widened where there are tasks.
        let bytes = if self.adapters.is_some() { 10 } else { 6 };
        let longer = self.experts.as_ref().map_or(1, |experts| experts.count / experts.used + 1);
        let block = BLOCK_BYTES.max((TILED_BLOCK_ROWS * bytes * self.inner) as u64) * longer as u64;
        let rows =
            tokens as u64 * (self.hidden + 2 * self.query_width() + 2 * self.key_width()) as u64;
        let relative = self.relative.map_or(0, |relative| relative.rows());
        let attention = longest as u64 * (3 * self.head_size + 12 + relative) as u64;
        4 * rows + threads as u64 * (4 * attention + block)
    }
}
