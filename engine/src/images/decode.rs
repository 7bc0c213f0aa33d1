//! How do the bytes of an image file become pixels? As Pillow opens it and transformers makes colours of it.
//!
//! What is transparent is painted over white; of 16 bits the upper 8 count, but those of grey are capped; of an
//! animation the first image is taken; an orientation that a camera noted is not applied. PNG, GIF and WebP give
//! Pillow's very bytes, JPEG nearly: decoders round differently.

use std::{
    io::Cursor,
    sync::{Mutex, PoisonError},
};

use super::{CHANNELS, Picture};
use crate::Error;

/// Pixels of an image: more than cameras of phones give.
const MOST_PIXELS: usize = 64 << 20;
/// Pixels of a side.
const MOST_SIDE: usize = 1 << 15;
/// Bytes that a decoder may take for an image.
const MOST_BYTES: usize = 768 << 20;
/// Larger images are decoded one at a time, so that the memory of many does not add up.
const LARGE_PIXELS: usize = 8 << 20;

/// Held while a large image is decoded.
static LARGE: Mutex<()> = Mutex::new(());

/// Decodes a file of any of the known formats.
pub(super) fn decode(file: &[u8]) -> Result<Picture, Error> {
    let picture = match file {
        [0x89, b'P', b'N', b'G', ..] => png(file)?,
        [0xff, 0xd8, 0xff, ..] => jpeg(file)?,
        [b'G', b'I', b'F', b'8', ..] => gif(file)?,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(file)?,
        _ => return Err(Error::Image("it is no PNG, JPEG, WebP or GIF file".to_owned())),
    };
    debug_assert_eq!(picture.rgb.len(), picture.width * picture.height * CHANNELS);
    Ok(picture)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Image(error.to_string())
}

/// Decodes an image of a size that a file claims, if the size is possible.
fn within<T>(
    (width, height): (usize, usize),
    decode: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    if width == 0 || height == 0 || width.max(height) > MOST_SIDE || width * height > MOST_PIXELS {
        let most = format!("at most {MOST_SIDE} a side and {MOST_PIXELS} in all");
        return Err(Error::Image(format!("it has {width} x {height} pixels, {most} are allowed")));
    }
    let is_large = width * height > LARGE_PIXELS;
    let _turn = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    decode()
}

fn png(file: &[u8]) -> Result<Picture, Error> {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_limits(png::Limits { bytes: MOST_BYTES });
    // Neither changes a pixel, and either may be packed a thousandfold.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(broken)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let is_deep_grey = header.bit_depth == png::BitDepth::Sixteen
        && header.color_type == png::ColorType::Grayscale;
    if !is_deep_grey {
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    }
    within((width, height), || {
        let mut reader = decoder.read_info().map_err(broken)?;
        let size = reader.output_buffer_size().filter(|size| *size <= MOST_BYTES);
        let mut bytes = vec![0; size.ok_or_else(|| broken("it is too large"))?];
        let frame = reader.next_frame(&mut bytes).map_err(broken)?;
        bytes.truncate(frame.buffer_size());
        let rgb = match frame.color_type {
            _ if is_deep_grey => {
                grey(bytes.chunks_exact(2).map(|x| if x[0] > 0 { 255 } else { x[1] }))
            }
            png::ColorType::Grayscale | png::ColorType::Indexed => grey(bytes.into_iter()),
            png::ColorType::GrayscaleAlpha => {
                grey(bytes.chunks_exact(2).map(|pixel| painted(pixel[0], pixel[1])))
            }
            png::ColorType::Rgb => bytes,
            png::ColorType::Rgba => over_white(bytes),
        };
        Ok(Picture { width: frame.width as usize, height: frame.height as usize, rgb })
    })
}

/// Begins a scan of a JPEG file; honest files have about ten.
const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
/// Each costs a pass over all pixels. The marker may also stand in an embedded preview.
const MOST_SCANS: usize = 64;

