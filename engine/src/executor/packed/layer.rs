//! A linear layer, and how rows become its inputs.
//!
//! Tasks add low products to a layer. Its weights have the second small matrices of all tasks behind their own columns;
//! the first ones make further inputs of a row, which are 0 but for those of its task. So one product serves rows of
//! any tasks.

use crate::{
    kernels::{Buffer, Epilogue, Inputs, Isa, Packed, Product, Rows},
    plan::Activation,
    threads::Team,
};

/// A linear layer.
pub(super) struct Layer {
    pub(super) weights: Packed,
    /// What makes further inputs, for one task after another.
    pub(super) tasks: Option<Packed>,
}

/// Which rows have tasks, if any can have.
pub(super) struct RowTasks {
    pub(super) of_rows: Vec<Option<usize>>,
    pub(super) rank: usize,
}

impl Layer {
    /// Makes rows the inputs of the layer; `tasks` are theirs.
    pub(super) fn fill(
        &self,
        isa: Isa,
        rows: &Rows<'_>,
        count: usize,
        (tasks, rank): (&[Option<usize>], usize),
        (inputs, room): (&mut Inputs, &mut Buffer),
    ) {
        let Some(first) = &self.tasks else {
            return isa.fill(self.weights.format(), rows, count, inputs);
        };
        let width = rows.width + first.outputs();
        room.grow(count * width);
        let wide = &mut room[..count * width];
        if tasks[..count].iter().any(Option::is_some) {
            isa.fill(first.format(), rows, count, inputs);
            let epilogue = Epilogue::Write(Activation::Identity);
            let product = Product { weights: first, inputs, rows: count, epilogue };
            isa.product(Team::Alone, product, &mut wide[rows.width..], width);
        }
        for ((i, wide), task) in wide.chunks_exact_mut(width).enumerate().zip(tasks) {
            let (own, further) = wide.split_at_mut(rows.width);
            own.copy_from_slice(rows.row(i));
            let (start, end) = task.map_or((0, 0), |task| (task * rank, (task + 1) * rank));
            further[..start].fill(0.0);
            further[end..].fill(0.0);
        }
        let wide = Rows { values: wide, stride: width, width };
        isa.fill(self.weights.format(), &wide, count, inputs);
    }
}
