//! What `sealane ca issue` makes, and which names it gives.

use std::time::Duration;

use super::{ConfigError, ca::server_name, duration};
use crate::{
    ca::{KeyType, Kind, LeafName, Order},
    cli::{CaIssueArgs, CaKeyType},
    identity::{TrustDomain, is_segment},
};

/// Characters of a common name (RFC 5280, appendix A.1: ub-common-name).
const LONGEST_NAME: usize = 64;
/// Bytes of a URI; of a SPIFFE ID (SPIFFE-ID specification, section 2.3) as of any other.
const LONGEST_URI: usize = 2048;
const SPIFFE: &str = "spiffe://";

/// What `sealane ca issue` was told to make.
///
/// # Errors
/// When there is nothing that could be made of it.
pub fn order(args: &CaIssueArgs) -> Result<Order, ConfigError> {
    let ca = args.ca_dir.clone().unwrap_or_default();
    let kind = match (&args.root, &args.intermediate) {
        (Some(name), _) => Kind::Root {
            name: common_name("--root", name)?,
        },
        (None, Some(name)) => Kind::Intermediate {
            name: common_name("--intermediate", name)?,
            ca,
        },
        (None, None) => Kind::Leaf {
            names: leaf_names(args)?,
            ca,
        },
    };
    let default = match &kind {
        Kind::Leaf { .. } => "2160h",
        Kind::Root { .. } | Kind::Intermediate { .. } => "87600h",
    };
    let ttl = args.ttl.as_deref().unwrap_or(default);
    let [shortest, longest] = [60, 20 * 365 * 24 * 3600].map(Duration::from_secs);
    Ok(Order {
        kind,
        ttl: duration::parse("--ttl", ttl, shortest, longest)?,
        key_type: match args.key_type {
            CaKeyType::P256 => KeyType::P256,
            CaKeyType::P384 => KeyType::P384,
            CaKeyType::Ed25519 => KeyType::Ed25519,
            CaKeyType::Rsa2048 => KeyType::Rsa2048,
            CaKeyType::Rsa3072 => KeyType::Rsa3072,
            CaKeyType::Rsa4096 => KeyType::Rsa4096,
        },
    })
}

fn common_name(flag: &'static str, name: &str) -> Result<String, ConfigError> {
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
    if fits && !name.trim().is_empty() && !name.contains(char::is_control) {
        return Ok(name.to_owned());
    }
    Err(ConfigError::CommonName {
        flag,
        value: name.to_owned(),
    })
}

fn leaf_names(args: &CaIssueArgs) -> Result<Vec<LeafName>, ConfigError> {
    let mut names = Vec::new();
    for name in &args.dns_names {
        server_name("--dns", name.strip_prefix("*.").unwrap_or(name))?;
        names.push(LeafName::Host(name.clone()));
    }
    for uri in &args.uris {
        check_uri(uri).map_err(|why| ConfigError::Uri {
            value: uri.clone(),
            why,
        })?;
        names.push(LeafName::Uri(uri.clone()));
    }
    if let Some(id) = args.uris.iter().find(|uri| is_spiffe(uri))
        && args.uris.len() > 1
    {
        return Err(ConfigError::Uri {
            value: id.clone(),
            why: "a SPIFFE ID is a certificate's only URI (X509-SVID, section 2)",
        });
    }
    Ok(names)
}

fn is_spiffe(uri: &str) -> bool {
    let scheme = uri.get(..SPIFFE.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
}

/// An absolute URI (RFC 5280, section 4.2.1.6; RFC 3986, section 3), and of SPIFFE IDs what their specification says.
fn check_uri(uri: &str) -> Result<(), &'static str> {
    if uri.len() > LONGEST_URI {
        return Err("it has more than 2048 bytes");
    }
    let (scheme, rest) = uri
        .split_once(':')
        .ok_or("it has no scheme, such as `spiffe:`")?;
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !starts || !scheme.chars().all(is_scheme) {
        return Err("it has no scheme, such as `spiffe:`");
    }
    let is_uri = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    if !rest.chars().all(is_uri) {
        return Err("it has a character that has to be written as `%` and its number");
    }
    let authority = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split('/').next());
    if rest.is_empty() || authority == Some("") {
        return Err("it names nothing behind its scheme");
    }
    if is_spiffe(uri) {
        check_spiffe(uri)
    } else {
        Ok(())
    }
}

