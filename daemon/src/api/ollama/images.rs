//! Which images does a request bring? Files in base64, as Ollama's other routes take them, or in a `data:` URL.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{Error, embedding::Input};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the files of images.
pub(super) fn read(images: Vec<String>) -> Result<Vec<Input>, Error> {
    let file = |(index, image): (usize, String)| {
        let text = image.strip_prefix("data:").and_then(|url| url.split_once(','));
        let text = text.map_or(image.as_str(), |(_, text)| text);
        let problem = |error| Error::BadRequest(format!("image {index} is no base64: {error}"));
        // Tools break lines, and Go's decoder does not mind.
        let text: String = text.split(['\r', '\n']).collect();
        BASE64.decode(text).map(Input::Image).map_err(problem)
    };
    images.into_iter().enumerate().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_base64_or_urls() {
        let texts = ["aGk=", "aGk", "a\nGk=\r\n", "data:image/png;base64,aGk="].map(str::to_owned);
        for input in read(texts.to_vec()).unwrap() {
            assert!(matches!(input, Input::Image(file) if file == b"hi"));
        }
        let error = read(vec!["aGk=".to_owned(), "ä".to_owned()]).map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("image 1 is no base64: "), "{error}");
    }
}
