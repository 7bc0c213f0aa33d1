//! Is a manifest of any bytes refused, or the same after it was written and read again?
#![no_main]

// This file alone: all of registry brings a network stack, which takes long to build.
#[allow(dead_code, unreachable_pub)]
#[path = "../../registry/src/manifest.rs"]
mod file;

use file::{Layer, Manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse(data) else { return };
    again(&manifest);
    let sum = manifest.blobs().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    assert_eq!(manifest.size_bytes(), sum);
    // What a create makes of these layers.
    let layers: Vec<Layer> = manifest
        .blobs()
        .map(|layer| {
            let path = layer.name.as_deref().unwrap_or(&layer.media_type);
            Layer::file(path, (layer.digest, layer.size))
        })
        .collect();
    again(&Manifest::new(manifest.config.clone(), layers));
});

fn again(manifest: &Manifest) {
    let bytes = manifest.to_bytes().expect("every manifest can be written");
    assert_eq!(Manifest::parse(&bytes).as_ref(), Ok(manifest));
}
