//! What a caller holds: a described model, or a loaded one that turns tokens into vectors.

mod chunks;

use std::{collections::BTreeMap, sync::Mutex};

use modelfiles::recipe::{Pooling, Precision, Recipe};

use crate::{
    Error, Files, Output, Outputs, Plan, Processor, Vectors, architectures, executor,
    heads::{self, Loading},
    processor::Arithmetic,
    repository::{Repository, Scoring, Step},
    threads::Team,
    tokens::{Overflow, Prompt, Query, Task, Tokeniser, Tokens},
    tower::{self, Tower},
};

/// Tokens of one forward pass, unless a single text has more: beyond this the working set leaves the cache.
const PACK_TOKENS: usize = 256;
/// Tokens that callers give at once for each thread, unless a single text has more: a few packs, so that threads end
/// together, and few enough that whoever comes next does not wait long.
pub(crate) const BATCH_TOKENS: usize = 1024;
/// Fewer tokens than this are not worth a pass beside another.
const LEAST_PACK_TOKENS: usize = 32;
/// A pass of fewer multiplications is over before another thread is awake.
const LEAST_SHARED_WORK: u64 = 4 << 20;

/// What is known of a model before a tensor is read.
#[derive(Clone, Debug)]
pub struct Description {
    /// The encoder.
    pub plan: Plan,
    /// Number of weights in its files.
    pub parameters: u64,
    /// Element type that most of them have, as `F32`.
    pub stored_as: String,
    /// What kind of files they are, as Ollama calls it.
    pub format: &'static str,
    /// What it gives of a text.
    pub outputs: Outputs,
    /// Length of a vector; of a model that gives weights of tokens alone, how many tokens there are.
    pub dimensions: usize,
    /// Tokens to which a text is cut unless the request says otherwise.
    pub max_tokens: usize,
    /// How token vectors become one.
    pub pooling: Vec<Pooling>,
    /// Whether the vectors come out with length 1.
    pub normalizes: bool,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt before texts of which nothing is said, if there is one.
    pub default_prompt: Option<String>,
    /// Whether it also reads images.
    pub images: bool,
    /// What makes a score of the number that comes out, if the model is a reranker and no embedder.
    pub scoring: Option<Scoring>,
    /// What a query is there for unless a request says it, if the model is a reranker that is told so.
    pub instruction: Option<String>,
    /// The tasks that it has weights for.
    pub tasks: Vec<String>,
    /// What its products are computed with.
    pub precision: Precision,
    /// Bytes that the loaded model holds, and the most that a forward pass adds.
    pub memory_bytes: u64,
    /// The same at every precision.
    pub memory_at: Vec<(Precision, u64)>,
}

/// A loaded model.
pub struct Embedder {
    description: Description,
    processor: Processor,
    tokeniser: Tokeniser,
    texts: Tower,
    images: Option<Tower>,
    dimensions: Option<usize>,
}

/// Reads configuration and headers, and says what loading would give.
pub fn describe(
    files: &Files,
    recipe: &Recipe,
    processor: &Processor,
) -> Result<Description, Error> {
    let repository = Repository::open(files, recipe)?;
    let (architecture, plan) = repository.plan()?;
    let images = architectures::image_plan(&architecture, &repository.config)?;
    let weights = repository.weights(&plan)?;
    let precision = processor.precision(recipe.precision);
    description(&repository, (plan, images), weights.census(), (processor, precision))
}

/// Checks that the files have every tensor that loading would look for, and can be tokenised with.
pub fn check(files: &Files, recipe: &Recipe) -> Result<(), Error> {
    let repository = Repository::open(files, recipe)?;
    let (architecture, plan) = repository.plan()?;
    executor::check(&plan, &architecture, &repository.weights(&plan)?)?;
    Tokeniser::open(&repository, &plan).map(drop)
}

