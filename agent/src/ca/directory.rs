//! The files of a CA. Does not know what is in them.

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

use super::CaError;

/// Names in the CA's directory.
pub(super) struct Paths {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) roots: PathBuf,
}

/// What the files hold, in PEM form.
pub(super) struct Files {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) certificate: Vec<u8>,
    /// Empty without a `root.crt`.
    pub(super) roots: Vec<u8>,
}

/// A CA that isn't on disk yet.
pub(super) struct NewAuthority {
    pub(super) key_pem: Zeroizing<String>,
    pub(super) certificate_pem: String,
}

impl Paths {
    /// Ours, or those of Istio's secret `cacerts` where its key is there
    /// (<https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/>).
    pub(super) fn new(dir: &Path) -> Self {
        let [istio_key, istio_chain] = ["ca-key.pem", "cert-chain.pem"].map(|name| dir.join(name));
        if !istio_key.exists() {
            return Self {
                key: dir.join("ca.key"),
                certificate: dir.join("ca.crt"),
                roots: dir.join("root.crt"),
            };
        }
        Self {
            key: istio_key,
            certificate: match istio_chain.exists() {
                true => istio_chain,
                false => dir.join("ca-cert.pem"),
            },
            roots: dir.join("root-cert.pem"),
        }
    }
}

/// Reads the files of a CA that has to be there.
pub(super) fn open_existing(dir: &Path) -> Result<Files, CaError> {
    let absent = || CaError::Absent {
        path: dir.to_owned(),
    };
    if !dir.is_dir() {
        return Err(absent());
    }
    open(dir, || Err(absent()))
}

/// Reads the CA's files; the first that comes to an empty directory fills it with what `make` gives. Waits
/// while another process is in here.
pub(super) fn open(
    dir: &Path,
    make: impl FnOnce() -> Result<NewAuthority, CaError>,
) -> Result<Files, CaError> {
    // The directory itself is locked: it may be mounted read-only, with a key and a certificate given.
    let _locked = lock(dir)?;
    let paths = Paths::new(dir);
    let key = read_key(&paths.key)?;
    let certificate = read(&paths.certificate)?;
    let (key, certificate) = match (key, certificate) {
        (Some(key), Some(certificate)) => (key, certificate),
        (None, None) => {
            let new = make()?;
            create(dir, &paths, &new)?;
            let key = Zeroizing::new(new.key_pem.as_bytes().to_vec());
            (key, new.certificate_pem.into_bytes())
        }
        (Some(_), None) => {
            let Paths {
                key, certificate, ..
            } = paths;
            return Err(CaError::CertificateMissing { key, certificate });
        }
        (None, Some(_)) => {
            let Paths {
                key, certificate, ..
            } = paths;
            return Err(CaError::KeyMissing { key, certificate });
        }
    };
    let roots = read(&paths.roots)?.unwrap_or_default();
    Ok(Files {
        key,
        certificate,
        roots,
    })
}

fn lock(dir: &Path) -> Result<File, CaError> {
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
    let key = stage(&paths.key, 0o600, new.key_pem.as_bytes())?;
    let certificate = stage(&paths.certificate, 0o644, new.certificate_pem.as_bytes())?;
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
        let staged = stage(path, *mode, bytes)?;
        publish(&staged, path)?;
    }
    Ok(())
}

fn stage(path: &Path, mode: u32, bytes: &[u8]) -> Result<PathBuf, CaError> {
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
