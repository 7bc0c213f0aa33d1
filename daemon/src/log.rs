//! What is written to stderr: one line per event that a person would act upon, never a text that came in.

use std::io::IsTerminal as _;

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets, fmt, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _,
};

/// Our crates, whose events are the log; those of libraries are shown from warnings up.
const OURS: [&str; 3] = ["daemon", "engine", "registry"];

/// Starts the log of this process, unless one runs already.
pub(crate) fn start(level: Level) {
    let ours = OURS.map(|name| (name, LevelFilter::from_level(level)));
    // hf-hub writes an error for every host that it cannot reach; the pull says the same in its own words.
    let quiet = ("hf_hub", LevelFilter::OFF);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(ours)
        .with_target(quiet.0, quiet.1);
    let stderr = std::io::stderr;
    let lines =
        fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false);
    // In tests several services share a process; the first has opened the log.
    drop(registry().with(filter).with(lines).try_init());
}
