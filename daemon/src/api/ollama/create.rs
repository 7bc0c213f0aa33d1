//! `/api/create`: a new model from one that is there, or from uploaded files.

use std::{collections::BTreeMap, fs::File, io::Read as _, sync::Arc};

use axum::{body::Body, extract::State};
use modelfiles::{Digest, Name, Parameters, Recipe, Value, parameters};
use registry::{GGUF_PATH, Layer, Manifest, Options, media};

use super::{Reply, bytes, events, events::Events, model, pull};
use crate::{
    Error, about,
    api::json::{self, Object},
    app::{App, MOST_CONFIG_BYTES, local_name, pull_first},
};

/// What the new model is made of.
enum Base {
    /// Another model.
    Model(String),
    /// Uploaded files by their paths.
    Files(BTreeMap<String, Digest>),
}

/// What a request asks for.
struct Request {
    name: Name,
    base: Option<Base>,
    parameters: Parameters,
    licenses: Option<Vec<String>>,
    template: Option<String>,
    system: Option<String>,
    quantize: bool,
}

/// Makes a model.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Body) -> Reply {
    let body = bytes(&app, request).await?;
    let object = json::object("api.CreateRequest", &body)?;
    let streamed = object.boolean("stream")?.unwrap_or(true);
    let request = read(&object)?;
    drop(object);
    events::answer(streamed, |events| make(app, request, events)).await
}

fn read(object: &Object<'_>) -> Result<Request, Error> {
    let name = local_name(&model(object)?)?;
    let from = object.string("from")?.filter(|from| !from.is_empty());
    let files = object.string_map("files")?;
    let base = match (from, files) {
        (Some(from), _) => Some(Base::Model(from)),
        (None, Some(files)) => Some(Base::Files(checked(files)?)),
        (None, None) => None,
    };
    let quantize = object.string("quantize")?.or(object.string("quantization")?);
    Ok(Request {
        name,
        base,
        parameters: parameters_of(object)?,
        licenses: licenses(object)?,
        template: object.string("template")?.filter(|text| !text.is_empty()),
        system: object.string("system")?,
        quantize: quantize.is_some_and(|kind| !kind.is_empty()),
    })
}

/// Checks the paths and digests of uploaded files.
fn checked(files: BTreeMap<String, String>) -> Result<BTreeMap<String, Digest>, Error> {
    let bad = |text: &str| Error::BadRequest(text.to_owned());
    let check = |(path, digest): (String, String)| {
        let outside =
            path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | ".."));
        if outside || path.contains('\\') {
            return Err(bad("file path must be relative"));
        }
        let digest = Digest::parse(&digest).map_err(|error| bad(&error.to_string()))?;
        Ok((path, digest))
    };
    if files.is_empty() {
        return Err(bad("unknown type"));
    }
    files.into_iter().map(check).collect()
}

/// Returns the parameters, each of the type that its key wants.
fn parameters_of(object: &Object<'_>) -> Result<Parameters, Error> {
    let mut parameters = Parameters::new();
    for (key, value) in object.map("parameters")?.unwrap_or_default() {
        let shape =
            |_| Error::BadRequest(format!("parameter '{key}' has a value that no parameter takes"));
        let value: Value = serde_json::from_value(value).map_err(shape)?;
        parameters::check(&key, &value).map_err(|error| Error::BadRequest(error.to_string()))?;
        parameters.insert(key, value);
    }
    Recipe::from_parameters(&parameters).map_err(|error| Error::BadRequest(error.to_string()))?;
    Ok(parameters)
}

/// Returns the licence texts: one or several.
fn licenses(object: &Object<'_>) -> Result<Option<Vec<String>>, Error> {
    match object.value("license")? {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(vec![text])),
        Some(_) => Ok(object.strings("license")?),
    }
}

/// Gathers the layers, stores what is new and commits the manifest.
async fn make(app: Arc<App>, request: Request, events: Events) -> Result<(), Error> {
    let bad = |text: &str| Err(Error::BadRequest(text.to_owned()));
    if request.quantize {
        return bad(
            "quantize is not supported: weights are stored as they are, set PARAMETER precision instead",
        );
    }
    let old = match &request.base {
        None => return bad("neither 'from' or 'files' was specified"),
        Some(Base::Model(from)) => base_model(&app, from, &events).await?,
        Some(Base::Files(files)) => {
            let files = files.clone();
            match gguf(&files)? {
                Some(digest) => {
                    events.status("parsing GGUF").await?;
                    app.blocking(move |app| from_gguf(app, digest)).await?
                }
                None => {
                    events.status("converting model").await?;
                    app.blocking(move |app| from_files(app, &files)).await?
                }
            }
        }
    };
    let name = request.name.clone();
    let (manifest, new) = app.blocking(move |app| change(app, old, request)).await?;
    for layer in manifest.blobs() {
        let kind = if new.contains(&layer.digest) { "creating new" } else { "using existing" };
        events.status(format!("{kind} layer {}", layer.digest)).await?;
    }
    events.status("writing manifest").await?;
    app.blocking(move |app| commit(app, &name, &manifest)).await?;
    events.status("success").await
}

/// Makes the manifest visible, and removes what only its predecessor needed.
fn commit(app: &App, name: &Name, manifest: &Manifest) -> Result<(), Error> {
    let before = app.store.find(name).ok();
    app.store.commit(name, manifest)?;
    if let Some(before) = before.filter(|_| !app.config.noprune) {
        app.store.release(&before.manifest)?;
    }
    Ok(())
}

