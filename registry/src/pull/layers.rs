//! What stands in the manifest beside the files? Parameters, licence and the description.

use modelfiles::{Digest, Known, Name, Parameters};
use serde_json::Value;

use super::board::Feed;
use super::{Describe, Work};
use crate::blocking;
use crate::error::{Error, Result};
use crate::hash::digest_of;
use crate::manifest::{Layer, Manifest, annotation, media};
use crate::store::{Pin, Store, Stored};

/// The longest licence or model card that is looked at.
const TEXT_LIMIT_BYTES: u64 = 1 << 20;

/// Writes the remaining blobs and the manifest.
pub(super) async fn assemble(
    work: &Work,
    name: &Name,
    files: Vec<Layer>,
    from: Option<(String, String)>,
    known: Option<&Known>,
    feed: &Feed,
) -> Result<Stored> {
    // Every byte was hashed on its way into the store, or has just been read again.
    feed.status("verifying sha256 digest");
    let (store, describe, feed) = (work.store.clone(), work.describe.clone(), feed.clone());
    let parameters = known.map(|known| known.parameters.clone()).unwrap_or_default();
    let license = known.map(|known| known.license.to_owned()).unwrap_or_default();
    let name = name.clone();
    blocking(move || {
        let mut pin = store.pin([])?;
        let config = config(&store, &mut pin, &files, &*describe)?;
        let mut layers = files;
        layers.extend(params(&mut pin, &parameters)?);
        layers.extend(licenses(&store, &mut pin, &layers, &license)?);
        let mut manifest = Manifest::new(config, layers);
        if let Some((place, revision)) = from {
            let pairs = [(annotation::SOURCE, place), (annotation::REVISION, revision)];
            manifest.annotations = pairs.map(|(key, value)| (key.to_owned(), value)).into();
        }
        let manifest = manifest.to_bytes().map_err(Error::Corrupt)?;
        replace(&store, &name, &manifest, &feed)
    })
    .await
}

/// Writes the manifest of somebody else, whose blobs are here.
pub(super) async fn adopt(
    work: &Work,
    name: &Name,
    manifest: Vec<u8>,
    feed: &Feed,
) -> Result<Stored> {
    feed.status("verifying sha256 digest");
    let (store, name, feed) = (work.store.clone(), name.clone(), feed.clone());
    blocking(move || replace(&store, &name, &manifest, &feed)).await
}

/// Makes the manifest visible, and removes what only the manifest before it needed.
fn replace(store: &Store, name: &Name, manifest: &[u8], feed: &Feed) -> Result<Stored> {
    feed.status("writing manifest");
    let before = store.find(name).ok();
    let stored = store.commit_bytes(name, manifest)?;
    if let Some(before) = before.filter(|before| before.digest != stored.digest) {
        feed.status("removing unused layers");
        store.release(&before.manifest)?;
    }
    feed.status("success");
    Ok(stored)
}

fn config(store: &Store, pin: &mut Pin, files: &[Layer], describe: &Describe) -> Result<Layer> {
    let described = match describe(&store.layer_files(files.iter())?) {
        Ok(described) => described,
        Err(reason) => {
            // A file that a removal took away meanwhile is fetched again; all else is the model's own fault.
            store.layer_files(files.iter())?;
            return Err(Error::Unusable(reason));
        }
    };
    put(pin, media::CONFIG, &json(&described)?)
}

fn params(pin: &mut Pin, parameters: &Parameters) -> Result<Option<Layer>> {
    params_bytes(parameters)?.map(|bytes| put(pin, media::PARAMS, &bytes)).transpose()
}

/// Returns the digest that the layer of parameters has, if there is one.
pub(super) fn params_digest(parameters: &Parameters) -> Result<Option<Digest>> {
    Ok(params_bytes(parameters)?.map(|bytes| digest_of(&bytes)))
}

fn params_bytes(parameters: &Parameters) -> Result<Option<Vec<u8>>> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let value =
        serde_json::to_value(parameters).map_err(|error| Error::Corrupt(error.to_string()))?;
    json(&value).map(Some)
}

/// Returns the licence files as licence layers, else the licence that is known by name.
fn licenses(store: &Store, pin: &mut Pin, files: &[Layer], known: &str) -> Result<Vec<Layer>> {
    let is_license = |layer: &&Layer| {
        let name = layer.name.as_deref().unwrap_or_default();
        name.starts_with("LICENSE") || name.starts_with("LICENCE")
    };
    let texts = files.iter().filter(is_license);
    let mut layers: Vec<Layer> =
        texts.map(|layer| Layer::new(media::LICENSE, (layer.digest, layer.size))).collect();
    if layers.is_empty() {
        let named =
            if known.is_empty() { card_license(store, files) } else { Some(known.to_owned()) };
        layers.extend(named.map(|text| put(pin, media::LICENSE, text.as_bytes())).transpose()?);
    }
    Ok(layers)
}

/// Returns the licence that the front matter of the model card names.
fn card_license(store: &Store, files: &[Layer]) -> Option<String> {
    let card = files.iter().find(|layer| layer.name.as_deref() == Some("README.md"))?;
    let bytes = store.read_blob(&card.digest, TEXT_LIMIT_BYTES).ok()?;
    front_matter_license(&String::from_utf8_lossy(&bytes))
}

fn front_matter_license(card: &str) -> Option<String> {
    let mut lines = card.lines();
    lines.next().filter(|line| line.trim_end() == "---")?;
    let mut front = lines.take_while(|line| line.trim_end() != "---");
    let text = front.find_map(|line| line.strip_prefix("license:"))?;
    let text = text.trim().trim_matches(['"', '\'']);
    (!text.is_empty()).then(|| text.to_owned())
}

fn put(pin: &mut Pin, media_type: &str, bytes: &[u8]) -> Result<Layer> {
    pin.put_bytes(bytes).map(|blob| Layer::new(media_type, blob))
}

fn json(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_of_a_model_card() {
        let license = |card: &str| front_matter_license(card);
        assert_eq!(
            license("---\nlanguage: en\nlicense: apache-2.0\n---\n").as_deref(),
            Some("apache-2.0")
        );
        assert_eq!(license("---\r\nlicense: \"mit\"\r\n---\r\n").as_deref(), Some("mit"));
        assert_eq!(license("---\nlanguage: en\n---\nlicense: no\n"), None);
        assert_eq!(license("---\nlicense:\n---\n"), None);
        assert_eq!(license("# Title\nlicense: no\n"), None);
    }
}
