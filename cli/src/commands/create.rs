//! `vecuna create`: a Modelfile becomes a model.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use modelfiles::{Modelfile, Parameters};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::{Client, Event};
use crate::failure::Failure;
use crate::import;
use crate::output;
use crate::progress::Progress;

/// What is created from what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The name of the new model
    model: String,
    /// The Modelfile; - is standard input
    #[arg(short, long, value_name = "FILE", default_value = "Modelfile")]
    file: PathBuf,
    /// The form to store the weights in
    #[arg(short, long, value_name = "TYPE")]
    quantize: Option<String>,
}

/// Names inside the model and the digests of their files.
type Files = BTreeMap<String, String>;

/// The body of `/api/create`; what the Modelfile does not say is not sent.
#[derive(Debug, Serialize)]
struct Request {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Files::is_empty")]
    files: Files,
    #[serde(skip_serializing_if = "Files::is_empty")]
    adapters: Files,
    #[serde(skip_serializing_if = "Files::is_empty")]
    draft_files: Files,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    license: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Value>,
    #[serde(flatten)]
    texts: BTreeMap<&'static str, String>,
}

/// Uploads the files, lets the service create the model and shows how that goes.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let modelfile = read(&arguments.file)?;
    let mut request = request(&arguments, &modelfile)?;
    modelfile.warnings().iter().for_each(|warning| output::note(warning));
    let client = Client::connect().await?;
    let mut upload = Upload { client: &client, progress: Progress::new(), folder: &arguments.file };
    upload.progress.show(&Event::new("gathering model components"));
    for from in &modelfile.from {
        match import::resolve(from, &arguments.file)? {
            Some(path) => request.files.append(&mut upload.all(&path).await?),
            None => request.from = Some(from.clone()),
        }
    }
    request.adapters = upload.named(&modelfile.adapters).await?;
    request.draft_files = upload.named(&modelfile.drafts).await?;
    let events = client.events("/api/create", &request).await?;
    upload.progress.follow(events).await
}

fn read(path: &Path) -> Result<Modelfile> {
    let read = match path.as_os_str() == "-" {
        true => io::read_to_string(io::stdin()).map(String::into_bytes),
        false => std::fs::read(path),
    };
    let bytes = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let failure = Failure::new("specified Modelfile wasn't found");
            return Err(failure.hint(format!("looked for '{}'", path.display())).into());
        }
        other => other.with_context(|| format!("cannot read '{}'", path.display()))?,
    };
    Ok(Modelfile::parse(&bytes)?)
}

fn request(arguments: &Arguments, modelfile: &Modelfile) -> Result<Request> {
    let texts = [
        ("template", &modelfile.template),
        ("system", &modelfile.system),
        ("renderer", &modelfile.renderer),
        ("parser", &modelfile.parser),
        ("requires", &modelfile.requires),
        ("quantize", &arguments.quantize),
    ];
    let message = |(role, content): &(String, String)| json!({ "role": role, "content": content });
    Ok(Request {
        model: arguments.model.clone(),
        from: None,
        files: Files::new(),
        adapters: Files::new(),
        draft_files: Files::new(),
        parameters: modelfile.parameters()?,
        license: modelfile.licenses.clone(),
        messages: modelfile.messages.iter().map(message).collect(),
        texts: texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect(),
    })
}

/// Files on their way into the store.
struct Upload<'a> {
    client: &'a Client,
    progress: Progress,
    folder: &'a Path,
}

impl Upload<'_> {
    /// Uploads what the paths of an instruction name.
    async fn named(&mut self, paths: &[String]) -> Result<Files> {
        let mut files = Files::new();
        for name in paths {
            let path = import::existing(name, self.folder)?;
            files.append(&mut self.all(&path).await?);
        }
        Ok(files)
    }

    async fn all(&mut self, path: &Path) -> Result<Files> {
        let mut files = Files::new();
        for (name, path) in import::files(path).await? {
            let digest = self.one(&path).await?;
            files.insert(name, digest);
        }
        Ok(files)
    }

    async fn one(&mut self, path: &Path) -> Result<String> {
        let file = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || daemon::digest_file(&file)).await?;
        let (digest, size_bytes) =
            hashed.with_context(|| format!("cannot read '{}'", path.display()))?;
        let digest = digest.to_string();
        self.progress.show(&Event::new(format!("copying file {digest}")));
        self.client.upload(path, &digest, size_bytes).await?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(modelfile: &str) -> Value {
        let arguments = Arguments {
            model: "mine".to_owned(),
            file: PathBuf::from("Modelfile"),
            quantize: None,
        };
        let modelfile = Modelfile::parse(modelfile.as_bytes()).expect("modelfile");
        let request = request(&arguments, &modelfile).expect("request");
        serde_json::to_value(request).expect("json")
    }

    #[test]
    fn only_what_the_modelfile_says_is_sent() {
        assert_eq!(sent("FROM all-minilm"), json!({ "model": "mine" }));
        let text = "FROM all-minilm\nPARAMETER num_ctx 128\nSYSTEM hello\nLICENSE MIT\n\
            MESSAGE user hi\n";
        let want = json!({
            "model": "mine",
            "parameters": { "num_ctx": 128 },
            "license": ["MIT"],
            "messages": [{ "role": "user", "content": "hi" }],
            "system": "hello",
        });
        assert_eq!(sent(text), want);
    }

    #[test]
    fn a_missing_modelfile_is_named() {
        let error = read(Path::new("/nowhere/Modelfile")).expect_err("missing");
        assert_eq!(error.to_string(), "specified Modelfile wasn't found");
    }
}
