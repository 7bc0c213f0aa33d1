//! Does every instance of every kernel give what the plain formula gives, for odd sizes and tails too?

use super::*;
use crate::{plan::Activation, threads::Threads};

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

/// Every format that an instruction set multiplies.
fn formats(isa: Isa) -> Vec<Format> {
    let mut formats = vec![Format::F32, Format::Wide, isa.bf16, isa.int8];
    formats.dedup();
    formats
}

struct Layer {
    weights: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Layer {
    fn new(inputs: usize, outputs: usize) -> Self {
        Self { weights: numbers(inputs * outputs, 1), bias: numbers(outputs, 2), inputs }
    }

    fn pack(&self, isa: Isa, format: Format, threads: usize) -> Packed {
        let read = |output: usize, to: &mut [f32]| {
            to.copy_from_slice(&self.weights[output * self.inputs..][..self.inputs]);
        };
        let source = Source { inputs: self.inputs, bias: self.bias.clone(), read: &read };
        Packed::new(&source, format, isa.tile().1, threads)
    }
}

/// Computes a product over rows of `x`.
fn compute(
    isa: Isa,
    team: Team<'_>,
    weights: &Packed,
    x: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
) {
    let width = weights.inputs();
    let mut inputs = Inputs::default();
    let rows = x.len() / width;
    isa.fill(weights.format(), &Rows { values: x, stride: width, width }, rows, &mut inputs);
    let product = Product { weights, inputs: &inputs, rows, epilogue };
    isa.product(team, product, y, weights.outputs());
}

/// How far numbers of this format may be from exact ones: of a sum of products below 1, so many steps of rounding.
fn tolerance(format: Format, inputs: usize) -> f64 {
    let root = (inputs as f64).sqrt();
    match format {
        Format::F32 => 1e-5,
        Format::Wide => root / 256.0,
        Format::Pairs | Format::PairTiles => root / 128.0,
        Format::Words | Format::Bytes | Format::ByteTiles => root / 80.0 + 0.02,
    }
}

#[test]
fn products_of_odd_sizes() {
    for isa in Isa::all() {
        for (inputs, outputs) in [(1, 1), (7, 5), (32, 96), (48, 33), (130, 70)] {
            let layer = Layer::new(inputs, outputs);
            for format in formats(isa) {
                let packed = layer.pack(isa, format, 2);
                for rows in [1, 2, 5, 11, 12, 13, 23, 24, 40] {
                    let x = numbers(rows * inputs, 3);
                    let other = numbers(rows * outputs, 4);
                    let want = product(&x, &layer.weights, &layer.bias, inputs);
                    let what = format!("{isa:?} {format:?} {rows}x{inputs}x{outputs}");
                    let mut y = other.clone();
                    compute(isa, Team::Alone, &packed, &x, Epilogue::Add, &mut y);
                    let sums: Vec<f64> =
                        want.iter().zip(&other).map(|(a, b)| a + f64::from(*b)).collect();
                    close(&y, &sums, tolerance(format, inputs), &what);
                    let mut y = other.clone();
                    compute(isa, Team::Alone, &packed, &x, Epilogue::Multiply, &mut y);
                    let products: Vec<f64> =
                        want.iter().zip(&other).map(|(a, b)| a * f64::from(*b)).collect();
                    close(&y, &products, tolerance(format, inputs), &what);
                }
            }
        }
    }
}

/// Every format gives the very numbers that the portable form of it gives, but for the order of rounding in sums of
/// floats: integers are exact.
#[test]
fn dot_products_are_those_of_plain_arithmetic() {
    let portable = Isa::named("portable").unwrap();
    let (rows, inputs, outputs) = (29, 150, 97);
    let (layer, x) = (Layer::new(inputs, outputs), numbers(rows * inputs, 3));
    let mut want = vec![0.0; rows * outputs];
    for isa in Isa::all() {
        for (format, plain) in [(isa.bf16, portable.bf16), (isa.int8, portable.int8)] {
            let same = if format == Format::Wide { Format::Wide } else { plain };
            let write = Epilogue::Write(Activation::Identity);
            compute(portable, Team::Alone, &layer.pack(portable, same, 1), &x, write, &mut want);
            let mut y = vec![0.0; rows * outputs];
            compute(isa, Team::Alone, &layer.pack(isa, format, 1), &x, write, &mut y);
            let want: Vec<f64> = want.iter().map(|x| f64::from(*x)).collect();
            close(&y, &want, 1e-5, &format!("{isa:?} {format:?}"));
        }
    }
}

/// Rows alone and columns shared out give the very bits of the whole: that is what makes a text's vector its own.
#[test]
fn parts_are_bits_of_the_whole() {
    let (rows, inputs, outputs) = (29, 50, 131);
    let (layer, x) = (Layer::new(inputs, outputs), numbers(rows * inputs, 3));
    let threads = Threads::new(3);
    let turn = threads.turn();
    for isa in Isa::all() {
        for format in formats(isa) {
            let packed = layer.pack(isa, format, 1);
            let gelu = Epilogue::Write(Activation::Gelu);
            let mut whole = vec![0.0; rows * outputs];
            compute(isa, Team::Alone, &packed, &x, gelu, &mut whole);
            for part in [0..29, 3..4, 5..29, 0..13] {
                for team in [Team::Alone, Team::Together(&turn)] {
                    let mut y = vec![0.0; part.len() * outputs];
                    compute(
                        isa,
                        team,
                        &packed,
                        &x[part.start * inputs..part.end * inputs],
                        gelu,
                        &mut y,
                    );
                    let same = &whole[part.start * outputs..part.end * outputs];
                    assert_eq!(y, same, "{isa:?} {format:?} {part:?}");
                }
            }
        }
    }
}

/// A number that is none is not lost on the way through narrower formats.
#[test]
fn what_is_no_number_stays_none() {
    for isa in Isa::all() {
        for format in formats(isa) {
            for (place, broken) in [(0, f32::NAN), (40, f32::INFINITY), (41, f32::NEG_INFINITY)] {
                let (layer, mut x) = (Layer::new(42, 9), numbers(2 * 42, 3));
                x[place] = broken;
                let mut y = [0.0; 18];
                let write = Epilogue::Write(Activation::Identity);
                compute(isa, Team::Alone, &layer.pack(isa, format, 1), &x, write, &mut y);
                assert!(y[..9].iter().all(|y| !y.is_finite()), "{isa:?} {format:?} {y:?}");
                assert!(y[9..].iter().all(|y| y.is_finite()), "{isa:?} {format:?} {y:?}");
                let (mut layer, x) = (Layer::new(42, 9), numbers(42, 3));
                // With and without a number beside it in its row.
                if broken.is_nan() {
                    layer.weights[..42].fill(broken);
                }
                layer.weights[place] = broken;
                compute(isa, Team::Alone, &layer.pack(isa, format, 1), &x, write, &mut y[..9]);
                assert!(!y[0].is_finite(), "{isa:?} {format:?} {y:?}");
                assert!(y[1..].iter().all(|y| y.is_finite()), "{isa:?} {format:?} {y:?}");
            }
        }
    }
}

#[test]
fn norms_of_odd_widths() {
    for isa in Isa::all() {
        for width in [1, 15, 16, 17, 32, 100, 384] {
            for bias in [None, Some(numbers(width, 2))] {
                let norm = Norm { weight: numbers(width, 1), bias, epsilon: 1e-12 };
                let x = numbers(3 * width, 3);
                let mut y = x.clone();
                isa.norm(&norm, &mut y, width);
                let want: Vec<f64> =
                    x.chunks(width).flat_map(|row| plain_norm(&norm, row)).collect();
                // The variance of a single number is rounding alone.
                let tolerance = if width == 1 { f64::INFINITY } else { 1e-5 };
                close(&y, &want, tolerance, &format!("{isa:?} {width}"));
            }
        }
    }
}

fn plain_norm(norm: &Norm, row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let average =
        |f: &dyn Fn(f64) -> f64| row.iter().map(|x| f(*x)).sum::<f64>() / row.len() as f64;
    let mean = if norm.bias.is_some() { average(&|x| x) } else { 0.0 };
    let scale = (average(&|x| (x - mean).powi(2)) + f64::from(norm.epsilon)).sqrt().recip();
    let value = |(i, x): (usize, &f64)| {
        let bias = norm.bias.as_ref().map_or(0.0, |bias| f64::from(bias[i]));
        (x - mean) * scale * f64::from(norm.weight[i]) + bias
    };
    row.iter().enumerate().map(value).collect()
}

/// A text with everything that heads may have, in one buffer with another before it.
struct Text {
    values: Vec<f32>,
    starts: [usize; 3],
    shape: Shape,
    rotation: Option<Rotation>,
    norms: Option<ProjectionNorms>,
    distances: Option<Distances>,
    reach: Option<usize>,
    /// Rows for distances, as keys and as queries, and the row of each distance.
    relative: Option<([Vec<f32>; 2], Places)>,
}

impl Text {
    fn new(
        length: usize,
        (heads, kv_heads, size): (usize, usize, usize),
        turned: bool,
        (far, near): (bool, bool),
    ) -> Self {
        let shape =
            Shape { heads, kv_heads, size, causal: turned, scale: (size as f32).sqrt().recip() };
        let half = length.max(3) * size / 2;
        let norm = |seed| Norm { weight: numbers(size, seed), bias: None, epsilon: 1e-6 };
        Self {
            values: numbers((length + 3) * shape.width() + 32, 7),
            starts: [0, 3, length + 3],
            rotation: turned
                .then(|| Rotation { cosines: numbers(half, 8), sines: numbers(half, 9) }),
            norms: turned.then(|| ProjectionNorms { query: norm(10), key: norm(11) }),
            // For texts longer than this one, as a pack may hold.
            distances: far.then(|| {
                let longest = length.max(3) + 2;
                Distances { added: numbers(heads * (2 * longest - 1), 12), length: longest }
            }),
            reach: near.then_some(5),
            relative: None,
            shape,
        }
    }

