//! What a caller holds: a described model, or a loaded one that turns tokens into vectors.

use modelfiles::recipe::{Pooling, Recipe};
use rayon::prelude::*;

use crate::{
    Error, Files, Plan, architectures,
    executor::Encoder,
    heads::{self, Heads},
    ops::{Arithmetic, Pass},
    repository::{Repository, Step},
    tokens::{Overflow, Prompt, Tokeniser, Tokens},
};

/// Tokens of one forward pass, unless a single text has more: beyond this the working set leaves the cache.
const PACK_TOKENS: usize = 512;
/// Fewer tokens than this are not worth a pass beside another.
const LEAST_PACK_TOKENS: usize = 48;
/// Packs that a thread has to itself when there is enough work, so that the last ones even out.
const PACKS_PER_THREAD: usize = 4;

/// What is known of a model before a tensor is read.
#[derive(Clone, Debug)]
pub struct Description {
    /// The encoder.
    pub plan: Plan,
    /// Number of weights in its files.
    pub parameters: u64,
    /// Element type that most of them have, as `F32`.
    pub stored_as: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// Tokens to which a text is cut unless the request says otherwise.
    pub max_tokens: usize,
    /// How token vectors become one.
    pub pooling: Vec<Pooling>,
    /// Whether the vectors come out with length 1.
    pub normalizes: bool,
    /// Bytes that the loaded model holds, and the most that a forward pass adds.
    pub memory_bytes: u64,
}

/// What a caller wants of the vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Length 1 whether or not the model's own pipeline ends so.
    pub normalize: bool,
    /// Only so many first values.
    pub dimensions: Option<usize>,
}

/// A loaded model.
pub struct Embedder {
    description: Description,
    tokeniser: Tokeniser,
    encoder: Encoder,
    heads: Heads,
    dimensions: Option<usize>,
}

/// Reads configuration and headers, and says what loading would give.
pub fn describe(files: &Files, recipe: &Recipe) -> Result<Description, Error> {
    let repository = Repository::open(files, recipe)?;
    let (_, plan) = architectures::plan(&repository.config)?;
    let weights = repository.weights()?;
    Ok(description(&repository, plan, weights.census()))
}

fn description(
    repository: &Repository<'_>,
    plan: Plan,
    (parameters, dtype): (u64, Option<candle_core::DType>),
) -> Description {
    let context = plan.context_length();
    let max_tokens = repository.max_tokens.unwrap_or(context).clamp(1, context);
    let mut dimensions = plan.hidden * repository.pooling.modes.len();
    let mut dense_weights = 0;
    for step in &repository.steps {
        if let Step::Dense { inputs, outputs, .. } = step {
            dimensions = *outputs;
            dense_weights += (inputs * outputs + outputs) as u64;
        }
    }
    let at_once = max_tokens.max(PACK_TOKENS * rayon::current_num_threads());
    Description {
        parameters,
        stored_as: dtype.map_or("unknown", |dtype| dtype.as_str()).to_ascii_uppercase(),
        dimensions: repository.dimensions.map_or(dimensions, |cut| cut.min(dimensions)),
        max_tokens,
        pooling: repository.pooling.modes.clone(),
        normalizes: repository.steps.last() == Some(&Step::Normalize),
        memory_bytes: plan.weight_bytes()
            + 4 * dense_weights
            + plan.arena_bytes(at_once, max_tokens),
        plan,
    }
}

impl Embedder {
    /// Loads a model.
    pub fn load(files: &Files, recipe: &Recipe) -> Result<Self, Error> {
        Self::load_for(files, recipe, Arithmetic::default())
    }

    /// Loads a model that computes in a certain way.
    pub fn load_for(files: &Files, recipe: &Recipe, arithmetic: Arithmetic) -> Result<Self, Error> {
        let repository = Repository::open(files, recipe)?;
        let (architecture, plan) = architectures::plan(&repository.config)?;
        let mut weights = repository.weights()?;
        let encoder = Encoder::load(&plan, architecture, &mut weights, arithmetic)?;
        Ok(Self {
            tokeniser: Tokeniser::open(&repository, plan.vocabulary)?,
            heads: Heads::load(&repository, arithmetic)?,
            dimensions: repository.dimensions,
            description: description(&repository, plan, weights.census()),
            encoder,
        })
    }

    /// Returns what is known of the model.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the tokens that a text may have when a request asks for `wanted`.
    pub fn limit(&self, wanted: Option<usize>) -> usize {
        let most = self.description.plan.context_length();
        wanted.unwrap_or(self.description.max_tokens).min(most)
    }

    /// Tokenises a text to at most `limit` tokens.
    pub fn tokenize(
        &self,
        text: &str,
        prompt: Prompt,
        limit: usize,
        overflow: Overflow,
    ) -> Result<Tokens, Error> {
        self.tokeniser.encode(text, prompt, limit, overflow)
    }

    /// Takes token ids of this model's vocabulary, with or without its special tokens.
    pub fn adopt(&self, ids: Vec<u32>, limit: usize, overflow: Overflow) -> Result<Tokens, Error> {
        self.tokeniser.adopt(ids, limit, overflow)
    }

    /// Embeds texts, in their order; `None` where a vector holds a NaN or an infinity.
    pub fn embed(&self, texts: &[(&Tokens, Output)]) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let packs = packs(texts);
        let pass = Pass { shared: packs.len() == 1 };
        let vectors = packs.into_par_iter().map(|pack| self.embed_pack(pack, pass));
        Ok(vectors.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    fn embed_pack(
        &self,
        pack: &[(&Tokens, Output)],
        pass: Pass,
    ) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let tokens: Vec<&Tokens> = pack.iter().map(|(tokens, _)| *tokens).collect();
        let (hidden, starts) = self.encoder.forward(&tokens, pass)?;
        let pooled = self.heads.forward(&hidden, &starts, &tokens)?;
        let outputs = pack.iter().map(|(_, output)| *output);
        Ok(pooled.into_iter().zip(outputs).map(|(v, output)| self.finish(v, output)).collect())
    }

    fn finish(&self, mut vector: Vec<f32>, output: Output) -> Option<Vec<f32>> {
        if vector.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let wanted =
            output.dimensions.or(self.dimensions).filter(|n| (1..vector.len()).contains(n));
        let normalized = self.heads.normalizes();
        if let Some(dimensions) = wanted {
            vector.truncate(dimensions);
        }
        // A normalised vector that was not cut is not divided again: that could change its last bits.
        if (output.normalize || normalized) && (wanted.is_some() || !normalized) {
            heads::normalize(&mut vector);
        }
        Some(vector)
    }
}

/// Splits texts, in their order, into what single forward passes take: enough of them that every thread has some.
fn packs<'a, 'b>(texts: &'a [(&'b Tokens, Output)]) -> Vec<&'a [(&'b Tokens, Output)]> {
    let total: usize = texts.iter().map(|(tokens, _)| tokens.ids.len()).sum();
    let wanted = total / (PACKS_PER_THREAD * rayon::current_num_threads());
    let most = wanted.clamp(LEAST_PACK_TOKENS, PACK_TOKENS);
    let (mut packs, mut start, mut sum) = (Vec::new(), 0, 0);
    for (i, (tokens, _)) in texts.iter().enumerate() {
        if i > start && sum + tokens.ids.len() > most {
            packs.push(&texts[start..i]);
            (start, sum) = (i, 0);
        }
        sum += tokens.ids.len();
    }
    if start < texts.len() {
        packs.push(&texts[start..]);
    }
    packs
}
