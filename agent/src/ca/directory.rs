//! The files of a CA, one process at a time. Does not know what is in keys and certificates.

mod recorded;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{
    CWD, FlockOperation, RenameFlags, StatVfsMountFlags, flock, fstatvfs, renameat_with,
};
use zeroize::Zeroizing;

pub(super) use self::recorded::Recorded;
use super::{AnchorUse, CaError};
use crate::file::Stamp;

/// All that a CA may have in its directory: its own files, those of a rotation, those of Istio's secret `cacerts`.
pub const FILES: [&str; 12] = [
    "ca.key",
    "ca.crt",
    "root.crt",
    "rotation.json",
    "next.key",
    "next.crt",
    "old.key",
    "old.crt",
    "ca-key.pem",
    "ca-cert.pem",
    "cert-chain.pem",
    "root-cert.pem",
];

/// Names in the CA's directory, of [`FILES`].
pub(super) struct Paths {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) roots: PathBuf,
    /// Of a change that is going on.
    pub(super) record: PathBuf,
    pub(super) next_key: PathBuf,
    pub(super) next_certificate: PathBuf,
    pub(super) old_key: PathBuf,
    pub(super) old_certificate: PathBuf,
}

/// What the files hold, in PEM form.
pub(super) struct Files {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) certificate: Vec<u8>,
    /// Empty without a `root.crt`.
    pub(super) roots: Vec<u8>,
    /// Certificates of the issuer before and the one after, while the key is changed.
    pub(super) others: Vec<(PathBuf, Vec<u8>, AnchorUse)>,
}

/// A CA that isn't on disk yet.
pub(super) struct NewAuthority {
    pub(super) key_pem: Zeroizing<String>,
    pub(super) certificate_pem: String,
}

impl NewAuthority {
    /// As they would be read.
    pub(super) fn files(&self) -> Files {
        Files {
            key: Zeroizing::new(self.key_pem.as_bytes().to_vec()),
            certificate: self.certificate_pem.as_bytes().to_vec(),
            roots: Vec::new(),
            others: Vec::new(),
        }
    }
}

impl Paths {
    /// Ours, or those of Istio's secret `cacerts` where its key is there
    /// (<https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/>).
    pub(super) fn new(dir: &Path) -> Self {
        let [istio_key, istio_chain] = ["ca-key.pem", "cert-chain.pem"].map(|name| dir.join(name));
        let [key, certificate, roots] = if istio_key.exists() {
            let chain = match istio_chain.exists() {
                true => istio_chain,
                false => dir.join("ca-cert.pem"),
            };
            [istio_key, chain, dir.join("root-cert.pem")]
        } else {
            ["ca.key", "ca.crt", "root.crt"].map(|name| dir.join(name))
        };
        Self {
            key,
            certificate,
            roots,
            record: dir.join("rotation.json"),
            next_key: dir.join("next.key"),
            next_certificate: dir.join("next.crt"),
            old_key: dir.join("old.key"),
            old_certificate: dir.join("old.crt"),
        }
    }

    /// # Errors
    /// When others renew the key: Istio's names are those of a Secret.
    pub(super) fn check_ours(&self) -> Result<(), CaError> {
        match self.key.ends_with("ca.key") {
            true => Ok(()),
            false => Err(CaError::KeyOfOthers {
                key: self.key.clone(),
            }),
        }
    }

    /// As they will be when what is distributed signs.
    fn next(&self, dir: &Path) -> Self {
        Self {
            key: self.next_key.clone(),
            certificate: self.next_certificate.clone(),
            ..Self::new(dir)
        }
    }

    fn read(&self) -> Result<Files, CaError> {
        let Paths {
            key, certificate, ..
        } = self;
        let (key, certificate) = match (read_key(key)?, read(certificate)?) {
            (Some(key), Some(certificate)) => (key, certificate),
            (Some(_), None) => {
                return Err(CaError::CertificateMissing {
                    key: key.clone(),
                    certificate: certificate.clone(),
                });
            }
            (None, _) => {
                return Err(CaError::KeyMissing {
                    key: key.clone(),
                    certificate: certificate.clone(),
                });
            }
        };
        let mut others = Vec::new();
        for (path, usage) in [
            (&self.next_certificate, AnchorUse::Next),
            (&self.old_certificate, AnchorUse::Old),
        ] {
            if let Some(text) = read(path)? {
                others.push((path.clone(), text, usage));
            }
        }
        Ok(Files {
            key,
            certificate,
            roots: read(&self.roots)?.unwrap_or_default(),
            others,
        })
    }

    /// What everything that follows from the directory depends on.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = [
            &self.key,
            &self.certificate,
            &self.roots,
            &self.record,
            &self.next_certificate,
            &self.old_certificate,
        ];
        files.map(|path| Stamp::of(path).ok()).to_vec()
    }
}

/// A directory that no other process is in.
pub(super) struct Locked {
    pub(super) paths: Paths,
    dir: PathBuf,
    _lock: File,
}