    fn attend(&self, isa: Isa, team: Team<'_>) -> Vec<f32> {
        let panels = |rows: &Vec<f32>| Some(isa.panels(rows, self.shape.heads, self.shape.size));
        let relative = self.relative.as_ref().map(|([keys, queries], places)| {
            (Relative { keys: panels(keys), queries: panels(queries) }, places)
        });
        let projections = Projections {
            values: &self.values,
            starts: &self.starts,
            shape: &self.shape,
            rotation: self.rotation.as_ref(),
            norms: self.norms.as_ref(),
            distances: self.distances.as_ref(),
            relative: relative.as_ref().map(|(rows, places)| (rows, *places)),
            reach: self.reach,
        };
        let mut contexts = vec![f32::NAN; self.starts[2] * self.shape.heads * self.shape.size];
        isa.attend_all(team, &projections, &mut contexts);
        contexts
    }

    /// Returns a query (0), key (1) or value (2) of the second text, normalised and turned.
    fn row(&self, part: usize, head: usize, token: usize) -> Vec<f64> {
        let Shape { heads, kv_heads, size, .. } = self.shape;
        let head = [0, heads, heads + kv_heads][part] + head;
        let start = (self.starts[1] + token) * self.shape.width() + head * size;
        let row = &self.values[start..start + size];
        let norms = self.norms.as_ref().map(|norms| [&norms.query, &norms.key]);
        let row = match norms.filter(|_| part < 2) {
            Some(norms) => plain_norm(norms[part], row),
            None => row.iter().map(|x| f64::from(*x)).collect(),
        };
        let Some(rotation) = self.rotation.as_ref().filter(|_| part < 2) else { return row };
        let half = size / 2;
        let turn = |i: usize| {
            let place = token * half + i % half;
            let (cosine, sine) =
                (f64::from(rotation.cosines[place]), f64::from(rotation.sines[place]));
            let other = if i < half { -row[i + half] } else { row[i - half] };
            row[i] * cosine + other * sine
        };
        (0..size).map(turn).collect()
    }

