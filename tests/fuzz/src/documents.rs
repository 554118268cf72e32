//! Bytes of a file -> a mesh or errors, the same ones every time.

#![no_main]

use std::hash::{BuildHasherDefault, DefaultHasher};

use libfuzzer_sys::fuzz_target;
use sealane_fuzz::{read, settings};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    assert_eq!(seen(text), seen(text));
});

/// All that the user would see of it.
fn seen(text: &str) -> Result<(u64, Vec<String>), Vec<String>> {
    let loaded = read(&[text.to_owned()], &settings())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let fingerprint = loaded.mesh.fingerprint(&hasher);
    let conflicts = loaded.mesh.into_snapshot();
    let conflicts = conflicts.conflicts().iter().map(ToString::to_string);
    Ok((fingerprint, conflicts.chain(loaded.warnings).collect()))
}