fn description(
    repository: &Repository<'_>,
    (plan, images): (Plan, Option<Plan>),
    (parameters, dtype): (u64, Option<candle_core::DType>),
    (processor, precision): (&Processor, Precision),
) -> Result<Description, Error> {
    let context = plan.context_length();
    let max_tokens = repository.max_tokens.unwrap_or(context).clamp(1, context);
    let pooled = plan.hidden * repository.pooling.modes.len();
    let (mut dimensions, dense_weights) = tower::behind(&repository.steps, pooled)?;
    let sparse = repository.sparse.as_ref();
    let sparse_weights = sparse.map_or(0, |step| step.weights(plan.hidden, plan.vocabulary));
    let image_weights =
        images.as_ref().map(|plan| tower::image_weights(repository, plan, dimensions));
    let image_weights = image_weights.transpose()?.unwrap_or(0);
    let (outputs, mut pooling) = (repository.outputs(), repository.pooling.modes.clone());
    if repository.question.is_some() {
        dimensions = 1;
    }
    if repository.predicts() {
        (dimensions, pooling) = (plan.vocabulary, vec![Pooling::Splade]);
    }
    let memory = |precision| {
        let of = |plan: &Plan| tower::memory_bytes(plan, (processor, precision));
        let weights = dense_weights + sparse_weights + image_weights;
        of(&plan) + images.as_ref().map_or(0, of) + 4 * weights
    };
    let precisions = [Precision::F32, Precision::Bf16, Precision::Int8];
    Ok(Description {
        parameters,
        stored_as: stored_as(repository, dtype),
        format: if repository.gguf.is_some() { "gguf" } else { "safetensors" },
        outputs,
        dimensions: repository.dimensions.map_or(dimensions, |cut| cut.min(dimensions)),
        max_tokens,
        pooling,
        prompts: repository.prompts.clone(),
        default_prompt: repository.default_prompt.clone(),
        scoring: repository.scoring,
        instruction: repository.question.as_ref().map(|question| question.instruction.clone()),
        tasks: tasks(&plan).map(|(name, _)| name.clone()).collect(),
        normalizes: repository.steps.last() == Some(&Step::Normalize),
        precision,
        memory_bytes: memory(precision),
        memory_at: precisions.map(|precision| (precision, memory(precision))).to_vec(),
        images: images.is_some(),
        plan,
    })
}

/// Returns the tasks of a model, each with its prompt.
fn tasks(plan: &Plan) -> impl Iterator<Item = &(String, String)> {
    plan.adapters.iter().flat_map(|adapters| &adapters.tasks)
}

/// Returns the element type that most weights have, as their file says or their headers.
fn stored_as(repository: &Repository<'_>, dtype: Option<candle_core::DType>) -> String {
    let said = repository.gguf.as_ref().and_then(|gguf| gguf.file_type());
    let found = dtype.map_or("unknown", |dtype| dtype.as_str());
    said.map_or_else(|| found.to_ascii_uppercase(), str::to_owned)
}

impl Embedder {
    /// Loads a model.
    pub fn load(files: &Files, recipe: &Recipe, processor: &Processor) -> Result<Self, Error> {
        let repository = Repository::open(files, recipe)?;
        let (architecture, plan) = repository.plan()?;
        let image_plan = architectures::image_plan(&architecture, &repository.config)?;
        let precision = processor.precision(recipe.precision);
        let loading = Loading {
            repository: &repository,
            architecture: &architecture,
            plan: &plan,
            processor,
            precision,
        };
        let of_images = |plan| Tower::of_images(Loading { plan, ..loading });
        let (encoder, images, tokeniser) = std::thread::scope(|scope| {
            let tokeniser = scope.spawn(|| Tokeniser::open(&repository, &plan));
            let encoder = tower::encoder(loading);
            (encoder, image_plan.as_ref().map(of_images).transpose(), tokeniser.join())
        });
        let tokeniser = tokeniser.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let texts = Tower::of_texts(loading, encoder?, &tokeniser)?;
        let (plans, census) = ((plan.clone(), image_plan), repository.weights(&plan)?.census());
        Ok(Self {
            tokeniser,
            texts,
            images: images?.flatten(),
            dimensions: repository.dimensions,
            description: description(&repository, plans, census, (processor, precision))?,
            processor: processor.clone(),
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

    /// Returns all tokens of a text behind a prompt, with those around it if they are wanted.
    pub fn ids(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        with_specials: bool,
    ) -> Result<Vec<u32>, Error> {
        self.tokeniser.all_ids(text, prompt, with_specials)
    }

    /// Returns the text of token ids; special tokens stay if they are wanted.
    pub fn detokenize(&self, ids: &[u32], with_specials: bool) -> Result<String, Error> {
        self.tokeniser.text(ids, with_specials)
    }

    /// Returns how a token is written in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokeniser.token(id)
    }

    /// Returns how many tokens callers shall give at once, unless a single text has more: memory is reserved for
    /// these.
    pub fn batch_tokens(&self) -> usize {
        BATCH_TOKENS * self.processor.threads.count()
    }

    /// Tokenises a text to at most `limit` tokens.
    pub fn tokenize(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        limit: usize,
        overflow: Overflow,
    ) -> Result<Tokens, Error> {
        self.tokeniser.encode(text, prompt, limit, overflow)
    }

    /// Makes an image ready, from the bytes of a file; what comes of it is embedded like the tokens of a text.
    pub fn image(&self, file: &[u8]) -> Result<Tokens, Error> {
        self.images.as_ref().ok_or(Error::NoImages)?.look(file)
    }

    /// Returns a task of the model; its tokens are those of texts behind its prompt, and are told so by
    /// [`Tokens::for_task`].
    pub fn task(&self, name: &str) -> Option<Task<'_>> {
        let mut tasks = tasks(&self.description.plan).enumerate();
        let (number, (_, prompt)) = tasks.find(|(_, (task, _))| task == name)?;
        Some(Task { number, prompt })
    }

    /// Tokenises a query for a reranker, for pairs of at most `limit` tokens. An instruction says what the query is
    /// there for, to a model that is told so.
    pub fn tokenize_query(
        &self,
        query: &str,
        instruction: Option<&str>,
        limit: usize,
    ) -> Result<Query, Error> {
        self.tokeniser.query(query, instruction, limit)
    }

    /// Tokenises a document for a reranker, which reads it and the query at once.
    pub fn tokenize_pair(&self, query: &Query, document: &str) -> Result<Tokens, Error> {
        self.tokeniser.pair(query, document)
    }

    /// Takes token ids of this model's vocabulary, with or without its special tokens.
    pub fn adopt(&self, ids: Vec<u32>, limit: usize, overflow: Overflow) -> Result<Tokens, Error> {
        self.tokeniser.adopt(ids, limit, overflow)
    }

    /// Returns the one vector of each text, in their order, as [`Self::run`] gives it.
    pub fn embed(&self, texts: &[(&Tokens, Output)]) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let found = self.run(texts)?;
        Ok(found.into_iter().map(|vectors| Some(vectors?.dense)).collect())
    }

