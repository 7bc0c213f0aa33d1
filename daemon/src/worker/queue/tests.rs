//! Does the queue share fairly, lose nothing and keep its limits, whoever comes and goes in which order?

use std::collections::BTreeSet;

use super::*;

const BUDGET: usize = 1000;

/// Numbers without a pattern (SplitMix64), the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

/// A queue whose texts know their place and their tokens, and what has become of them.
#[derive(Default)]
struct Desk {
    queue: Queue<(usize, usize)>,
    pushed: BTreeMap<u64, usize>,
    taken: BTreeMap<u64, usize>,
    gone: BTreeSet<u64>,
    tokens: BTreeMap<u64, usize>,
}

impl Desk {
    fn push(&mut self, flow: u64, tokens: usize) {
        let place = self.pushed.entry(flow).or_default();
        self.queue.push(flow, tokens, (*place, tokens));
        *place += 1;
    }

    fn leave(&mut self, flow: u64) {
        self.queue.leave(flow);
        self.gone.insert(flow);
    }

    /// Takes a batch, and checks its size and the order in it.
    fn take(&mut self) -> Batch<(usize, usize)> {
        let waited = self.queue.tokens;
        let batch = self.queue.take(BUDGET);
        let sum: usize = batch.iter().map(|(_, (_, tokens))| tokens).sum();
        assert!(sum <= BUDGET || batch.len() == 1, "{sum} tokens in {} texts", batch.len());
        assert_eq!(batch.is_empty(), waited == 0);
        assert_eq!(self.queue.tokens, waited - sum);
        for (flow, (place, tokens)) in &batch {
            assert!(!self.gone.contains(flow), "flow {flow} has left");
            let next = self.taken.entry(*flow).or_default();
            assert_eq!(place, next, "flow {flow}");
            *next += 1;
            *self.tokens.entry(*flow).or_default() += tokens;
        }
        batch
    }
}

#[test]
fn nothing_is_lost_and_the_order_is_kept() {
    for seed in 0..200 {
        let (mut dice, mut desk) = (Dice(seed), Desk::default());
        let longest = [10, 300, 3 * BUDGET][dice.below(3)];
        for _ in 0..400 {
            let flow = dice.below(12) as u64;
            match dice.below(10) {
                0 => drop(desk.take()),
                1 if dice.below(8) == 0 => desk.leave(flow),
                _ if desk.gone.contains(&flow) => {}
                _ => desk.push(flow, 1 + dice.below(longest)),
            }
        }
        while !desk.queue.is_empty() {
            desk.take();
        }
        assert_eq!(desk.queue.tokens, 0);
        for (flow, pushed) in desk.pushed.iter().filter(|(flow, _)| !desk.gone.contains(flow)) {
            assert_eq!(desk.taken.get(flow), Some(pushed), "flow {flow}, seed {seed}");
        }
    }
}

#[test]
fn a_single_text_is_in_the_next_batch_beside_a_bulk_load() {
    for seed in 0..200 {
        let (mut dice, mut desk) = (Dice(seed), Desk::default());
        let longest = 1 + dice.below(BUDGET / 4);
        (0..2000).for_each(|_| desk.push(0, 1 + dice.below(longest)));
        for single in 1..20 {
            (0..dice.below(4)).for_each(|_| drop(desk.take()));
            desk.push(single, 1 + dice.below(BUDGET / 6));
            let batch = desk.take();
            assert!(batch.iter().any(|(flow, _)| *flow == single), "seed {seed}");
        }
    }
}

/// The worst case: every flow sends texts as long as a batch, or longer.
#[test]
fn nobody_waits_longer_than_one_batch_for_each_other_flow() {
    for seed in 0..200 {
        let (mut dice, mut desk) = (Dice(seed), Desk::default());
        let others = 1 + dice.below(6);
        for flow in 0..others as u64 {
            (0..200).for_each(|_| desk.push(flow, 1 + dice.below(2 * BUDGET)));
        }
        for single in 10..15 {
            (0..dice.below(4)).for_each(|_| drop(desk.take()));
            desk.push(single, 1 + dice.below(50));
            let mut batches = 0..=others;
            let served = batches.any(|_| desk.take().iter().any(|(flow, _)| *flow == single));
            assert!(served, "seed {seed}, {others} others");
        }
    }
}

#[test]
fn flows_that_wait_get_the_same_share_of_tokens() {
    for seed in 0..100 {
        let (mut dice, mut desk) = (Dice(seed), Desk::default());
        let flows = 2 + dice.below(20) as u64;
        let longest: Vec<usize> = (0..flows).map(|_| 1 + dice.below(500)).collect();
        for (flow, longest) in (0..flows).zip(&longest) {
            (0..5000).for_each(|_| desk.push(flow, 1 + dice.below(*longest)));
        }
        (0..30).for_each(|_| drop(desk.take()));
        let (least, most) = (desk.tokens.values().min(), desk.tokens.values().max());
        // As in the paper: a quantum for the round that is not complete, and the longest text that is not paid yet.
        let bound = 2 * (BUDGET / 6) + 2 * 500;
        assert!(most.unwrap() - least.unwrap() <= bound, "seed {seed}: {:?}", desk.tokens);
    }
}

#[test]
fn a_text_beyond_the_budget_travels_alone() {
    let mut desk = Desk::default();
    for (flow, tokens) in [(1, 5 * BUDGET), (2, 10), (1, 10), (3, 2 * BUDGET)] {
        desk.push(flow, tokens);
    }
    let mut batches = Vec::new();
    while !desk.queue.is_empty() {
        batches.push(desk.take().iter().map(|(flow, _)| *flow).collect::<Vec<_>>());
    }
    assert_eq!(batches, [vec![2], vec![3], vec![1], vec![1]]);
}

#[test]
fn the_limit_is_for_those_who_come_while_others_wait() {
    let mut queue = Queue::default();
    assert!(queue.has_room(500, 100));
    queue.push(1, 80, ());
    assert!(queue.has_room(20, 100));
    assert!(!queue.has_room(21, 100));
    queue.leave(1);
    assert!(queue.has_room(21, 10));
}
