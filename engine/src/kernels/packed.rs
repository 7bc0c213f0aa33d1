//! How the weights of a linear layer lie in memory, and how they come there.
//!
//! Columns (outputs) stand in panels, as many side by side as a tile has; a panel holds, for one group of inputs
//! after another, the weights of every column. A group is what one instruction multiplies and adds up at once.

use std::{ops::Range, sync::Mutex};

use super::{
    ROUND,
    buffer::{Buffer, Plain, elements},
    inputs::bf16,
};

/// Steps that a tile of weights has.
pub(super) const STEPS: usize = 16;

/// What weights and inputs of a product are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// f32 on both sides.
    F32,
    /// bf16 weights, widened to f32 in registers; f32 inputs.
    Wide,
    /// bf16 on both sides, in pairs.
    Pairs,
    /// Integers: weights of 8 bits in pairs; inputs of 8 bits, kept in 16.
    Words,
    /// Integers: weights and inputs of 8 bits, in fours.
    Bytes,
    /// As [`Format::Pairs`], in whole tiles of a matrix unit.
    PairTiles,
    /// As [`Format::Bytes`], in whole tiles of a matrix unit.
    ByteTiles,
}

/// The weights of a linear layer.
pub(crate) struct Packed {
    format: Format,
    width: usize,
    inputs: usize,
    outputs: usize,
    panels: Buffer,
    /// Of each column; padded to whole panels, as all that follows.
    pub(super) bias: Vec<f32>,
    /// What an integer weight is to be multiplied with, and minus the sum of a column's integer weights, for inputs
    /// that have a zero point. Empty for other formats.
    pub(super) scales: Vec<f32>,
    pub(super) sums: Vec<f32>,
}

/// Where weights come from.
pub(crate) struct Source<'a> {
    pub(crate) inputs: usize,
    pub(crate) bias: Vec<f32>,
    /// Fills the inputs of one output.
    pub(crate) read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
}

impl Format {
    /// Returns how many inputs one group has.
    pub(super) fn group(self) -> usize {
        match self {
            Self::F32 | Self::Wide => 1,
            Self::Pairs | Self::PairTiles | Self::Words => 2,
            Self::Bytes | Self::ByteTiles => 4,
        }
    }

    /// Returns the steps of a product over so many inputs.
    pub(super) fn steps(self, inputs: usize) -> usize {
        let groups = inputs.div_ceil(self.group());
        if self.is_tiled() { groups.next_multiple_of(STEPS) } else { groups }
    }

    /// Says whether a matrix unit multiplies it.
    pub(super) fn is_tiled(self) -> bool {
        matches!(self, Self::PairTiles | Self::ByteTiles)
    }

    /// Says whether numbers are stored as integers with a scale.
    pub(super) fn is_quantised(self) -> bool {
        matches!(self, Self::Words | Self::Bytes | Self::ByteTiles)
    }

    /// Returns the bytes of a weight.
    pub(crate) fn weight_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Wide | Self::Pairs | Self::PairTiles => 2,
            Self::Words | Self::Bytes | Self::ByteTiles => 1,
        }
    }
}

impl Packed {
    /// Packs weights into panels of `width` columns, on so many threads.
    pub(crate) fn new(source: &Source<'_>, format: Format, width: usize, threads: usize) -> Self {
        let (inputs, outputs) = (source.inputs, source.bias.len());
        let padded = outputs.next_multiple_of(width);
        let panel_bytes = panel_bytes(format, inputs, width);
        let mut panels = Buffer::new(padded / width * panel_bytes / 4);
        let quantised = if format.is_quantised() { padded } else { 0 };
        let (mut scales, mut sums) = (vec![1.0; quantised], vec![0.0; quantised]);
        let mut bias = source.bias.clone();
        bias.resize(padded, 0.0);
        let mut columns: Vec<[&mut [f32]; 2]> =
            scales.chunks_mut(width).zip(sums.chunks_mut(width)).map(|(a, b)| [a, b]).collect();
        columns.resize_with(padded / width, || [&mut [], &mut []]);
        let jobs = panels.chunks_exact_mut(panel_bytes / 4).zip(columns).enumerate();
        each(jobs, threads, |(index, (panel, columns))| {
            pack(
                source,
                format,
                index * width..((index + 1) * width).min(outputs),
                width,
                panel,
                columns,
            );
        });
        Self { format, width, inputs, outputs, panels, bias, scales, sums }
    }

