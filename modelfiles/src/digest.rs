//! Which bytes exactly? The sha256 of a blob, in every spelling the store and the wire use.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Says that a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid digest format")]
pub struct DigestError;

/// The sha256 of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Parses `sha256:` or `sha256-` followed by 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-"));
        hex.and_then(Self::from_hex).ok_or(DigestError)
    }

    /// Parses 64 hexadecimal digits without a prefix.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Wraps the 32 bytes of a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// Returns the first 12 hexadecimal digits, the form people read.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// Returns the name of the blob's file.
    pub fn file_name(&self) -> String {
        format!("sha256-{}", self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.hex())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn digit(nibble: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(nibble)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    #[test]
    fn spellings() {
        let digest = Digest::parse(&format!("sha256:{HEX}")).unwrap();
        assert_eq!(Digest::parse(&format!("sha256-{}", HEX.to_uppercase())), Ok(digest));
        assert_eq!(digest.hex(), HEX);
        assert_eq!(digest.short(), "53aa51172d14");
        assert_eq!(digest.file_name(), format!("sha256-{HEX}"));
        assert_eq!(digest.to_string(), format!("sha256:{HEX}"));
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }

    #[test]
    fn refused() {
        let rows = [
            "".to_owned(),
            HEX.to_owned(),
            "sha256:".to_owned(),
            format!("sha256:{}", &HEX[1..]),
            format!("sha256:{HEX}0"),
            format!("sha512:{HEX}"),
            format!("sha256:{}g", &HEX[1..]),
            format!("sha256:{}é", &HEX[2..]),
            format!("sha256:+{}", &HEX[1..]),
            format!(" sha256:{HEX}"),
        ];
        for text in rows {
            assert_eq!(Digest::parse(&text), Err(DigestError), "{text:?}");
        }
        assert_eq!(DigestError.to_string(), "invalid digest format");
    }

    #[test]
    fn json_is_the_display_form() {
        let json = format!("\"sha256:{HEX}\"");
        let digest: Digest = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        let error = serde_json::from_str::<Digest>("\"x\"").unwrap_err();
        assert!(error.to_string().starts_with("invalid digest format"));
    }
}
