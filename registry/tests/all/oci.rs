//! Do models come from registries and go to them, and does nothing go to where it must not?

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use modelfiles::Origin;
use registry::{
    Error, Layer, MANIFEST_TYPE, Manifest, OCI_MANIFEST_TYPE, Options, Settings, Stored, digest_of,
    media,
};
use serde_json::{Value, json};

use crate::registry::{Auth, BASIC, Registry, Trick};
use crate::world::{World, name, settings, told, weights};

const NOWHERE: &str = "http://127.0.0.1:9";
const REALM: &str = "http://127.0.0.1:{port}/token";
const ELSEWHERE: &str = "http://localhost:{port}/token";

/// Puts a model into a registry, and returns the bytes of its manifest.
fn fill(registry: &Registry) -> Vec<u8> {
    let file = |path: &str, bytes: Bytes| registry.blob(media::FILE, path, bytes);
    let layers = [file("config.json", "{}".into()), file("model.safetensors", weights())];
    let config = registry.blob(media::OCI_CONFIG, "", "{\"a\":1}");
    // Blanks and unknown fields stay, because the digest of these bytes names the model.
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST_TYPE, "config": config,
        "layers": layers, "subject": null});
    let bytes = format!("{manifest:#}\n").into_bytes();
    registry.publish(OCI_MANIFEST_TYPE, bytes.clone());
    bytes
}

/// Settings with docker's file in a folder.
fn with_login(folder: &Path, file: &Value) -> Settings {
    let path = folder.join("config.json");
    fs::write(&path, file.to_string()).expect("a file");
    Settings { credentials: vec![path], ..settings(NOWHERE) }
}

/// Puts a model into the store under a name.
fn store(world: &World, text: &str, large: &[u8]) -> Stored {
    let put = |bytes: &[u8]| world.store.put_bytes(bytes).expect("a blob");
    let files = [("a/config.json", &b"{}"[..]), ("b.bin", large), ("empty", b""), ("none", b"")];
    let layers = files.iter().map(|(path, bytes)| Layer::file(path, put(bytes))).collect();
    let config = Layer::new(media::CONFIG, put(b"{\"a\":1}"));
    world.store.commit(&name(text), &Manifest::new(config, layers)).expect("a model")
}

async fn push(world: &World, text: &str) -> crate::world::Told {
    told(world.puller.push(&name(text), Options::default())).await
}

#[tokio::test]
async fn a_manifest_is_kept_byte_for_byte() {
    let registry = Registry::start(Auth::Open, &[Trick::Busy]).await;
    let bytes = fill(&registry);
    let world = World::new(settings(NOWHERE));
    let told = world.pull(&registry.name()).await;
    let model = told.model();
    assert_eq!(model.digest, digest_of(&bytes));
    assert_eq!(world.read(model, "model.safetensors"), weights());
    let place = format!("pulling from registry {}:latest", registry.name());
    let end = ["verifying sha256 digest", "writing manifest", "success"];
    let statuses = told.statuses();
    assert_eq!(statuses[..2], ["pulling manifest", place.as_str()]);
    assert_eq!(statuses[statuses.len() - 3..], end);
}

#[tokio::test]
async fn a_name_without_a_host_is_looked_up_at_the_registry_that_is_set() {
    let registry = Registry::start(Auth::Open, &[]).await;
    fill(&registry);
    let host = Some(format!("127.0.0.1:{}", registry.port));
    let world = World::new(Settings { registry: host, ..settings(NOWHERE) });
    let told = world.pull("team/model").await;
    assert_eq!(told.model().name, name("team/model"));
    // Ollama's words, which its clients look for; what follows is ours.
    let text = world.pull("team/model:v2").await.outcome.unwrap_err().to_string();
    let wanted = format!(
        "registry 127.0.0.1:{}/team/model:v2: pull model manifest: file does not exist: {}:v2; there is latest",
        registry.port,
        registry.name()
    );
    assert!(text.ends_with(&wanted), "{text}");
}

