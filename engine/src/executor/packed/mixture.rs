//! The experts of a layer: the rows that pass through one are one product.

use super::{Pass, Scratch};
use crate::{
    executor::experts::share,
    kernels::{Buffer, Epilogue, Inputs, Isa, Norm, Packed, Product, Rows, stride},
    plan::Activation,
    threads::Team,
};

/// The experts of a layer.
pub(super) struct Mixture {
    /// What says how likely each is; in f32, because a token may be between two.
    pub(super) router: Packed,
    /// The layers into and out of each.
    pub(super) experts: Vec<[Packed; 2]>,
    pub(super) bias: Vec<f32>,
    /// How many a token passes through.
    pub(super) used: usize,
}

impl Mixture {
    /// Adds to hidden states what their experts give. A row meets its experts in their order, whatever stands beside
    /// it.
    pub(super) fn add(
        &self,
        (isa, team): (Isa, Team<'_>),
        activation: Activation,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let hidden = self.bias.len();
        let (rows, count) = (y.len() / hidden, self.experts.len());
        let Scratch { inputs, normal, inner, wide } = scratch;
        let all = Rows { values: y, stride: hidden, width: hidden };
        isa.fill(self.router.format(), &all, rows, inputs);
        let mut shares = vec![0.0; rows * count];
        let epilogue = Epilogue::Write(Activation::Identity);
        let product = Product { weights: &self.router, inputs, rows, epilogue };
        isa.product(team, product, &mut shares, count);
        shares.chunks_exact_mut(count).for_each(|row| share(row, self.used));
        normal.grow(rows * hidden);
        let sums = &mut normal[..rows * hidden];
        sums.chunks_exact_mut(hidden).for_each(|row| row.copy_from_slice(&self.bias));
        for (expert, layers) in self.experts.iter().enumerate() {
            let share = |row: usize| shares[row * count + expert];
            let own: Vec<usize> = (0..rows).filter(|row| share(*row) != 0.0).collect();
            if own.is_empty() {
                continue;
            }
            wide.grow(own.len() * hidden);
            let gathered = &mut wide[..own.len() * hidden];
            for (to, row) in gathered.chunks_exact_mut(hidden).zip(&own) {
                to.copy_from_slice(&y[row * hidden..][..hidden]);
            }
            pass((isa, team), layers, activation, gathered, (inputs, inner));
            for (found, row) in gathered.chunks_exact(hidden).zip(&own) {
                let sum = &mut sums[row * hidden..][..hidden];
                sum.iter_mut().zip(found).for_each(|(x, y)| *x += share(*row) * y);
            }
        }
        y.iter_mut().zip(sums).for_each(|(y, x)| *y += *x);
    }
}

/// Puts in the place of rows what an expert gives of them.
fn pass(
    (isa, team): (Isa, Team<'_>),
    [up, down]: &[Packed; 2],
    activation: Activation,
    values: &mut [f32],
    (inputs, inner): (&mut Inputs, &mut Buffer),
) {
    let (width, rows, apart) = (up.inputs(), values.len() / up.inputs(), stride(up.outputs()));
    isa.fill(up.format(), &Rows { values, stride: width, width }, rows, inputs);
    inner.grow(rows * apart);
    let epilogue = Epilogue::Write(activation);
    isa.product(team, Product { weights: up, inputs, rows, epilogue }, inner, apart);
    let from = Rows { values: inner, stride: apart, width: up.outputs() };
    isa.fill(down.format(), &from, rows, inputs);
    let epilogue = Epilogue::Write(Activation::Identity);
    isa.product(team, Product { weights: down, inputs, rows, epilogue }, values, width);
}

impl Pass<'_> {
    /// Adds to the hidden states what experts give. An expert sees some of the rows of a block only, so blocks are
    /// longer.
    pub(super) fn mix(&self, mixture: &Mixture, norm: &Norm, hidden: &mut [f32]) {
        let (plan, isa) = (&self.encoder.plan, self.encoder.isa);
        let most = self.encoder.block_rows() * mixture.experts.len() / mixture.used.max(1);
        self.blocks_of(most, hidden, plan.hidden, |_, y, team, scratch| {
            mixture.add((isa, team), plan.activation, y, scratch);
            isa.norm(norm, y, plan.hidden);
        });
    }
}
