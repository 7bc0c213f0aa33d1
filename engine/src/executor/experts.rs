//! Through which experts a token passes, and how the layers of all of them are read.

use crate::{
    Error, Plan,
    architectures::{Architecture, Slot},
    weights::{Matrix, Weights},
};

/// The weights of the experts of a layer.
pub(super) struct Files {
    pub(super) router: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
    pub(super) bias: Vec<f32>,
}

impl Files {
    /// Opens the tensors of a layer with so many experts.
    pub(super) fn open(
        plan: &Plan,
        architecture: &Architecture,
        weights: &Weights,
        (layer, count): (usize, usize),
    ) -> Result<Self, Error> {
        let stem = |slot| architecture.stem(slot, plan);
        let matrix = |slot, rows| weights.matrix(&stem(slot), rows, plan.hidden);
        Ok(Self {
            router: matrix(Slot::Router(layer), count)?,
            up: matrix(Slot::ExpertsUp(layer), count * plan.inner)?,
            down: matrix(Slot::ExpertsDown(layer), count * plan.inner)?,
            bias: weights.bias(&stem(Slot::ExpertsBias(layer)), plan.hidden)?.to_vec1()?,
        })
    }
}

/// Turns what the router says of experts into the shares of a token: a softmax over all, of which the largest stay.
pub(super) fn share(row: &mut [f32], used: usize) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    order.iter().skip(used).for_each(|expert| row[*expert] = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_experts_keep_their_shares() {
        let mut row = [1.0, 3.0, 2.0, 0.0];
        share(&mut row, 2);
        let sum = [1f32, 3.0, 2.0, 0.0].iter().map(|x| x.exp()).sum::<f32>();
        let want = [0.0, 3f32.exp() / sum, 2f32.exp() / sum, 0.0];
        assert!(row.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?}");
    }
}