fn jpeg(file: &[u8]) -> Result<Picture, Error> {
    use jpeg_decoder::PixelFormat;
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(file));
    decoder.set_max_decoding_buffer_size(MOST_BYTES);
    if file.windows(2).filter(|pair| *pair == START_OF_SCAN).count() > MOST_SCANS {
        return Err(broken("it has too many scans"));
    }
    decoder.read_info().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| broken("it has no header"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    within((width, height), || {
        let bytes = decoder.decode().map_err(broken)?;
        let rgb = match info.pixel_format {
            PixelFormat::RGB24 => bytes,
            PixelFormat::L8 => grey(bytes.into_iter()),
            PixelFormat::CMYK32 => bytes.chunks_exact(4).flat_map(printed).collect(),
            PixelFormat::L16 => return Err(broken("JPEG files of 16 bits cannot be read")),
        };
        Ok(Picture { width, height, rgb })
    })
}

/// Returns the colour of four inks.
fn printed(inks: &[u8]) -> [u8; CHANNELS] {
    let white = 255 - i32::from(inks[3]);
    [0, 1, 2].map(|i| {
        let product = i32::from(inks[i]) * white + 128;
        (white - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

fn webp(file: &[u8]) -> Result<Picture, Error> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(file)).map_err(broken)?;
    decoder.set_memory_limit(MOST_BYTES);
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    within((width, height), || {
        let size = decoder.output_buffer_size().filter(|size| *size <= MOST_BYTES);
        let mut bytes = vec![0; size.ok_or_else(|| broken("it is too large"))?];
        if decoder.is_animated() {
            decoder.read_frame(&mut bytes).map_err(broken)?;
        } else {
            decoder.read_image(&mut bytes).map_err(broken)?;
        }
        let rgb = if decoder.has_alpha() { over_white(bytes) } else { bytes };
        Ok(Picture { width, height, rgb })
    })
}

fn gif(file: &[u8]) -> Result<Picture, Error> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    options.set_memory_limit(gif::MemoryLimit::Bytes(
        std::num::NonZeroU64::new(MOST_BYTES as u64).unwrap_or(std::num::NonZeroU64::MIN),
    ));
    let mut decoder = options.read_info(Cursor::new(file)).map_err(broken)?;
    let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
    let head = decoder.next_frame_info().map_err(broken)?.ok_or_else(|| broken("it is empty"))?;
    let [left, top] = [head.left, head.top].map(usize::from);
    let [across, down] = [head.width, head.height].map(usize::from);
    let transparent = head.transparent;
    let own_palette = head.palette.clone();
    let (width, height) = (screen.0.max(left + across), screen.1.max(top + down));
    within((width, height), || {
        let palette = own_palette.or_else(|| decoder.global_palette().map(<[u8]>::to_vec));
        let mut frame = vec![0; decoder.buffer_size()];
        decoder.read_into_buffer(&mut frame).map_err(broken)?;
        let colour = |index: u8| match &palette {
            _ if transparent == Some(index) => [255; CHANNELS],
            None => [index; CHANNELS],
            Some(palette) => {
                let entry = palette.get(usize::from(index) * CHANNELS..).unwrap_or_default();
                [0, 1, 2].map(|i| entry.get(i).copied().unwrap_or(0))
            }
        };
        let mut rgb = colour(transparent.unwrap_or(0)).repeat(width * height);
        for (row, y) in frame.chunks_exact(across.max(1)).zip(top..) {
            let to = &mut rgb[(y * width + left) * CHANNELS..][..row.len() * CHANNELS];
            let pixels = to.chunks_exact_mut(CHANNELS).zip(row);
            pixels.for_each(|(pixel, index)| pixel.copy_from_slice(&colour(*index)));
        }
        Ok(Picture { width, height, rgb })
    })
}

/// Makes colours of greys.
fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; CHANNELS]).collect()
}

/// Makes colours of colours with transparency, in place.
fn over_white(mut bytes: Vec<u8>) -> Vec<u8> {
    let pixels = bytes.len() / 4;
    for i in 0..pixels {
        let alpha = bytes[4 * i + CHANNELS];
        for channel in 0..CHANNELS {
            bytes[CHANNELS * i + channel] = painted(bytes[4 * i + channel], alpha);
        }
    }
    bytes.truncate(pixels * CHANNELS);
    bytes
}

/// Paints a colour over white, rounded as Pillow does: with seven bits behind the point.
fn painted(colour: u8, alpha: u8) -> u8 {
    let [colour, alpha] = [colour, alpha].map(u32::from);
    let sum = ((colour * alpha + 255 * (255 - alpha)) << 7) + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}
