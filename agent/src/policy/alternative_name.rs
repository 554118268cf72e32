//! Names that certificates may have: what `subjectAltNames` of several documents may say.

use std::net::IpAddr;

use super::{FieldPath, Invalid, Reason};

/// Refuses what no certificate has: wildcards, and what is neither a DNS name nor an address nor a URI.
pub(super) fn check(names: &[String], at: &FieldPath, errors: &mut Vec<Invalid>) {
    for (index, name) in names.iter().enumerate() {
        if !is_name(name) {
            let field = at.clone().key("subjectAltNames").index(index);
            errors.push(Invalid::new(field, Reason::AlternativeName(name.clone())));
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_uri = |(scheme, rest): (&str, &str)| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let has_name = !scheme.is_empty() && scheme.bytes().all(plain);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // An identity without a path is a whole trust domain (SPIFFE-ID, section 2).
        let whole = !host.is_empty() && (scheme != "spiffe" || !path.is_empty());
        has_name && whole && rest.bytes().all(|b| b.is_ascii_graphic())
    };
    let plain = !name.contains('*') && name.is_ascii();
    plain
        && (is_dns_name(name)
            || name.parse::<IpAddr>().is_ok()
            || name.split_once("://").is_some_and(is_uri))
}

/// As in certificates, and in what clients ask for.
pub(super) fn is_dns_name(name: &str) -> bool {
    rustls_pki_types::DnsName::try_from(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_those_that_certificates_have() {
        for name in [
            "a",
            "a.example",
            "10.0.0.1",
            "fd00::1",
            "spiffe://a.example/ns/x/sa/y",
            "spiffe://a.example/anything",
            "https://a.example",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "*",
            "*.a.example",
            "a b",
            "spiffe://",
            "spiffe://a.example",
            "spiffe://a.example/",
            "://x",
            "a.example/x",
            "ä.example",
            "spiffe://a.example/ns/*",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