    /// Turns texts into what is wanted of them, in their order; `None` where a number is a NaN or an infinity. What the
    /// model does not give stays empty. Waits for its turn first.
    pub fn run(&self, texts: &[(&Tokens, Output)]) -> Result<Vec<Option<Vectors>>, Error> {
        let turn = self.processor.threads.turn();
        let mut vectors = vec![None; texts.len()];
        let (bare, rest) =
            (0..texts.len()).partition(|i| self.texts.heads.skips_encoder(texts[*i].0));
        for place in Vec::into_iter(bare) {
            let (tokens, output) = texts[place];
            let width = self.description.plan.hidden;
            let found = self.texts.heads.without_encoder(tokens, width, self.wanted(output))?;
            vectors[place] = self.finish(found, output);
        }
        let (long, rest) = self.long_and_rest(texts, rest, turn.threads());
        for place in &long {
            let found = self.embed_pack(texts, &[*place], Team::Together(&turn))?;
            vectors[*place] = found.into_iter().next().flatten();
        }
        let (images, rest): (Vec<usize>, _) =
            rest.into_iter().partition(|i| texts[*i].0.is_image());
        let mut packs = self.packs(texts, rest, turn.threads());
        packs.extend(self.packs(texts, images, turn.threads()));
        if let [pack] = &packs[..] {
            let worth = self.is_worth_sharing(texts, pack);
            let team = if worth { Team::Together(&turn) } else { Team::Alone };
            for (place, vector) in pack.iter().zip(self.embed_pack(texts, pack, team)?) {
                vectors[*place] = vector;
            }
            return Ok(vectors);
        }
        let done = Mutex::new((&mut vectors, Ok(())));
        turn.run(packs.len(), &|part| {
            let pack = &packs[part];
            let found = self.embed_pack(texts, pack, Team::Alone);
            let Ok(mut done) = done.lock() else { return };
            match found {
                Ok(found) => pack.iter().zip(found).for_each(|(i, vector)| done.0[*i] = vector),
                Err(error) => done.1 = Err(error),
            }
        });
        match done.into_inner() {
            Ok((_, result)) => result.map(|()| vectors),
            Err(_) => unreachable!("nothing panics while the lock is held"),
        }
    }

    fn embed_pack(
        &self,
        texts: &[(&Tokens, Output)],
        pack: &[usize],
        team: Team<'_>,
    ) -> Result<Vec<Option<Vectors>>, Error> {
        let wanted = pack.iter().map(|i| (texts[*i].0, self.wanted(texts[*i].1)));
        let wanted: Vec<(&Tokens, Outputs)> = wanted.collect();
        let Some((first, _)) = wanted.first() else { return Ok(Vec::new()) };
        let pooled = self.tower(first).run(&wanted, team)?;
        let outputs = pack.iter().map(|i| texts[*i].1);
        Ok(pooled.into_iter().zip(outputs).map(|(v, output)| self.finish(v, output)).collect())
    }

    /// Returns which of the outputs that are asked for the model has.
    fn wanted(&self, output: Output) -> Outputs {
        output.outputs.and(self.description.outputs)
    }

