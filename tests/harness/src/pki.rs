//! Certificates for foreigners: of the mesh's own root, of another one, expired, or for whomever.

mod openssl;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

pub use openssl::OpensslRoot;

const HOUR: Duration = Duration::from_secs(3600);

/// An authority that signs what a test asks for.
#[derive(Debug)]
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// What a certificate shall say.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub uris: Vec<String>,
    pub names: Vec<String>,
    /// Relative to now; negative ends are `past`.
    pub validity: Validity,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From an hour ago for two hours.
    Now,
    /// Ended an hour ago.
    Past,
    /// Begins in an hour.
    Future,
    /// Begins in so many seconds.
    In(u64),
    /// From an hour ago until so many seconds from now.
    Seconds(u64),
}

impl Wanted {
    /// A certificate for one SPIFFE ID.
    #[must_use]
    pub fn spiffe(id: &str) -> Self {
        Self {
            uris: vec![id.to_owned()],
            names: Vec::new(),
            validity: Validity::Now,
        }
    }

    /// A certificate of a web server.
    #[must_use]
    pub fn server(name: &str) -> Self {
        Self {
            uris: Vec::new(),
            names: vec![name.to_owned()],
            validity: Validity::Now,
        }
    }

    #[must_use]
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Leaf {
    pub certificate_pem: String,
    pub key_pem: String,
    /// Of the authority that signed it.
    pub root_pem: String,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
    serial: u64,
}

/// Where a [`Leaf`] lies for programs.
#[derive(Clone, Debug)]
pub struct LeafFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub root: PathBuf,
}

impl Pki {
    /// That of a CA's directory, such as the mesh's own: `ca.key` and `ca.crt`.
    ///
    /// # Errors
    /// When they aren't there or can't be read.
    pub fn of_mesh(directory: &Path) -> Result<Self> {
        let [key, root_pem] = ["ca.key", "ca.crt"].map(|file| directory.join(file));
        let key = fs::read_to_string(&key).with_context(|| format!("{}", key.display()))?;
        let root_pem = fs::read_to_string(root_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&root_pem, KeyPair::from_pem(&key)?)?;
        Ok(Self { issuer, root_pem })
    }

    /// A root that is to be the mesh's own: for agents that have not started yet.
    ///
    /// # Errors
    /// When it can't be made, or written.
    pub fn make_mesh(directory: &Path) -> Result<Self> {
        let pki = Self::root("the mesh's root")?;
        pki.write(directory)?;
        Ok(pki)
    }

    /// Writes `ca.key` and `ca.crt`, as a CA's directory has them.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        let key = directory.join("ca.key");
        fs::write(&key, self.issuer.key().serialize_pem())?;
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        fs::write(directory.join("ca.crt"), &self.root_pem)?;
        Ok(())
    }

    /// A root that nobody knows.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn foreign() -> Result<Self> {
        Self::root("a foreign root")
    }

    fn root(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            root_pem,
        })
    }

    /// Fills the directory of a CA with an intermediate under this root: `ca.key`, `ca.crt` and `root.crt`.
    ///
    /// # Errors
    /// When it can't be made or written.
    pub fn intermediate(&self, directory: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("an intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key_file = directory.join("ca.key");
        fs::write(&key_file, key.serialize_pem())?;
        fs::set_permissions(&key_file, Permissions::from_mode(0o600))?;
        fs::write(directory.join("ca.crt"), certificate.pem())?;
        fs::write(directory.join("root.crt"), &self.root_pem)?;
        Ok(())
    }

    pub(crate) fn root_der(&self) -> Result<Vec<u8>> {
        let der = CertificateDer::from_pem_slice(self.root_pem.as_bytes())?;
        Ok(der.to_vec())
    }

    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What revokes these, in PEM.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn revocation_list(&self, revoked: &[&Leaf]) -> Result<String> {
        let serials = revoked.iter().map(|leaf| leaf.serial.into());
        self.revocation_of(serials.collect())
    }

    /// What revokes the certificates with these serial numbers, in PEM.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn revocation_of(&self, serials: Vec<SerialNumber>) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let at = |offset: Duration| date_time_ymd(1970, 1, 1) + offset;
        let entries = serials.into_iter().map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: at(now - HOUR),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at(now - HOUR),
            next_update: at(now + HOUR),
            crl_number: now.as_secs().into(),
            issuing_distribution_point: None,
            revoked_certs: entries.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    /// # Errors
    /// When it can't be made.
    pub fn leaf(&self, wanted: &Wanted) -> Result<Leaf> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(wanted.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        for uri in &wanted.uris {
            let uri = SanType::URI(uri.as_str().try_into()?);
            params.subject_alt_names.push(uri);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let start = wanted.validity.start()?;
        params.not_before = date_time_ymd(1970, 1, 1) + start;
        params.not_after = date_time_ymd(1970, 1, 1) + start + wanted.validity.length();
        let serial = fastrand::u64(1..);
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            root_pem: self.root_pem.clone(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            serial,
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

impl Validity {
    fn start(self) -> Result<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(match self {
            Self::Now | Self::Seconds(_) => now - HOUR,
            Self::Past => now - 3 * HOUR,
            Self::Future => now + HOUR,
            Self::In(seconds) => now + Duration::from_secs(seconds),
        })
    }

    fn length(self) -> Duration {
        match self {
            Self::Now | Self::Past | Self::Future | Self::In(_) => 2 * HOUR,
            Self::Seconds(seconds) => HOUR + Duration::from_secs(seconds),
        }
    }
}

impl Leaf {
    /// Writes certificate, key and root for programs to use.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(&self, directory: &Path) -> Result<LeafFiles> {
        let files = LeafFiles {
            certificate: directory.join("leaf.crt"),
            key: directory.join("leaf.key"),
            root: directory.join("root.crt"),
        };
        fs::write(&files.certificate, &self.certificate_pem)?;
        fs::write(&files.key, &self.key_pem)?;
        fs::write(&files.root, &self.root_pem)?;
        Ok(files)
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}
