//! How a text becomes token ids: prompts, special tokens, and what happens to a text that is too long.

mod around;
mod byte_fallback;
mod byte_pairs;
mod charsmap;
mod clip;
mod files;
mod gguf;
mod pairs;
mod piece;
mod sentencepiece;
mod siglip;
mod unigram;
mod word_piece;

use std::{collections::BTreeMap, ops::Range};

use modelfiles::recipe::Side;
use tokenizers::{ModelWrapper, NormalizerWrapper, Tokenizer, normalizers};

use crate::{
    Error, Plan,
    repository::{self, End, Repository},
};

use pairs::Frame;
pub use pairs::Query;

/// Texts up to this size are always tokenised whole.
const LONG_TEXT_BYTES: usize = 64 << 10;
/// More bytes than a token has in any usual text.
const BYTES_PER_TOKEN: usize = 32;
/// Tokens next to a cut may differ from those of the whole text; so many are more than any word has.
const UNCERTAIN_TOKENS: usize = 256;

/// Which prompt goes before a text, and what the text is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// The model's default, mostly none.
    Default,
    /// The one for queries, else the default.
    Query,
    /// The one for documents, else the default.
    Document,
    /// This one, for a text that is a query or is none where that is said.
    Own(&'a str, Option<bool>),
}

/// What to do with a text of too many tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Cut it.
    #[default]
    Truncate,
    /// Fail.
    Refuse,
}

/// The tokens of one text, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Ids, all within the token table; of an image the numbers of its rows.
    pub ids: Vec<u32>,
    /// Whether the text was cut.
    pub truncated: bool,
    /// How many tokens at the start the pooling passes over.
    pub(crate) skipped: usize,
    /// Where tokens of type 1 begin; behind the last if there are none.
    pub(crate) second: usize,
    /// Whether it takes the way of a query, in a model that has one.
    pub(crate) is_query: bool,
    /// The tokens of parts that have vectors of their own; empty if the text has one vector.
    pub(crate) spans: Vec<Range<usize>>,
    /// The number of its task, if it has one.
    pub(crate) task: Option<usize>,
    /// The pixels of an image, patch after patch; a text has none.
    pub(crate) pixels: Vec<u8>,
}

/// A task that a model has weights for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task<'a> {
    pub(crate) number: usize,
    /// What the model was trained to read before texts of this task.
    pub prompt: &'a str,
}

impl Tokens {
    /// Takes ids that are all of one text.
    pub(crate) fn of(ids: Vec<u32>, truncated: bool) -> Self {
        let second = ids.len();
        let (skipped, spans, pixels) = (0, Vec::new(), Vec::new());
        Self { ids, truncated, skipped, second, is_query: false, spans, task: None, pixels }
    }

    /// Says that the text is for a task of the model that made these tokens.
    pub fn for_task(self, task: Task<'_>) -> Self {
        Self { task: Some(task.number), ..self }
    }

    /// Says whether they are not tokens but the rows of an image.
    pub(crate) fn is_image(&self) -> bool {
        !self.pixels.is_empty()
    }
}

/// The tokenizer of a model, shared by all threads.
pub(crate) struct Tokeniser {
    inner: Tokenizer,
    /// Special tokens before and after every text.
    before: Vec<u32>,
    after: Vec<u32>,
    side: Side,
    prompts: BTreeMap<String, String>,
    default_prompt: String,
    include_prompt: bool,
    queries: Queries,
    vocabulary: usize,
    /// Whether a text may have no token at all.
    may_be_empty: bool,
    /// Whether the second of two texts has token type 1.
    tells_texts_apart: bool,
    /// What a language model that judges documents reads around them.
    frame: Option<Frame>,
    /// The token for what is unknown, where such tokens do not count.
    dropped: Option<u32>,
    /// The token that the pooling begins with.
    end: Option<End>,
    /// The token that texts are filled up with, to which length, and whether it stands before them.
    padding: Option<(u32, usize, bool)>,
}

/// How queries pass through a model.
#[derive(Clone, Copy)]
struct Queries {
    /// Whether they take another way than documents.
    differ: bool,
    /// Whether that leads past the encoder, so that nothing stands around them.
    are_looked_up: bool,
    /// Whether what is called neither query nor document takes it.
    by_default: bool,
}

