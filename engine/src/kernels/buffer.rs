//! Memory that kernels read and write: it begins at a cache line, so that no register of numbers lies in two.

use std::ops::{Deref, DerefMut};

use super::LANES;

/// Numbers of a buffer that a thread keeps for the next text; a longer one goes with the text that needed it.
const MOST_KEPT: usize = 4 << 20;

/// Numbers, or the bits of narrower ones.
#[derive(Default)]
pub(crate) struct Buffer {
    numbers: Vec<f32>,
    start: usize,
}

/// Elements that any bits are a value of.
///
/// # Safety
///
/// They are no larger than an `f32`, and no more aligned.
#[expect(unsafe_code, reason = "numbers of several types lie in one kind of memory")]
// SAFETY: whoever implements it answers for it, as said above.
pub(super) unsafe trait Plain: Copy {}
macro_rules! plain {
    ($($element:ty)*) => {$(
        #[expect(unsafe_code, reason = "numbers of several types lie in one kind of memory")]
        // SAFETY: a number of at most 4 bytes, and any bits are one.
        unsafe impl Plain for $element {}
    )*};
}
plain!(u8 u16 u32 f32);

impl Buffer {
    /// Returns so many zeros; the system gives their memory when they are first touched.
    pub(crate) fn new(length: usize) -> Self {
        let numbers = vec![0.0; length + LANES - 1];
        let start = numbers.as_ptr().align_offset(LANES * size_of::<f32>()).min(LANES - 1);
        Self { numbers, start }
    }

    /// Makes it at least so long; what it holds is of no importance.
    pub(crate) fn grow(&mut self, length: usize) {
        if self.len() < length {
            // Neither copied nor larger than asked for.
            *self = Self::default();
            *self = Self::new(length);
        }
    }

    /// Frees what a long text has made larger than others need it.
    pub(crate) fn trim(&mut self) {
        if self.len() >= MOST_KEPT {
            *self = Self::default();
        }
    }

    /// Returns its bits as elements of another type.
    #[inline(always)]
    pub(super) fn view<T: Plain>(&self) -> &[T] {
        let bytes = size_of_val::<[f32]>(self);
        #[expect(unsafe_code, reason = "numbers of several types lie in one kind of memory")]
        // SAFETY: as many bytes as the numbers have, at least as aligned, and any bits are a `T`.
        unsafe {
            std::slice::from_raw_parts(self.as_ptr().cast(), bytes / size_of::<T>())
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.numbers[self.start..]
    }
}

impl DerefMut for Buffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[self.start..]
    }
}

/// Returns numbers as the narrower ones that they are made of.
#[inline(always)]
pub(super) fn elements<T: Plain>(numbers: &mut [f32]) -> &mut [T] {
    let bytes = size_of_val(numbers);
    #[expect(unsafe_code, reason = "numbers of several types lie in one kind of memory")]
    // SAFETY: as many bytes as the numbers have, at least as aligned; any bits are a `T`, and any are an `f32`.
    unsafe {
        std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), bytes / size_of::<T>())
    }
}
