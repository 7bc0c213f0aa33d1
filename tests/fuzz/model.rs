//! What becomes of a model of these files, from its description to its vectors?

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use engine::{Embedder, Files, Output, Overflow, Processor, Prompt, Threads};
use modelfiles::Recipe;

/// The service loads no model that says it needs more memory than there is; so much is here.
const MOST_MEMORY_BYTES: u64 = 256 << 20;
/// Tokens of a text, more than every text here has.
const MOST_TOKENS: usize = 48;
const TEXTS: [&str; 3] =
    ["", "why is the Ａ sky? <mask> ☃ ", "\u{1f468}\u{200d} e\u{301}\r\n[SEP]\0##a"];

/// One thread, so that an input costs no more than what it asks for.
static PROCESSOR: LazyLock<Processor> =
    LazyLock::new(|| Processor { threads: Arc::new(Threads::new(1)), ..Processor::default() });
/// A folder of this process, in which every input takes the place of the one before.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("vecuna-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    folder
});

/// Returns files of a golden model under the same names.
#[allow(dead_code, reason = "not every target has others")]
pub fn golden(model: &str, names: &[&str]) -> Files {
    let folder = format!("{}/../goldens/models/{model}", env!("CARGO_MANIFEST_DIR"));
    names
        .iter()
        .map(|name| ((*name).to_owned(), PathBuf::from(format!("{folder}/{name}"))))
        .collect()
}

/// Puts a file into the model, with zeros behind it up to `size`.
pub fn put(files: &mut Files, name: &str, bytes: &[u8], size: u64) {
    let path = FOLDER.join(name);
    fs::write(&path, bytes).expect("the folder for temporary files has room");
    if size > bytes.len() as u64 {
        let file = fs::File::options().write(true).open(&path).expect("it was just written");
        file.set_len(size).expect("a file can have a hole");
    }
    files.insert(name.to_owned(), path);
}

/// A panic of the libraries of tokenizers in a text ends a request, and no more: the service catches it, so no report.
static HOOK: LazyLock<()> = LazyLock::new(|| {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let file = info.location().map_or("", |at| at.file());
        if !["/tokenizers-", "/spm_precompiled-"].iter().any(|library| file.contains(library)) {
            report(info);
        }
    }));
});

/// Describes and loads a model, and runs texts through it, as far as that goes.
pub fn run(files: &Files) {
    LazyLock::force(&HOOK);
    let recipe = Recipe::default();
    let Ok(description) = engine::describe(files, &recipe, &PROCESSOR) else { return };
    if description.memory_bytes > MOST_MEMORY_BYTES {
        // What loading does, but for the values of tensors.
        drop(engine::check(files, &recipe));
        return;
    }
    let Ok(embedder) = Embedder::load(files, &recipe, &PROCESSOR) else { return };
    let limit = embedder.limit(None).min(MOST_TOKENS);
    for text in TEXTS {
        let tokens = panic::catch_unwind(AssertUnwindSafe(|| {
            if let Ok(ids) = embedder.ids(text, Prompt::Default, true) {
                drop(embedder.detokenize(&ids, true));
            }
            embedder.tokenize(text, Prompt::Query, limit, Overflow::Truncate)
        }));
        if let Ok(Ok(tokens)) = tokens {
            drop(embedder.run(&[(&tokens, Output::default())]));
        }
    }
}
