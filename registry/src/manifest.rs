//! What does a manifest look like on disk?

use std::collections::BTreeMap;

use modelfiles::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// The media type of a manifest in Docker's form, which Ollama writes; ours for a model in one GGUF file.
pub const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of a manifest in OCI's form, ours for a model of several files.
pub const OCI_MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What our manifests in OCI's form say that they are.
pub const ARTIFACT_TYPE: &str = "application/vnd.vecuna.model.v1+json";
/// The longest manifest; registries refuse longer ones too.
pub(crate) const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;

/// A model with more files than this is none.
pub(crate) const FILES_LIMIT: usize = 2_000;

/// Keys of annotations.
pub mod annotation {
    /// The path of a layer's file, which OCI clients unpack it to.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// The place that a model was pulled from.
    pub const SOURCE: &str = "org.opencontainers.image.source";
    /// What that place had at the time: a commit, or a version.
    pub const REVISION: &str = "org.opencontainers.image.revision";
}

/// Media types of blobs.
pub mod media {
    /// The description of a model, in a manifest in Docker's form.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// The description of a model, in a manifest in OCI's form.
    pub const OCI_CONFIG: &str = "application/vnd.vecuna.config.v1+json";
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
    /// The media type, [`MANIFEST_TYPE`] or [`OCI_MANIFEST_TYPE`].
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// What the whole is, in OCI's form.
    #[serde(rename = "artifactType", default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// The blob that describes the model.
    pub config: Layer,
    /// The blobs that make the model.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Layer>,
    /// What else is known of the model, by the keys of [`annotation`].
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A reference to one blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Descriptor", into = "Descriptor")]
pub struct Layer {
    /// What the blob is.
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The model that the blob was first part of.
    pub from: Option<String>,
    /// The path of the file in its repository.
    pub name: Option<String>,
}

/// A layer as it is written.
#[derive(Serialize, Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Where Ollama has the path of a file, and where we had it once.
    #[serde(default, skip_serializing)]
    name: Option<String>,
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    annotations: BTreeMap<String, String>,
}

impl From<Descriptor> for Layer {
    fn from(read: Descriptor) -> Self {
        let Descriptor { media_type, digest, size, from, name, mut annotations } = read;
        let name = name.or_else(|| annotations.remove(annotation::TITLE));
        Self { media_type, digest, size, from, name }
    }
}

impl From<Layer> for Descriptor {
    fn from(layer: Layer) -> Self {
        let Layer { media_type, digest, size, from, name } = layer;
        let annotations =
            name.map(|name| (annotation::TITLE.to_owned(), name)).into_iter().collect();
        Self { media_type, digest, size, from, name: None, annotations }
    }
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
    /// Returns a manifest of these blobs: in OCI's form when files are among them, else in Docker's, as
    /// Ollama's clients want it.
    pub fn new(mut config: Layer, layers: Vec<Layer>) -> Self {
        let has_files = layers.iter().any(|layer| layer.media_type == media::FILE);
        let (media_type, artifact_type, config_type) = match has_files {
            true => (OCI_MANIFEST_TYPE, ARTIFACT_TYPE, media::OCI_CONFIG),
            false => (MANIFEST_TYPE, "", media::CONFIG),
        };
        config.media_type = config_type.to_owned();
        let (media_type, artifact_type) = (media_type.to_owned(), artifact_type.to_owned());
        let annotations = BTreeMap::new();
        Self { schema_version: 2, media_type, artifact_type, config, layers, annotations }
    }

    /// Parses a manifest; the error says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MANIFEST_LIMIT_BYTES {
            return Err(format!("it is longer than {MANIFEST_LIMIT_BYTES} bytes"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Returns the manifest as it is written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
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

/// Go writes an empty list or map as null.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
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
