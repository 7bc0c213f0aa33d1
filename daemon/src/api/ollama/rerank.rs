//! `/api/rerank`: how well documents answer a query, by a model that reads both at once.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{body::Body, extract::State};
use engine::Scoring;
use modelfiles::KeepAlive;

use super::{Reply, bytes, embed, written};
use crate::{
    Error,
    api::json,
    app::{App, local_name, pull_first},
    embedding::{self, Query, Reading, Request},
};

/// What a request asks for.
struct Asked {
    model: String,
    query: String,
    /// What the query is there for.
    instruction: Option<String>,
    documents: Vec<String>,
    /// Only so many of the best.
    top_n: Option<usize>,
    return_documents: bool,
    /// The numbers of the model itself, not what its scale makes of them.
    raw_scores: bool,
    keep_alive: Option<KeepAlive>,
}

/// Scores every document against the query; the best comes first.
pub(crate) async fn rerank(State(app): State<Arc<App>>, request: Body) -> Reply {
    let started = Instant::now();
    let (asked, _share) = bytes(&app, request).await?.understand(read).await?;
    let found = app.model(&asked.model, || pull_first(&asked.model)).await?;
    let query = Arc::new(Query::new(asked.query, asked.instruction));
    let kept = asked.return_documents.then(|| asked.documents.clone());
    let pair = |document| embedding::Input::Pair(Arc::clone(&query), document);
    let request = Request {
        inputs: asked.documents.into_iter().map(pair).collect(),
        reading: Reading::default(),
        outputs: None,
        normalize: false,
        dimensions: None,
        keep_alive: asked.keep_alive,
    };
    let mut numbers = Vec::new();
    let ranked = embedding::rank(&app, &found, request, |vector| numbers.push(vector.to_vec()));
    let (embedded, scoring) = ranked.await?;
    let scoring = if asked.raw_scores { Scoring::Identity } else { scoring };
    let mut scores = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let [number] = number[..] else {
            let text = format!("\"{}\" gives {} numbers, no score", asked.model, number.len());
            return Err(Error::BadRequest(text).into());
        };
        scores.push((index, scoring.of(number)));
    }
    // Documents of the same score keep their order.
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores.truncate(asked.top_n.unwrap_or(usize::MAX));
    let mut out = format!(r#"{{"model":{},"results":["#, json::to_go_json(&asked.model));
    for (place, (index, score)) in scores.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let score = json::to_go_json(score);
        put(&mut out, format_args!(r#"{comma}{{"index":{index},"relevance_score":{score}"#));
        if let Some(document) = kept.as_ref().and_then(|kept| kept.get(*index)) {
            let document = json::to_go_json(document);
            put(&mut out, format_args!(r#","document":{document}"#));
        }
        out.push('}');
    }
    out.push(']');
    embed::numbers(&mut out, &embedded, started);
    out.push('}');
    Ok(written(out))
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes everything");
}

fn read(body: &[u8]) -> Result<Asked, Error> {
    let object = json::object("api.RerankRequest", body)?;
    let keep_alive = object.keep_alive("keep_alive")?;
    let model = object.string("model")?.unwrap_or_default();
    if model.trim().is_empty() {
        return Err(Error::NotFound(format!("model '{model}' not found")));
    }
    local_name(&model)?;
    let required = |what: &str| Error::BadRequest(format!("{what} is required"));
    let query = object.string("query")?.ok_or_else(|| required("query"))?;
    let documents = object.strings("documents")?.ok_or_else(|| required("documents"))?;
    let top_n = match object.integer("top_n")? {
        Some(n) if n < 1 => return Err(Error::BadRequest("top_n must be at least 1".to_owned())),
        n => n.and_then(|n| usize::try_from(n).ok()),
    };
    Ok(Asked {
        model,
        query,
        instruction: object.string("instruction")?,
        documents,
        top_n,
        return_documents: object.boolean("return_documents")?.unwrap_or(false),
        raw_scores: object.boolean("raw_scores")?.unwrap_or(false),
        keep_alive,
    })
}
