//! `openssl s_client`, and reading the certificates that it prints.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use x509_parser::{
    extensions::GeneralName,
    pem::Pem,
    prelude::{X509Certificate, X509CertificateParser},
};

use super::require;
use crate::{pki::LeafFiles, pod::Pod, process::Output};

const LIMIT: Duration = Duration::from_secs(15);

/// One invocation of `openssl s_client`.
#[derive(Debug)]
pub struct SClient<'a> {
    pub pod: &'a Pod,
    pub server: SocketAddr,
    pub certificate: Option<&'a LeafFiles>,
    pub arguments: &'a [&'a str],
}

impl SClient<'_> {
    /// Connects, shakes hands and ends at once.
    ///
    /// # Errors
    /// When openssl can't be run; a failed handshake is an [`Output`].
    pub fn run(&self) -> Result<Output> {
        require("openssl")?;
        let mut command = self.pod.command("openssl")?;
        command.args(["s_client", "-showcerts", "-connect"]);
        command.arg(self.server.to_string()).args(self.arguments);
        if let Some(files) = self.certificate {
            command.arg("-cert").arg(&files.certificate);
            command.arg("-key").arg(&files.key);
            command.arg("-CAfile").arg(&files.root);
        }
        self.pod.run("s_client", command, LIMIT)
    }
}

/// `openssl s_client -showcerts` without a certificate: the PEM blocks that the server showed, leaf first.
///
/// # Errors
/// When the server showed none.
pub fn show_certificates(pod: &Pod, server: SocketAddr) -> Result<String> {
    let output = SClient {
        pod,
        server,
        certificate: None,
        arguments: &[],
    }
    .run()?;
    if !output.stdout.contains("BEGIN CERTIFICATE") {
        anyhow::bail!("no certificate: {}", output.describe());
    }
    Ok(output.stdout)
}

/// What a leaf certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Lower-case hexadecimal.
    pub serial: String,
    pub uris: Vec<String>,
    /// Names, addresses and whatever else stands beside the URIs.
    pub other_names: usize,
    /// From the first valid second to the last.
    pub lifetime: Duration,
    /// Seconds of the Unix epoch.
    pub not_after: i64,
    pub server_auth: bool,
    pub client_auth: bool,
    pub digital_signature: bool,
    pub is_ca: bool,
}

/// Reads the first certificate of a text with PEM blocks.
///
/// # Errors
/// When there is none or it can't be read.
pub fn leaf(text: &str) -> Result<Leaf> {
    let block = Pem::iter_from_buffer(text.as_bytes())
        .next()
        .context("no certificate")??;
    let certificate = parse(&block.contents)?;
    let (mut uris, mut other_names) = (Vec::new(), 0);
    if let Some(names) = certificate.subject_alternative_name()? {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => other_names += 1,
            }
        }
    }
    let usage = certificate.key_usage()?;
    let extended = certificate.extended_key_usage()?;
    let validity = certificate.validity();
    let (start, end) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    Ok(Leaf {
        serial: certificate.serial.to_str_radix(16),
        uris,
        other_names,
        lifetime: Duration::from_secs(u64::try_from(end - start)?),
        not_after: end,
        server_auth: extended.as_ref().is_some_and(|e| e.value.server_auth),
        client_auth: extended.is_some_and(|e| e.value.client_auth),
        digital_signature: usage.is_some_and(|u| u.value.digital_signature()),
        is_ca: certificate.is_ca(),
    })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    use x509_parser::nom::Parser as _;
    let (_, certificate) = X509CertificateParser::new()
        .parse(der)
        .map_err(|error| anyhow::anyhow!("not a certificate: {error}"))?;
    Ok(certificate)
}
