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
    /// Whether opening it gives what is in it: others could make the reader of a pipe wait for ever.
    pub is_file: bool,
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
            let entry = entry_at(dir.to_owned()).map(|entry| Entry {
                is_file: true,
                ..entry
            });
            return Ok(Self {
                identity: (metadata.dev(), metadata.ino()),
                entries: entry.into_iter().collect(),
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
    let extension = path
        .extension()
        .map(|extension| extension.to_ascii_lowercase());
    let extension = extension
        .as_deref()
        .and_then(|extension| extension.to_str());
    let switch = path.file_name().is_some_and(|name| name == SWITCH);
    switch || !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// `None`: a directory. What is no file, or can't be looked at, stays in the list, for the reader to complain about.
fn entry_at(path: PathBuf) -> Option<Entry> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let metadata = fs::metadata(&path).ok();
    if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
        return None;
    }
    Some(Entry {
        path,
        name,
        is_file: metadata.as_ref().is_none_or(fs::Metadata::is_file),
        stamp: metadata.map(|metadata| Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }),
    })
}
