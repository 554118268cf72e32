//! What a change of key does to the files, one step at a time. After each step whoever comes next can tell what is
//! left to do, so that a crash between two of them loses nothing.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Record, Stage};
use crate::ca::{
    CaError,
    directory::{NewAuthority, Paths, stage_file},
};

/// One change of a directory: done, or not.
pub(in crate::ca) enum FileStep {
    Put {
        path: PathBuf,
        mode: u32,
        bytes: Zeroizing<Vec<u8>>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
}

impl FileStep {
    fn put(path: &Path, mode: u32, bytes: &[u8]) -> Self {
        Self::Put {
            path: path.to_owned(),
            mode,
            bytes: Zeroizing::new(bytes.to_vec()),
        }
    }

    fn rename(from: &Path, to: &Path) -> Self {
        Self::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    /// Does it, and has it on disk.
    pub(in crate::ca) fn take(&self) -> Result<(), CaError> {
        let (path, done) = match self {
            Self::Put { path, mode, bytes } => {
                let staged = stage_file(path, *mode, bytes)?;
                (path, fs::rename(staged, path))
            }
            Self::Rename { from, to } => (to, fs::rename(from, to)),
            Self::Remove { path } => (path, fs::remove_file(path)),
        };
        done.and_then(|()| sync_directory(path))
            .map_err(|source| CaError::Write {
                path: path.clone(),
                source,
            })
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The record goes in last: without it the new pair doesn't count.
pub(in crate::ca) fn begin(
    paths: &Paths,
    new: &NewAuthority,
    record: &Record,
) -> Result<Vec<FileStep>, CaError> {
    Ok(vec![
        FileStep::put(&paths.next_key, 0o600, new.key_pem.as_bytes()),
        FileStep::put(
            &paths.next_certificate,
            0o644,
            new.certificate_pem.as_bytes(),
        ),
        write(paths, record)?,
    ])
}

/// The record alone; what follows from it, [`follow`] says.
pub(in crate::ca) fn write(paths: &Paths, record: &Record) -> Result<FileStep, CaError> {
    let text = serde_json::to_vec_pretty(record).map_err(|source| CaError::Record {
        path: paths.record.clone(),
        source,
    })?;
    Ok(FileStep::put(&paths.record, 0o644, &text))
}

/// What the files still lack of the stage that the record says.
pub(in crate::ca) fn follow(paths: &Paths, stage: Stage) -> Vec<FileStep> {
    match stage {
        Stage::Stable => left_over(&[
            &paths.next_key,
            &paths.next_certificate,
            &paths.old_key,
            &paths.old_certificate,
        ]),
        Stage::Distributing => Vec::new(),
        Stage::Signing => exchange(paths),
        Stage::Retiring => {
            let mut steps = exchange(paths);
            if steps.is_empty() {
                steps = left_over(&[&paths.old_key]);
            }
            steps
        }
    }
}

/// The new pair takes the old one's place. Its certificate goes last: while it has its first name, this isn't over.
fn exchange(paths: &Paths) -> Vec<FileStep> {
    if !paths.next_certificate.exists() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if paths.certificate.exists() && !paths.old_certificate.exists() {
        steps.push(FileStep::rename(&paths.certificate, &paths.old_certificate));
    }
    if paths.next_key.exists() {
        if paths.key.exists() && !paths.old_key.exists() {
            steps.push(FileStep::rename(&paths.key, &paths.old_key));
        }
        steps.push(FileStep::rename(&paths.next_key, &paths.key));
    }
    steps.push(FileStep::rename(
        &paths.next_certificate,
        &paths.certificate,
    ));
    steps
}

fn left_over(paths: &[&PathBuf]) -> Vec<FileStep> {
    let there = paths.iter().filter(|path| path.exists());
    let path = there.map(|path| (*path).clone());
    path.map(|path| FileStep::Remove { path }).collect()
}
