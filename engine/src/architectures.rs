//! Which `model_type`s can run: the table that a new architecture adds a line to.

mod bert;
mod clip;
mod deberta2;
mod distilbert;
mod dpr;
mod eurobert;
mod gemma3;
mod gte;
mod jina2;
mod jina2_code;
mod jina3;
mod jina3_hub;
mod llama;
mod mistral;
mod modernbert;
mod mpnet;
mod nomic;
mod qwen2;
mod qwen3;
mod roberta;
mod t5;
mod table;

use serde_json::Value;

use crate::{
    Error, Plan,
    plan::{Activation, Biases, NormKind, Placement, Positions, ProjectionNorm, most},
    positions::{Distances, frequencies},
    settings::Settings,
};

/// A place in the encoder that weights fill; layers count from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Slot {
    TokenTable,
    /// The layer that reads the patches of an image.
    Patches,
    /// The row before them.
    Class,
    PositionTable,
    TypeTable,
    EmbeddingNorm,
    /// A row for each bucket of distances, with a number for each head.
    DistanceTable,
    /// A row for each distance that meets queries and keys.
    RelativeTable,
    /// The norm of these rows.
    RelativeNorm,
    /// What makes keys of them, where that is not what makes keys of tokens.
    RelativeKey(usize),
    /// What makes queries of them, likewise.
    RelativeQuery(usize),
    Query(usize),
    Key(usize),
    Value(usize),
    /// The norm of queries, of each head or of all.
    QueryNorm(usize),
    /// The norm of keys, likewise.
    KeyNorm(usize),
    AttentionOutput(usize),
    /// The norm of the attention: behind it or before it, as the plan says.
    AttentionNorm(usize),
    /// The norm behind the attention, where one stands before it too.
    AttentionAfterNorm(usize),
    Gate(usize),
    Up(usize),
    Down(usize),
    /// What says through which experts a token passes.
    Router(usize),
    /// The layers into all experts, one below the other.
    ExpertsUp(usize),
    /// The layers out of them, likewise, each of which has its inputs as rows.
    ExpertsDown(usize),
    /// What stands before the name of their bias.
    ExpertsBias(usize),
    /// The norm of the feed-forward layer: behind it or before it, as the plan says.
    OutputNorm(usize),
    /// The norm behind the feed-forward layer, where one stands before it too.
    OutputAfterNorm(usize),
    /// The norm behind the last block.
    FinalNorm,
}

/// Computes a plan from `config.json`.
type ReadPlan = fn(&Settings) -> Result<Plan, Error>;

/// An architecture: how its configuration reads and what its tensors are called.
#[derive(Clone, Copy)]
pub(crate) struct Architecture {
    /// The `model_type`s that it serves.
    pub(crate) model_types: &'static [&'static str],
    /// Classes of code in repositories that compute just this, from a part of their reference on; with any other code
    /// of their own models are refused.
    own_code: &'static [&'static str],
    /// Whether a tensor that holds gate and up layer begins with the gate.
    gate_first: bool,
    /// Computes the plan from `config.json`.
    plan: ReadPlan,
    /// Computes the plan of the encoder of images, if there is one.
    images: Option<ReadPlan>,
    /// Names the tensor of a slot, without prefix and without `.weight` or `.bias`. Layers of the same name lie in
    /// one tensor, behind one another.
    stem: fn(Slot, &Plan) -> String,
}

/// The rows of a tensor that belong to a slot.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    /// Name of the tensor, as [`Architecture::stem`] gives it.
    pub(crate) stem: String,
    /// The first row, and how many there are.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    /// All rows of the tensor.
    pub(crate) of: usize,
}

impl Architecture {
    /// What most architectures leave as it is.
    const NONE: Self = Self {
        model_types: &[],
        own_code: &[],
        gate_first: false,
        plan: |config| Err(config.error("no architecture")),
        images: None,
        stem: |slot, _| absent(slot),
    };

    /// Names the tensor of a slot that has one of its own.
    pub(crate) fn stem(&self, slot: Slot, plan: &Plan) -> String {
        (self.stem)(slot, plan)
    }

