//! Files with certificates and keys.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::OriginateError;
use crate::{
    file::{self, Stamp},
    policy::Origination,
};

/// Size of one file: all authorities of a system are a quarter of it.
const LIMIT: u64 = 1 << 20;

pub(super) fn stamps(origination: &Origination) -> Result<Vec<Stamp>, OriginateError> {
    let own = origination.certificate.iter();
    let own = own.flat_map(|files| [&files.chain, &files.key]);
    let stamp = |path: &PathBuf| Stamp::of(path).map_err(|source| failed(path, source));
    own.chain(&origination.authorities).map(stamp).collect()
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

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OriginateError> {
    let pem = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let path = path.to_owned();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(OriginateError::Empty { path }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(OriginateError::Pem { path, source }),
    }
}

pub(super) fn authorities(path: &Path) -> Result<RootCertStore, OriginateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|source| OriginateError::Certificate {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

pub(super) fn of_the_system() -> Result<RootCertStore, OriginateError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OriginateError::NoAuthorities);
    }
    Ok(roots)
}
