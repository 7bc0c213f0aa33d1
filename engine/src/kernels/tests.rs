//! Does every instance of every kernel give what the plain formula gives, for odd sizes and tails too?

use super::*;
use crate::plan::Activation;

/// Numbers between −1 and 1 from a counter.
fn numbers(count: usize, mut seed: u32) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*a) - b).abs() <= tolerance, "{what}, {i}: {a} {b}");
    }
}

/// x·Wᵀ + b in f64.
fn product(x: &[f32], weights: &[f32], bias: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let row = |x| weights.chunks(inputs).zip(bias).map(move |(w, b)| dot(x, w) + f64::from(*b));
    x.chunks(inputs).flat_map(row).collect()
}

#[test]
fn products_of_odd_sizes() {
    for isa in Isa::all() {
        for (inputs, outputs) in [(1, 1), (7, 5), (32, 96), (48, 33), (130, 70)] {
            let (weights, bias) = (numbers(inputs * outputs, 1), numbers(outputs, 2));
            let packed = Packed::new(&weights, &bias, inputs, isa.panel_width());
            for rows in [1, 2, 5, 11, 12, 13, 23, 24, 40] {
                let x = numbers(rows * inputs, 3);
                let other = numbers(rows * outputs, 4);
                let gemm = Gemm { weights: &packed, x: &x, epilogue: Epilogue::Add(&other) };
                let mut y = vec![f32::NAN; rows * outputs];
                let part = Part { rows: 0..rows, panels: 0..packed.panels() };
                isa.gemm(&gemm, &part, &mut y);
                let want = product(&x, &weights, &bias, inputs);
                let want: Vec<f64> =
                    want.iter().zip(&other).map(|(a, b)| a + f64::from(*b)).collect();
                close(&y, &want, 1e-5, &format!("{isa:?} {rows}x{inputs}x{outputs}"));
            }
        }
    }
}

/// Any part gives the very bits of the whole: that is what makes a text's vector its own.
#[test]
fn parts_are_bits_of_the_whole() {
    let (rows, inputs, outputs) = (29, 50, 131);
    let (weights, bias, x) =
        (numbers(inputs * outputs, 1), numbers(outputs, 2), numbers(rows * inputs, 3));
    for isa in Isa::all() {
        let packed = Packed::new(&weights, &bias, inputs, isa.panel_width());
        let gemm = Gemm { weights: &packed, x: &x, epilogue: Epilogue::Activate(Activation::Gelu) };
        let mut whole = vec![0.0; rows * outputs];
        isa.gemm(&gemm, &Part { rows: 0..rows, panels: 0..packed.panels() }, &mut whole);
        for part in [
            Part { rows: 3..4, panels: 0..packed.panels() },
            Part { rows: 5..29, panels: 1..2 },
            Part { rows: 0..13, panels: packed.panels() - 1..packed.panels() },
        ] {
            let columns = packed.columns(&part.panels);
            let mut y = vec![0.0; part.rows.len() * columns.len()];
            isa.gemm(&gemm, &part, &mut y);
            for (row, y) in part.rows.clone().zip(y.chunks(columns.len())) {
                assert_eq!(
                    y,
                    &whole[row * outputs..][columns.clone()],
                    "{isa:?} {part:?} row {row}"
                );
            }
        }
    }
}

#[test]
fn norms_of_odd_widths() {
    for isa in Isa::all() {
        for width in [1, 15, 16, 17, 32, 100, 384] {
            let norm = Norm { weight: numbers(width, 1), bias: numbers(width, 2), epsilon: 1e-12 };
            let x = numbers(3 * width, 3);
            let mut y = x.clone();
            isa.norm(&norm, &mut y);
            let want: Vec<f64> = x.chunks(width).flat_map(|row| plain_norm(&norm, row)).collect();
            close(
                &y,
                &want,
                if width == 1 { f64::INFINITY } else { 1e-5 },
                &format!("{isa:?} {width}"),
            );
        }
    }
}

fn plain_norm(norm: &Norm, row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
    let scale = (variance + f64::from(norm.epsilon)).sqrt().recip();
    let pairs = norm.weight.iter().zip(&norm.bias).map(|(w, b)| (f64::from(*w), f64::from(*b)));
    row.iter().zip(pairs).map(|(x, (w, b))| (x - mean) * scale * w + b).collect()
}

#[test]
fn attention_of_odd_lengths() {
    for isa in Isa::all() {
        for (length, heads, size) in [(1, 1, 8), (2, 3, 8), (13, 2, 32), (33, 2, 20), (70, 1, 64)] {
            let projected = numbers(length * 3 * heads * size, 7);
            let shape = Heads { projected: &projected, heads, size };
            for head in 0..heads {
                let want = plain_attention(&shape, head);
                close(&isa.attend(&shape, head), &want, 1e-5, &format!("{isa:?} {length} {size}"));
            }
        }
    }
}

fn plain_attention(shape: &Heads<'_>, head: usize) -> Vec<f64> {
    let (size, stride) = (shape.size, 3 * shape.heads * shape.size);
    let row = |part: usize, token: usize| -> Vec<f64> {
        let start = token * stride + (part * shape.heads + head) * size;
        shape.projected[start..start + size].iter().map(|x| f64::from(*x)).collect()
    };
    let mut context = Vec::new();
    for query in 0..shape.length() {
        let score = |key: usize| -> f64 {
            row(0, query).iter().zip(row(1, key)).map(|(a, b)| a * b).sum::<f64>()
                / (size as f64).sqrt()
        };
        let weights: Vec<f64> = (0..shape.length()).map(|key| score(key).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..size {
            let values = weights.iter().enumerate().map(|(key, w)| w * row(2, key)[i]);
            context.push(values.sum::<f64>() / sum);
        }
    }
    context
}
