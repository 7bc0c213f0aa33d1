//! A linear layer behind the encoder, in one of the two arithmetics.

use candle_core::{Device, Tensor};
use modelfiles::recipe::Precision;

use crate::{
    Error,
    executor::stock,
    kernels::{Epilogue, Format, Inputs, Isa, Packed, Product, Rows, Source},
    plan::Activation,
    processor::Arithmetic,
    threads::Team,
    weights::{View, Weights},
};

/// y = act(x·Wᵀ + b).
pub(super) enum Linear {
    Stock(stock::Linear),
    Packed(Isa, Packed),
}

impl Linear {
    /// Loads a layer that stays in f32, because it sees few rows.
    pub(super) fn load(
        weights: &Weights,
        stem: &str,
        (inputs, outputs): (usize, usize),
        bias: bool,
        arithmetic: Arithmetic,
    ) -> Result<Self, Error> {
        let bias = match bias {
            true => weights.bias(stem, outputs)?.to_vec1()?,
            false => vec![0.0; outputs],
        };
        let matrix = weights.matrix(stem, outputs, inputs)?;
        Self::new(matrix.view(), inputs, bias, (arithmetic, Precision::F32), 1)
    }

    /// Takes a layer at a precision, packed on so many threads.
    pub(super) fn new(
        rows: View<'_>,
        inputs: usize,
        bias: Vec<f32>,
        (arithmetic, precision): (Arithmetic, Precision),
        threads: usize,
    ) -> Result<Self, Error> {
        let outputs = bias.len();
        match arithmetic {
            Arithmetic::Stock => {
                let mut values = vec![0.0; outputs * inputs];
                let to = values.chunks_exact_mut(inputs).enumerate();
                to.for_each(|(row, to)| rows.read(row, to));
                let weight = Tensor::from_vec(values, (outputs, inputs), &Device::Cpu)?;
                let bias = Some(Tensor::from_vec(bias, outputs, &Device::Cpu)?);
                Ok(Self::Stock(stock::Linear { weight, bias, tasks: Vec::new() }))
            }
            Arithmetic::Kernels(isa) => {
                let read = |output: usize, to: &mut [f32]| rows.read(output, to);
                let source = Source { inputs, bias, read: &read };
                let format: Format = isa.format(precision);
                Ok(Self::Packed(isa, Packed::new(&source, format, isa.tile().1, threads)))
            }
        }
    }

    /// Returns the values of a result.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Stock(linear) => linear.weight.dims()[0],
            Self::Packed(_, weights) => weights.outputs(),
        }
    }

    /// Returns results, row after row.
    pub(super) fn forward(
        &self,
        x: &[f32],
        activation: Activation,
        team: Team<'_>,
    ) -> Result<Vec<f32>, Error> {
        if x.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Stock(linear) => {
                let inputs = linear.weight.dims()[1];
                let x = Tensor::from_slice(x, (x.len() / inputs, inputs), &Device::Cpu)?;
                let y = stock::activate(&linear.forward(&x)?, activation)?;
                Ok(y.flatten_all()?.to_vec1()?)
            }
            Self::Packed(isa, weights) => {
                let (width, outputs) = (weights.inputs(), weights.outputs());
                let rows = x.len() / width;
                let from = Rows { values: x, stride: width, width };
                let mut inputs = Inputs::default();
                isa.fill(weights.format(), &from, rows, &mut inputs);
                let epilogue = Epilogue::Write(activation);
                let mut y = vec![0.0; rows * outputs];
                let product = Product { weights, inputs: &inputs, rows, epilogue };
                isa.product(team, product, &mut y, outputs);
                Ok(y)
            }
        }
    }
}
