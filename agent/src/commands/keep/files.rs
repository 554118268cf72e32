//! The files of a CA's directory, as a whole.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::ca;

const KEYS: [&str; 2] = ["ca.key", "ca-key.pem"];
/// Of one file: a Secret has a MiB.
const LIMIT: u64 = 1 << 20;

/// Name and content of each file that there is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<String, Zeroizing<Vec<u8>>>);

/// SHA-256 of names and contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl FromIterator<(String, Vec<u8>)> for Files {
    /// Files of other names are left out.
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        let known = files
            .into_iter()
            .filter(|(name, _)| Self::has_place_for(name));
        Self(
            known
                .map(|(name, bytes)| (name, Zeroizing::new(bytes)))
                .collect(),
        )
    }
}

impl Files {
    /// Whether a file of the CA is called so.
    pub(super) fn has_place_for(name: &str) -> bool {
        ca::FILES.contains(&name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name, bytes.as_slice()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a CA: a key and a certificate, also where a change of both has stopped halfway.
    pub(super) fn has_pair(&self) -> bool {
        let has = |names: &[&str]| names.iter().any(|name| self.0.contains_key(*name));
        let halfway = has(&["rotation.json"]);
        has(&KEYS) && has(&["ca.crt", "ca-cert.pem", "cert-chain.pem"])
            || halfway && has(&["next.crt"]) && has(&["ca.key", "next.key"])
    }

    pub(super) fn digest(&self) -> Digest {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for (name, bytes) in &self.0 {
            for part in [name.as_bytes(), bytes] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Digest(digest)
    }

    /// # Errors
    /// When one of them can't be read.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let _locked = ca::lock(directory)?;
        let mut files = BTreeMap::new();
        for name in ca::FILES {
            let path = directory.join(name);
            match crate::file::read(&path, LIMIT) {
                Ok(bytes) => drop(files.insert(name.to_owned(), bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        Ok(Self(files))
    }

    /// Makes the directory have these, and no others of the CA's.
    ///
    /// # Errors
    /// When it can't be written to.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let _locked = ca::lock(directory)?;
        for name in ca::FILES {
            let path = directory.join(name);
            let done = match self.0.get(name) {
                Some(bytes) => replace(&path, bytes),
                None => remove(&path),
            };
            done.with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

impl Digest {
    /// `None` when nothing is remembered.
    ///
    /// # Errors
    /// As read(2).
    pub(super) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(bytes.try_into().ok().map(Self)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// # Errors
    /// As write(2).
    pub(super) fn write(self, path: &Path) -> anyhow::Result<()> {
        replace(path, &self.0).with_context(|| path.display().to_string())
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_added_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let owned = list
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        owned.collect()
    }

    #[test]
    fn what_is_written_is_read_and_the_rest_is_gone() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("ca");
        files(&[("ca.key", "1"), ("next.key", "2")])
            .write(&directory)
            .unwrap();
        let after = files(&[("ca.key", "2"), ("ca.crt", "3")]);
        after.write(&directory).unwrap();
        assert!(Files::read(&directory).unwrap() == after);
        assert!(!directory.join("next.key").exists());
    }

    #[test]
    fn other_names_are_not_ours_to_write() {
        assert!(files(&[("../etc/passwd", "x"), ("notes", "y")]) == Files::default());
    }

    #[test]
    fn digests_tell_names_from_contents() {
        let digest = |name: &str, text: &str| files(&[(name, text)]).digest();
        assert_ne!(digest("ca.key", "a"), digest("ca.crt", "a"));
        assert_ne!(digest("ca.key", "a"), digest("ca.key", "b"));
        assert_ne!(files(&[]).digest(), digest("ca.key", ""));
    }

    #[test]
    fn what_agreed_is_remembered() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("kept");
        assert_eq!(Digest::read(&path).unwrap(), None);
        let digest = files(&[("ca.key", "a")]).digest();
        digest.write(&path).unwrap();
        assert_eq!(Digest::read(&path).unwrap(), Some(digest));
        fs::write(&path, "cut").unwrap();
        assert_eq!(Digest::read(&path).unwrap(), None);
    }
}
