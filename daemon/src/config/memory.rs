//! How much memory may models take?

/// How much memory all loaded models may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBudget {
    /// This many bytes.
    Bytes(u64),
    /// This many hundredths of the memory of the machine.
    Percent(u8),
}

impl Default for MemoryBudget {
    /// Leaves a fifth of the memory to everything else.
    fn default() -> Self {
        Self::Percent(80)
    }
}

impl MemoryBudget {
    /// Reads `4GiB`, `512MB`, a number of bytes, or a share such as `80%`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(share) = text.strip_suffix('%') else {
            return size(text).map(Self::Bytes);
        };
        let percent = share.trim().parse().ok()?;
        (1..=100).contains(&percent).then_some(Self::Percent(percent))
    }

    /// Returns the budget in bytes on a machine with `total_bytes` of memory.
    pub fn bytes(self, total_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total_bytes / 100 * u64::from(percent),
        }
    }
}

/// Reads a number of bytes with an optional unit: decimal `KB`, binary `KiB`, and so on.
pub(super) fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let bytes = number.parse::<f64>().ok()? * unit_bytes(unit.trim())?;
    // Float to integer stops at the ends of the range, so no size is too large to write.
    (bytes >= 1.0).then_some(bytes as u64)
}

fn unit_bytes(unit: &str) -> Option<f64> {
    let unit = unit.to_ascii_lowercase();
    let prefix = unit.strip_suffix('b').unwrap_or(&unit);
    let (prefix, base) = match prefix.strip_suffix('i') {
        Some(prefix) => (prefix, 1024_f64),
        None => (prefix, 1000_f64),
    };
    let power = match prefix {
        "" if base == 1000.0 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(base.powi(power))
}

#[cfg(test)]
mod tests {
    use super::MemoryBudget::{self, Bytes, Percent};

    #[test]
    fn budgets_are_sizes_or_shares() {
        let table = [
            ("4GiB", Some(Bytes(4 << 30))),
            ("512MB", Some(Bytes(512_000_000))),
            ("1.5 gib", Some(Bytes(3 << 29))),
            ("2G", Some(Bytes(2_000_000_000))),
            ("1024", Some(Bytes(1024))),
            ("7 B", Some(Bytes(7))),
            ("80%", Some(Percent(80))),
            ("100 %", Some(Percent(100))),
            ("0", None),
            ("0%", None),
            ("101%", None),
            ("-1GB", None),
            ("4iB", None),
            ("GiB", None),
            ("4 parsecs", None),
            ("1.2.3MB", None),
        ];
        for (text, budget) in table {
            assert_eq!(MemoryBudget::parse(text), budget, "{text:?}");
        }
    }

    #[test]
    fn a_share_is_taken_of_the_machine() {
        assert_eq!(Percent(80).bytes(1000), 800);
        assert_eq!(Bytes(5).bytes(1000), 5);
    }
}
