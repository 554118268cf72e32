//! `sealane certs` for people.

use jiff::Timestamp;

use super::table::{ABSENT, instant, or_absent, relative, render};
use crate::admin::api;

pub(super) fn table(certificates: &[api::Certificate]) -> String {
    if certificates.is_empty() {
        return "The agent holds no certificate: no pod of its node belongs to the mesh.\n"
            .to_owned();
    }
    let now = Timestamp::now();
    let header = [
        "IDENTITY",
        "STATE",
        "SERIAL",
        "NOT BEFORE",
        "NOT AFTER",
        "EXPIRES",
        "REFRESH",
        "ISSUER",
        "KEY",
        "ERROR",
    ];
    let at = |time: Option<Timestamp>| time.map_or_else(|| ABSENT.to_owned(), instant);
    let rows = certificates.iter().map(|c| {
        vec![
            c.identity.clone(),
            c.state.as_str().to_owned(),
            or_absent(c.serial.as_deref()),
            at(c.not_before),
            at(c.not_after),
            c.not_after
                .map_or_else(|| ABSENT.to_owned(), |end| relative(end, now)),
            relative(c.refresh_at, now),
            or_absent(c.issuer.as_deref()),
            or_absent(c.algorithm.as_deref()),
            or_absent(c.last_error.as_deref()),
        ]
    });
    render(&header, rows)
}

/// All chains, each behind the identity that it is of (RFC 7468, section 2: text between certificates is ignored).
pub(super) fn pem(certificates: &[api::Certificate]) -> String {
    let chains = certificates.iter().filter_map(|certificate| {
        let chain = certificate.pem.as_deref()?;
        Some(format!("# {}\n{chain}", certificate.identity))
    });
    chains.collect()
}
