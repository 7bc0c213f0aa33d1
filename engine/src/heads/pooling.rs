//! How the rows of a text's tokens become one.

use modelfiles::recipe::Pooling;

/// Pools the rows of one text; the first `skipped` belong to a prompt that takes no part.
pub(super) fn pool(mode: Pooling, rows: &[f32], width: usize, skipped: usize) -> Vec<f32> {
    let used = &rows[(skipped * width).min(rows.len())..];
    let count = used.len() / width;
    if count == 0 {
        // A part of a text may have no token of its own.
        return vec![0.0; width];
    }
    match mode {
        Pooling::Cls => used[..width].to_vec(),
        Pooling::Last => rows[rows.len() - width..].to_vec(),
        Pooling::Max => used.chunks_exact(width).fold(used[..width].to_vec(), |mut best, row| {
            best.iter_mut().zip(row).for_each(|(b, x)| *b = if *b > *x { *b } else { *x });
            // What is no number wins: the comparison above is false for it.
            best.iter_mut().zip(row).for_each(|(b, x)| *b += 0.0 * x);
            best
        }),
        Pooling::Mean => weighted(used, width, |_| 1.0, count as f32),
        Pooling::SqrtMean => weighted(used, width, |_| 1.0, (count as f32).sqrt()),
        Pooling::WeightedMean => {
            let weight = |i: usize| (skipped + i + 1) as f32;
            weighted(used, width, weight, (0..count).map(weight).sum())
        }
        Pooling::Splade => unreachable!("a model that predicts tokens has no one vector"),
    }
}

/// Returns Σ weight(i)·row(i) / divisor.
fn weighted(rows: &[f32], width: usize, weight: impl Fn(usize) -> f32, divisor: f32) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for (i, row) in rows.chunks_exact(width).enumerate() {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += weight(i) * x);
    }
    sum.iter_mut().for_each(|s| *s /= divisor);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_modes() {
        let rows = [1.0, -2.0, 3.0, 4.0, 5.0, 0.0];
        let check = |mode, skipped, wanted: [f32; 2]| {
            let got = pool(mode, &rows, 2, skipped);
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{mode} {got:?}");
        };
        check(Pooling::Cls, 0, [1.0, -2.0]);
        check(Pooling::Last, 0, [5.0, 0.0]);
        check(Pooling::Max, 0, [5.0, 4.0]);
        check(Pooling::Mean, 0, [3.0, 2.0 / 3.0]);
        check(Pooling::Mean, 1, [4.0, 2.0]);
        check(Pooling::SqrtMean, 0, [9.0 / 3f32.sqrt(), 2.0 / 3f32.sqrt()]);
        check(Pooling::WeightedMean, 0, [22.0 / 6.0, 1.0]);
    }
}
