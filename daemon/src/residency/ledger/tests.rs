//! Does the ledger decide right, whoever asks for what in which order?

use super::*;

/// A ledger with two places and 100 bytes, and what a test does to it.
struct Desk {
    ledger: Ledger<Name>,
    limits: Limits,
    start: Instant,
}

impl Desk {
    fn new() -> Self {
        let limits = Limits {
            models: 2,
            memory_bytes: 100,
            requests: 8,
            tokens: 100,
            keep_alive: KeepAlive::Forever,
            load_timeout: None,
        };
        Self { ledger: Ledger::default(), limits, start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn step(&mut self, model: &str, need: u64) -> Step<Name> {
        self.ask(model, Some(need), None).unwrap()
    }

    fn ask(
        &mut self,
        model: &str,
        need: Option<u64>,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Step<Name>, Error> {
        self.claim(model, need, keep_alive, None)
    }

    fn claim(
        &mut self,
        model: &str,
        need: Option<u64>,
        keep_alive: Option<KeepAlive>,
        ticket: Option<u64>,
    ) -> Result<Step<Name>, Error> {
        let claim = Claim {
            digest: digest(model),
            name: &name(model),
            keep_alive,
            need,
            ticket,
            promised: false,
        };
        self.ledger.step(&claim, &self.limits)
    }

    /// Loads a model, and leaves it with one user.
    fn load(&mut self, model: &str, need: u64, keep_alive: KeepAlive) -> Arc<Name> {
        assert!(matches!(self.step(model, need), Step::Load(_)), "{model} loads");
        let now = self.start;
        self.ledger.settle(digest(model), Some(Arc::new(name(model))), keep_alive, now);
        let Step::Use(worker) = self.step(model, need) else { panic!("{model} is there") };
        worker
    }

    fn release(&mut self, model: &str, worker: &Arc<Name>, seconds: u64) {
        let now = self.at(seconds);
        self.ledger.release(digest(model), worker, now);
    }
}

const MINUTE: KeepAlive = KeepAlive::For(Duration::from_secs(60));

fn name(model: &str) -> Name {
    Name::parse(model).unwrap()
}

fn digest(model: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes[..model.len()].copy_from_slice(model.as_bytes());
    Digest::from_bytes(bytes)
}

#[test]
fn a_model_is_measured_then_loaded_once_and_joined() {
    let mut desk = Desk::new();
    assert!(matches!(desk.ask("a", None, None), Ok(Step::Measure)));
    assert!(matches!(desk.step("a", 10), Step::Load(_)));
    assert!(matches!(desk.step("a", 10), Step::Join(_)));
    desk.ledger.settle(digest("a"), None, MINUTE, desk.start);
    assert!(matches!(desk.step("a", 10), Step::Load(_)), "a failed load leaves nothing");
}

#[test]
fn a_model_that_never_fits_is_refused_with_both_numbers() {
    let error = Desk::new().ask("a", Some(101), None).unwrap_err();
    let text = "model requires more memory (101 B) than the budget allows (100 B)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn the_idle_model_used_longest_ago_is_evicted() {
    let mut desk = Desk::new();
    let (a, b) = (desk.load("a", 40, MINUTE), desk.load("b", 40, MINUTE));
    desk.release("b", &b, 1);
    desk.release("a", &a, 2);
    let Step::Use(a) = desk.step("a", 40) else { panic!("a is there") };
    desk.release("a", &a, 3);
    let Step::Evicted(gone) = desk.step("c", 50) else { panic!("something goes") };
    assert_eq!(gone, name("b"));
    assert!(matches!(desk.step("c", 50), Step::Load(_)));
}

#[test]
fn busy_models_stay_and_nothing_goes_in_vain() {
    let mut desk = Desk::new();
    let (a, b) = (desk.load("a", 90, MINUTE), desk.load("b", 10, MINUTE));
    desk.release("b", &b, 1);
    assert!(matches!(desk.step("c", 50), Step::Wait), "without b there would still be no room");
    desk.release("a", &a, 1);
    assert!(matches!(desk.step("c", 50), Step::Evicted(_)));
}

#[test]
fn whoever_waits_is_served_before_newer_requests() {
    let mut desk = Desk::new();
    let a = desk.load("a", 90, MINUTE);
    assert!(matches!(desk.step("c", 50), Step::Wait));
    let ticket = desk.ledger.queue();
    let c = |desk: &mut Desk| desk.claim("c", Some(50), None, Some(ticket)).unwrap();
    assert!(matches!(c(&mut desk), Step::Wait));
    assert!(matches!(desk.step("a", 90), Step::Wait), "a takes no new users");
    assert!(matches!(desk.step("d", 5), Step::Wait), "nobody else takes what becomes free");
    desk.release("a", &a, 1);
    assert!(matches!(c(&mut desk), Step::Evicted(gone) if gone == name("a")));
    assert!(matches!(c(&mut desk), Step::Load(_)));
    desk.ledger.leave_queue(ticket);
    assert!(matches!(desk.step("d", 5), Step::Load(_)), "then it is the turn of the others");
}

#[test]
fn whoever_stops_waiting_holds_nobody_up() {
    let mut desk = Desk::new();
    let _a = desk.load("a", 90, MINUTE);
    let ticket = desk.ledger.queue();
    assert!(matches!(desk.claim("c", Some(50), None, Some(ticket)), Ok(Step::Wait)));
    desk.ledger.leave_queue(ticket);
    assert!(matches!(desk.step("a", 90), Step::Use(_)));
}

#[test]
fn a_fresh_model_is_not_evicted_before_its_requester_has_used_it() {
    let mut desk = Desk::new();
    let Step::Load(arrival) = desk.step("a", 90) else { panic!("a loads") };
    let requester = arrival.subscribe();
    desk.ledger.settle(digest("a"), Some(Arc::new(name("a"))), MINUTE, desk.start);
    assert!(matches!(desk.step("c", 50), Step::Wait));
    assert_eq!(desk.ledger.expire(desk.at(1000)).0, vec![]);
    drop(requester);
    assert!(matches!(desk.step("c", 50), Step::Evicted(_)), "the requester has gone");
}

/// Found by three clients on one model beside one on another: the two waited for each other.
#[test]
fn whoever_waited_for_a_load_may_use_a_model_that_is_to_leave() {
    let mut desk = Desk::new();
    let Step::Load(arrival) = desk.step("a", 90) else { panic!("a loads") };
    let _requester = arrival.subscribe();
    desk.ledger.settle(digest("a"), Some(Arc::new(name("a"))), MINUTE, desk.start);
    let ticket = desk.ledger.queue();
    assert!(matches!(desk.claim("c", Some(50), None, Some(ticket)), Ok(Step::Wait)));
    let (a, limits) = (name("a"), desk.limits);
    let claim = |promised| Claim {
        digest: digest("a"),
        name: &a,
        keep_alive: None,
        need: None,
        ticket: None,
        promised,
    };
    assert!(matches!(desk.ledger.step(&claim(false), &limits), Ok(Step::Wait)));
    assert!(matches!(desk.ledger.step(&claim(true), &limits), Ok(Step::Use(_))));
}

#[test]
fn a_model_kept_forever_goes_last() {
    let mut desk = Desk::new();
    let (a, b) = (desk.load("a", 40, KeepAlive::Forever), desk.load("b", 40, MINUTE));
    desk.release("a", &a, 1);
    desk.release("b", &b, 2);
    assert!(matches!(desk.step("c", 50), Step::Evicted(gone) if gone == name("b")));
}

#[test]
fn keep_alive_counts_from_the_last_release() {
    let mut desk = Desk::new();
    let a = desk.load("a", 40, MINUTE);
    assert_eq!(desk.ledger.expire(desk.at(1000)), (vec![], None), "busy models do not expire");
    desk.release("a", &a, 10);
    assert_eq!(desk.ledger.expire(desk.at(69)), (vec![], Some(desk.at(70))));
    assert_eq!(desk.ledger.expire(desk.at(70)), (vec![name("a")], None));
}

#[test]
fn a_request_may_change_the_keep_alive_and_silence_keeps_it() {
    let mut desk = Desk::new();
    let a = desk.load("a", 40, MINUTE);
    desk.release("a", &a, 0);
    let table = [
        (Some(KeepAlive::Forever), None),
        (None, None),
        (Some(MINUTE), Some(Duration::from_secs(60))),
    ];
    for (keep_alive, remaining) in table {
        let Ok(Step::Use(a)) = desk.ask("a", None, keep_alive) else { panic!("a is there") };
        desk.release("a", &a, 0);
        assert_eq!(desk.ledger.seen(desk.start)[0].remaining, remaining, "{keep_alive:?}");
    }
}

#[test]
fn a_stopped_model_goes_when_its_requests_end() {
    let mut desk = Desk::new();
    let a = desk.load("a", 40, KeepAlive::Forever);
    desk.ledger.stop(digest("a"), desk.start);
    assert_eq!(desk.ledger.seen(desk.start)[0].remaining, Some(Duration::ZERO));
    assert_eq!(desk.ledger.expire(desk.start).0, vec![]);
    desk.release("a", &a, 1);
    assert_eq!(desk.ledger.expire(desk.at(1)).0, vec![name("a")]);
}

#[test]
fn a_model_that_is_stopped_while_it_loads_goes_at_once() {
    let mut desk = Desk::new();
    assert!(matches!(desk.step("a", 40), Step::Load(_)));
    desk.ledger.stop(digest("a"), desk.start);
    desk.ledger.settle(digest("a"), Some(Arc::new(name("a"))), MINUTE, desk.start);
    let Step::Use(a) = desk.step("a", 40) else { panic!("the one who waited is served") };
    desk.release("a", &a, 1);
    assert_eq!(desk.ledger.expire(desk.at(1)).0, vec![name("a")]);
}

#[test]
fn a_dead_worker_is_discarded_only_by_its_own_users() {
    let mut desk = Desk::new();
    let old = desk.load("a", 40, MINUTE);
    desk.ledger.discard(digest("a"), &old);
    let fresh = desk.load("a", 40, MINUTE);
    desk.ledger.discard(digest("a"), &old);
    desk.release("a", &old, 0);
    assert_eq!(desk.ledger.seen(desk.start).len(), 1);
    desk.release("a", &fresh, 0);
}

#[test]
fn the_one_that_stays_longest_is_seen_first() {
    let mut desk = Desk::new();
    desk.load("a", 40, MINUTE);
    desk.load("b", 40, KeepAlive::Forever);
    let names: Vec<Name> = desk.ledger.seen(desk.start).into_iter().map(|seen| seen.name).collect();
    assert_eq!(names, [name("b"), name("a")]);
}
