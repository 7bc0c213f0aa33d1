//! Does candle-transformers, whose encoders others wrote, see the same hidden states where it is right?

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, modernbert, t5, xlm_roberta};
use engine::{Embedder, Output, Outputs, Overflow, Processor, Prompt};
use modelfiles::recipe::{Precision, Recipe};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{TOLERANCE, at, files, golden};

/// Reads a configuration with some keys added, which transformers no longer writes.
fn config<T: DeserializeOwned>(model: &str, more: &Value) -> T {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(&files(model)["config.json"]).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

/// Compares the hidden states of every text with those of `other`, which takes weights and returns what turns ids into
/// hidden states.
fn check<F>(model: &str, other: impl Fn(VarBuilder<'static>) -> Result<F>)
where
    F: FnMut(&Tensor) -> Result<Tensor>,
{
    let weights = std::fs::read(&files(model)["model.safetensors"]).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let mut other = other(weights).unwrap();
    let recipe = at(&Recipe::default(), Precision::F32);
    let embedder = Embedder::load(&files(model), &recipe, &Processor::default()).unwrap();
    let outputs = Outputs { multivector: true, ..Outputs::NONE };
    let output = Output { outputs, ..Output::default() };
    for case in golden(model).cases {
        let limit = embedder.limit(None);
        let text = case.text();
        let tokens = embedder.tokenize(&text, Prompt::Default, limit, Overflow::Truncate).unwrap();
        let ours = embedder.run(&[(&tokens, output)]).unwrap().remove(0).unwrap().multivector;
        let ids = Tensor::new(&tokens.ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let theirs = other(&ids).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let length = theirs.iter().map(|x| x * x).sum::<f32>().sqrt();
            let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst / length <= TOLERANCE, "{model} {text:?}: {}", worst / length);
        }
    }
}

#[test]
fn of_bert() {
    for model in ["bert-mean", "bert-plain"] {
        check(model, |weights| {
            let encoder = bert::BertModel::load(weights, &config(model, &json!({})))?;
            Ok(move |ids: &Tensor| encoder.forward(ids, &ids.zeros_like()?, None))
        });
    }
}

#[test]
fn of_xlm_roberta() {
    check("xlm-roberta", |weights| {
        let more = json!({ "position_embedding_type": "absolute" });
        let encoder = xlm_roberta::XLMRobertaModel::new(&config("xlm-roberta", &more), weights)?;
        Ok(move |ids: &Tensor| {
            encoder.forward(ids, &ids.ones_like()?, &ids.zeros_like()?, None, None, None)
        })
    });
}

#[test]
fn of_t5() {
    for model in ["t5", "t5-gated"] {
        check(model, |weights| {
            let mut encoder = t5::T5EncoderModel::load(weights, &config(model, &json!({})))?;
            Ok(move |ids: &Tensor| encoder.forward(ids))
        });
    }
}

#[test]
fn of_modernbert() {
    let model = "modernbert-hub";
    check(model, |weights| {
        let encoder = modernbert::ModernBert::load(weights, &config(model, &json!({})))?;
        Ok(move |ids: &Tensor| encoder.forward(ids, &ids.ones_like()?))
    });
}
