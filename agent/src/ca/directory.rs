//! The files of the embedded CA. Does not know what is in them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
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
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            key: dir.join("ca.key"),
            certificate: dir.join("ca.crt"),
            roots: dir.join("root.crt"),
        }
    }
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
    if mode & 0o022 != 0 {
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
fn open_existing(path: &Path) -> Result<Option<File>, CaError> {
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
    let Some(mut file) = open_existing(path)? else {
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
    let Some(mut file) = open_existing(path)? else {
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
