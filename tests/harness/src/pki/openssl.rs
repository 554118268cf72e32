//! Certificates as people make them by hand: RSA, by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::LeafFiles;
use crate::apps::require;

/// Of the root; the extensions of a leaf are in a file of its own.
const ROOT: &str = "[req]\ndistinguished_name = dn\nx509_extensions = root\nprompt = no\n\
                    [dn]\nCN = a-b-root-ca\n\
                    [root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
                    subjectKeyIdentifier = hash\n";

/// A root with its key in a directory.
#[derive(Debug)]
pub struct OpensslRoot {
    directory: PathBuf,
}

impl OpensslRoot {
    /// RSA 2048.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn new(directory: &Path) -> Result<Self> {
        require("openssl")?;
        fs::write(directory.join("root.cnf"), ROOT)?;
        let root = Self {
            directory: directory.to_owned(),
        };
        root.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -config root.cnf -keyout root.key -out root.crt",
        )?;
        Ok(root)
    }

    /// RSA 2048, for either end, with a DNS name.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn leaf(&self, file: &str, name: &str) -> Result<LeafFiles> {
        let extensions = format!(
            "basicConstraints = CA:FALSE\nkeyUsage = digitalSignature, keyEncipherment\n\
             extendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = DNS:{name}\n"
        );
        fs::write(self.directory.join(format!("{file}.cnf")), extensions)?;
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -config root.cnf -subj /CN={file} -keyout {file}.key -out {file}.csr"
        ))?;
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA root.crt -CAkey root.key -CAcreateserial -days 7 -extfile {file}.cnf -out {file}.crt"
        ))?;
        let path = |extension: &str| self.directory.join(format!("{file}.{extension}"));
        Ok(LeafFiles {
            certificate: path("crt"),
            key: path("key"),
            root: self.directory.join("root.crt"),
        })
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.directory)
            .output()
            .context("running openssl")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "openssl {arguments}: {said}");
        Ok(())
    }
}