    /// Returns the number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of groups of inputs, with those that only fill a tile.
    pub(super) fn steps(&self) -> usize {
        self.format.steps(self.inputs)
    }

    /// Returns the number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// Returns how many columns a panel has.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Returns the format of weights and inputs.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Returns the elements of a panel and of those behind it.
    #[inline(always)]
    pub(super) fn panel<T: Plain>(&self, panel: usize) -> &[T] {
        let bytes = panel_bytes(self.format, self.inputs, self.width);
        &self.panels.view()[panel * bytes / size_of::<T>()..]
    }
}

/// Returns the bytes of a panel. They are a multiple of 8: a group has at least 2, and a panel at least 4 columns, in
/// pairs.
#[inline(always)]
fn panel_bytes(format: Format, inputs: usize, width: usize) -> usize {
    format.steps(inputs) * format.group() * format.weight_bytes() * width
}

/// Packs the columns of one panel; the rest of it stays zero.
fn pack(
    source: &Source<'_>,
    format: Format,
    columns: Range<usize>,
    width: usize,
    panel: &mut [f32],
    [scales, sums]: [&mut [f32]; 2],
) {
    let mut row = vec![0.0; format.steps(source.inputs) * format.group()];
    let panel = elements::<u8>(panel);
    for (place, column) in columns.enumerate() {
        (source.read)(column, &mut row[..source.inputs]);
        match format {
            Format::F32 => spread(panel, place, width, row.iter().map(|x| x.to_le_bytes())),
            Format::Wide => spread(panel, place, width, row.iter().map(|x| bf16(*x).to_le_bytes())),
            Format::Pairs | Format::PairTiles => {
                let (pairs, _) = row.as_chunks::<2>();
                let lane = |[a, b]: &[f32; 2]| u32::from(bf16(*a)) | u32::from(bf16(*b)) << 16;
                spread(panel, place, width, pairs.iter().map(|pair| lane(pair).to_le_bytes()));
            }
            Format::Words | Format::Bytes | Format::ByteTiles => {
                scales[place] = weight_scale(&row);
                let whole = integers(&row, scales[place]);
                sums[place] = -whole.iter().map(|w| f32::from(*w)).sum::<f32>();
                let bytes = whole.iter().map(|w| w.to_le_bytes()[0]);
                if format == Format::Words {
                    spread(panel, place, width, groups::<2>(bytes));
                } else {
                    spread(panel, place, width, groups::<4>(bytes));
                }
            }
        }
    }
}

/// Rounds weights to integers of −127 to 127.
fn integers(row: &[f32], scale: f32) -> Vec<i8> {
    let factor = 1.0 / scale;
    row.iter().map(|x| ((x * factor + ROUND).to_bits() & 0xff) as u8 as i8).collect()
}

/// Joins numbers that stand behind one another.
fn groups<const N: usize>(mut bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = [u8; N]> {
    std::iter::from_fn(move || {
        let mut group = [0; N];
        for place in &mut group {
            *place = bytes.next()?;
        }
        Some(group)
    })
}

fn greatest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |most, x| if x.abs() > most { x.abs() } else { most })
}

/// Returns what integers of −127 to 127 are to be multiplied with; no number if a weight is none, so that it shows.
fn weight_scale(row: &[f32]) -> f32 {
    let scale = match greatest(row) {
        0.0 => 1.0,
        greatest => greatest / 127.0,
    };
    scale + row.iter().map(|x| 0.0 * x).sum::<f32>()
}

/// Writes elements at one place of each line of a panel, `width` elements wide.
fn spread<const B: usize>(
    panel: &mut [u8],
    place: usize,
    width: usize,
    elements: impl Iterator<Item = [u8; B]>,
) {
    let (places, _) = panel.as_chunks_mut::<B>();
    places[place..]
        .iter_mut()
        .step_by(width)
        .zip(elements)
        .for_each(|(place, element)| *place = element);
}

/// Does something with every item, on so many threads.
fn each<T: Send>(items: impl Iterator<Item = T> + Send, threads: usize, work: impl Fn(T) + Sync) {
    let items = Mutex::new(items.fuse());
    let next = || items.lock().ok()?.next();
    let run = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(run)));
        run();
    });
}