    /// Returns the same architecture with other names of tensors.
    pub(crate) fn named(self, stem: fn(Slot, &Plan) -> String) -> Self {
        Self { stem, ..self }
    }

    /// Says where a linear layer lies that may share its tensor with others.
    pub(crate) fn part(&self, slot: Slot, plan: &Plan) -> Part {
        let (query, key, inner) = (plan.query_width(), plan.key_width(), plan.inner);
        let together = match slot {
            Slot::Query(l) | Slot::Key(l) | Slot::Value(l) => {
                vec![(Slot::Query(l), query), (Slot::Key(l), key), (Slot::Value(l), key)]
            }
            Slot::Gate(l) | Slot::Up(l) if plan.gated && self.gate_first => {
                vec![(Slot::Gate(l), inner), (Slot::Up(l), inner)]
            }
            Slot::Gate(l) | Slot::Up(l) if plan.gated => {
                vec![(Slot::Up(l), inner), (Slot::Gate(l), inner)]
            }
            Slot::Up(_) => vec![(slot, inner)],
            Slot::RelativeKey(_) | Slot::RelativeQuery(_) => vec![(slot, query)],
            _ => vec![(slot, plan.hidden)],
        };
        let stem = self.stem(slot, plan);
        let mut part = Part { first: 0, rows: 0, of: 0, stem };
        for (other, rows) in together {
            if self.stem(other, plan) == part.stem {
                if other == slot {
                    (part.first, part.rows) = (part.of, rows);
                }
                part.of += rows;
            }
        }
        part
    }

    /// Says whether it computes what a configuration describes; `own_code` names code that the repository brings.
    fn serves(&self, model_type: &str, own_code: Option<&str>) -> bool {
        self.model_types.contains(&model_type)
            && own_code.is_none_or(|class| self.own_code.iter().any(|end| is_end(class, end)))
    }
}

impl Plan {
    /// What most architectures have in common with BERT; the sizes are left to them.
    fn new(config: &Settings, heads: usize) -> Self {
        Self {
            architecture: config.text(&["model_type"]).unwrap_or_default().to_owned(),
            hidden: 0,
            layers: 0,
            heads,
            kv_heads: heads,
            head_size: 0,
            projection_norm: ProjectionNorm::None,
            causal: false,
            window: None,
            scale: 1.0,
            distances: None,
            relative: None,
            inner: 0,
            activation: Activation::Gelu,
            gated: false,
            experts: None,
            biases: Biases::ALL,
            norm: NormKind::Layer,
            placement: Placement::After,
            bare_start: false,
            epsilon: 0.0,
            patches: None,
            vocabulary: 0,
            embedding_scale: 1.0,
            positions: Positions::None { context: 0 },
            token_types: 0,
            embedding_norm: true,
            adapters: None,
        }
    }
}

/// Where two serve the same `model_type`, the first that knows the code of a repository does.
static ARCHITECTURES: &[Architecture] = &[
    bert::ARCHITECTURE,
    clip::ARCHITECTURE,
    deberta2::ARCHITECTURE,
    distilbert::ARCHITECTURE,
    dpr::ARCHITECTURE,
    eurobert::ARCHITECTURE,
    gemma3::ARCHITECTURE,
    gte::ARCHITECTURE,
    jina2_code::ARCHITECTURE,
    jina2::ARCHITECTURE,
    jina3::ARCHITECTURE,
    llama::ARCHITECTURE,
    mistral::ARCHITECTURE,
    modernbert::ARCHITECTURE,
    mpnet::ARCHITECTURE,
    nomic::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    roberta::ARCHITECTURE,
    jina3_hub::ARCHITECTURE,
    t5::ARCHITECTURE,
    table::ARCHITECTURE,
];

/// Says whether models of this `model_type` can run.
pub fn supports(model_type: &str) -> bool {
    ARCHITECTURES.iter().any(|architecture| architecture.serves(model_type, None))
}