    /// What a query and a key give with the rows for their distance.
    fn met(&self, head: usize, query: usize, key: usize) -> f64 {
        let Some((sides, places)) = &self.relative else { return 0.0 };
        let size = self.shape.size;
        let place = places.rows[places.length - 1 + key - query] * self.shape.heads + head;
        let product = |side: &[f32], own: Vec<f64>| -> f64 {
            side[place * size..].iter().zip(own).map(|(a, b)| f64::from(*a) * b).sum()
        };
        product(&sides[0], self.row(0, head, query)) + product(&sides[1], self.row(1, head, key))
    }

    /// The contexts of the second text in f64.
    fn plain(&self) -> Vec<f64> {
        let Shape { heads, kv_heads, size, causal, .. } = self.shape;
        let length = self.starts[2] - self.starts[1];
        let mut contexts = Vec::new();
        for query in 0..length {
            for head in 0..heads {
                let group = head / (heads / kv_heads);
                let own = self.row(0, head, query);
                let end = if causal { query + 1 } else { length };
                let seen = match self.reach {
                    Some(reach) => query.saturating_sub(reach)..end.min(query + reach + 1),
                    None => 0..end,
                };
                let added = |key: usize| match &self.distances {
                    Some(Distances { added, length }) => {
                        f64::from(added[head * (2 * length - 1) + length - 1 + key - query])
                    }
                    None => 0.0,
                };
                let score = |key: usize| -> f64 {
                    let products = own.iter().zip(self.row(1, group, key)).map(|(a, b)| a * b);
                    let products = products.sum::<f64>() + self.met(head, query, key);
                    products / (size as f64).sqrt() + added(key)
                };
                let weights: Vec<f64> = seen.clone().map(|key| score(key).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let rows: Vec<Vec<f64>> = seen.map(|key| self.row(2, group, key)).collect();
                for i in 0..size {
                    let values = weights.iter().zip(&rows).map(|(weight, row)| weight * row[i]);
                    contexts.push(values.sum::<f64>() / sum);
                }
            }
        }
        contexts
    }
}

#[test]
fn attention_of_odd_lengths() {
    let threads = Threads::new(2);
    let turn = threads.turn();
    for length in [1, 2, 13, 33, 70, 300] {
        for (heads, turned, near) in [
            ((1, 1, 8), false, (false, false)),
            ((2, 2, 20), false, (true, true)),
            ((2, 2, 8), false, (false, true)),
            ((3, 3, 12), false, (true, false)),
            ((4, 2, 32), true, (false, false)),
            ((2, 1, 64), true, (true, true)),
        ] {
            let text = Text::new(length, heads, turned, near);
            let want = text.plain();
            for isa in Isa::all() {
                let got = text.attend(isa, Team::Alone);
                let own = &got[3 * heads.0 * heads.2..];
                close(own, &want, 2e-5, &format!("{isa:?} {length} {heads:?}"));
                assert_eq!(got, text.attend(isa, Team::Together(&turn)), "{isa:?} {length}");
            }
        }
    }
}

#[test]
fn rows_for_distances() {
    for (length, span) in [(1, 3), (5, 40), (33, 7), (70, 70), (300, 100)] {
        for (heads, size) in [(1, 8), (3, 20), (2, 64)] {
            let mut text = Text::new(length, (heads, heads, size), false, (false, false));
            let side = |seed| numbers(2 * span * heads * size, seed);
            let longest = length.max(3) + 2;
            let place = |at: usize| (longest - 1 + span).saturating_sub(at).min(2 * span - 1);
            let rows = (0..2 * longest - 1).map(place).collect();
            text.relative = Some(([side(20), side(21)], Places { rows, length: longest }));
            let want = text.plain();
            for isa in Isa::all() {
                let got = text.attend(isa, Team::Alone);
                let own = &got[3 * heads * size..];
                close(own, &want, 2e-5, &format!("{isa:?} {length} {span} {heads} {size}"));
            }
        }
    }
}
