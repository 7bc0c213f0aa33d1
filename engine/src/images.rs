//! What does an image tower see of a file? Its pixels as the processors of transformers give them, patch by patch.
//!
//! A processor brings the shortest side, or both sides, to a size, cuts out the middle, and shifts and scales the
//! values. Until a tower reads them they stay bytes: a table says what each of the 256 becomes.

mod decode;
mod resize;
mod settings;

pub(crate) use settings::Sight;

/// Bytes of a pixel: red, green and blue.
const CHANNELS: usize = 3;

/// An image of red, green and blue bytes, row after row.
#[derive(Debug)]
struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Sight {
    /// Returns the pixels of the patches of an image file, patch after patch, channel after channel.
    pub(crate) fn look(&self, file: &[u8]) -> Result<Vec<u8>, crate::Error> {
        let picture = decode::decode(file)?;
        let view = self.view(&picture);
        Ok(self.patches(&view))
    }

    /// Returns what the tower reads of such pixels.
    pub(crate) fn values<'a>(&'a self, patches: &'a [u8]) -> impl Iterator<Item = f32> + 'a {
        let plane = self.patch * self.patch;
        let value =
            move |(i, byte): (usize, &u8)| self.tables[i / plane % CHANNELS][*byte as usize];
        patches.iter().enumerate().map(value)
    }

    /// Sorts the pixels of a view by patches; what is left over at the right and below is not seen.
    fn patches(&self, view: &[u8]) -> Vec<u8> {
        let (size, grid) = (self.patch, self.side / self.patch);
        let mut patches = Vec::with_capacity(grid * grid * size * size * CHANNELS);
        for (down, across) in (0..grid * grid).map(|i| (i / grid, i % grid)) {
            for channel in 0..CHANNELS {
                for y in down * size..(down + 1) * size {
                    let row =
                        &view[(y * self.side + across * size) * CHANNELS..][..size * CHANNELS];
                    patches.extend(row.iter().skip(channel).step_by(CHANNELS));
                }
            }
        }
        patches
    }

    /// Brings an image to its size and cuts out the middle: only that is computed.
    fn view(&self, picture: &Picture) -> Vec<u8> {
        let (width, height) = self.size.of(picture.width, picture.height);
        let window = resize::Window {
            left: (width - self.side) / 2,
            top: (height - self.side) / 2,
            width: self.side,
            height: self.side,
        };
        resize::resize(picture, (width, height), &window, self.filter)
    }
}

#[cfg(test)]
mod tests;