/// Returns the architecture and plan that a `config.json` describes.
pub(crate) fn plan(config: &Settings) -> Result<(&'static Architecture, Plan), Error> {
    let model_type = config.text(&["model_type"]).unwrap_or_default();
    if !supports(model_type) {
        return Err(unsupported(model_type));
    }
    let own_code = own_code(config);
    let mut all = ARCHITECTURES.iter();
    let architecture = all.find(|one| one.serves(model_type, own_code)).ok_or_else(|| {
        let class = own_code.and_then(|class| class.rsplit('.').next()).unwrap_or_default();
        Error::Unsupported(format!("models that bring their own code cannot run: '{class}'"))
    })?;
    let plan = (architecture.plan)(config)?;
    check(config, &plan)?;
    Ok((architecture, plan))
}

/// Returns the plan of the encoder of images that stands beside the one of texts, if there is one.
pub(crate) fn image_plan(
    architecture: &Architecture,
    config: &Settings,
) -> Result<Option<Plan>, Error> {
    let Some(plan) = architecture.images else { return Ok(None) };
    let plan = plan(config)?;
    check(config, &plan)?;
    Ok(Some(plan))
}

/// Says whether a reference to code, as `repository--module.Class`, ends with these parts.
fn is_end(class: &str, end: &str) -> bool {
    class.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '/']))
}

/// Returns the reference to the class that transformers would load from the repository itself.
fn own_code(config: &Settings) -> Option<&str> {
    let map = config.get(&["auto_map"])?;
    let class = ["AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM"];
    let class = class.iter().find_map(|key| map.get(*key)).and_then(Value::as_str);
    Some(class.unwrap_or("unknown"))
}

/// Returns the error for a `model_type` that no architecture serves.
fn unsupported(model_type: &str) -> Error {
    Error::Unsupported(format!("architecture '{model_type}' cannot run in this version"))
}

/// Checks what every plan must hold.
fn check(config: &Settings, plan: &Plan) -> Result<(), Error> {
    if !plan.heads.is_multiple_of(plan.kv_heads) {
        let (heads, groups) = (plan.heads, plan.kv_heads);
        return Err(config.error(format!("{heads} heads do not split into {groups} groups")));
    }
    let such = |what: &str| {
        Err(Error::Unsupported(format!("{what} of such a model cannot run in this version")))
    };
    if plan.adapters.is_some() && (plan.gated || plan.token_types > 1) {
        return such("adapters");
    }
    if plan.experts.is_some() && (plan.adapters.is_some() || plan.placement != Placement::After) {
        return such("experts");
    }
    if plan.query_width() > most::WIDTH {
        return Err(config.error(format!("all heads are wider than {}", most::WIDTH)));
    }
    if matches!(plan.distances, Some(Distances::Buckets { buckets, farthest })
        if buckets < 4 || farthest <= buckets / 4)
    {
        return Err(config.error("there are no buckets for distances"));
    }
    match plan.positions {
        Positions::Learned { rows, first } if first >= rows => {
            Err(config.error("the position table has no row for a token"))
        }
        Positions::Rotary { .. } if !plan.head_size.is_multiple_of(2) => {
            Err(config.error(format!("a head of size {} has no pairs to turn", plan.head_size)))
        }
        _ => Ok(()),
    }
}

/// Returns the width of a head where all heads together are as wide as a hidden state.
fn head_size(config: &Settings, hidden: usize, heads: usize) -> Result<usize, Error> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    Err(config.error(format!("hidden size {hidden} does not split into {heads} heads")))
}

/// Stands for the name of a slot that no plan of an architecture has.
pub(crate) fn absent(slot: Slot) -> String {
    unreachable!("no plan of this architecture has a place {slot:?}")
}

/// Returns the activation that the configuration names.
fn activation(config: &Settings, keys: &[&str], default: &str) -> Result<Activation, Error> {
    let name = config.text(keys).unwrap_or(default);
    Activation::parse(name).ok_or_else(|| {
        Error::Unsupported(format!("activation '{name}' cannot run in this version"))
    })
}

/// Refuses position schemes other than the learned table.
fn learned_positions(config: &Settings) -> Result<(), Error> {
    match config.text(&["position_embedding_type"]).unwrap_or("absolute") {
        "absolute" => Ok(()),
        other => Err(Error::Unsupported(format!(
            "position embedding '{other}' cannot run in this version"
        ))),
    }
}

