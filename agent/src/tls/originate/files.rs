//! Files with certificates and keys that documents name.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::OriginateError;
use crate::{
    file::{self, Stamp},
    policy::{CertificateFiles, Origination},
    tls::{
        pem::{self, PemError},
        roots::Roots,
    },
};

/// Size of one file: all authorities of a system are a quarter of it.
const LIMIT: u64 = 1 << 20;

/// Which files documents may name. The agent can read every file of its node, and more people write documents than may
/// do that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFiles {
    /// Whoever writes documents may read everything.
    Anywhere,
    /// Those of this directory's subdirectory that has the name of the client's namespace.
    Below(PathBuf),
}

/// What connections of one namespace may use.
pub(super) struct Files<'a> {
    pub(super) allowed: &'a ClientFiles,
    pub(super) namespace: &'a str,
}

impl Files<'_> {
    pub(super) const ANY: Files<'static> = Files {
        allowed: &ClientFiles::Anywhere,
        namespace: "",
    };

    pub(super) fn stamps(&self, origination: &Origination) -> Result<Vec<Stamp>, OriginateError> {
        let own = origination.certificate.iter();
        let own = own.flat_map(|files| [&files.chain, &files.key]);
        let stamps = own.chain(&origination.authorities).map(|path| {
            let file = self.open(path, OFlags::PATH)?;
            Stamp::of_open(&file).map_err(|source| failed(path, source))
        });
        let mut stamps = stamps.collect::<Result<Vec<_>, _>>()?;
        if origination.authorities.is_none() {
            stamps.extend(of_the_systems_files());
        }
        Ok(stamps)
    }

    /// What a file says, as PEM.
    pub(super) fn parsed<T>(
        &self,
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, PemError>,
    ) -> Result<T, OriginateError> {
        parse(&self.read(path)?).map_err(|source| OriginateError::Pem {
            path: path.to_owned(),
            source,
        })
    }

    pub(super) fn pair(&self, files: &CertificateFiles) -> Result<CertifiedKey, OriginateError> {
        let chain = self.parsed(&files.chain, pem::certificates)?;
        pem::pair(chain, &self.read(&files.key)?).map_err(|source| OriginateError::Pair {
            files: files.clone(),
            source,
        })
    }

    fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, OriginateError> {
        // Opening a pipe would wait for its other end.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        file::read_open(file, LIMIT).map_err(|source| failed(path, source))
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<File, OriginateError> {
        let flags = flags | OFlags::CLOEXEC;
        let opened = match self.allowed {
            ClientFiles::Anywhere => openat(CWD, path, flags, Mode::empty()),
            ClientFiles::Below(directory) => {
                let directory = directory.join(self.namespace);
                let Ok(below) = path.strip_prefix(&directory) else {
                    return Err(OriginateError::Elsewhere {
                        path: path.to_owned(),
                        directory,
                    });
                };
                let only = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                open(&directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .and_then(|at| openat2(at, below, flags, Mode::empty(), only))
            }
        };
        opened
            .map(File::from)
            .map_err(|errno| failed(path, errno.into()))
    }
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

pub(super) fn of_the_system() -> Result<Roots, OriginateError> {
    let roots = Roots::parsable(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OriginateError::NoAuthorities);
    }
    Ok(roots)
}
