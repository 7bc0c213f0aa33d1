//! What happens when the disk is full? An error that says so, a store that works, and a pull that goes on later.

use super::hub::{Hub, Trick};
use super::machine::{Machine, Outcome};
use super::models::{WEIGHTS, padded, small};

/// Runs a script where `mounts` has changed what is mounted; `None` where this user may not do that.
pub(super) fn in_own_mounts(machine: &Machine, mounts: &str, script: &str) -> Option<Outcome> {
    let run = |script: &str| {
        let mut command = machine.sh(r#"exec unshare -m -r sh -c "$SCRIPT""#);
        Outcome::from(command.env("SCRIPT", script).output().unwrap())
    };
    // What cannot be mounted is known before the script does anything.
    (run(mounts).code == Some(0)).then(|| run(&format!("{mounts} && {{ {script}; }}")))
}

/// Pulls with too little space, looks at the store, and pulls again with enough.
fn script(scarce: &str, plenty: &str) -> String {
    let command = env!("CARGO_BIN_EXE_vecuna");
    format!(
        "{command} pull hf.co/o/small; {scarce} {command} pull hf.co/o/r; echo ended $?; \
        {command} list; {command} run hf.co/o/small hello; {command} rm hf.co/o/small; {plenty} \
        {command} pull hf.co/o/r && {command} list && {command} run hf.co/o/r hello"
    )
}

/// Checks what the script told: `want` stands in the error of the pull that had too little space.
fn check(outcome: &Outcome, want: &str) {
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let starts = [
        "ended 1",
        "NAME ",
        "hf.co/o/small:latest ",
        "[",
        "deleted ",
        "NAME ",
        "hf.co/o/r:latest ",
        "[",
    ];
    assert_eq!(lines.len(), starts.len(), "{outcome:?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{start}: {outcome:?}");
    }
    let error = outcome.stderr.lines().find(|line| line.starts_with("Error: ")).unwrap();
    assert!(error.contains(want), "{error}");
}

fn hub() -> Hub {
    Hub::start(&[("o/small@main", small("bert-plain")), ("o/r@main", padded(1))])
}

#[test]
fn a_full_disk() {
    let tmpfs = "mkdir -p models && mount -t tmpfs -o size=1m none models";
    let script = script("", "mount -o remount,size=9m models;");
    let hub = hub();
    let Some(outcome) = in_own_mounts(&Machine::new(&hub), tmpfs, &script) else {
        return under_a_limit(&hub);
    };
    // It is known before the first byte.
    check(&outcome, "no space left on device: ");
    assert_eq!(hub.seen(WEIGHTS)[0].range, hub.seen(WEIGHTS)[1].range);
    // It shows while bytes are written.
    let hub = self::hub();
    hub.trick("/o/r/revision/", Trick::Bare);
    let outcome = in_own_mounts(&Machine::new(&hub), tmpfs, &script).unwrap();
    check(&outcome, "no space left on device");
}

/// On a disk without a free byte a model can be asked, verified, and removed, which makes room.
#[test]
fn what_a_full_disk_still_does() {
    let hub = hub();
    let command = env!("CARGO_BIN_EXE_vecuna");
    let tmpfs = "mkdir -p models && mount -t tmpfs -o size=1m none models";
    let fill = "dd if=/dev/zero of=models/filler bs=4096 2>/dev/null";
    let model = "hf.co/o/small";
    let script = format!(
        "{command} pull {model}; {fill}; {command} cp {model} copy; {command} list; {command} run {model} hello; \
         {command} verify; {command} prune; {command} rm {model} && \
         truncate -s 512K models/filler && {command} pull {model}"
    );
    let Some(outcome) = in_own_mounts(&Machine::new(&hub), tmpfs, &script) else { return };
    let errors: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("Error: ")).collect();
    assert_eq!(errors, ["Error: no space left on device"], "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let starts =
        ["NAME ", "hf.co/o/small:latest ", "[", "verified 1 model, ", "nothing", "deleted "];
    assert_eq!(lines.len(), starts.len(), "{outcome:?}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{outcome:?}");
}

#[test]
fn a_limit_of_file_sizes() {
    under_a_limit(&hub());
}

/// Proves the same where files may not grow beyond 1 MB: 2,000 blocks of 512 bytes.
fn under_a_limit(hub: &Hub) {
    let machine = Machine::new(hub);
    // Without the trap a signal would end the process before it can say why.
    let scarce = r#"sh -c 'trap "" XFSZ; ulimit -f 2000; exec "$@"' sh"#;
    let outcome = machine.sh(&script(scarce, "")).output().unwrap().into();
    check(&outcome, "File too large");
    let seen = hub.seen(WEIGHTS);
    let resumed = seen.last().unwrap().range;
    assert_eq!(resumed, Some(1_024_000), "what was written is not fetched again: {seen:?}");
}
