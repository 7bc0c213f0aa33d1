//! DeBERTa v2 and v3: a BERT whose queries and keys meet rows for distances too.

use serde_json::Value;

use super::{Architecture, Slot, bert};
use crate::{
    Error, Plan,
    plan::{Positions, most},
    positions::Relative,
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["deberta-v2"], plan, stem, ..Architecture::NONE };

fn plan(config: &Settings) -> Result<Plan, Error> {
    let refuse = |what: &str| Err(Error::Unsupported(format!("{what} cannot run in this version")));
    if config.number(&["conv_kernel_size"]).is_some_and(|size| size > 0.0) {
        return refuse("a DeBERTa with a convolution");
    }
    let plan = bert::base(config)?;
    if config.size_or(&["embedding_size"], plan.hidden, most::WIDTH)? != plan.hidden {
        return refuse("a DeBERTa whose embeddings are narrower than its layers");
    }
    let rows = plan.positions.rows();
    let kinds = names(config, "pos_att_type", "");
    let kinds = ["c2p", "p2c"].map(|kind| kinds.contains(&kind));
    let head_size = config.size_or(&["attention_head_size"], plan.head_size, most::WIDTH)?;
    let products = 1 + kinds.iter().filter(|there| **there).count();
    Ok(Plan {
        head_size,
        scale: ((head_size * products) as f32).sqrt().recip(),
        relative: relative(config, rows, kinds)?,
        positions: match config.get(&["position_biased_input"]) {
            Some(Value::Bool(false)) => Positions::None { context: rows },
            _ => plan.positions,
        },
        token_types: bert::token_types(config, 0)?,
        epsilon: config.positive(&["layer_norm_eps"], 1e-7)?,
        ..plan
    })
}

/// Reads which rows stand for distances, in a model for so many tokens.
fn relative(
    config: &Settings,
    tokens: usize,
    [keys, queries]: [bool; 2],
) -> Result<Option<Relative>, Error> {
    if !config.flag(&["relative_attention"]) || !(keys || queries) {
        return Ok(None);
    }
    let given = |key: &str| config.number(&[key]).is_some_and(|n| n >= 1.0);
    let farthest = match given("max_relative_positions") {
        true => config.size(&["max_relative_positions"], most::POSITIONS)?,
        false => tokens,
    };
    let buckets = match given("position_buckets") {
        true => Some(config.size(&["position_buckets"], most::POSITIONS)?),
        false => None,
    };
    if buckets.is_some_and(|buckets| buckets < 2 || farthest - 1 <= buckets / 2) {
        return Err(config.error("there are no buckets for distances"));
    }
    Ok(Some(Relative {
        span: buckets.unwrap_or(farthest),
        farthest: buckets.map(|_| farthest),
        keys,
        queries,
        shared: config.flag(&["share_att_key"]),
        norm: names(config, "norm_rel_ebd", "none").contains(&"layer_norm"),
    }))
}

/// Reads a list of names, or a text of names between bars.
fn names<'a>(config: &'a Settings, key: &str, default: &'a str) -> Vec<&'a str> {
    match config.get(&[key]) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(names)) => names.split('|').map(str::trim).collect(),
        _ => vec![default],
    }
}

fn stem(slot: Slot, plan: &Plan) -> String {
    let layer = |layer: usize, name: &str| format!("encoder.layer.{layer}.attention.self.{name}");
    match slot {
        Slot::RelativeTable => "encoder.rel_embeddings".to_owned(),
        Slot::RelativeNorm => "encoder.LayerNorm".to_owned(),
        Slot::Query(l) => layer(l, "query_proj"),
        Slot::Key(l) => layer(l, "key_proj"),
        Slot::Value(l) => layer(l, "value_proj"),
        Slot::RelativeKey(l) => layer(l, "pos_key_proj"),
        Slot::RelativeQuery(l) => layer(l, "pos_query_proj"),
        other => bert::stem(other, plan),
    }
}
