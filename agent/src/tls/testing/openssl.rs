//! Certificates as people make them: by openssl.

use std::{fs, path::PathBuf, process::Command};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;

/// Of `openssl ca`, which signs with any dates and digests.
const CONFIG: &str = "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = somebody\n\
    [ca]\ndefault_ca = default\n\
    [default]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\nunique_subject = no\npolicy = any\n\
    default_days = 2\ndefault_md = sha256\n\
    [any]\ncommonName = optional\n\
    [root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
    subjectKeyIdentifier = hash\n";

/// A directory with a root in `root.crt`, and what is made in it.
pub(crate) struct Openssl(TempDir);

impl Openssl {
    pub(crate) fn new() -> Self {
        let openssl = Self(tempfile::tempdir().unwrap());
        openssl.write("openssl.cnf", CONFIG);
        openssl.write("index.txt", "");
        openssl.key("root", "EC -pkeyopt ec_paramgen_curve:P-256");
        openssl.run("req -x509 -new -key root.key -config openssl.cnf -extensions root -subj /CN=root -days 9 -out root.crt");
        openssl
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(&self.0);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    }

    /// `NAME.key`, PKCS #8.
    pub(crate) fn key(&self, name: &str, algorithm: &str) {
        self.run(&format!("genpkey -algorithm {algorithm} -out {name}.key"));
    }

    /// `NAME.crt` for `NAME.key`, by `issuer`, with these lines of extensions.
    pub(crate) fn sign(&self, name: &str, issuer: &str, extensions: &str, options: &str) {
        self.write("extensions", extensions);
        self.run(&format!(
            "req -new -key {name}.key -config openssl.cnf -subj /CN={name} -out {name}.csr"
        ));
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(" {options}")
        };
        self.run(&format!(
            "ca -batch -config openssl.cnf -notext -in {name}.csr -cert {issuer}.crt -keyfile {issuer}.key \
             -extfile extensions -out {name}.crt{options}"
        ));
    }

    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        let file = self.path(&format!("{name}.crt"));
        CertificateDer::from_pem_file(file).unwrap()
    }
}