/// SPIFFE-ID specification, sections 2.1 and 2.2.
fn check_spiffe(uri: &str) -> Result<(), &'static str> {
    let rest = uri
        .strip_prefix(SPIFFE)
        .ok_or("its scheme is written `spiffe`")?;
    let (domain, path) = rest
        .split_once('/')
        .ok_or("it has no path: a trust domain is no workload")?;
    if domain.parse::<TrustDomain>().is_err() {
        return Err("its trust domain is not made of lower-case letters, digits, `.`, `-` and `_`");
    }
    match path.split('/').all(is_segment) {
        true => Ok(()),
        false => {
            Err("its path is not made of letters, digits, `.`, `-` and `_` between single `/`")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{CaCommand, Cli, Command};

    fn ordered(arguments: &[&str]) -> Result<Order, ConfigError> {
        let line = ["sealane", "ca", "issue", "--out", "."].iter();
        let cli = Cli::try_parse_from(line.chain(arguments)).unwrap();
        let Command::Ca(CaCommand::Issue(args)) = cli.command else {
            panic!("another command");
        };
        order(&args)
    }

    fn uri(uri: &str) -> Result<Order, ConfigError> {
        ordered(&["--ca-dir", "ca", "--uri", uri])
    }

    #[test]
    fn uris_are_absolute_and_spiffe_ids_are_as_specified() {
        for good in [
            "spiffe://a.b/x",
            "spiffe://a.b/ns/x/sa/y",
            "https://web.example/a?b#c",
            "urn:uuid:0",
        ] {
            uri(good).unwrap();
        }
        let long = format!("spiffe://a/{}", "x".repeat(2040));
        for bad in [
            "",
            "x",
            ":x",
            "1a:x",
            "http://x y",
            "http:",
            "http://",
            "http:///x",
            "spiffe://A.B/ns/x",
            "SPIFFE://a/x",
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///x",
            "spiffe://a/x/../y",
            "spiffe://a//x",
            "spiffe://a/x/",
            "spiffe://u@a/x",
            "spiffe://a:1/x",
            "spiffe://a/x?q",
            "spiffe://a/x#f",
            "spiffe://a/\u{e4}",
            &long,
        ] {
            let error = uri(bad).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("--uri"), "{bad}: {error}");
        }
        let two = ordered(&["--ca-dir", "ca", "--uri", "spiffe://a/x", "--uri", "urn:x"]);
        assert!(two.is_err());
        ordered(&["--ca-dir", "ca", "--uri", "urn:x", "--uri", "urn:y"]).unwrap();
    }

    #[test]
    fn hosts_are_names_or_addresses_and_errors_say_which_option() {
        for good in [
            "web.example",
            "*.web.example",
            "10.0.0.1",
            "fd00::1",
            "localhost",
        ] {
            ordered(&["--ca-dir", "ca", "--dns", good]).unwrap();
        }
        for bad in ["999.1.1.1", "1.2.3", "a_b", "Web", ""] {
            let error = ordered(&["--ca-dir", "ca", "--dns", bad]).map(drop);
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("--dns `"), "{bad}: {error}");
        }
    }

    #[test]
    fn names_of_authorities_are_short_and_on_one_line() {
        let longest = "\u{e4}".repeat(64);
        ordered(&["--root", "Third root"]).unwrap();
        ordered(&["--root", &longest]).unwrap();
        let longer = "x".repeat(65);
        for bad in ["", " ", "a\nb", &longer] {
            assert!(ordered(&["--root", bad]).is_err(), "{bad:?}");
            assert!(ordered(&["--ca-dir", "ca", "--intermediate", bad]).is_err());
        }
    }

    #[test]
    fn lives_are_as_long_as_help_says() {
        ordered(&["--root", "x", "--ttl", "7300d"]).unwrap();
        assert!(ordered(&["--root", "x", "--ttl", "175201h"]).is_err());
    }
}
