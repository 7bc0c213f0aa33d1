//! What the rows for distances are in a layer: keys that meet queries, and queries that meet keys. They depend on
//! nothing but weights, so they are computed once.

use candle_core::Tensor;

use super::{optional, stock::Loader};
use crate::{Error, architectures::Slot, positions::Relative};

/// The rows of a layer, `[rows, heads · head_size]`.
pub(super) struct Sides {
    pub(super) keys: Option<Tensor>,
    pub(super) queries: Option<Tensor>,
}

/// Computes the rows of a layer.
pub(super) fn sides(loader: &Loader<'_>, relative: Relative, layer: usize) -> Result<Sides, Error> {
    let mut table = loader.table(Slot::RelativeTable, relative.rows())?;
    if relative.norm {
        table = loader.norm(Slot::RelativeNorm)?.forward(&table)?;
    }
    let (key, query) = match relative.shared {
        true => (Slot::Key(layer), Slot::Query(layer)),
        false => (Slot::RelativeKey(layer), Slot::RelativeQuery(layer)),
    };
    let side = |slot| Ok(loader.linear(slot, loader.plan.hidden, true)?.forward(&table)?);
    Ok(Sides {
        keys: optional(relative.keys, || side(key))?,
        queries: optional(relative.queries, || side(query))?,
    })
}