impl Tokeniser {
    /// Builds the tokenizer of a repository.
    pub(crate) fn open(repository: &Repository<'_>, plan: &Plan) -> Result<Self, Error> {
        let mut inner = files::read(repository)?;
        // Some files carry the padding and truncation of a training run: all-MiniLM-L6-v2 pads to 128.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(error)?;
        siglip::obey(&repository.tokenizer_class, !repository.cased, &mut inner).map_err(error)?;
        if repository.lower_case {
            lower_case(&mut inner)?;
        }
        let is_static = plan.is_static();
        let (mut before, mut after) =
            if is_static { (Vec::new(), Vec::new()) } else { specials(&inner)? };
        let id = |token: &Option<String>| inner.token_to_id(token.as_ref()?);
        let [start, end] = repository.ends.each_ref().map(id);
        if start.is_some() && before.first() != start.as_ref() {
            before.splice(..0, start);
        }
        if end.is_some() && after.last() != end.as_ref() {
            after.extend(end);
        }
        // Model2Vec leaves unknown tokens out of the mean, StaticEmbedding does not.
        let drops = plan.architecture == "model2vec";
        let dropped = drops.then(|| unknown(&inner)).flatten();
        Ok(Self {
            end: repository.towers.as_ref().and_then(|towers| towers.end),
            padding: siglip::padding(repository, plan, &inner),
            dropped,
            may_be_empty: is_static,
            tells_texts_apart: repository.tells_texts_apart && plan.token_types > 1,
            frame: Frame::read(repository, &inner)?,
            inner,
            before,
            after,
            side: repository.truncation_side,
            prompts: repository.prompts.clone(),
            default_prompt: repository.default_prompt.clone().unwrap_or_default(),
            include_prompt: repository.pooling.include_prompt,
            queries: Queries {
                differ: repository.queries.is_some(),
                are_looked_up: matches!(repository.queries, Some(repository::Queries::LookUp(_))),
                by_default: repository.queries_by_default,
            },
            vocabulary: plan.vocabulary,
        })
    }

