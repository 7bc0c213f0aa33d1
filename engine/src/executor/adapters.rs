//! What tasks add to the rows of tokens.

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    plan::Adapters,
    weights::{Matrix, Weights},
};

/// The small matrices of the tables, for all tasks.
pub(super) struct TaskRows {
    /// A row for each token of each task.
    first: Matrix,
    /// What makes a token's row of that, scaled: for each task as many rows as the first has columns.
    second: Vec<f32>,
    /// What a task adds for the token type, which all tokens share.
    types: Vec<f32>,
    vocabulary: usize,
    rank: usize,
    width: usize,
}

impl TaskRows {
    /// Reads the small matrices, if the plan has tasks.
    pub(super) fn load(
        plan: &Plan,
        architecture: &Architecture,
        weights: &Weights,
    ) -> Result<Option<Self>, Error> {
        let Some(Adapters { tasks, rank, scale }) = &plan.adapters else { return Ok(None) };
        let (count, width) = (tasks.len(), plan.hidden);
        let second = |slot| {
            let stem = architecture.stem(slot, plan);
            let mut values = weights.adapter(&stem, 'B', [count, *rank, width])?.values(width);
            values.iter_mut().for_each(|x| *x *= scale);
            Ok::<_, Error>(values)
        };
        let first =
            |slot, rows| weights.adapter(&architecture.stem(slot, plan), 'A', [count, rows, *rank]);
        let mut types = vec![0.0; count * width];
        if plan.token_types > 0 {
            let (first, second) = (first(Slot::TypeTable, 1)?, second(Slot::TypeTable)?);
            let small = first.values(*rank);
            for (task, row) in types.chunks_exact_mut(width).enumerate() {
                add(&small[task * rank..][..*rank], &second[task * rank * width..], row);
            }
        }
        Ok(Some(Self {
            first: first(Slot::TokenTable, plan.vocabulary)?,
            second: second(Slot::TokenTable)?,
            types,
            vocabulary: plan.vocabulary,
            rank: *rank,
            width,
        }))
    }

    /// Adds to the row of a token what a task changes.
    pub(super) fn add(&self, task: usize, id: u32, row: &mut [f32]) {
        let mut small = vec![0.0; self.rank];
        self.first.view().read(task * self.vocabulary + id as usize, &mut small);
        add(&small, &self.second[task * self.rank * self.width..], row);
        let types = &self.types[task * self.width..];
        row.iter_mut().zip(types).for_each(|(x, y)| *x += y);
    }
}

/// Adds rows of a matrix, each as often as one number says.
fn add(numbers: &[f32], rows: &[f32], to: &mut [f32]) {
    for (number, row) in numbers.iter().zip(rows.chunks_exact(to.len())) {
        to.iter_mut().zip(row).for_each(|(x, y)| *x += number * y);
    }
}