#[tokio::test]
async fn a_token_goes_to_the_registry_and_no_further() {
    let registry = Registry::start(Auth::Token(REALM), &[Trick::Redirect]).await;
    fill(&registry);
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_login(folder.path(), &json!({})));
    world.pull(&registry.name()).await.model();
    let asked = registry.seen("/token");
    assert_eq!(asked.len(), 1, "one token for all blobs: {asked:?}");
    let query = "?service=s&scope=repository%3Ateam%2Fmodel%3Apull";
    assert_eq!((asked[0].target.as_str(), &asked[0].login), (&*format!("/token{query}"), &None));
    let blobs = registry.seen("/blobs/");
    assert!(blobs.iter().all(|seen| seen.login.is_some()) && blobs.len() == 3, "{blobs:?}");
    let content = registry.seen("/content/");
    assert!(content.iter().all(|seen| seen.login.is_none()), "{content:?}");
    assert!(content[0].host.starts_with("localhost:"), "{content:?}");
}

#[tokio::test]
async fn logins_come_from_the_files_of_docker_and_podman() {
    let folder = tempfile::tempdir().unwrap();
    let file = |port: u16, entry: Value| json!({"auths": {(format!("127.0.0.1:{port}")): entry}});
    let login = json!({"auth": "dXNlcjpwYXNz"});
    let identity = json!({"auth": "PHRva2VuPjo=", "identitytoken": "identity"});
    for (auth, entry) in [
        (Auth::Basic, login.clone()),
        (Auth::PrivateToken(REALM), login),
        (Auth::PrivateToken(REALM), identity),
    ] {
        let registry = Registry::start(auth.clone(), &[]).await;
        fill(&registry);
        let world = World::new(with_login(folder.path(), &file(registry.port, entry)));
        world.pull(&registry.name()).await.model();
        let given = registry.seen(if auth == Auth::Basic { "/v2/" } else { "/token" });
        let is_first = |login: &Option<String>| login.is_none() || login.as_deref() == Some(BASIC);
        assert!(given.iter().all(|seen| is_first(&seen.login)), "{given:?}");
    }
}

#[tokio::test]
async fn who_has_no_login_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let helper = json!({"auths": {}, "credsStore": "pass"});
    let other = |port: u16| json!({"auths": {(format!("127.0.0.1:{port}")): {"auth": "dXNlcjp4"}}});
    for auth in [Auth::Basic, Auth::PrivateToken(REALM)] {
        let registry = Registry::start(auth, &[]).await;
        fill(&registry);
        let files = [
            (
                json!({}),
                "' wants a login, and none is in the files of docker and podman: 'docker login ",
            ),
            (
                helper.clone(),
                "leaves it to the helper 'docker-credential-pass', and helpers are not run",
            ),
            (other(registry.port), "access denied"),
        ];
        for (file, text) in files {
            let world = World::new(with_login(folder.path(), &file));
            let error = world.refused(&registry.name()).await;
            assert!(error.starts_with("unauthorized: ") && error.contains(text), "{error}");
        }
    }
}

/// CVE-2025-51471: the token server that a registry names gets the login.
#[tokio::test]
async fn a_token_server_elsewhere_gets_nothing() {
    for realm in [ELSEWHERE, "http://169.254.169.254/token", "https://127.0.0.2:{port}/token"] {
        let registry = Registry::start(Auth::PrivateToken(realm), &[]).await;
        fill(&registry);
        let folder = tempfile::tempdir().unwrap();
        let host = format!("127.0.0.1:{}", registry.port);
        let login = json!({"auths": {(host): {"auth": "dXNlcjpwYXNz"}}});
        let world = World::new(with_login(folder.path(), &login));
        let error = world.refused(&registry.name()).await;
        assert!(error.contains("is not trusted: it"), "{error}");
        assert_eq!(registry.seen("/token").len(), 0);
        assert!(registry.inner().seen.iter().all(|seen| seen.login.is_none()));
    }
}

#[tokio::test]
async fn a_token_is_renewed_while_something_is_fetched() {
    let registry = Registry::start(Auth::Token(REALM), &[Trick::Expire]).await;
    fill(&registry);
    // A token is not renewed twice within some pauses.
    let world = World::new(Settings { pause: Duration::ZERO, ..settings(NOWHERE) });
    world.pull(&registry.name()).await.model();
    assert_eq!(registry.seen("/token").len(), 2);
}