    /// Finds the texts that would keep one thread busy while the others have nothing left to do.
    fn long_and_rest(
        &self,
        texts: &[(&Tokens, Output)],
        places: Vec<usize>,
        threads: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        let work = places.iter().map(|i| self.work(texts[*i].0));
        let share = work.sum::<u64>() / threads as u64;
        let is_long = |i: &usize| {
            let tokens = texts[*i].0;
            threads > 1 && tokens.ids.len() > PACK_TOKENS && self.work(tokens) > share
        };
        places.into_iter().partition(is_long)
    }

    fn is_worth_sharing(&self, texts: &[(&Tokens, Output)], pack: &[usize]) -> bool {
        let work: u64 = pack.iter().map(|i| self.work(texts[*i].0)).sum();
        work >= LEAST_SHARED_WORK && self.processor.arithmetic != Arithmetic::Stock
    }

    /// Returns what computes these.
    fn tower(&self, tokens: &Tokens) -> &Tower {
        self.images.as_ref().filter(|_| tokens.is_image()).unwrap_or(&self.texts)
    }

    /// Returns how many multiplications a text or an image takes.
    fn work(&self, tokens: &Tokens) -> u64 {
        self.tower(tokens).plan.work(tokens.ids.len())
    }

    /// Shares texts out over forward passes of about the same work, as many as all threads can run; by their places.
    fn packs(
        &self,
        texts: &[(&Tokens, Output)],
        places: Vec<usize>,
        threads: usize,
    ) -> Vec<Vec<usize>> {
        let total: usize = places.iter().map(|i| texts[*i].0.ids.len()).sum();
        let most = (total / LEAST_PACK_TOKENS).min(places.len());
        let wanted = total.div_ceil(PACK_TOKENS).next_multiple_of(threads).min(most).max(1);
        let mut packs = vec![(0, Vec::new()); wanted];
        let mut order: Vec<(u64, usize)> =
            places.into_iter().map(|i| (self.work(texts[i].0), i)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for (work, i) in order {
            let Some(least) = packs.iter_mut().min_by_key(|(sum, _)| *sum) else { break };
            least.0 += work;
            least.1.push(i);
        }
        packs.into_iter().map(|(_, pack)| pack).filter(|pack| !pack.is_empty()).collect()
    }

    fn finish(&self, mut vectors: Vectors, output: Output) -> Option<Vectors> {
        if !vectors.are_finite() {
            return None;
        }
        let normalized = self.texts.heads.normalizes();
        for vector in std::iter::once(&mut vectors.dense).chain(&mut vectors.parts) {
            let wanted =
                output.dimensions.or(self.dimensions).filter(|n| (1..vector.len()).contains(n));
            if let Some(dimensions) = wanted {
                vector.truncate(dimensions);
            }
            // A normalised vector that was not cut is not divided again: that could change its last bits.
            if (output.normalize || normalized) && (wanted.is_some() || !normalized) {
                heads::normalize(vector);
            }
        }
        Some(vectors)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{Isa, Threads};

    fn files(model: &str) -> Files {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/models").join(model);
        let mut files = BTreeMap::new();
        for path in ["config.json", "model.safetensors", "tokenizer.json"] {
            files.insert(path.to_owned(), folder.join(path));
        }
        files
    }

    /// A pass that all threads share gives the very bits of a pass of one thread: with few rows, whose products are
    /// shared out by columns, and with many, which are shared out themselves.
    #[test]
    fn together_is_as_alone() {
        for isa in Isa::all() {
            for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
                let threads = Arc::new(Threads::new(3));
                let processor = Processor { arithmetic: Arithmetic::Kernels(isa), threads };
                let recipe = Recipe { precision: Some(precision), ..Recipe::default() };
                for model in ["bert-mean", "qwen3"] {
                    let embedder = Embedder::load(&files(model), &recipe, &processor).unwrap();
                    let text =
                        |i: usize| (0..20 + i).map(move |id| (30 + (id * 7 + i) % 60) as u32);
                    let text =
                        |i| embedder.adopt(text(i).collect(), 64, Overflow::Truncate).unwrap();
                    let tokens: Vec<Tokens> = (0..12).map(text).collect();
                    let texts: Vec<_> = tokens.iter().map(|t| (t, Output::default())).collect();
                    let turn = processor.threads.turn();
                    for pack in [vec![0], vec![3, 1], (0..12).collect()] {
                        let alone = embedder.embed_pack(&texts, &pack, Team::Alone).unwrap();
                        let team = Team::Together(&turn);
                        let together = embedder.embed_pack(&texts, &pack, team).unwrap();
                        assert_eq!(alone, together, "{isa:?} {precision} {model} {pack:?}");
                    }
                }
            }
        }
    }
}