impl Locked {
    /// Makes the directory if there is none. Waits while another process is in here.
    pub(super) fn enter(dir: &Path) -> Result<Self, CaError> {
        // The directory itself is locked: it may be mounted read-only, with a key and a certificate given.
        let lock = lock(dir)?;
        Ok(Self {
            paths: Paths::new(dir),
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Of a CA that has to be there.
    pub(super) fn existing(dir: &Path) -> Result<Self, CaError> {
        Self::found(dir, |locked| locked.repair(&locked.record()?))
    }

    /// [`existing`](Self::existing), and nothing is changed in it, not even what a crash has left.
    pub(super) fn untouched(dir: &Path) -> Result<Self, CaError> {
        Self::found(dir, |_| Ok(()))
    }

    fn found(
        dir: &Path,
        repair: impl FnOnce(&Self) -> Result<(), CaError>,
    ) -> Result<Self, CaError> {
        let absent = || CaError::Absent {
            path: dir.to_owned(),
        };
        if !dir.is_dir() {
            return Err(absent());
        }
        let locked = Self::enter(dir)?;
        let repaired = repair(&locked);
        match locked.paths.key.exists() || locked.paths.certificate.exists() {
            // What can't be put right is as good as before: who has to write hears of it then.
            true => Ok(locked),
            false => Err(repaired.err().unwrap_or_else(absent)),
        }
    }

    /// Fills the directory with what `make` gives, if there is no CA.
    pub(super) fn fill(
        &self,
        make: impl FnOnce() -> Result<NewAuthority, CaError>,
    ) -> Result<(), CaError> {
        if self.paths.key.exists() || self.paths.certificate.exists() {
            return Ok(());
        }
        create(&self.dir, &self.paths, &make()?)
    }

    /// What is distributed, as it will be when it signs.
    pub(super) fn next(&self) -> Result<(Files, Paths), CaError> {
        let paths = self.paths.next(&self.dir);
        Ok((paths.read()?, paths))
    }

    pub(super) fn files(&self) -> Result<Files, CaError> {
        self.paths.read()
    }
}

/// Makes a CA's directory if there is none; nobody else is in there until what this returns is dropped.
///
/// # Errors
/// When it can't be made or opened, or others than root may write to it.
pub fn lock(dir: &Path) -> Result<File, CaError> {
    let failed = |source: io::Error| CaError::Directory {
        path: dir.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let opened = File::open(dir).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.mode() & 0o7777;
    // What Kubernetes mounts is open to all, and nobody can write to it.
    let mounted = fstatvfs(&opened).map_err(|errno| failed(errno.into()))?;
    if mode & 0o022 != 0 && !mounted.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(CaError::DirectoryMode {
            path: dir.to_owned(),
            mode,
        });
    }
    rustix::io::retry_on_intr(|| flock(&opened, FlockOperation::LockExclusive))
        .map_err(|errno| failed(errno.into()))?;
    Ok(opened)
}

/// `None` when there is no such file.
fn open_file(path: &Path) -> Result<Option<File>, CaError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CaError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CaError> {
    let Some(mut file) = open_file(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|source| CaError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(Some(bytes))
}

fn read_key(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CaError> {
    let failed = |source| CaError::Read {
        path: path.to_owned(),
        source,
    };
    let Some(mut file) = open_file(path)? else {
        return Ok(None);
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CaError::KeyMode {
            path: path.to_owned(),
            mode,
        });
    }
    // Room for all of it at once: growing would leave copies behind.
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Both files get their names only when they are whole and on disk.
fn create(dir: &Path, paths: &Paths, new: &NewAuthority) -> Result<(), CaError> {
    let key = stage_file(&paths.key, 0o600, new.key_pem.as_bytes())?;
    let certificate = stage_file(&paths.certificate, 0o644, new.certificate_pem.as_bytes())?;
    publish(&key, &paths.key)?;
    publish(&certificate, &paths.certificate)?;
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|source| CaError::Directory {
        path: dir.to_owned(),
        source,
    })
}

/// Writes files with these modes, none of which may be there yet.
pub(super) fn write_new(files: &[(PathBuf, u32, &[u8])]) -> Result<(), CaError> {
    if let Some((path, ..)) = files.iter().find(|(path, ..)| path.exists()) {
        return Err(CaError::Write {
            path: path.clone(),
            source: io::ErrorKind::AlreadyExists.into(),
        });
    }
    for (path, mode, bytes) in files {
        let staged = stage_file(path, *mode, bytes)?;
        publish(&staged, path)?;
    }
    Ok(())
}

pub(super) fn stage_file(path: &Path, mode: u32, bytes: &[u8]) -> Result<PathBuf, CaError> {
    let staged = path.with_added_extension("new");
    let write = || {
        // Left by an agent that died in here; the lock says that it is nobody's now.
        if let Err(error) = fs::remove_file(&staged)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(staged),
        Err(source) => Err(CaError::Write {
            path: staged,
            source,
        }),
    }
}

fn publish(staged: &Path, path: &Path) -> Result<(), CaError> {
    renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE).map_err(|errno| CaError::Write {
        path: path.to_owned(),
        source: errno.into(),
    })
}
