//! What does a manifest look like on disk?

use modelfiles::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// The media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Media types of blobs.
pub mod media {
    /// The description of a model.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// One file of a repository in Hugging Face layout; the layer's name is its path.
    pub const FILE: &str = "application/vnd.vecuna.file";
    /// Parameters, as one JSON object.
    pub const PARAMS: &str = "application/vnd.ollama.image.params";
    /// The text of a licence.
    pub const LICENSE: &str = "application/vnd.ollama.image.license";
    /// A prompt template.
    pub const TEMPLATE: &str = "application/vnd.ollama.image.template";
    /// A system prompt.
    pub const SYSTEM: &str = "application/vnd.ollama.image.system";
    /// Messages, as one JSON array.
    pub const MESSAGES: &str = "application/vnd.ollama.image.messages";
    /// A model in one GGUF file.
    pub const GGUF: &str = "application/vnd.ollama.image.model";
    /// Small matrices that are added to those of a model.
    pub const ADAPTER: &str = "application/vnd.ollama.image.adapter";
}

/// The list of blobs that make one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format, always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The media type, [`MANIFEST_TYPE`].
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// The blob that describes the model.
    pub config: Layer,
    /// The blobs that make the model.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Layer>,
}

/// A reference to one blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What the blob is.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The model that the blob was first part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The path of the file in its repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Layer {
    /// Returns a layer without a name.
    pub fn new(media_type: &str, (digest, size): (Digest, u64)) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, from: None, name: None }
    }

    /// Returns the layer of a repository file.
    pub fn file(path: &str, blob: (Digest, u64)) -> Self {
        Self { name: Some(path.to_owned()), ..Self::new(media::FILE, blob) }
    }
}

impl Manifest {
    /// Returns a manifest of these blobs.
    pub fn new(config: Layer, layers: Vec<Layer>) -> Self {
        Self { schema_version: 2, media_type: MANIFEST_TYPE.to_owned(), config, layers }
    }

    /// Returns the config and every layer.
    pub fn blobs(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().chain([&self.config])
    }

    /// Returns the layers of one media type.
    pub fn layers_of(&self, media_type: &str) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.media_type == media_type)
    }

    /// Returns the sum of all sizes, as `list` shows it.
    pub fn size_bytes(&self) -> u64 {
        self.blobs().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Go writes an empty list as null.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Layer>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parse(layers: &str) -> Option<Manifest> {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{HEX}","size":1}},"layers":{layers}}}"#
        );
        serde_json::from_str(&text).ok()
    }

    #[test]
    fn tolerates_what_go_writes() {
        assert_eq!(parse("null").unwrap().layers, []);
        let one = format!(r#"[{{"digest":"sha256:{HEX}","size":2,"from":"x","unknown":3}}]"#);
        assert_eq!(parse(&one).unwrap().size_bytes(), 3);
    }

    #[test]
    fn refuses_what_is_hostile() {
        for layer in [
            format!(r#"{{"digest":"sha256:{HEX}","size":-1}}"#),
            format!(r#"{{"digest":"sha256:{HEX}","size":1e30}}"#),
            r#"{"digest":"sha256:../../../etc/passwd","size":1}"#.to_owned(),
            r#"{"digest":"","size":1}"#.to_owned(),
            r#"{"size":1}"#.to_owned(),
        ] {
            assert!(parse(&format!("[{layer}]")).is_none(), "{layer}");
        }
    }

    #[test]
    fn sizes_do_not_overflow() {
        let layer = format!(r#"{{"digest":"sha256:{HEX}","size":{}}}"#, u64::MAX);
        assert_eq!(parse(&format!("[{layer},{layer}]")).unwrap().size_bytes(), u64::MAX);
    }
}
