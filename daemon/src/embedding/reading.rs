//! How does a text become parts that the model reads, each with its tokens?

use std::ops::Range;

use engine::{Embedder, Overflow, Prompt, Tokens};

use super::{Input, Reading};
use crate::Error;

/// Tokens of a chunk that has a vector of its own while the whole is read at once, unless the request says.
const LATE_TOKENS: usize = 256;

/// Chunks of a text, all of which are held until the last is read.
const MOST_CHUNKS: usize = 1 << 14;

/// Bytes of a prompt, which is read once for every text.
const MOST_PROMPT_BYTES: usize = 16 << 10;

/// What is done with texts that are longer than the model, or than the request wants to have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    pub(crate) kind: ChunkKind,
    /// The most tokens of a chunk, where the request says.
    pub(crate) tokens: Option<usize>,
}

/// What becomes of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkKind {
    /// Their vectors become one.
    Pool,
    /// Each has a vector.
    Each,
    /// Each has a vector, but what the model reads is as much of the text as it can.
    Late,
}

/// How the texts of a request are read, when the model is known.
pub(crate) struct Plan {
    /// Tokens that a text may have.
    limit: usize,
    overflow: Overflow,
    pub(super) chunks: Option<Chunks>,
    is_query: Option<bool>,
    prompt: Option<String>,
    /// A task that the model has weights for.
    task: Option<String>,
}

/// Something that the model reads at once.
pub(super) struct Part {
    tokens: Tokens,
    place: Place,
}

/// Where a part belongs, and what there is to tell of it.
pub(super) struct Place {
    /// The number of its input.
    pub(super) input: usize,
    pub(super) tokens: usize,
    pub(super) truncated: bool,
    /// Its chunks: mostly itself.
    pub(super) chunks: Vec<Range<usize>>,
    /// Whether it is the last of its input.
    pub(super) is_last: bool,
}

impl Part {
    fn new(input: usize, tokens: Tokens, chunks: Vec<Range<usize>>, is_last: bool) -> Self {
        let (count, truncated) = (tokens.ids.len(), tokens.truncated);
        Self { tokens, place: Place { input, tokens: count, truncated, chunks, is_last } }
    }

    /// Returns what the model reads, and where it belongs.
    pub(super) fn split(self) -> (Tokens, Place) {
        (self.tokens, self.place)
    }
}

impl Plan {
    /// Finds out what a request means for this model, whose texts have at most `limit` tokens.
    pub(crate) fn of(embedder: &Embedder, reading: Reading, limit: usize) -> Result<Self, Error> {
        let Reading { overflow, task, prompt, prompt_name, chunks, .. } = reading;
        let wanted = task.map(|task| task.to_ascii_lowercase()).filter(|task| !task.is_empty());
        let (is_query, own) = match wanted.as_deref() {
            None => (None, None),
            Some("query") => (Some(true), Some("retrieval.query")),
            Some("document" | "passage") => (Some(false), Some("retrieval.passage")),
            Some(other) => (None, Some(other)),
        };
        let task = own.filter(|name| embedder.task(name).is_some()).map(str::to_owned);
        if let (Some(name), None, None) = (&wanted, is_query, &task) {
            let own = &embedder.description().tasks;
            let names: Vec<&str> =
                ["query", "document"].into_iter().chain(own.iter().map(String::as_str)).collect();
            let text = format!("task '{name}' not found: there are {}", names.join(", "));
            return Err(Error::BadRequest(text));
        }
        let named = |name: &str| {
            let prompts = &embedder.description().prompts;
            prompts.get(name).cloned().ok_or_else(|| {
                let names = prompts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let names = if names.is_empty() { "none" } else { &names };
                Error::BadRequest(format!("prompt '{name}' not found: the model has {names}"))
            })
        };
        let prompt = match prompt {
            Some(prompt) => Some(prompt),
            None => prompt_name.as_deref().map(named).transpose()?,
        };
        if prompt.as_ref().is_some_and(|prompt| prompt.len() > MOST_PROMPT_BYTES) {
            let text = format!("a prompt of more than {MOST_PROMPT_BYTES} bytes");
            return Err(Error::BadRequest(text));
        }
        let prompt = prompt.or_else(|| Some(embedder.task(task.as_ref()?)?.prompt.to_owned()));
        Ok(Self { limit, overflow, chunks, is_query, prompt, task })
    }

