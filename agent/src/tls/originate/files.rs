//! Files with certificates and keys.

use std::{
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::OriginateError;
use crate::{
    file::{self, Stamp},
    policy::Origination,
    tls::{PemError, roots::Roots},
};

/// Size of one file: all authorities of a system are a quarter of it.
const LIMIT: u64 = 1 << 20;

pub(super) fn stamps(origination: &Origination) -> Result<Vec<Stamp>, OriginateError> {
    let own = origination.certificate.iter();
    let own = own.flat_map(|files| [&files.chain, &files.key]);
    let stamp = |path: &PathBuf| Stamp::of(path).map_err(|source| failed(path, source));
    let mut stamps = own
        .chain(&origination.authorities)
        .map(stamp)
        .collect::<Result<Vec<_>, _>>()?;
    if origination.authorities.is_none() {
        stamps.extend(of_the_systems_files());
    }
    Ok(stamps)
}

/// Where [`of_the_system`] finds authorities; what isn't there doesn't count.
fn of_the_systems_files() -> impl Iterator<Item = Stamp> {
    let places = openssl_probe::probe();
    let file = places.cert_file.map(|file| Stamp::of(&file));
    let directories = places.cert_dir.into_iter();
    let directories = directories.map(|directory| Stamp::of_directory(&directory));
    file.into_iter().chain(directories).flatten()
}

fn failed(path: &Path, source: io::Error) -> OriginateError {
    OriginateError::Read {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, OriginateError> {
    file::read(path, LIMIT).map_err(|source| failed(path, source))
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

pub(super) fn of_the_system() -> Result<Roots, OriginateError> {
    let roots = Roots::parsable(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OriginateError::NoAuthorities);
    }
    Ok(roots)
}