    /// Returns the number of special tokens around every text.
    pub(crate) fn specials(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Returns the text of token ids.
    pub(crate) fn text(&self, ids: &[u32], with_specials: bool) -> Result<String, Error> {
        self.inner.decode(ids, !with_specials).map_err(error)
    }

    /// Returns how a token is written in the vocabulary.
    pub(crate) fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the id of a token.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the tokens that mean nothing: those around a text, for padding and for what is unknown.
    pub(crate) fn meaningless(&self) -> Vec<u32> {
        let names = ["<pad>", "[PAD]", "<unk>", "[UNK]"];
        let found = names.iter().filter_map(|name| self.inner.token_to_id(name));
        self.before.iter().chain(&self.after).copied().chain(found).collect()
    }

    /// Tokenises a text behind a prompt, to at most `limit` tokens.
    pub(crate) fn encode(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        limit: usize,
        overflow: Overflow,
    ) -> Result<Tokens, Error> {
        let is_query = self.queries.differ && self.is_query(prompt);
        let prompt = self.prompt(prompt);
        let ids = if prompt.is_empty() {
            self.enough_ids(text, limit)?
        } else {
            self.enough_ids(&format!("{prompt}{text}"), limit)?
        };
        let mut tokens = self.fit(ids, is_query, limit, overflow)?;
        if !self.include_prompt && !prompt.is_empty() {
            let prompt_tokens = self.before.len() + self.ids(prompt)?.len();
            tokens.skipped = prompt_tokens.min(tokens.ids.len().saturating_sub(1));
        }
        Ok(tokens)
    }

    /// Says whether a text with this prompt is a query.
    fn is_query(&self, prompt: Prompt<'_>) -> bool {
        match prompt {
            Prompt::Query | Prompt::Own(_, Some(true)) => true,
            Prompt::Document | Prompt::Own(_, Some(false)) => false,
            Prompt::Default | Prompt::Own(_, None) => self.queries.by_default,
        }
    }

    /// Returns all tokens of a text behind a prompt.
    pub(crate) fn all_ids(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        with_specials: bool,
    ) -> Result<Vec<u32>, Error> {
        let ids = self.ids(&format!("{}{text}", self.prompt(prompt)))?;
        let is_bare = self.queries.are_looked_up && self.is_query(prompt);
        Ok(if with_specials && !is_bare {
            [&self.before[..], &ids, &self.after].concat()
        } else {
            ids
        })
    }

    /// Returns how many tokens stand around a text with this prompt, those of the prompt included.
    pub(crate) fn around(&self, prompt: Prompt<'_>) -> Result<usize, Error> {
        let bare = self.queries.are_looked_up && self.is_query(prompt);
        let specials = if bare { 0 } else { self.specials() };
        Ok(specials + self.ids(self.prompt(prompt))?.len())
    }

    /// Counts the tokens of a part of a text, as far as that it has more than `enough`.
    pub(crate) fn count(&self, part: &str, enough: usize) -> Result<usize, Error> {
        Ok(self.enough_ids(part, enough)?.len())
    }

    /// Returns in which byte of a text each of its tokens begins; those before it begin with it, those behind it at its
    /// end.
    pub(crate) fn starts(
        &self,
        text: &str,
        prompt: Prompt<'_>,
        tokens: &Tokens,
    ) -> Result<Vec<usize>, Error> {
        let prompt = self.prompt(prompt);
        let encoding = self.inner.encode(format!("{prompt}{text}"), false).map_err(error)?;
        let counts = |(id, _): &(&u32, &(usize, usize))| Some(**id) != self.dropped;
        let tokens_and_places = encoding.get_ids().iter().zip(encoding.get_offsets());
        let start = |(_, (start, _)): (&u32, &(usize, usize))| start.saturating_sub(prompt.len());
        let inside = tokens_and_places.filter(counts).map(start);
        let mut starts = vec![0; self.before.len()];
        starts.extend(inside);
        starts.truncate(tokens.ids.len().saturating_sub(self.after.len()));
        starts.resize(tokens.ids.len(), text.len());
        Ok(starts)
    }

    /// Takes token ids that the caller made, with or without special tokens around them.
    pub(crate) fn adopt(
        &self,
        ids: Vec<u32>,
        limit: usize,
        overflow: Overflow,
    ) -> Result<Tokens, Error> {
        let whole = ids.len() >= self.specials()
            && ids.starts_with(&self.before)
            && ids.ends_with(&self.after);
        let bare =
            if whole { ids[self.before.len()..ids.len() - self.after.len()].to_vec() } else { ids };
        self.fit(bare, self.queries.differ && self.queries.by_default, limit, overflow)
    }

    /// Cuts to what fits between the special tokens, and adds them.
    fn fit(
        &self,
        mut ids: Vec<u32>,
        is_query: bool,
        limit: usize,
        overflow: Overflow,
    ) -> Result<Tokens, Error> {
        let is_bare = is_query && self.queries.are_looked_up;
        let (before, after) = if is_bare {
            ([].as_slice(), [].as_slice())
        } else {
            (&self.before[..], &self.after[..])
        };
        let specials = before.len() + after.len();
        let room = limit.checked_sub(specials).ok_or(Error::NoRoom)?;
        if ids.len() + specials == 0 && !self.may_be_empty && !is_bare {
            return Err(Error::NoTokens);
        }
        let truncated = ids.len() > room;
        if truncated {
            if room == 0 {
                return Err(Error::NoRoom);
            }
            if overflow == Overflow::Refuse {
                return Err(Error::TooLong { tokens: ids.len() + specials, limit });
            }
            match self.side {
                Side::Right => ids.truncate(room),
                Side::Left => drop(ids.drain(..ids.len() - room)),
            }
        }
        let mut ids: Vec<u32> = [before, &ids, after].concat();
        let skipped = self.end.map_or(0, |end| end.place(&ids));
        if let Some((id, length, is_left)) = self.padding {
            let missing = length.saturating_sub(ids.len());
            let place = if is_left { 0 } else { ids.len() };
            ids.splice(place..place, std::iter::repeat_n(id, missing));
        }
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(Error::Tokenizer(format!("token {id} is outside the vocabulary"))),
            None => Ok(Tokens { is_query, skipped, ..Tokens::of(ids, truncated) }),
        }
    }

