//! Why the CA can't be used, with the remedy.

use std::{io, path::PathBuf};

use rustls_pki_types::pem;

use super::{Rotation, Stage, Unaccepted};
use crate::tls::AuthorityError;

/// Why the embedded CA can't be opened, or an SVID can't be issued.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("the CA's directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "the CA's directory {} may be written by others (mode {mode:04o}): run `chmod 0700 {}`",
        path.display(), path.display()
    )]
    DirectoryMode { path: PathBuf, mode: u32 },
    #[error("there is no CA in {}: it needs ca.key and ca.crt", path.display())]
    Absent { path: PathBuf },
    #[error("`{name}` can't be written into a certificate: {source}")]
    Name { name: String, source: rcgen::Error },
    #[error("{} can't be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} may be read by others (mode {mode:04o}): run `chmod 0600 {}`, and take the key for known if it \
         has been so for long",
        path.display(), path.display()
    )]
    KeyMode { path: PathBuf, mode: u32 },
    #[error(
        "{} is there but {} is not: put the certificate beside the key, or remove the key to have a new CA made",
        key.display(), certificate.display()
    )]
    CertificateMissing { key: PathBuf, certificate: PathBuf },
    #[error(
        "{} is there but {} is not: put the key beside the certificate, or remove the certificate to have a \
         new CA made",
        certificate.display(), key.display()
    )]
    KeyMissing { key: PathBuf, certificate: PathBuf },
    #[error("{} is not a private key in PEM form: {source}", path.display())]
    KeyPem { path: PathBuf, source: pem::Error },
    #[error("{} has a passphrase: `openssl pkey` writes the key without one", path.display())]
    KeyEncrypted { path: PathBuf },
    #[error(
        "the key of the first certificate of {} has its curve written out: have it made with the curve's name (RFC 5480, \
         section 2.1.1; `-pkeyopt ec_param_enc:named_curve`)",
        path.display()
    )]
    CurveWrittenOut { path: PathBuf },
    #[error("{} holds a key of an unsupported kind: use ECDSA P-256 or P-384, RSA or Ed25519", path.display())]
    KeyKind { path: PathBuf },
    #[error("{} holds an RSA key of fewer than 2048 bits, which nobody believes", path.display())]
    KeyShort { path: PathBuf },
    #[error("certificate {position} of {} has no subject: a CA needs one", path.display())]
    NoSubject { path: PathBuf, position: usize },
    #[error(
        "the certificate that {} would give ends at {not_after}, before every certificate of today has been renewed ({until}): \
         have the issuing CA renewed first",
        issuer.display()
    )]
    EndsEarly {
        issuer: PathBuf,
        not_after: jiff::Timestamp,
        until: jiff::Timestamp,
    },
    #[error("{} is not made of certificates in PEM form: {source}", path.display())]
    CertificatePem { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("certificate {position} of {} is not valid X.509", path.display())]
    Certificate { path: PathBuf, position: usize },
    #[error(
        "{} does not hold the key of the first certificate of {}: the issuing certificate comes first, the \
         rest up to the root follow",
        key.display(), certificate.display()
    )]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error(
        "certificate {position} of {} is not a CA's: it needs CA:TRUE and the key usage keyCertSign",
        path.display()
    )]
    NotAuthority { path: PathBuf, position: usize },
    #[error(
        "certificate {position} of {} allows fewer CAs below itself (path length {allowed}) than stand before \
         it: have the issuing CA signed by one that allows it",
        path.display()
    )]
    PathLength {
        path: PathBuf,
        position: usize,
        allowed: u32,
    },
    #[error("the subject of the first certificate of {} is not valid DER", path.display())]
    Subject { path: PathBuf },
    #[error("certificate {position} of {} has expired at {not_after}: renew it", path.display())]
    Expired {
        path: PathBuf,
        position: usize,
        not_after: jiff::Timestamp,
    },
    #[error(
        "certificate {position} of {} is valid only from {not_before}: check the clock of this machine",
        path.display()
    )]
    NotYetValid {
        path: PathBuf,
        position: usize,
        not_before: jiff::Timestamp,
    },
    #[error(
        "{} is the CA of {found}, not of spiffe://{expected}: give --trust-domain the CA's, or another --ca-dir",
        path.display()
    )]
    TrustDomain {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error("{} does not end with a self-signed root and root.crt holds none: add it to either", path.display())]
    NoRoot { path: PathBuf },
    #[error("certificate {position} of {} can't serve as a root: {source}", path.display())]
    Root {
        path: PathBuf,
        position: usize,
        source: AuthorityError,
    },
    #[error("what {} issues would not be accepted by those who have its roots: {source}", path.display())]
    SelfTest { path: PathBuf, source: Unaccepted },
    #[error(
        "{} is signed under a root that peers haven't been told of: add that to {} first, and put the new key and \
         certificate in place when every certificate of today has been renewed; a restart takes them as they are",
        certificate.display(), roots.display()
    )]
    RootUnknown {
        certificate: PathBuf,
        roots: PathBuf,
    },
    #[error(
        "{} is signed under a root that peers have been told of only lately: it is taken at {until}, when every certificate \
         from before has been renewed; a restart takes it as it is",
        certificate.display()
    )]
    RootFresh {
        certificate: PathBuf,
        until: jiff::Timestamp,
    },
    #[error(
        "the root under which certificates of today are is in none of the CA's files any more: add it to {} until they \
         have expired; a restart takes the files as they are",
        roots.display()
    )]
    RootLost { roots: PathBuf },
    #[error("--issuer {} is this CA's own directory: name that of the CA above it", path.display())]
    OwnIssuer { path: PathBuf },
    #[error("{} is not a record of a rotation: {source}", path.display())]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "the {} is being rotated already: {} until {}", rotation.what, rotation.stage, rotation.until
    )]
    Rotating { rotation: Rotation },
    #[error(
        "the new {} signs already ({}): only what is {} can be given up",
        rotation.what, rotation.stage, Stage::Distributing
    )]
    TooLateToAbort { rotation: Rotation },
    #[error(
        "the {} is {} although that was over at {}: is the CA running, and can it write there?",
        rotation.what, rotation.stage, rotation.until
    )]
    Overdue { rotation: Rotation },
    #[error("the CA of {} has this name itself: give the one below it another", path.display())]
    SameName { path: PathBuf },
    #[error("nothing is being rotated")]
    NothingToAbort,
    #[error(
        "the root above {} is not this CA's to change: add the new root to {}, and replace key and certificate when \
         every certificate of today has been renewed",
        certificate.display(), roots.display()
    )]
    RootOfOthers {
        certificate: PathBuf,
        roots: PathBuf,
    },
    #[error("{} doesn't say which trust domain it is of: give --trust-domain", certificate.display())]
    DomainUnknown { certificate: PathBuf },
    #[error(
        "{} is where Istio's secret cacerts is mounted: change the secret, and the new key is read", key.display()
    )]
    KeyOfOthers { key: PathBuf },
    #[error("the CA itself has expired at {not_after}")]
    AuthorityExpired { not_after: jiff::Timestamp },
    #[error("a private key can't be made")]
    KeyGeneration,
    #[error("no randomness for a serial number")]
    Serial,
    #[error("the private key can't be used: {0}")]
    Key(#[from] rustls::Error),
    #[error("the certificate can't be signed: {0}")]
    Sign(#[from] rcgen::Error),
    #[error("the certificate can't be made: {0}")]
    Build(#[from] x509_cert::builder::Error),
}

impl CaError {
    /// Whether it is somewhere that is meant for reading alone.
    pub(super) fn is_readonly(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Self::Write { source, .. } if matches!(source.kind(), ReadOnlyFilesystem | PermissionDenied))
    }
}
