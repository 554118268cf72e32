//! The compiled programs, and loading them.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aya::{Ebpf, EbpfLoader};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use sealane_common::global;

use super::{error::CaptureError, maps, netns::NetnsCookie};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sealane-ebpf.o"));

/// Loads instances of the programs. One for all: making a loader parses the kernel's BTF, which is not needed here (no
/// CO-RE) and costs tens of megabytes each time.
#[derive(Clone)]
pub(super) struct Loader(Arc<Mutex<EbpfLoader<'static>>>);

impl Loader {
    /// `maps` is where the maps are pinned, `trace` whether the programs log what they do.
    pub(super) fn new(maps: &Path, trace: bool) -> Self {
        let mut loader = bare(trace);
        for name in maps::NAMES {
            loader.map_pin_path(name, maps.join(name));
        }
        Self(Arc::new(Mutex::new(loader)))
    }

    /// With maps of its own, which end with what is loaded.
    pub(super) fn unpinned() -> Self {
        Self(Arc::new(Mutex::new(bare(false))))
    }

    /// # Errors
    /// What the kernel says of programs or maps.
    pub(super) fn load(&self, cookie: NetnsCookie) -> Result<Ebpf, CaptureError> {
        let object = with_cookie(cookie)?;
        let mut loader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(loader.load(&object).map_err(Box::new)?)
    }
}

fn bare(trace: bool) -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    let level = if trace { &4_u8 } else { &0_u8 };
    loader
        .btf(None)
        .override_global(aya_log::LEVEL, level, false);
    loader
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

/// The object with a cookie in its read-only data.
fn with_cookie(cookie: NetnsCookie) -> Result<Vec<u8>, CaptureError> {
    let missing = CaptureError::MissingGlobal(global::NETNS_COOKIE);
    let Some(at) = position(global::NETNS_COOKIE) else {
        return Err(missing);
    };
    let mut object = OBJECT.to_vec();
    let place = object.get_mut(at..at + 8).ok_or(missing)?;
    place.copy_from_slice(&cookie.0.to_ne_bytes());
    Ok(object)
}

/// Where the value of a global stands in the object.
fn position(name: &str) -> Option<usize> {
    let file = object::File::parse(OBJECT).ok()?;
    let symbol = file.symbol_by_name(name)?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, _) = section.file_range()?;
    usize::try_from(start + symbol.address()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_in_the_object() {
        let (one, other) = (
            with_cookie(NetnsCookie(1)),
            with_cookie(NetnsCookie(u64::MAX)),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        let changed = one.iter().zip(&other).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 8);
    }
}
