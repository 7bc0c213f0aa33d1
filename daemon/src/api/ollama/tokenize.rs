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
    let lists = match object.input("tokens")? {
        Input::Ids(lists) => lists,
        Input::Many(texts) if texts.is_empty() => vec![Vec::new()],
        Input::Absent => return Err(Error::BadRequest("tokens is required".to_owned()).into()),
        _ => return Err(embed::invalid_input().into()),
    };
    let skips_specials = object.boolean("skip_special_tokens")?.unwrap_or(true);
    drop(object);
    let told = on_model(&app, &model, move |embedder| {
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
