//! A file as the kubelet projects a key of a `ConfigMap`: a link through `..data`, which one rename turns to the next
//! version of the volume.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result};

use super::{Objects, PeerAuthentication, policy_file, policy_yaml};

/// The link that all files of the volume lead through, and the name under which its successor is made.
const DATA: &str = "..data";
const NEXT_DATA: &str = "..data_tmp";

impl Objects {
    /// [`Objects::policy`], projected. Where it was a file before, it is a link from then on.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn projected_policy(&self, policy: &PeerAuthentication) -> Result<()> {
        let (file, text) = (policy_file(policy), policy_yaml(policy)?);
        for directory in &self.directories {
            let version = format!("..{}", self.next.fetch_add(1, Ordering::Relaxed));
            swap(directory, &version, &file, &text)
                .with_context(|| format!("projecting {file} into {}", directory.display()))?;
        }
        self.set_changed();
        Ok(())
    }
}

fn swap(directory: &Path, version: &str, file: &str, text: &str) -> io::Result<()> {
    let before: Option<PathBuf> = fs::read_link(directory.join(DATA)).ok();
    fs::create_dir(directory.join(version))?;
    fs::write(directory.join(version).join(file), text)?;
    symlink(version, directory.join(NEXT_DATA))?;
    fs::rename(directory.join(NEXT_DATA), directory.join(DATA))?;
    match before {
        Some(before) => fs::remove_dir_all(directory.join(before)),
        None => {
            symlink(Path::new(DATA).join(file), directory.join(NEXT_DATA))?;
            fs::rename(directory.join(NEXT_DATA), directory.join(file))
        }
    }
}
