//! Small files that others change while the agent runs: certificates, keys, lists.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use zeroize::Zeroizing;

/// Tells one content of a file from the next: symbolic links are followed, so that the kubelet's swap is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// # Errors
    /// When there is no regular file: others could make the reader wait for ever.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::of_regular(&fs::metadata(path)?)
    }

    /// [`Self::of`], of an open file.
    ///
    /// # Errors
    /// When it is not a regular one.
    pub fn of_open(file: &File) -> io::Result<Self> {
        Self::of_regular(&file.metadata()?)
    }

    fn of_regular(found: &fs::Metadata) -> io::Result<Self> {
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self::new(found))
    }

    /// Of a directory: tells that names came or went, not that a file in it has changed in place.
    ///
    /// # Errors
    /// When there is no directory.
    pub fn of_directory(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self::new(&found))
    }

    fn new(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The whole of a file of at most `limit` bytes. It may hold a key.
///
/// # Errors
/// When it can't be read, or is larger.
pub fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_open(File::open(path)?, limit)
}

/// [`read`], of an open file.
///
/// # Errors
/// When it can't be read, or is larger.
pub fn read_open(file: File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let bytes = read_at_most(file, limit)?;
    bytes.ok_or_else(|| io::Error::other(format!("larger than {limit} bytes")))
}

/// [`read_open`]; `None` when it is larger.
///
/// # Errors
/// When it can't be read.
pub fn read_at_most(file: File, limit: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // As much as there is: growing would leave copies behind.
    let size = file.metadata()?.len().min(limit);
    let capacity = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let before = Stamp::of(&path).unwrap();
        assert_eq!(*read(&path, 7).unwrap(), b"content");
        assert!(read(&path, 6).is_err());
        fs::write(&path, "contents").unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), before);
        assert!(Stamp::of(dir.path()).is_err());
        let names = Stamp::of_directory(dir.path()).unwrap();
        fs::write(dir.path().join("another"), "").unwrap();
        assert_ne!(Stamp::of_directory(dir.path()).unwrap(), names);
        assert!(Stamp::of_directory(&path).is_err());
        assert!(Stamp::of(&dir.path().join("gone")).is_err());
    }
}
