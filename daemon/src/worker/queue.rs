//! Whose texts are computed next? Deficit round robin between requests, without a clock, a thread or a model.
//!
//! Every request is a flow of texts, and every text weighs its tokens (`T` stands for the text). A batch is made of
//! rounds: each flow in its turn is given a quantum of credit and pays its texts with it (Shreedhar and Varghese,
//! “Efficient fair queuing using deficit round robin”, 1995). The quantum is so small that two rounds fit into a
//! batch: what flows have left over from the last batch and a quantum for each do not fill the next, so it holds
//! something of every flow, and whoever has come last is in it.

use std::collections::{BTreeMap, VecDeque};

/// The least credit of a turn: with less, many flows of long texts would need many turns before one of them can pay.
const LEAST_QUANTUM: usize = 32;

/// The texts that wait, by flow.
pub(super) struct Queue<T> {
    /// Flows with a text that waits; their numbers are the order of their turns.
    flows: BTreeMap<u64, Flow<T>>,
    /// Whose turn begins the next batch.
    turn: u64,
    /// Tokens of all texts.
    tokens: usize,
}

struct Flow<T> {
    /// Tokens that it may take beyond what it has taken.
    credit: usize,
    texts: VecDeque<(usize, T)>,
}

/// What is taken to be computed together: the texts of each flow in their order, each with its flow.
pub(super) type Batch<T> = Vec<(u64, T)>;

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { flows: BTreeMap::new(), turn: 0, tokens: 0 }
    }
}

impl<T> Queue<T> {
    /// Says whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Says whether so many more tokens keep the limit; an empty queue takes everything.
    pub(super) fn has_room(&self, tokens: usize, limit: usize) -> bool {
        self.is_empty() || self.tokens.saturating_add(tokens) <= limit
    }

    /// Appends a text of so many tokens to a flow.
    pub(super) fn push(&mut self, flow: u64, tokens: usize, text: T) {
        let flow = self.flows.entry(flow).or_insert_with(Flow::new);
        flow.texts.push_back((tokens, text));
        self.tokens += tokens;
    }

    /// Drops what waits of a flow.
    pub(super) fn leave(&mut self, flow: u64) {
        if let Some(flow) = self.flows.remove(&flow) {
            self.tokens -= flow.texts.iter().map(|(tokens, _)| tokens).sum::<usize>();
        }
    }

    /// Takes the next batch: at most `budget` tokens, unless a single text has more.
    pub(super) fn take(&mut self, budget: usize) -> Batch<T> {
        let quantum = (budget / (2 * self.flows.len() + 2)).max(LEAST_QUANTUM);
        let (mut batch, mut room, mut left_out) = (Batch::new(), budget, None);
        while left_out.is_none() && !self.is_empty() {
            // Who finds no room any more does not end the round: a shorter text behind it may fit.
            for flow in self.round() {
                if !self.serve(flow, quantum, &mut room, &mut batch) {
                    left_out.get_or_insert(flow);
                }
            }
        }
        self.turn = left_out.unwrap_or(self.turn);
        batch
    }

    /// Returns the flows in the order of their turns.
    fn round(&self) -> Vec<u64> {
        let numbers = self.flows.range(self.turn..).chain(self.flows.range(..self.turn));
        numbers.map(|(number, _)| *number).collect()
    }

    /// Gives a flow its turn; false if it could pay for a text that found no room.
    fn serve(
        &mut self,
        number: u64,
        quantum: usize,
        room: &mut usize,
        batch: &mut Batch<T>,
    ) -> bool {
        let Some(flow) = self.flows.get_mut(&number) else { return true };
        // Also who finds no room earns: texts that are long would else get a smaller share.
        flow.credit += quantum;
        while let Some((tokens, text)) =
            flow.texts.pop_front_if(|(tokens, _)| *tokens <= flow.credit)
        {
            if tokens > *room && !batch.is_empty() {
                flow.texts.push_front((tokens, text));
                return false;
            }
            flow.credit -= tokens;
            self.tokens -= tokens;
            *room = room.saturating_sub(tokens);
            batch.push((number, text));
        }
        if flow.texts.is_empty() {
            // Credit is for what waits: a flow that comes back begins anew.
            self.flows.remove(&number);
        }
        true
    }
}

impl<T> Flow<T> {
    fn new() -> Self {
        Self { credit: 0, texts: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests;
