//! `/api/tokenize` and `/api/detokenize`: what a model reads of texts, and the way back.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use engine::Embedder;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Reply, answer, bytes, embed, model};
use crate::{
    Error,
    api::json::{self, Input, Object},
    app::{App, local_name, pull_first},
    embedding::{self, Plan},
};

/// Bytes of texts: each becomes many in the answer.
const MOST_TEXT_BYTES: usize = 4 << 20;

/// Tells the tokens of texts as the model reads them: behind their prompt, with special tokens unless the request says
/// otherwise, and however many they are.
pub(crate) async fn tokenize(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.TokenizeRequest", &body)?;
    let model = named(&object)?;
    let texts = match object.input("input")? {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Absent => return Err(Error::BadRequest("input is required".to_owned()).into()),
        Input::Ids(_) | Input::Other => return Err(embed::invalid_input().into()),
    };
    if texts.iter().map(String::len).sum::<usize>() > MOST_TEXT_BYTES {
        let text = format!("texts of more than {MOST_TEXT_BYTES} bytes");
        return Err(Error::BadRequest(text).into());
    }
    let reading = embed::reading(&object)?;
    let with_specials = object.boolean("add_special_tokens")?.unwrap_or(true);
    drop(object);
    let told = on_model(&app, &model, move |embedder| {
        let plan = Plan::of(embedder, reading, usize::MAX)?;
        let ids = texts.iter().map(|text| embedder.ids(text, plan.prompt(), with_specials));
        let ids = ids.collect::<Result<Vec<Vec<u32>>, engine::Error>>()?;
        let pieces = |ids: &Vec<u32>| ids.iter().map(|id| embedder.token(*id)).collect();
        let pieces: Vec<Vec<Option<String>>> = ids.iter().map(pieces).collect();
        Ok(json!({ "tokens": ids, "pieces": pieces }))
    });
    Ok(answer(StatusCode::OK, &with_model(&model, told.await?)))
}

/// Tells the texts of tokens.
pub(crate) async fn detokenize(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.DetokenizeRequest", &body)?;
    let model = named(&object)?;
    let tokens = object.value("tokens")?;
    let tokens = tokens.ok_or_else(|| Error::BadRequest("tokens is required".to_owned()))?;
    let lists: Vec<Vec<u32>> = serde_json::from_value(tokens.clone())
        .or_else(|_not_lists| serde_json::from_value(tokens).map(|ids| vec![ids]))
        .map_err(|_neither| embed::invalid_input())?;
    let skips_specials = object.boolean("skip_special_tokens")?.unwrap_or(true);
    drop(object);
    let told = on_model(&app, &model, move |embedder| {
        if let Some(id) = lists.iter().flatten().find(|id| embedder.token(**id).is_none()) {
            let text = format!("token {id} is outside the vocabulary");
            return Err(Error::BadRequest(text));
        }
        let texts = lists.iter().map(|ids| embedder.detokenize(ids, !skips_specials));
        Ok(json!({ "texts": texts.collect::<Result<Vec<String>, engine::Error>>()? }))
    });
    Ok(answer(StatusCode::OK, &with_model(&model, told.await?)))
}

fn named(object: &Object<'_>) -> Result<String, Error> {
    let text = model(object)?;
    if text.trim().is_empty() {
        return Err(Error::BadRequest("model is required".to_owned()));
    }
    local_name(&text)?;
    Ok(text)
}

/// Does something with a loaded model, on a thread that may take its time.
async fn on_model(
    app: &Arc<App>,
    name: &str,
    work: impl FnOnce(&Embedder) -> Result<Value, Error> + Send + 'static,
) -> Result<Value, Error> {
    let found = app.model(name, || pull_first(name)).await?;
    let (lease, _) = embedding::lease(app, &found, None).await?;
    app.blocking(move |_| work(&lease.embedder)).await
}

fn with_model(name: &str, told: Value) -> Value {
    let mut whole = json!({ "model": name });
    if let (Value::Object(whole), Value::Object(told)) = (&mut whole, told) {
        whole.extend(told);
    }
    whole
}