/// Says of each layer whether it has a window: as `layer_types` has it, or as `named` says where that is absent.
fn layer_kinds(
    config: &Settings,
    layers: usize,
    named: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, Error> {
    let Some(kinds) = config.get(&["layer_types"]) else {
        return Ok((0..layers).map(named).collect());
    };
    let kinds = kinds.as_array().filter(|kinds| kinds.len() == layers);
    let kinds = kinds.ok_or_else(|| config.error("'layer_types' does not name every layer"))?;
    let slides = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(Error::Unsupported(format!("layers of type {kind} cannot run in this version"))),
    };
    kinds.iter().map(slides).collect()
}

/// Returns by which angles heads of this size turn, by a base that has a key of its own.
fn turned(config: &Settings, key: &str, size: usize) -> Result<Vec<f32>, Error> {
    match config.positive(&[key], 1.0)? {
        base if base >= 1.0 => Ok(frequencies(base, size)),
        _ => Err(config.error(format!("'{key}' is no number from 1"))),
    }
}

/// Returns by which angles heads of this size turn. Their settings stand in `rope_parameters` since transformers 5,
/// for each kind of layer where these differ; before that in `rope_theta`, with `rope_scaling` beside it. Scaled
/// forms other than these are refused, because they are other positions.
fn rotary(
    config: &Settings,
    size: usize,
    layers: Option<&str>,
    default: f64,
) -> Result<Vec<f32>, Error> {
    let settings = config.get(&["rope_scaling"]).or_else(|| config.get(&["rope_parameters"]));
    let settings =
        layers.and_then(|layers| settings.and_then(|settings| settings.get(layers))).or(settings);
    if settings.is_some_and(|settings| !settings.is_object()) {
        return Err(config.error("the settings of rotary positions are no object"));
    }
    let setting = |key: &str| settings.and_then(|settings| settings.get(key));
    let part = setting("partial_rotary_factor").or_else(|| config.get(&["partial_rotary_factor"]));
    if part.is_some_and(|part| part.as_f64() != Some(1.0)) {
        let what = "heads that are turned in part";
        return Err(Error::Unsupported(format!("{what} cannot run in this version")));
    }
    let number = |key: &str, default: f64| {
        let value = setting(key).map_or(Some(default), Value::as_f64);
        let value = value.filter(|value| *value > 0.0 && value.is_finite());
        value.ok_or_else(|| config.error(format!("'{key}' is no positive number")))
    };
    let base = setting("rope_theta").or_else(|| config.get(&["rope_theta"]));
    let base = base.map_or(Some(default), Value::as_f64).filter(|base| *base >= 1.0);
    let base = base.ok_or_else(|| config.error("'rope_theta' is no number from 1"))?;
    let kind = setting("rope_type").or_else(|| setting("type"));
    let kind = kind.map_or(Some("default"), Value::as_str).unwrap_or("of no name");
    let divided = |base: f64, by: f32| frequencies(base, size).iter().map(|f| f / by).collect();
    match kind {
        "default" => Ok(frequencies(base, size)),
        "linear" => Ok(divided(base, number("factor", 1.0)? as f32)),
        // As the code beside GTE's first models has it; transformers saves these models as linear.
        "ntk" => {
            let factor = number("factor", 1.0)?;
            Ok(divided(base * factor, factor.powf(2.0 / size as f64) as f32))
        }
        "llama3" => {
            let [low, high] = [number("low_freq_factor", 1.0)?, number("high_freq_factor", 4.0)?];
            let trained = number("original_max_position_embeddings", 8192.0)? as f32;
            let [factor, low, high] = [number("factor", 1.0)?, low, high].map(|x| x as f32);
            let slow = |f: &f32| {
                let turns = trained / (2.0 * std::f32::consts::PI / f);
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - share) * f / factor + share * f
            };
            Ok(frequencies(base, size).iter().map(slow).collect())
        }
        other => Err(Error::Unsupported(format!(
            "rotary positions '{other}' cannot run in this version"
        ))),
    }
}
