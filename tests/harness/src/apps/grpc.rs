//! curl as a client of Istio's certificate service: requests and answers are put together here byte by byte, so that
//! nothing of the product's own client takes part.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::require;
use crate::{
    authority::{self, Authority},
    pod::Pod,
    process::Output,
};

const LIMIT: Duration = Duration::from_secs(15);
const METHOD: &str = "istio.v1.auth.IstioCertificateService/CreateCertificate";

/// One request for a certificate.
#[derive(Clone, Debug, Default)]
pub struct CertificateCall {
    /// PEM.
    pub csr: String,
    /// Seconds; 0 leaves it out.
    pub validity: u64,
    pub impersonated: Option<String>,
    pub token: Option<String>,
    /// Files of the chain and the key that the client shows.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct CertificateAnswer {
    /// <https://grpc.io/docs/guides/status-codes/>
    pub status: u32,
    /// As sent, percent-encoded.
    pub message: String,
    /// PEM, the leaf first.
    pub chain: Vec<String>,
}

impl CertificateCall {
    /// Sends it from a pod; `scratch` is for files.
    ///
    /// # Errors
    /// When curl can't be run, or there is no gRPC at the other end.
    pub fn send(
        &self,
        pod: &Pod,
        authority: &Authority,
        scratch: &Path,
    ) -> Result<CertificateAnswer> {
        require("curl")?;
        let [request, body, headers] =
            ["request", "body", "headers"].map(|name| scratch.join(name));
        fs::write(&request, frame(&self.message()))?;
        fs::write(&body, "")?;
        let (name, port) = (authority::NAME, authority::PORT);
        let mut command = pod.command("curl")?;
        command.args(["-sS", "--http2", "--max-time", "10", "-X", "POST"]);
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        if let Some(token) = &self.token {
            command.args(["-H", &format!("authorization: Bearer {token}")]);
        }
        if let Some((chain, key)) = &self.certificate {
            command.arg("--cert").arg(chain).arg("--key").arg(key);
        }
        command.arg("--cacert").arg(authority.roots());
        let to = authority.address();
        command.args(["--connect-to", &format!("{name}:{port}:{to}")]);
        command
            .arg("--data-binary")
            .arg(format!("@{}", request.display()));
        command.arg("-o").arg(&body).arg("-D").arg(&headers);
        command.arg(format!("https://{name}:{port}/{METHOD}"));
        let output = pod.run("curl-grpc", command, LIMIT)?.success()?;
        answer(&fs::read_to_string(&headers)?, &fs::read(&body)?, &output)
    }

    fn message(&self) -> Vec<u8> {
        let mut message = field(1, self.csr.as_bytes());
        if self.validity > 0 {
            message.push(3 << 3);
            message.extend(varint(self.validity));
        }
        if let Some(identity) = &self.impersonated {
            let entry = [
                field(1, b"ImpersonatedIdentity"),
                field(2, &field(3, identity.as_bytes())),
            ];
            message.extend(field(4, &field(1, &entry.concat())));
        }
        message
    }
}

/// A new key of a kind that openssl knows, and a request for it.
///
/// # Errors
/// When openssl can't make it.
pub fn csr(pod: &Pod, scratch: &Path, key: &[&str]) -> Result<String> {
    require("openssl")?;
    let mut command = pod.command("openssl")?;
    command.args(["req", "-new", "-nodes", "-subj", "/CN=ignored", "-newkey"]);
    command
        .args(key)
        .arg("-keyout")
        .arg(scratch.join("csr.key"));
    Ok(pod.run("openssl-req", command, LIMIT)?.success()?.stdout)
}

fn answer(headers: &str, body: &[u8], output: &Output) -> Result<CertificateAnswer> {
    let header = |name: &str| {
        let mut lines = headers.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let status = header("grpc-status");
    let status = status.with_context(|| format!("no gRPC: {headers}{}", output.describe()))?;
    Ok(CertificateAnswer {
        status: status.parse()?,
        message: header("grpc-message").unwrap_or_default(),
        chain: chain(body.get(5..).unwrap_or_default())?,
    })
}

/// The strings of field 1.
fn chain(mut message: &[u8]) -> Result<Vec<String>> {
    let mut chain = Vec::new();
    while let Some((tag, rest)) = message.split_first() {
        ensure!(*tag == 1 << 3 | 2, "field {tag}");
        let mut length = 0_usize;
        let mut rest = rest.iter();
        for (shift, byte) in (&mut rest).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let rest = rest.as_slice();
        let (text, rest) = rest.split_at_checked(length).context("cut off")?;
        chain.push(String::from_utf8(text.to_vec())?);
        message = rest;
    }
    Ok(chain)
}

/// Length-prefixed message of gRPC over HTTP/2.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or_default();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [
        &[number << 3 | 2],
        varint(bytes.len() as u64).as_slice(),
        bytes,
    ]
    .concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
    bytes
}
