//! Is this a version? Semantic versions, whose last numbers may be left out.

use super::ModelfileError;

/// Checks a version and drops its leading `v`.
pub(super) fn version(text: &str) -> Result<String, ModelfileError> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (rest, build) = split(text, '+');
    let (core, release) = split(rest, '-');
    let numbers: Vec<&str> = core.split('.').collect();
    let is_whole =
        numbers.len() == 3 || (numbers.len() < 3 && release.is_none() && build.is_none());
    let valid = is_whole
        && numbers.iter().all(|part| is_digits(part) && is_plain(part))
        && release.is_none_or(|text| text.split('.').all(|part| is_label(part) && is_plain(part)))
        && build.is_none_or(|text| text.split('.').all(is_label));
    if valid { Ok(text.to_owned()) } else { Err(ModelfileError::Requires) }
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(left, right)| (left, Some(right)))
}

fn is_digits(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Returns whether a part, when it is a number, has no zero in front.
fn is_plain(part: &str) -> bool {
    part == "0" || !part.starts_with('0') || !is_digits(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in ["1", "1.2", "0.14.0", "1.2.3-rc.1+build.05", "1.2.3-0a"] {
            assert_eq!(version(text), Ok(text.to_owned()), "{text}");
        }
        assert_eq!(version("v1.2.3"), Ok("1.2.3".to_owned()));
        for text in [
            "", "v", "01.2.3", "1.2.3.4", "1.2-rc", "1.2.3-", "1.2.3-01", "1.2.3+", "1.x.3",
            "1..3", "a",
        ] {
            assert_eq!(version(text), Err(ModelfileError::Requires), "{text}");
        }
    }
}