/// Returns the manifest of a model that is there, or is pulled now.
async fn base_model(app: &Arc<App>, from: &str, events: &Events) -> Result<Manifest, Error> {
    let name = local_name(from)?;
    let missing = || pull_first(from);
    match app.find(from, missing).await {
        Ok(stored) => return Ok(stored.manifest),
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    pull::follow(Arc::clone(app), name, Options::default(), events.clone()).await?;
    Ok(app.find(from, missing).await?.manifest)
}

/// Returns the digest of the GGUF file, if the model is one: as in Ollama, so is a single file of any other name.
fn gguf(files: &BTreeMap<String, Digest>) -> Result<Option<Digest>, Error> {
    let is_weights = |path: &String| path.ends_with(".safetensors") || path.ends_with(".bin");
    let is_gguf = |path: &String| path.to_ascii_lowercase().ends_with(".gguf");
    let bad = |text: &str| Err(Error::BadRequest(text.to_owned()));
    match files.iter().next() {
        Some((path, digest)) if files.len() == 1 && !is_weights(path) => Ok(Some(*digest)),
        _ if files.keys().any(is_gguf) => bad("a GGUF file is a whole model: 'files' names more"),
        _ if files.keys().any(is_weights) => Ok(None),
        _ => bad("no safetensors or PyTorch file among 'files'"),
    }
}

/// Returns the manifest of a GGUF file, without parameters; the file is stored as it is.
fn from_gguf(app: &App, digest: Digest) -> Result<Manifest, Error> {
    let layer = Layer::new(media::GGUF, (digest, size_of(app, &digest)?));
    let path = app.store.blob_path(&digest);
    let mut magic = [0; 4];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_err() || &magic != b"GGUF" {
        return Err(Error::BadRequest("supplied file was not in GGUF format".to_owned()));
    }
    let files = BTreeMap::from([(GGUF_PATH.to_owned(), path)]);
    let checked = engine::check(&files, &Recipe::default());
    checked.map_err(|error| Error::BadRequest(Error::from(error).to_string()))?;
    described(app, &files, vec![layer])
}

/// Returns the manifest of uploaded files, without parameters.
fn from_files(app: &App, files: &BTreeMap<String, Digest>) -> Result<Manifest, Error> {
    let layer = |(path, digest): (&String, &Digest)| {
        Ok(Layer::file(path, (*digest, size_of(app, digest)?)))
    };
    let layers = files.iter().map(layer).collect::<Result<Vec<Layer>, Error>>()?;
    let paths = files.iter().map(|(path, digest)| (path.clone(), app.store.blob_path(digest)));
    described(app, &paths.collect(), layers)
}

fn size_of(app: &App, digest: &Digest) -> Result<u64, Error> {
    let missing = || Error::BadRequest(format!("blob {digest} was not uploaded"));
    app.store.size_of(digest).ok_or_else(missing)
}

/// Returns a manifest of layers with the description of their files.
fn described(app: &App, files: &engine::Files, layers: Vec<Layer>) -> Result<Manifest, Error> {
    let refused = |error| Error::BadRequest(Error::from(error).to_string());
    // Unlike what is pulled, what is made here must run: nobody else will make it run.
    engine::describe(files, &Recipe::default(), &app.processor).map_err(refused)?;
    let about = about::describe(files, &Recipe::default(), &app.processor).map_err(refused)?;
    let config = app.store.put_bytes(about.to_string().as_bytes())?;
    Ok(Manifest::new(Layer::new(media::CONFIG, config), layers))
}

/// Applies what the request says to a manifest; returns it with the digests that were not in it before.
fn change(app: &App, old: Manifest, request: Request) -> Result<(Manifest, Vec<Digest>), Error> {
    let before: Vec<Digest> = old.blobs().map(|layer| layer.digest).collect();
    let mut manifest = old;
    // It is no longer what a place has at a commit, so a pull must look.
    manifest.annotations.clear();
    let mut parameters = app.parameters(&manifest)?;
    parameters.extend(request.parameters);
    let mut replace = |media: &str, texts: &[String]| -> Result<(), Error> {
        if texts.iter().any(|text| text.len() as u64 > MOST_CONFIG_BYTES) {
            let text = format!("a text of more than {MOST_CONFIG_BYTES} bytes");
            return Err(Error::BadRequest(text));
        }
        manifest.layers.retain(|layer| layer.media_type != media);
        for text in texts.iter().filter(|text| !text.is_empty()) {
            manifest.layers.push(Layer::new(media, app.store.put_bytes(text.as_bytes())?));
        }
        Ok(())
    };
    if let Some(template) = request.template {
        replace(media::TEMPLATE, &[template])?;
    }
    if let Some(system) = request.system {
        replace(media::SYSTEM, &[system])?;
    }
    if let Some(licenses) = request.licenses {
        replace(media::LICENSE, &licenses)?;
    }
    if !parameters.is_empty() {
        let text =
            serde_json::to_string(&parameters).map_err(|e| Error::Internal(e.to_string()))?;
        replace(media::PARAMS, &[text])?;
    }
    let new = manifest.blobs().map(|layer| layer.digest).filter(|digest| !before.contains(digest));
    let new = new.collect();
    Ok((manifest, new))
}
