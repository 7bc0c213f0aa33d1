//! How a query and a document become one row of tokens: side by side, or inside a question to a language model.

use tokenizers::{Encoding, PostProcessor as _, Tokenizer, TruncationParams, truncate_encodings};

use super::{Tokeniser, Tokens, error};
use crate::{
    Error,
    repository::{Question, Repository},
};

/// A query that was tokenised for any number of documents.
pub struct Query {
    kind: Kind,
    /// The most tokens of a pair.
    limit: usize,
}

enum Kind {
    /// A text that a document is put beside.
    Text(Box<Encoding>),
    /// All that stands before a document.
    Asked(Vec<u32>),
}

/// The tokens around what a language model judges.
pub(super) struct Frame {
    before: Vec<u32>,
    behind: Vec<u32>,
    instruction: String,
}

impl Frame {
    /// Tokenises the words of a repository that asks something.
    pub(super) fn read(
        repository: &Repository<'_>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, Error> {
        let Some(question) = &repository.question else { return Ok(None) };
        let ids = |text| {
            let encoding = tokenizer.encode_fast(text, false).map_err(error)?;
            Ok::<_, Error>(encoding.get_ids().to_vec())
        };
        let [before, behind] = Question::frame();
        let instruction = question.instruction.clone();
        Ok(Some(Self { before: ids(before)?, behind: ids(behind)?, instruction }))
    }
}

impl Tokeniser {
    /// Tokenises a query for pairs of at most `limit` tokens.
    pub(crate) fn query(
        &self,
        query: &str,
        instruction: Option<&str>,
        limit: usize,
    ) -> Result<Query, Error> {
        let kind = match (&self.frame, instruction) {
            (Some(frame), instruction) => {
                let instruction = instruction.unwrap_or(&frame.instruction);
                let text = Question::before(query, instruction);
                let mut ids = frame.before.clone();
                ids.extend(self.ids(self.enough(&text, limit))?);
                Kind::Asked(ids)
            }
            (None, Some(_)) => {
                let what = "an instruction to a reranker that is asked nothing";
                return Err(Error::Unsupported(format!("{what} cannot run in this version")));
            }
            (None, None) => Kind::Text(Box::new(self.whole(query, limit)?)),
        };
        Ok(Query { kind, limit })
    }

    /// Tokenises a document behind a query.
    pub(crate) fn pair(&self, query: &Query, document: &str) -> Result<Tokens, Error> {
        let limit = query.limit;
        let tokens = match (&query.kind, &self.frame) {
            (Kind::Asked(before), Some(frame)) => {
                let document = Question::document(document);
                let mut ids = [&before[..], &self.ids(self.enough(&document, limit))?].concat();
                // What the model is to say stands behind the document, so that is what goes.
                let room = limit.checked_sub(frame.behind.len());
                let room = room.filter(|room| *room > frame.before.len()).ok_or(Error::NoRoom)?;
                let truncated = ids.len() > room;
                ids.truncate(room);
                ids.extend(&frame.behind);
                Tokens::of(ids, truncated)
            }
            (Kind::Asked(_), None) => unreachable!("the model that made a query reads it"),
            (Kind::Text(first), _) => self.side_by_side(first, document, limit)?,
        };
        match tokens.ids.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(Error::Tokenizer(format!("token {id} is outside the vocabulary"))),
            None => Ok(tokens),
        }
    }

    /// Puts a document beside a query; the longer of the two is cut first.
    fn side_by_side(&self, first: &Encoding, second: &str, limit: usize) -> Result<Tokens, Error> {
        let added = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(true));
        let room = limit.checked_sub(added).filter(|room| *room > 1).ok_or(Error::NoRoom)?;
        let second = self.whole(second, limit)?;
        let cut = TruncationParams { max_length: room, ..TruncationParams::default() };
        let length = first.len() + second.len();
        let (first, second) =
            truncate_encodings(first.clone(), Some(second), &cut).map_err(error)?;
        let pair = self.inner.post_process(first, second, true).map_err(error)?;
        let ids = pair.get_ids().to_vec();
        let first_of_type_1 = pair.get_type_ids().iter().position(|kind| *kind > 0);
        let second = first_of_type_1.filter(|_| self.tells_texts_apart).unwrap_or(ids.len());
        Ok(Tokens { second, ..Tokens::of(ids, length > room) })
    }

    fn whole(&self, text: &str, limit: usize) -> Result<Encoding, Error> {
        self.inner.encode_fast(self.enough(text, limit), false).map_err(error)
    }
}
