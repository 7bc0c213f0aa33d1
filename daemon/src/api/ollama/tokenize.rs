//! `/api/tokenize` and `/api/detokenize`: what a model reads of texts, and the way back.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use engine::Embedder;

use super::{Reply, bytes, embed, model, written};
use crate::{
    Error,
    api::json::{self, Input, Object, to_go_json},
    app::{App, local_name, pull_first},
    embedding::{self, Plan, Reading},
};

/// Bytes of texts: each becomes many in the answer.
const MOST_TEXT_BYTES: usize = 4 << 20;

/// Token ids of a request.
const MOST_IDS: usize = 1 << 20;

/// Tells the tokens of texts as the model reads them: behind their prompt, with special tokens unless the request says
/// otherwise, and however many they are.
pub(crate) async fn tokenize(State(app): State<Arc<App>>, request: Body) -> Reply {
    let (asked, _share) = bytes(&app, request).await?.understand(read_texts).await?;
    let (model, texts, reading, with_specials) = asked;
    on_model(&app, model, move |embedder| {
        let plan = Plan::of(embedder, reading, usize::MAX)?;
        let ids = texts.iter().map(|text| embedder.ids(text, plan.prompt(), with_specials));
        let ids = ids.collect::<Result<Vec<Vec<u32>>, engine::Error>>()?;
        let pieces = |ids: &Vec<u32>| ids.iter().map(|id| embedder.token(*id)).collect();
        let pieces: Vec<Vec<Option<String>>> = ids.iter().map(pieces).collect();
        Ok(format!(r#""tokens":{},"pieces":{}"#, to_go_json(&ids), to_go_json(&pieces)))
    })
    .await
}

fn read_texts(body: &[u8]) -> Result<(String, Vec<String>, Reading, bool), Error> {
    let object = json::object("api.TokenizeRequest", body)?;
    let model = named(&object)?;
    let texts = match object.input("input")? {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Absent => return Err(Error::BadRequest("input is required".to_owned())),
        Input::Ids(_) | Input::Other => return Err(embed::invalid_input()),
    };
    if texts.iter().map(String::len).sum::<usize>() > MOST_TEXT_BYTES {
        return Err(Error::BadRequest(format!("texts of more than {MOST_TEXT_BYTES} bytes")));
    }
    let with_specials = object.boolean("add_special_tokens")?.unwrap_or(true);
    Ok((model, texts, embed::reading(&object)?, with_specials))
}

/// Tells the texts of tokens.
pub(crate) async fn detokenize(State(app): State<Arc<App>>, request: Body) -> Reply {
    let (asked, _share) = bytes(&app, request).await?.understand(read_tokens).await?;
    let (model, lists, skips_specials) = asked;
    on_model(&app, model, move |embedder| {
        if let Some(id) = lists.iter().flatten().find(|id| embedder.token(**id).is_none()) {
            return Err(Error::BadRequest(format!("token {id} is outside the vocabulary")));
        }
        let texts = lists.iter().map(|ids| embedder.detokenize(ids, !skips_specials));
        let texts = texts.collect::<Result<Vec<String>, engine::Error>>()?;
        Ok(format!(r#""texts":{}"#, to_go_json(&texts)))
    })
    .await
}

fn read_tokens(body: &[u8]) -> Result<(String, Vec<Vec<u32>>, bool), Error> {
    let object = json::object("api.DetokenizeRequest", body)?;
    let model = named(&object)?;
    let tokens = object.value("tokens")?;
    let tokens = tokens.ok_or_else(|| Error::BadRequest("tokens is required".to_owned()))?;
    let lists: Vec<Vec<u32>> = serde_json::from_value(tokens.clone())
        .or_else(|_not_lists| serde_json::from_value(tokens).map(|ids| vec![ids]))
        .map_err(|_neither| embed::invalid_input())?;
    if lists.iter().map(Vec::len).sum::<usize>() > MOST_IDS {
        return Err(Error::BadRequest(format!("more than {MOST_IDS} tokens")));
    }
    Ok((model, lists, object.boolean("skip_special_tokens")?.unwrap_or(true)))
}

fn named(object: &Object<'_>) -> Result<String, Error> {
    let text = model(object)?;
    if text.trim().is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()));
    }
    local_name(&text)?;
    Ok(text)
}

/// Answers with the fields that come of a loaded model, on a thread that may take its time.
async fn on_model(
    app: &Arc<App>,
    name: String,
    work: impl FnOnce(&Embedder) -> Result<String, Error> + Send + 'static,
) -> Reply {
    let found = app.model(&name, || pull_first(&name)).await?;
    let (lease, _) = embedding::lease(app, &found, None).await?;
    let fields = app.blocking(move |_| work(&lease.embedder)).await?;
    Ok(written(format!(r#"{{"model":{},{fields}}}"#, to_go_json(&name))))
}
