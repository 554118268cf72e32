//! Which files a directory has, and whether they are still what they were.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::control::objects::SWITCH;

/// A file of the directory, links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    /// For messages.
    pub name: String,
    /// `None`: it can't be looked at.
    stamp: Option<Stamp>,
}

/// What changes when a file's content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The objects' files of a directory, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Device and inode of the directory itself.
    pub identity: (u64, u64),
    pub entries: Vec<Entry>,
}

impl Listing {
    /// `*.yaml`, `*.yml`, `*.json` and the switch directly in `dir`, without those whose names begin with a dot. What is no
    /// directory is its own: a file, or a pipe, which can be read once.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(dir)?;
        if !metadata.is_dir() {
            let pipe = || Entry {
                path: dir.to_owned(),
                name: dir.display().to_string(),
                stamp: None,
            };
            return Ok(Self {
                identity: (metadata.dev(), metadata.ino()),
                entries: vec![entry_at(dir.to_owned()).unwrap_or_else(pipe)],
            });
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if is_named_as_objects(&path)
                && let Some(entry) = entry_at(path)
            {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            identity: (metadata.dev(), metadata.ino()),
            entries,
        })
    }
}

/// Directories in `dir`, by name: nothing in them is read. Those whose names begin with a dot are not meant to be.
///
/// # Errors
/// When the directory can't be read.
pub fn subdirectories(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    if !fs::metadata(dir)?.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| !name.starts_with('.') && path.is_dir());
        names.extend(name);
    }
    names.sort();
    Ok(names)
}

fn is_named_as_objects(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    let switch = path.file_name().is_some_and(|name| name == SWITCH);
    switch || !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// `None`: not a file. What can't be looked at stays in the list, for the reader to complain about.
fn entry_at(path: PathBuf) -> Option<Entry> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let stamp = match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => return None,
        Ok(metadata) => Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }),
        Err(_) => None,
    };
    Some(Entry { path, name, stamp })
}
