//! Files with certificates and keys.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use zeroize::Zeroize as _;

use super::OriginateError;
use crate::{policy::Origination, tls::PemError};

/// Size of one file: all authorities of a system are a quarter of it.
const LIMIT: u64 = 1 << 20;

/// Tells one content of a file from the next: symbolic links are followed, so that the kubelet's swap is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

pub(super) fn stamps(origination: &Origination) -> Result<Vec<Stamp>, OriginateError> {
    let own = origination.certificate.iter();
    let own = own.flat_map(|files| [&files.chain, &files.key]);
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).map_err(|source| failed(path, source))?;
        if !found.is_file() {
            return Err(OriginateError::NotFile { path: path.clone() });
        }
        Ok(Stamp {
            file: (found.dev(), found.ino()),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    };
    own.chain(&origination.authorities).map(stamp).collect()
}

fn failed(path: &Path, source: io::Error) -> OriginateError {
    OriginateError::Read {
        path: path.to_owned(),
        source,
    }
}

/// A small regular file: nothing that would make the reader wait.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, OriginateError> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    let mut bytes = Vec::new();
    let read = file.take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|source| failed(path, source))?;
    if bytes.len() as u64 > LIMIT {
        bytes.zeroize();
        return Err(OriginateError::TooLarge {
            path: path.to_owned(),
            limit: LIMIT,
        });
    }
    Ok(bytes)
}

/// What a file says, as PEM.
pub(super) fn parsed<T>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, OriginateError> {
    parse(&read(path)?).map_err(|source| OriginateError::Pem {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn of_the_system() -> Result<RootCertStore, OriginateError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OriginateError::NoAuthorities);
    }
    Ok(roots)
}