#[tokio::test]
async fn hostile_manifests_are_refused_before_a_blob_is_asked_for() {
    let registry = Registry::start(Auth::Open, &[]).await;
    let layer = |name: &str| registry.blob(media::FILE, name, name.to_owned());
    let config = registry.blob(media::OCI_CONFIG, "", "{}");
    let with = |layers: Value| json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST_TYPE, "config": config, "layers": layers});
    let changed = |key: &str, value: Value| {
        let mut layer = layer("a");
        layer[key] = value;
        with(json!([layer]))
    };
    let many: Vec<Value> = (0..2001).map(|index| layer(&format!("f{index}"))).collect();
    let mut sizes = [layer("a"), layer("a")];
    sizes[1]["size"] = json!(9);
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": digest_of(b"").to_string(), "size": 1}]});
    let table = [
        (with(json!([])), "it lists nothing that is part of a model"),
        (with(Value::Null), "it lists nothing"),
        (json!({"schemaVersion": 2, "layers": [layer("a")]}), "missing field `config`"),
        (with(many.into()), "more than 2000 layers"),
        (with(json!([layer("a"), layer("a")])), "it lists 'a' twice"),
        (with(sizes.to_vec().into()), "with two sizes"),
        (changed("size", json!(-1)), "invalid value"),
        (changed("size", json!(1_u64 << 60)), "more than 4398046511104 bytes"),
        (changed("digest", json!("sha256:../../../etc/passwd")), "digest"),
        (changed("digest", json!("sha512:00")), "digest"),
        (
            changed("mediaType", json!("application/vnd.oci.image.layer.v1.tar+gzip")),
            "part of a model",
        ),
        (
            with(json!([layer("../../etc/cron.d/x")])),
            "the file name '../../etc/cron.d/x' is not allowed",
        ),
        (with(json!([layer("/etc/passwd")])), "is not allowed"),
        (index, "it is a list of manifests"),
        (
            json!({"schemaVersion": 1, "config": config, "layers": [layer("a")]}),
            "its form is not known",
        ),
        (json!("x".repeat(5 << 20)), "more than 4194304 bytes"),
        (json!("<html>"), "invalid type"),
    ];
    for (manifest, text) in table {
        registry.publish(OCI_MANIFEST_TYPE, manifest.to_string());
        let world = World::new(settings(NOWHERE));
        let error = world.refused(&registry.name()).await;
        assert!(error.contains(text), "{error}; not: {text}");
        assert_eq!(registry.seen("/blobs/").len(), 0, "{text}");
    }
}

#[tokio::test]
async fn bytes_must_be_what_was_promised() {
    let registry = Registry::start(Auth::Open, &[Trick::WrongDigest]).await;
    fill(&registry);
    let world = World::new(settings(NOWHERE));
    assert!(world.refused(&registry.name()).await.contains("its digest is sha256:"));
    let registry = Registry::start(Auth::Open, &[]).await;
    fill(&registry);
    let key = digest_of(&weights()).to_string();
    let other = weights().iter().map(|byte| byte ^ 1).collect();
    registry.inner().blobs.insert(key, other);
    assert!(world.refused(&registry.name()).await.starts_with("digest mismatch"));
}

#[tokio::test]
async fn a_model_goes_to_a_registry_and_comes_back_as_it_was() {
    let registry = Registry::start(Auth::Token(REALM), &[]).await;
    let (here, there) = (World::new(settings(NOWHERE)), World::new(settings(NOWHERE)));
    // More than one piece.
    let large: Vec<u8> = weights().repeat(15);
    let stored = store(&here, &registry.name(), &large);
    let told = push(&here, &registry.name()).await;
    assert_eq!(told.model().digest, stored.digest);
    let statuses = told.statuses();
    assert_eq!(statuses[0], "retrieving manifest");
    assert_eq!(statuses[statuses.len() - 2..], ["pushing manifest", "success"]);
    let large = digest_of(&large);
    let done = told.lines.iter().rfind(|line| line.digest == Some(large)).unwrap();
    assert_eq!(done.status, format!("pushing {}", large.short()));
    assert_eq!(done.completed, done.total);
    let pieces: Vec<usize> =
        registry.seen("state").iter().map(|seen| seen.body).filter(|size| *size > 1000).collect();
    assert_eq!(pieces, [16 << 20, 18_000_000 - (16 << 20)]);
    assert_eq!(registry.inner().manifests["latest"].0, OCI_MANIFEST_TYPE);
    let scope = &registry.seen("/token")[0].target;
    assert!(scope.ends_with("model%3Apull%2Cpush"), "{scope}");
    let back = there.pull(&registry.name()).await;
    assert_eq!(back.model().digest, stored.digest);
    // What is there is not sent again.
    registry.inner().seen.clear();
    push(&here, &registry.name()).await.model();
    assert_eq!(registry.seen("uploads").len(), 0);
}

