//! The few heavy operations of an encoder, each in two forms: stock candle, which is the specification, and our
//! kernels as candle operations of their own.

mod custom;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops;

use crate::{
    kernels::{self, Isa, Packed},
    plan::Activation,
};

/// Which arithmetic a model computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Stock candle operations: slow, and the measure of all others.
    Stock,
    /// Kernels compiled for an instruction set.
    Kernels(Isa),
}

impl Arithmetic {
    /// Returns every arithmetic of this processor, the fastest first.
    pub fn all() -> Vec<Self> {
        let kernels = Isa::all().into_iter().map(Self::Kernels);
        kernels.chain([Self::Stock]).collect()
    }
}

impl Default for Arithmetic {
    fn default() -> Self {
        Self::Kernels(Isa::best())
    }
}

/// How one forward pass runs.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    /// Whether its operations are shared out over threads; passes beside one another are not.
    pub(crate) shared: bool,
}

/// y = x·Wᵀ + b.
pub(crate) enum Linear {
    Stock { weight: Tensor, bias: Option<Tensor> },
    Packed(Isa, Packed),
}

/// A layer norm.
pub(crate) enum Norm {
    Stock { weight: Tensor, bias: Tensor, epsilon: f32 },
    Kernel(Isa, kernels::Norm),
}

impl Linear {
    /// Takes `[outputs, inputs]` weights; kernels want them packed.
    pub(crate) fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let Arithmetic::Kernels(isa) = arithmetic else { return Ok(Self::Stock { weight, bias }) };
        let (outputs, inputs) = weight.dims2()?;
        let bias = bias.map_or_else(|| Ok(vec![0.0; outputs]), |bias| bias.to_vec1())?;
        let weights = weight.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self::Packed(isa, Packed::new(&weights, &bias, inputs, isa.panel_width())))
    }

    /// Returns act(x·Wᵀ + b).
    pub(crate) fn forward(&self, x: &Tensor, activation: Activation, pass: Pass) -> Result<Tensor> {
        match self {
            Self::Stock { .. } => activate(&self.stock(x)?, activation),
            Self::Packed(isa, packed) => {
                let op = custom::Linear { isa: *isa, packed, activation, pass };
                x.apply_op1_no_bwd(&op)
            }
        }
    }

    /// Returns norm(x·Wᵀ + b + residual).
    pub(crate) fn add_norm(
        &self,
        x: &Tensor,
        residual: &Tensor,
        norm: &Norm,
        pass: Pass,
    ) -> Result<Tensor> {
        match (self, norm) {
            (Self::Packed(isa, packed), Norm::Kernel(_, norm)) => {
                let op = custom::AddNorm { isa: *isa, packed, norm, pass };
                x.apply_op2_no_bwd(residual, &op)
            }
            _ => norm.forward(&(self.forward(x, Activation::Identity, pass)? + residual)?),
        }
    }

    fn stock(&self, x: &Tensor) -> Result<Tensor> {
        let Self::Stock { weight, bias } = self else { unreachable!("asked of stock layers only") };
        let y = x.matmul(&weight.t()?)?;
        match bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

impl Norm {
    /// Takes a weight and a bias of one row.
    pub(crate) fn new(
        weight: Tensor,
        bias: Tensor,
        epsilon: f32,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let Arithmetic::Kernels(isa) = arithmetic else {
            return Ok(Self::Stock { weight, bias, epsilon });
        };
        let (weight, bias) = (weight.to_vec1()?, bias.to_vec1()?);
        Ok(Self::Kernel(isa, kernels::Norm { weight, bias, epsilon }))
    }

    /// Normalises every row.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stock { weight, bias, epsilon } => ops::layer_norm(x, weight, bias, *epsilon),
            Self::Kernel(isa, norm) => x.apply_op1_no_bwd(&custom::Norm { isa: *isa, norm }),
        }
    }
}

/// Returns the attention of every text of a pack to itself: `[tokens, 3·hidden]` → `[tokens, hidden]`.
pub(crate) fn attend(
    projected: &Tensor,
    starts: &[usize],
    heads: usize,
    arithmetic: Arithmetic,
    pass: Pass,
) -> Result<Tensor> {
    if let Arithmetic::Kernels(isa) = arithmetic {
        return projected.apply_op1_no_bwd(&custom::Attention { isa, starts, heads, pass });
    }
    let texts = starts
        .windows(2)
        .map(|ends| stock_attention(&projected.narrow(0, ends[0], ends[1] - ends[0])?, heads));
    Tensor::cat(&texts.collect::<Result<Vec<_>>>()?, 0)
}

/// Score elements that one step of stock attention may hold; longer texts take their queries in blocks.
const SCORE_BUDGET: usize = 1 << 24;

/// Attention of one text, the queries in blocks, so that the scores stay within their budget.
fn stock_attention(projected: &Tensor, heads: usize) -> Result<Tensor> {
    let (length, width) = projected.dims2()?;
    let (hidden, size) = (width / 3, width / 3 / heads);
    let part = |i: usize| {
        let part = projected.narrow(1, i * hidden, hidden)?;
        part.reshape((length, heads, size))?.transpose(0, 1)?.contiguous()
    };
    let query = (part(0)? * (1.0 / (size as f64).sqrt()))?;
    let (key, value) = (part(1)?.t()?.contiguous()?, part(2)?);
    let block = (SCORE_BUDGET / (heads * length)).clamp(1, length);
    let blocks = (0..length).step_by(block).map(|start| {
        let rows = query.narrow(1, start, block.min(length - start))?.contiguous()?;
        ops::softmax(&rows.matmul(&key)?, D::Minus1)?.matmul(&value)
    });
    let context = Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 1)?;
    context.transpose(0, 1)?.contiguous()?.reshape((length, hidden))
}

/// Applies an activation to every element, in stock operations.
fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => ops::sigmoid(x),
        Activation::Identity => Ok(x.clone()),
    }
}

/// Returns rows of a table.
pub(crate) fn rows(table: &Tensor, ids: Vec<u32>) -> Result<Tensor> {
    table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)
}
