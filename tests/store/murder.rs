//! Two hundred commands are killed with SIGKILL at random moments: does the store open, list truly and go on?

use std::fs;
use std::time::Duration;

use super::hub::Hub;
use super::machine::Machine;
use super::models::{WEIGHTS, padded};
use super::registries::server::Server;

const KILLS: usize = 200;
/// A command of a debug build takes about as long.
const MOST_MILLISECONDS: usize = 120;
const MODELS: [&str; 2] = ["hf.co/o/a", "hf.co/o/b"];

/// Small numbers; where a kill strikes depends on the machine all the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Runs a command, and kills it after a while, if it has not ended.
#[expect(clippy::disallowed_methods, reason = "a kill has no event to wait for")]
fn killed(machine: &Machine, line: &str, milliseconds: usize) {
    let mut child = machine.begin(line);
    std::thread::sleep(Duration::from_millis(milliseconds as u64));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns how many bytes of a blob a killed pull has noted.
fn noted(machine: &Machine, bytes: &[u8]) -> usize {
    let digest = registry::digest_of(bytes);
    if let Some(size) = machine.store().size_of(&digest) {
        return usize::try_from(size).unwrap();
    }
    let path = machine.models().join("staging").join(format!("{}.parts", digest.file_name()));
    let text = fs::read_to_string(path).unwrap_or_default();
    let part = |line: &str| {
        let mut words = line.split(' ');
        let (start, end): (usize, usize) =
            (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().filter(|crc| crc.len() == 8).map(|_| end - start)
    };
    text.lines().filter_map(part).sum()
}

#[test]
fn two_hundred_commands() {
    let files = [padded(1), padded(2)];
    let hub = Hub::start(&[("o/a@main", files[0].clone()), ("o/b@main", files[1].clone())]);
    let server = Server::open();
    let registry = format!("127.0.0.1:{}", server.port);
    let machine = Machine::new(&hub);
    let mut dice = Dice(41);
    for round in 0..KILLS {
        let which = dice.roll(2);
        let model = MODELS[which];
        let copy = format!("{registry}/team/m{which}");
        let line = match dice.roll(8) {
            0..3 => format!("pull {model}"),
            3 => format!("cp {model} {copy}"),
            4 => format!("push {copy}"),
            5 => format!("rm {model}"),
            6 => format!("rm {copy}"),
            _ => "prune".to_owned(),
        };
        killed(&machine, &line, dice.roll(MOST_MILLISECONDS));
        // Whatever is listed is whole.
        machine.list().iter().for_each(|name| drop(machine.whole(name)));
        if line.starts_with("pull") && round % 4 == 0 {
            let weights = &files[which][WEIGHTS];
            let noted = noted(&machine, weights);
            hub.forget();
            machine.run(&line).done();
            let fetched: usize = hub.seen(WEIGHTS).iter().map(|seen| seen.sent()).sum();
            assert_eq!(fetched, weights.len() - noted, "round {round}: only what is missing");
        }
    }
    for (which, model) in MODELS.iter().enumerate() {
        machine.run(&format!("pull {model}")).done();
        machine.whole(model);
        let copy = format!("{registry}/team/m{which}");
        machine.run(&format!("cp {model} {copy}")).done();
        machine.run(&format!("push {copy}")).done();
        machine.run(&format!("rm {model} {copy}")).done();
        machine.run(&format!("pull {copy}")).done();
        machine.vector(&copy);
        machine.run(&format!("rm {copy}")).done();
    }
    assert_eq!((machine.list(), machine.entries("manifests")), (vec![], vec![]));
}
