//! Does each thing that has one place stay there: the environment, the hub, digests, sockets, unsafe code?

use super::{
    expect_none,
    sources::{all, has_word, product},
};

/// Words, where alone they may stand, and what to do elsewhere.
const PLACES: &[(&[&str], &[&str], &str)] = &[
    (&["hf_hub::"], &["registry/src/sources/hub.rs"], "the hub is one file: ask its functions"),
    (&["sha2::"], &["registry/src/hash.rs"], "hash with registry::digest_of or its kin"),
    (&["directories::"], &["daemon/src/config/"], "take the folder from daemon::Config"),
    (
        &["env::var", "env::vars", "env::var_os", "env::vars_os"],
        &["daemon/src/config/"],
        "read the setting in daemon/src/config and pass it",
    ),
    (
        &["axum::", "hyper::server", "hyper_util::server"],
        &["daemon/src/"],
        "only the daemon serves HTTP",
    ),
    (&["TcpListener"], &["daemon/src/server.rs"], "only the daemon's server listens"),
    (&["anyhow::"], &["cli/src/"], "a library has a thiserror enum"),
    (&["process::exit"], &["cli/src/main.rs"], "return an error: main alone ends the process"),
    (
        &["print!", "println!", "eprint!", "eprintln!"],
        &["cli/src/"],
        "a library tells its caller, or tracing",
    ),
    (&["unsafe"], &["engine/src/"], "unsafe code is for kernels, mappings and CUDA calls"),
];

/// Folders, words that must not stand there outside of tests, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "engine/src/",
        &["tokio::", "async", "http::", "hyper::", "reqwest::", "std::net", "env::", "tracing::"],
        "engine is synchronous and silent: no network, no names, no environment",
    ),
    (
        "modelfiles/src/",
        &["std::fs", "std::net", "std::env", "std::process", "std::io", "async", "tracing::"],
        "modelfiles is pure: it gets texts and gives values",
    ),
];

#[test]
fn things_with_one_place_stay_there() {
    let mut problems = Vec::new();
    for (words, homes, advice) in PLACES {
        let abroad = product().filter(|file| !homes.iter().any(|home| file.path.starts_with(home)));
        for file in abroad {
            for word in *words {
                let found = file.product().filter(|(_, line)| has_word(line, word));
                problems.extend(found.map(|(line, _)| file.at(line, &format!("{word}: {advice}"))));
            }
        }
    }
    expect_none(problems);
}

#[test]
fn pure_crates_stay_pure() {
    let mut problems = Vec::new();
    for (folder, words, why) in FORBIDDEN {
        for file in product().filter(|file| file.path.starts_with(folder)) {
            for word in *words {
                let found = file.product().filter(|(_, line)| has_word(line, word));
                problems.extend(found.map(|(line, _)| file.at(line, &format!("{word}: {why}"))));
            }
        }
    }
    expect_none(problems);
}

#[test]
fn unsafe_code_says_why_it_is_safe() {
    let mut problems = Vec::new();
    for file in product() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, _) in file.code().filter(|(_, line)| has_word(line, "unsafe")) {
            let before = &lines[number.saturating_sub(6)..number];
            if !before.iter().any(|line| line.contains("SAFETY: ")) {
                problems.push(file.at(number, "write a SAFETY line directly above"));
            }
        }
    }
    expect_none(problems);
}

#[test]
fn nothing_is_unwrapped() {
    let mut problems = Vec::new();
    for file in product().filter(|file| file.is_product()) {
        let found = file.product().filter(|(_, line)| line.contains(".unwrap()"));
        let advice = "return an error, or expect(\"why it cannot fail\")";
        problems.extend(found.map(|(line, _)| file.at(line, advice)));
    }
    expect_none(problems);
}

/// The needles are put together here, so that they do not stand in this file.
#[test]
fn nothing_is_put_off() {
    let needles =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ign", "ore"), concat!("db", "g!")];
    let mut problems = Vec::new();
    for file in all().iter().filter(|file| file.path != "Cargo.lock") {
        for needle in needles {
            let found = file.lines().filter(|(_, line)| has_word(line, needle));
            let advice = format!("{needle}: do it, or open an issue");
            problems.extend(found.map(|(line, _)| file.at(line, &advice)));
        }
    }
    expect_none(problems);
}

/// A closed network has other names for the registries; Cargo.lock is cargo's own.
#[test]
fn no_package_registry_and_no_machine_is_named() {
    let needles = [
        concat!("pypi.", "org"),
        concat!("python", "hosted.org"),
        concat!("crates.", "io"),
        concat!("npm", "js.org"),
        concat!("npm", "js.com"),
        concat!("/work/", "main"),
        concat!("/work/", "shared"),
        concat!("/ro", "ot/"),
    ];
    let mut problems = Vec::new();
    for file in all().iter().filter(|file| file.path != "Cargo.lock") {
        for needle in needles {
            let found = file.lines().filter(|(_, line)| line.contains(needle));
            let advice = format!("{needle}: leave the choice to the tool's own settings");
            problems.extend(found.map(|(line, _)| file.at(line, &advice)));
        }
    }
    expect_none(problems);
}