#[tokio::test]
async fn a_broken_push_goes_on() {
    for trick in [Trick::Half, Trick::Forget, Trick::Twice, Trick::Busy] {
        let registry = Registry::start(Auth::Basic, &[trick]).await;
        let folder = tempfile::tempdir().unwrap();
        let host = format!("127.0.0.1:{}", registry.port);
        let login = json!({"auths": {(host): {"auth": "dXNlcjpwYXNz"}}});
        let world = World::new(with_login(folder.path(), &login));
        store(&world, &registry.name(), &weights());
        push(&world, &registry.name()).await.model();
        assert_eq!(
            registry.inner().blobs[&digest_of(&weights()).to_string()],
            weights(),
            "{trick:?}"
        );
    }
}

#[tokio::test]
async fn pushes_that_cannot_be() {
    let registry = Registry::start(Auth::Open, &[Trick::Elsewhere]).await;
    let world = World::new(settings(NOWHERE));
    let error = |told: crate::world::Told| told.outcome.expect_err("an error").to_string();
    let missing = push(&world, "nope").await;
    assert_eq!(missing.statuses(), ["retrieving manifest", "couldn't retrieve manifest"]);
    assert_eq!(error(missing), "model 'nope:latest' not found");
    store(&world, &registry.name(), b"x");
    let text = error(push(&world, &registry.name()).await);
    assert!(text.contains("wants uploads to go to 'http://localhost:1/"), "{text}");
    for text in ["mine", "me/mine", "hf.co/me/mine"] {
        let stored = store(&world, text, b"x");
        let error = error(push(&world, text).await);
        let advice = format!("'vecuna cp {} HOST/NAMESPACE/mine'", stored.name);
        assert!(error.contains(&advice), "{error}");
    }
    // A damaged blob is found by the registry, and said in our words.
    let registry = Registry::start(Auth::Open, &[]).await;
    let stored = store(&world, &registry.name(), &weights());
    let blob = &world.store.files(&stored).unwrap()["b.bin"];
    fs::write(blob, vec![0; weights().len()]).unwrap();
    let told = push(&world, &registry.name()).await;
    assert!(matches!(&*told.outcome.unwrap_err(), Error::DigestMismatch { .. }));
    assert!(registry.inner().manifests.is_empty());
}

#[tokio::test]
async fn what_is_here_already_costs_one_question() {
    let registry = Registry::start(Auth::Open, &[]).await;
    fill(&registry);
    let world = World::new(settings(NOWHERE));
    let told = world.rehearse(&registry.name()).await;
    assert!(
        told.statuses().last().unwrap().starts_with("would fetch 1.2 MB of 1.2 MB"),
        "{told:?}"
    );
    world.pull(&registry.name()).await.model();
    let before = registry.seen("/blobs/").len();
    assert_eq!(*world.pull(&registry.name()).await.statuses().last().unwrap(), "success");
    assert_eq!((before, registry.seen("/blobs/").len()), (3, 3));
}

#[tokio::test]
async fn a_model_in_one_file_goes_in_dockers_form() {
    let registry = Registry::start(Auth::Token(REALM), &[Trick::Redirect]).await;
    let world = World::new(settings(NOWHERE));
    let put = |bytes: &[u8]| world.store.put_bytes(bytes).unwrap();
    let layer = Layer::new(media::GGUF, put(b"GGUF"));
    let manifest = Manifest::new(Layer::new(media::CONFIG, put(b"{}")), vec![layer]);
    let stored = world.store.commit(&name(&registry.name()), &manifest).unwrap();
    push(&world, &registry.name()).await.model();
    assert_eq!(registry.inner().manifests["latest"].0, MANIFEST_TYPE);
    // So does Ollama's registry give its models: a token for everybody, and blobs elsewhere.
    let there = World::new(settings(NOWHERE));
    assert_eq!(there.pull(&registry.name()).await.model().digest, stored.digest);
    assert_eq!(registry.seen("/content/").iter().filter(|seen| seen.method == "GET").count(), 2);
    let origin = |host: &str| Origin::Registry {
        host: host.to_owned(),
        repo: "team/model".to_owned(),
        tag: "latest".to_owned(),
    };
    // Without encryption only this machine is spoken to.
    let told = world.pull_from("x", vec![origin("registry.invalid:1")]).await;
    assert!(
        told.outcome.unwrap_err().to_string().contains("'registry.invalid:1' cannot be reached")
    );
}
