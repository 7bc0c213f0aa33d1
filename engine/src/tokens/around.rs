//! Which tokens stand around every text, and between two?

use tokenizers::{Tokenizer, processors::template::TemplateProcessing};

use crate::Error;

/// Tokens around texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
    /// How often the one behind a text stands between two.
    pub(super) between: usize,
    /// The type of the second text's tokens.
    pub(super) second: u32,
}

/// Puts tokens around every text.
pub(super) fn put(tokenizer: &mut Tokenizer, around: Around) -> Result<(), Error> {
    let token = |id: Option<u32>| {
        let Some(id) = id else { return Ok(None) };
        let text = tokenizer.id_to_token(id);
        text.map(|text| Some((text, id)))
            .ok_or_else(|| Error::Tokenizer(format!("there is no token {id}")))
    };
    let (before, after) = (token(around.before)?, token(around.after)?);
    if before.is_none() && after.is_none() {
        return Ok(());
    }
    let text = |token: &Option<(String, u32)>| token.as_ref().map(|(text, _)| text.clone());
    let (start, end, second) = (text(&before), text(&after), around.second);
    let single = start.clone().into_iter().chain(["$A".to_owned()]).chain(end.clone());
    let middle = (0..around.between).filter_map(|_| end.clone());
    let last = end.as_ref().map(|end| format!("{end}:{second}"));
    let pair = start.into_iter().chain(["$A".to_owned()]).chain(middle);
    let pair = pair.chain([format!("$B:{second}")]).chain(last);
    let processor = TemplateProcessing::builder()
        .try_single(single.collect::<Vec<String>>())
        .and_then(|builder| builder.try_pair(pair.collect::<Vec<String>>()))
        .map_err(Error::Tokenizer)?
        .special_tokens(before.into_iter().chain(after).collect::<Vec<(String, u32)>>())
        .build()
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}
