//! CLIP and SigLIP: an encoder of texts and one of images, whose vectors lie in one space.

use serde_json::Value;

use super::{Architecture, Slot, absent, activation, head_size};
use crate::{
    Error, Plan,
    plan::{Patches, Placement, Positions, most},
    settings::Settings,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["clip", "siglip"],
    plan: texts,
    images: Some(images),
    stem,
    ..Architecture::NONE
};

fn is_siglip(config: &Settings) -> bool {
    config.text(&["model_type"]) == Some("siglip")
}

/// Settings that a configuration leaves out are those of transformers: newer ones name only what differs.
fn texts(config: &Settings) -> Result<Plan, Error> {
    let (part, siglip) = (config.part("text_config"), is_siglip(config));
    let sizes = if siglip { (768, 12, 3072) } else { (512, 8, 2048) };
    let (vocabulary, rows) = if siglip { (32_000, 64) } else { (49_408, 77) };
    let rows = part.size_or(&["max_position_embeddings"], rows, most::POSITIONS)?;
    Ok(Plan {
        causal: !siglip,
        vocabulary: part.size_or(&["vocab_size"], vocabulary, most::VOCABULARY)?,
        positions: Positions::Learned { rows, first: 0 },
        ..tower(config, &part, sizes)?
    })
}

fn images(config: &Settings) -> Result<Plan, Error> {
    let (part, siglip) = (config.part("vision_config"), is_siglip(config));
    let side = |key: &str, default: usize| match part.get(&[key]) {
        Some(Value::Array(sides)) if sides.len() == 2 && sides[0] == sides[1] => {
            Settings::new("config.json", serde_json::json!({ key: sides[0] }))
                .size(&[key], most::SIDE)
        }
        _ => part.size_or(&[key], default, most::SIDE),
    };
    let patches = Patches {
        image: side("image_size", 224)?,
        size: side("patch_size", if siglip { 16 } else { 32 })?,
        class: !siglip,
        bias: siglip,
    };
    if patches.count() == 0 {
        return Err(config.error("a patch is larger than the image"));
    }
    if part.number(&["num_channels"]).is_some_and(|channels| channels != 3.0) {
        return Err(Error::Unsupported("images of other than three colours cannot run".to_owned()));
    }
    Ok(Plan {
        patches: Some(patches),
        positions: Positions::Learned { rows: patches.rows(), first: 0 },
        embedding_norm: !siglip,
        ..tower(config, &part, (768, 12, 3072))?
    })
}

/// Computes what both encoders have in common.
fn tower(
    config: &Settings,
    part: &Settings,
    (hidden, heads, inner): (usize, usize, usize),
) -> Result<Plan, Error> {
    let hidden = part.size_or(&["hidden_size"], hidden, most::WIDTH)?;
    let heads = part.size_or(&["num_attention_heads"], heads, most::WIDTH)?;
    let head_size = head_size(config, hidden, heads)?;
    let (epsilon, default) =
        if is_siglip(config) { (1e-6, "gelu_pytorch_tanh") } else { (1e-5, "quick_gelu") };
    Ok(Plan {
        hidden,
        layers: part.size_or(&["num_hidden_layers"], 12, most::LAYERS)?,
        head_size,
        scale: (head_size as f32).sqrt().recip(),
        inner: part.size_or(&["intermediate_size"], inner, most::WIDTH)?,
        activation: activation(part, &["hidden_act"], default)?,
        placement: Placement::Before,
        epsilon: part.positive(&["layer_norm_eps"], epsilon)?,
        embedding_norm: false,
        ..Plan::new(config, heads)
    })
}

/// Names the tensors of the encoder of images where the plan is one, else those of texts.
fn stem(slot: Slot, plan: &Plan) -> String {
    let (tower, last) = match plan.patches {
        Some(_) => ("vision_model", "post_layernorm"),
        None => ("text_model", "final_layer_norm"),
    };
    let layer = |layer: usize, name: &str| format!("{tower}.encoder.layers.{layer}.{name}");
    match slot {
        Slot::TokenTable => format!("{tower}.embeddings.token_embedding"),
        Slot::Patches => format!("{tower}.embeddings.patch_embedding"),
        Slot::Class => format!("{tower}.embeddings.class_embedding"),
        Slot::PositionTable => format!("{tower}.embeddings.position_embedding"),
        // The name is misspelt in every file.
        Slot::EmbeddingNorm => format!("{tower}.pre_layrnorm"),
        Slot::Query(l) => layer(l, "self_attn.q_proj"),
        Slot::Key(l) => layer(l, "self_attn.k_proj"),
        Slot::Value(l) => layer(l, "self_attn.v_proj"),
        Slot::AttentionOutput(l) => layer(l, "self_attn.out_proj"),
        Slot::AttentionNorm(l) => layer(l, "layer_norm1"),
        Slot::Up(l) => layer(l, "mlp.fc1"),
        Slot::Down(l) => layer(l, "mlp.fc2"),
        Slot::OutputNorm(l) => layer(l, "layer_norm2"),
        Slot::FinalNorm => format!("{tower}.{last}"),
        other => absent(other),
    }
}