    /// Returns how much there is to tokenise beside a text.
    pub(super) fn prompt_bytes(&self) -> usize {
        self.prompt.as_ref().map_or(0, String::len)
    }

    /// Says what tokens are there for.
    fn meant(&self, embedder: &Embedder, tokens: Tokens) -> Tokens {
        match self.task.as_ref().and_then(|name| embedder.task(name)) {
            Some(task) => tokens.for_task(task),
            None => tokens,
        }
    }

    /// Returns the prompt of texts.
    pub(crate) fn prompt(&self) -> Prompt<'_> {
        match (&self.prompt, self.is_query) {
            (Some(prompt), is_query) => Prompt::Own(prompt, is_query),
            (None, Some(true)) => Prompt::Query,
            (None, Some(false)) => Prompt::Document,
            (None, None) => Prompt::Default,
        }
    }

    /// Returns the parts of an input.
    pub(super) fn read(
        &self,
        embedder: &Embedder,
        number: usize,
        input: Input,
    ) -> Result<Vec<Part>, Error> {
        let (limit, overflow) = (self.limit, self.overflow);
        let tokens = match (input, self.chunks) {
            (Input::Text(text), Some(chunks)) => {
                return self.chunk(embedder, number, &text, chunks);
            }
            (Input::Text(text), None) => {
                self.meant(embedder, embedder.tokenize(&text, self.prompt(), limit, overflow)?)
            }
            (Input::Ids(ids), _) => embedder.adopt(ids, limit, overflow)?,
            (Input::Pair(query, document), _) => {
                embedder.tokenize_pair(query.tokens(embedder, limit)?, &document)?
            }
            (Input::Image(file), _) => embedder.image(&file).map_err(|error| match error {
                engine::Error::Image(_) => Error::BadRequest(format!("input {number}: {error}")),
                error => error.into(),
            })?,
        };
        Ok(vec![Part::new(number, tokens, Vec::new(), true)])
    }

    /// Divides a text.
    fn chunk(
        &self,
        embedder: &Embedder,
        number: usize,
        text: &str,
        Chunks { kind, tokens }: Chunks,
    ) -> Result<Vec<Part>, Error> {
        let (prompt, limit) = (self.prompt(), self.limit);
        let is_late = kind == ChunkKind::Late;
        let at_once = if is_late { limit } else { tokens.unwrap_or(limit).min(limit) };
        let no_room = |error| match (error, tokens) {
            (engine::Error::NoRoom, Some(tokens)) => Error::BadRequest(format!(
                "chunk_tokens {tokens} leaves no room beside the prompt and special tokens"
            )),
            (error, _) => error.into(),
        };
        let ranges = embedder.split(text, prompt, at_once).map_err(no_room)?;
        let (last, mut counted) = (ranges.len() - 1, Counted::default());
        let parts = ranges.into_iter().enumerate().map(|(index, range)| {
            let part = &text[range.clone()];
            let mut characters = |chunk: Range<usize>| {
                counted.until(text, range.start + chunk.start)
                    ..counted.until(text, range.start + chunk.end)
            };
            let (tokens, chunks) = if is_late {
                let most = tokens.unwrap_or(LATE_TOKENS).min(limit);
                let chunks =
                    embedder.split(part, Prompt::Own("", self.is_query), most).map_err(no_room)?;
                let tokens = embedder.tokenize_parts(part, prompt, limit, &chunks)?;
                (tokens, chunks.into_iter().map(characters).collect())
            } else {
                let tokens = embedder.tokenize(part, prompt, limit, Overflow::Truncate)?;
                (tokens, vec![characters(0..part.len())])
            };
            let tokens = self.meant(embedder, tokens);
            Ok::<_, Error>(Part::new(number, tokens, chunks, index == last))
        });
        let (mut found, mut chunks) = (Vec::new(), 0);
        for part in parts {
            let part = part?;
            chunks += part.place.chunks.len();
            if chunks > MOST_CHUNKS {
                return Err(engine::Error::TooManyParts(MOST_CHUNKS).into());
            }
            found.push(part);
        }
        Ok(found)
    }
}

/// Characters up to a place in a text that only moves on.
#[derive(Default)]
struct Counted {
    bytes: usize,
    characters: usize,
}

impl Counted {
    fn until(&mut self, text: &str, bytes: usize) -> usize {
        self.characters += text[self.bytes..bytes].chars().count();
        self.bytes = bytes;
        self.characters
    }
}
