//! What stands behind the two encoders of a model of texts and images?

use modelfiles::recipe::Pooling;

use super::{PoolingStep, Step};
use crate::{
    Error, Plan, architectures,
    plan::{Activation, most},
    settings::Settings,
};

/// What is known of a model of texts and images beside its plans.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Towers {
    /// How the rows of an image become one: by their first, unless a probe looks at all.
    pub(crate) probe: Option<ProbeStep>,
    /// The steps behind that.
    pub(crate) steps: Vec<Step>,
    /// Which token of a text its vector is taken from, where it is not the last.
    pub(crate) end: Option<End>,
    /// The token that every text is filled up with, and that takes part, unless the tokenizer has a name for it.
    pub(crate) padding: Option<u32>,
}

/// The pooling of SigLIP's images; its weights lie in `folder`, under names that begin with `stem`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeStep {
    pub(crate) folder: String,
    pub(crate) stem: String,
    pub(crate) heads: usize,
}

/// The token that ends a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// The first of this id.
    Id(u32),
    /// The first of the highest id, as the first CLIP was written.
    Highest,
}

impl End {
    /// Returns where it stands; at the start where there is none.
    pub(crate) fn place(self, ids: &[u32]) -> usize {
        let id = match self {
            Self::Id(id) => id,
            Self::Highest => ids.iter().copied().max().unwrap_or_default(),
        };
        ids.iter().position(|found| *found == id).unwrap_or(0)
    }
}

/// Reads what stands behind the encoders, for texts and for both; none if there are no images.
pub(super) fn read(
    config: &Settings,
    folder: &str,
) -> Result<Option<(PoolingStep, Vec<Step>, Towers)>, Error> {
    if !matches!(config.text(&["model_type"]), Some("clip" | "siglip")) {
        return Ok(None);
    }
    let (architecture, texts) = architectures::plan(config)?;
    let Some(images) = architectures::image_plan(architecture, config)? else { return Ok(None) };
    let (pooling, steps, towers) = match texts.causal {
        true => clip(config, folder, &texts, &images)?,
        false => siglip(config, folder, &texts, &images)?,
    };
    Ok(Some((PoolingStep { modes: vec![pooling], include_prompt: true }, steps, towers)))
}

/// CLIP: the token that ends a text, the row before the patches, and a layer for each.
fn clip(
    config: &Settings,
    folder: &str,
    texts: &Plan,
    images: &Plan,
) -> Result<(Pooling, Vec<Step>, Towers), Error> {
    let outputs = config.size_or(&["projection_dim"], 512, most::WIDTH)?;
    let project = |stem: &str, plan: &Plan| dense(folder, stem, (plan.hidden, outputs), false);
    let end = match config.part("text_config").number(&["eos_token_id"]) {
        Some(2.0) => End::Highest,
        Some(id) if (0.0..texts.vocabulary as f64).contains(&id) => End::Id(id as u32),
        Some(id) => return Err(config.error(format!("no token has the 'eos_token_id' {id}"))),
        None => End::Id(49_407),
    };
    let towers = Towers {
        probe: None,
        steps: vec![project("visual_projection", images)],
        end: Some(end),
        padding: None,
    };
    // What comes before the end is passed over, so it is the first.
    Ok((Pooling::Cls, vec![project("text_projection", texts)], towers))
}

/// SigLIP: the last token of a text that is filled up, and a probe with a layer of its own for images.
fn siglip(
    config: &Settings,
    folder: &str,
    texts: &Plan,
    images: &Plan,
) -> Result<(Pooling, Vec<Step>, Towers), Error> {
    let (text, vision) = (config.part("text_config"), config.part("vision_config"));
    if vision.get(&["vision_use_head"]) == Some(&serde_json::Value::Bool(false)) {
        let what = "a SigLIP without a head for images";
        return Err(Error::Unsupported(format!("{what} cannot run in this version")));
    }
    let outputs = text.size_or(&["projection_size"], texts.hidden, most::WIDTH)?;
    let padding = text.number(&["pad_token_id"]).unwrap_or(1.0);
    if !(0.0..texts.vocabulary as f64).contains(&padding) {
        return Err(config.error(format!("no token has the 'pad_token_id' {padding}")));
    }
    let stem = "vision_model.head";
    let name = |name: &str| format!("{stem}.{name}");
    let (width, inner) = (images.hidden, images.inner);
    let mut up = dense(folder, &name("mlp.fc1"), (width, inner), true);
    if let Step::Dense { activation, .. } = &mut up {
        *activation = images.activation;
    }
    let norm = Step::Norm {
        folder: folder.to_owned(),
        stem: name("layernorm"),
        bias: true,
        epsilon: images.epsilon,
    };
    let down = dense(folder, &name("mlp.fc2"), (inner, width), true);
    let towers = Towers {
        probe: Some(ProbeStep {
            folder: folder.to_owned(),
            stem: stem.to_owned(),
            heads: images.heads,
        }),
        steps: vec![
            dense(folder, &name("attention.out_proj"), (width, width), true),
            Step::Added(vec![norm, up, down]),
        ],
        end: None,
        padding: Some(padding as u32),
    };
    let head = dense(folder, "text_model.head", (texts.hidden, outputs), true);
    Ok((Pooling::Last, vec![head], towers))
}

fn dense(folder: &str, stem: &str, (inputs, outputs): (usize, usize), bias: bool) -> Step {
    Step::Dense {
        folder: folder.to_owned(),
        stem: stem.to_owned(),
        inputs,
        outputs,
        bias,
        activation: Activation::Identity,
    }
}
