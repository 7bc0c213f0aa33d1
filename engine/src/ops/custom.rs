//! How candle calls our kernels: operations over contiguous f32 on the CPU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::Pass;
use crate::{
    kernels::{self, Epilogue, Gemm, Heads, Isa, Packed, Part},
    plan::Activation,
};

/// Fewer rows than this per thread, and a product is shared out by its columns instead.
const ROWS_PER_THREAD: usize = 48;

/// act(x·Wᵀ + b).
pub(super) struct Linear<'a> {
    pub(super) isa: Isa,
    pub(super) packed: &'a Packed,
    pub(super) activation: Activation,
    pub(super) pass: Pass,
}

impl CustomOp1 for Linear<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, rows) = matrix(storage, layout, self.packed.inputs())?;
        let epilogue = Epilogue::Activate(self.activation);
        let y = product(self.isa, Gemm { weights: self.packed, x, epilogue }, rows, self.pass);
        Ok((CpuStorage::F32(y), (rows, self.packed.outputs()).into()))
    }
}

/// norm(x·Wᵀ + b + residual).
pub(super) struct AddNorm<'a> {
    pub(super) isa: Isa,
    pub(super) packed: &'a Packed,
    pub(super) norm: &'a kernels::Norm,
    pub(super) pass: Pass,
}

impl CustomOp2 for AddNorm<'_> {
    fn name(&self) -> &'static str {
        "add_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, rows) = matrix(x, x_layout, self.packed.inputs())?;
        let (residual, _) = matrix(residual, residual_layout, self.packed.outputs())?;
        let gemm = Gemm { weights: self.packed, x, epilogue: Epilogue::Add(residual) };
        let mut y = product(self.isa, gemm, rows, self.pass);
        self.isa.norm(self.norm, &mut y);
        Ok((CpuStorage::F32(y), (rows, self.packed.outputs()).into()))
    }
}

/// A layer norm alone.
pub(super) struct Norm<'a> {
    pub(super) isa: Isa,
    pub(super) norm: &'a kernels::Norm,
}

impl CustomOp1 for Norm<'_> {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, _) = matrix(storage, layout, self.norm.weight.len())?;
        let mut y = x.to_vec();
        self.isa.norm(self.norm, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

/// Attention of every text of a pack to itself.
pub(super) struct Attention<'a> {
    pub(super) isa: Isa,
    pub(super) starts: &'a [usize],
    pub(super) heads: usize,
    pub(super) pass: Pass,
}

impl CustomOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let (projected, _) = matrix(storage, layout, width)?;
        let (hidden, size) = (width / 3, width / 3 / self.heads);
        let mut y = vec![0.0; tokens * hidden];
        for ends in self.starts.windows(2) {
            let projected = &projected[ends[0] * width..ends[1] * width];
            let text = Heads { projected, heads: self.heads, size };
            let y = &mut y[ends[0] * hidden..ends[1] * hidden];
            let mut place = |head: usize, context: &[f32]| {
                for (y, context) in y.chunks_exact_mut(hidden).zip(context.chunks_exact(size)) {
                    y[head * size..][..size].copy_from_slice(context);
                }
            };
            let attend = |head| (head, self.isa.attend(&text, head));
            if self.pass.shared {
                let contexts: Vec<_> = (0..self.heads).into_par_iter().map(attend).collect();
                contexts.iter().for_each(|(head, context)| place(*head, context));
            } else {
                (0..self.heads).map(attend).for_each(|(head, context)| place(head, &context));
            }
        }
        Ok((CpuStorage::F32(y), (tokens, hidden).into()))
    }
}

/// Returns the values of a contiguous matrix of this width, and its rows.
fn matrix<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
    width: usize,
) -> Result<(&'a [f32], usize)> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a matrix must be contiguous")
    };
    let (rows, columns) = layout.shape().dims2()?;
    if columns != width {
        bail!("a matrix has {columns} columns, wanted {width}");
    }
    Ok((&storage.as_slice::<f32>()?[start..end], rows))
}

/// Computes a product, shared out over threads where the pass is: by rows if there are enough, else by columns. No
/// result depends on how.
fn product(isa: Isa, gemm: Gemm<'_>, rows: usize, pass: Pass) -> Vec<f32> {
    let (outputs, panels) = (gemm.weights.outputs(), gemm.weights.panels());
    let mut y = vec![0.0; rows * outputs];
    let threads = if pass.shared { rayon::current_num_threads() } else { 1 };
    if threads == 1 {
        isa.gemm(&gemm, &Part { rows: 0..rows, panels: 0..panels }, &mut y);
    } else if rows >= ROWS_PER_THREAD * threads {
        let share = rows.div_ceil(threads);
        y.par_chunks_mut(share * outputs).enumerate().for_each(|(i, y)| {
            let rows = i * share..(i * share + y.len() / outputs);
            isa.gemm(&gemm, &Part { rows, panels: 0..panels }, y);
        });
    } else {
        let share = panels.div_ceil(threads);
        let parts = (0..panels).into_par_iter().step_by(share).map(|start| {
            let part = Part { rows: 0..rows, panels: start..(start + share).min(panels) };
            let columns = gemm.weights.columns(&part.panels);
            let mut y = vec![0.0; rows * columns.len()];
            isa.gemm(&gemm, &part, &mut y);
            (columns, y)
        });
        for (columns, part) in parts.collect::<Vec<_>>() {
            for (y, part) in y.chunks_exact_mut(outputs).zip(part.chunks_exact(columns.len())) {
                y[columns.clone()].copy_from_slice(part);
            }
        }
    }
    y
}
