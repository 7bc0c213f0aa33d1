//! Where models compute.

use std::sync::Arc;

use modelfiles::recipe::Precision;

use crate::{Plan, kernels::Isa, threads::Threads};

/// Which arithmetic a model computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Stock candle operations in f32: slow, and the measure of all others.
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

/// An arithmetic, and the threads that all models share.
#[derive(Clone)]
pub struct Processor {
    /// Which arithmetic models compute with.
    pub arithmetic: Arithmetic,
    /// Who computes.
    pub threads: Arc<Threads>,
}

impl Default for Processor {
    /// The best instruction set, and every core that this process may use.
    fn default() -> Self {
        Self { arithmetic: Arithmetic::Kernels(Isa::best()), threads: Arc::default() }
    }
}

impl Processor {
    /// Returns the precision that a model computes with, when its recipe asks for this one.
    pub fn precision(&self, wanted: Option<Precision>) -> Precision {
        match self.arithmetic {
            Arithmetic::Stock => Precision::F32,
            Arithmetic::Kernels(isa) => isa.precision(wanted),
        }
    }

    /// Returns the bytes that the weights of a plan take at a precision.
    pub(crate) fn weight_bytes(&self, plan: &Plan, precision: Precision) -> u64 {
        let Arithmetic::Kernels(isa) = self.arithmetic else { return plan.weight_bytes(4) };
        let bytes = |precision| isa.format(precision).weight_bytes();
        let all = plan.weight_bytes(bytes(precision));
        match precision {
            Precision::Int8 => {
                let wider = bytes(Precision::Bf16) - bytes(Precision::Int8);
                all + wider as u64 * plan.late_projection_weights()
            }
            _ => all,
        }
    }
}