    /// Returns so much of a far too long text that more cannot matter.
    fn enough<'a>(&self, text: &'a str, limit: usize) -> &'a str {
        let bytes = LONG_TEXT_BYTES.max(limit.saturating_mul(BYTES_PER_TOKEN).saturating_mul(4));
        if text.len() > bytes { part(text, bytes, Side::Right) } else { text }
    }

    /// Returns the ids of a text, or of so much of a far too long one that what `limit` leaves of it is certain: the
    /// cost of a text is bounded by what the model can read of it.
    fn enough_ids(&self, text: &str, limit: usize) -> Result<Vec<u32>, Error> {
        let mut bytes = LONG_TEXT_BYTES.max(limit.saturating_mul(BYTES_PER_TOKEN));
        while bytes < text.len() {
            let ids = self.ids(part(text, bytes, self.side))?;
            if ids.len() >= limit.saturating_add(UNCERTAIN_TOKENS) {
                return Ok(ids);
            }
            bytes = bytes.saturating_mul(4);
        }
        self.ids(text)
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.inner.encode_fast(text, false).map_err(error)?;
        let ids = encoding.get_ids().iter().copied();
        Ok(match self.dropped {
            Some(dropped) => ids.filter(|id| *id != dropped).collect(),
            None => ids.collect(),
        })
    }

    /// Returns the text of a prompt, by the fall-back order of sentence-transformers.
    fn prompt<'a>(&'a self, prompt: Prompt<'a>) -> &'a str {
        let names: &[&str] = match prompt {
            Prompt::Own(text, _) => return text,
            Prompt::Default => &[],
            Prompt::Query => &["query"],
            Prompt::Document => &["document", "passage", "corpus"],
        };
        names.iter().find_map(|name| self.prompts.get(*name)).unwrap_or(&self.default_prompt)
    }
}

/// Returns about so many bytes of a text from the side that is kept, cut between two words if there are any.
fn part(text: &str, bytes: usize, side: Side) -> &str {
    match side {
        Side::Right => {
            let head = &text[..text.floor_char_boundary(bytes)];
            &head[..head.rfind(char::is_whitespace).unwrap_or(head.len())]
        }
        Side::Left => {
            let tail = &text[text.ceil_char_boundary(text.len() - bytes)..];
            &tail[tail.find(char::is_whitespace).unwrap_or(0)..]
        }
    }
}

/// Lower-cases before anything else that the tokenizer does.
fn lower_case(tokenizer: &mut Tokenizer) -> Result<(), Error> {
    let mut steps = vec![NormalizerWrapper::Lowercase(normalizers::utils::Lowercase)];
    steps.extend(tokenizer.get_normalizer().cloned());
    let sequence = normalizers::Sequence::new(steps);
    tokenizer.with_normalizer(Some(sequence)).map_err(error)?;
    Ok(())
}

/// Finds the special tokens around a text, by tokenising one with and without them.
fn specials(tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let ids = |special| tokenizer.encode_fast("a", special).map(|found| found.get_ids().to_vec());
    let (bare, whole) = (ids(false).map_err(error)?, ids(true).map_err(error)?);
    let start = whole.windows(bare.len().max(1)).position(|window| window == bare);
    let start = start.ok_or_else(|| {
        Error::file("tokenizer.json", "its special tokens are not around the text")
    })?;
    Ok((whole[..start].to_vec(), whole[start + bare.len()..].to_vec()))
}

/// Returns the token that stands for what the vocabulary does not know.
fn unknown(tokenizer: &Tokenizer) -> Option<u32> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => tokenizer.token_to_id(&model.unk_token),
        ModelWrapper::WordLevel(model) => tokenizer.token_to_id(&model.unk_token),
        ModelWrapper::BPE(model) => tokenizer.token_to_id(model.unk_token.as_ref()?),
        // It keeps the id to itself.
        ModelWrapper::Unigram(_) => {
            ["[UNK]", "<unk>"].iter().find_map(|name| tokenizer.token_to_id(name))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn error(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}
