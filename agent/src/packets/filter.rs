//! Which packets are wanted: a part of what tcpdump takes (pcap-filter(7)).

use std::{net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::IpNet;

use super::Frame;

/// How deep expressions nest.
const DEPTH: usize = 32;
const LONGEST: usize = 4096;

/// Why an expression isn't one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0:?} is not understood: {HELP}")]
    Unknown(String),
    #[error("something is missing at the end: {HELP}")]
    End,
    #[error("{0:?} is not an address: names are not looked up")]
    Address(String),
    #[error("{0:?} is not an address range such as 10.0.0.0/8")]
    Net(String),
    #[error("{0:?} is not a port from 0 to 65535, or a range of ports such as 8000-8010")]
    Port(String),
    #[error("{0:?} is left over: `and` or `or` may be missing before it")]
    Rest(String),
    #[error("it is longer than {LONGEST} characters, or nested deeper than {DEPTH}")]
    Large,
}

const HELP: &str = "filters are made of [src|dst] host ADDRESS, [src|dst] net RANGE, [src|dst] port PORT, portrange, tcp, \
                    udp, icmp, icmp6, ip, ip6, arp, and, or, not and parentheses";

/// Matches all packets by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Expression>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Address(Side, IpNet),
    /// Of a protocol, if one is given.
    Port(Side, Option<u8>, RangeInclusive<u16>),
    Protocol(u8),
    Version(Version),
    Arp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Filter {
    #[must_use]
    pub fn matches(&self, frame: &Frame) -> bool {
        self.0
            .as_ref()
            .is_none_or(|expression| expression.matches(frame))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::Large);
        }
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('!', " ! ");
        let mut words = Words {
            words: spaced.split_whitespace().collect(),
            next: 0,
        };
        if words.words.is_empty() {
            return Ok(Self(None));
        }
        let expression = words.expression(0)?;
        match words.peek() {
            None => Ok(Self(Some(expression))),
            Some(rest) => Err(FilterError::Rest(rest.to_owned())),
        }
    }
}

impl Expression {
    fn matches(&self, frame: &Frame) -> bool {
        match self {
            Self::Not(inner) => !inner.matches(frame),
            Self::And(both) => both.iter().all(|one| one.matches(frame)),
            Self::Or(both) => both.iter().any(|one| one.matches(frame)),
            Self::Address(side, net) => {
                let holds = |address: &IpAddr| net.contains(address);
                frame.addresses.is_some_and(|ends| side.any(&ends, holds))
            }
            Self::Port(side, protocol, ports) => {
                protocol.is_none_or(|wanted| frame.protocol == Some(wanted))
                    && frame
                        .ports
                        .is_some_and(|ends| side.any(&ends, |port| ports.contains(port)))
            }
            Self::Protocol(protocol) => frame.protocol == Some(*protocol),
            Self::Version(version) => frame.addresses.is_some_and(|[source, _]| match version {
                Version::V4 => source.is_ipv4(),
                Version::V6 => source.is_ipv6(),
            }),
            Self::Arp => frame.is_arp,
        }
    }
}

impl Side {
    fn any<T>(self, [source, destination]: &[T; 2], holds: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Source => holds(source),
            Self::Destination => holds(destination),
            Self::Either => holds(source) || holds(destination),
        }
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Result<&'a str, FilterError> {
        let word = self.peek().ok_or(FilterError::End)?;
        self.next += 1;
        Ok(word)
    }

    fn skips(&mut self, words: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| words.contains(&word));
        self.next += usize::from(found);
        found
    }

    /// `and` and `or` bind alike, from the left, as tcpdump has it.
    fn expression(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut left = self.term(depth)?;
        loop {
            left = if self.skips(&["and", "&&"]) {
                Expression::And(Box::new([left, self.term(depth)?]))
            } else if self.skips(&["or", "||"]) {
                Expression::Or(Box::new([left, self.term(depth)?]))
            } else {
                return Ok(left);
            };
        }
    }

    fn term(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if depth >= DEPTH {
            return Err(FilterError::Large);
        }
        if self.skips(&["not", "!"]) {
            return Ok(Expression::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.skips(&["("]) {
            let inner = self.expression(depth + 1)?;
            return match self.take()? {
                ")" => Ok(inner),
                other => Err(FilterError::Unknown(other.to_owned())),
            };
        }
        self.primitive()
    }

    fn primitive(&mut self) -> Result<Expression, FilterError> {
        let word = self.peek().ok_or(FilterError::End)?;
        let Some(alone) = protocol(word) else {
            return self.sided(None);
        };
        self.next += 1;
        match alone {
            // `tcp port 80`, `udp src port 53`.
            Expression::Protocol(number) if self.peek().is_some_and(begins_port) => {
                self.sided(Some(number))
            }
            alone => Ok(alone),
        }
    }

    fn sided(&mut self, protocol: Option<u8>) -> Result<Expression, FilterError> {
        let side = if self.skips(&["src"]) {
            Side::Source
        } else if self.skips(&["dst"]) {
            Side::Destination
        } else {
            Side::Either
        };
        match self.take()? {
            "host" if protocol.is_none() => Ok(Expression::Address(side, host(self.take()?)?)),
            "net" if protocol.is_none() => Ok(Expression::Address(side, net(self.take()?)?)),
            "port" | "portrange" => Ok(Expression::Port(side, protocol, ports(self.take()?)?)),
            // `src 10.0.0.1`: a host.
            address if side != Side::Either && protocol.is_none() => {
                Ok(Expression::Address(side, host(address)?))
            }
            other => Err(FilterError::Unknown(other.to_owned())),
        }
    }
}

fn begins_port(word: &str) -> bool {
    matches!(word, "port" | "portrange" | "src" | "dst")
}

fn protocol(word: &str) -> Option<Expression> {
    Some(match word {
        "tcp" => Expression::Protocol(6),
        "udp" => Expression::Protocol(17),
        "icmp" => Expression::Protocol(1),
        "icmp6" => Expression::Protocol(58),
        "ip" => Expression::Version(Version::V4),
        "ip6" => Expression::Version(Version::V6),
        "arp" => Expression::Arp,
        _ => return None,
    })
}

fn host(word: &str) -> Result<IpNet, FilterError> {
    let address: Result<IpAddr, _> = word.parse();
    address
        .map(IpNet::from)
        .map_err(|_| FilterError::Address(word.to_owned()))
}

fn net(word: &str) -> Result<IpNet, FilterError> {
    word.parse().map_err(|_| FilterError::Net(word.to_owned()))
}

fn ports(word: &str) -> Result<RangeInclusive<u16>, FilterError> {
    let failed = || FilterError::Port(word.to_owned());
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let port = |text: &str| text.parse::<u16>().map_err(|_| failed());
    let range = port(first)?..=port(last)?;
    (!range.is_empty()).then_some(range).ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::{super::frame::tests::tcp, *};

    fn matches(filter: &str, from: &str, to: &str) -> bool {
        let filter: Filter = filter.parse().unwrap();
        filter.matches(&Frame::parse(&tcp(from, to, b""), true))
    }

    #[test]
    fn packets_are_chosen_as_tcpdump_chooses_them() {
        let (a, b) = ("10.0.0.1:4000", "10.0.1.2:80");
        for (filter, expected) in [
            ("", true),
            ("tcp", true),
            ("udp", false),
            ("ip", true),
            ("ip6", false),
            ("arp", false),
            ("port 80", true),
            ("tcp port 80", true),
            ("udp port 80", false),
            ("src port 80", false),
            ("tcp dst port 80", true),
            ("portrange 70-90", true),
            ("host 10.0.0.1", true),
            ("src host 10.0.1.2", false),
            ("dst 10.0.1.2", true),
            ("net 10.0.1.0/24", true),
            ("dst net 10.0.0.0/24", false),
            ("not port 80", false),
            ("!(udp or port 81)", true),
            ("port 80 and not host 10.0.0.9", true),
            // From the left.
            ("port 80 or tcp and port 81", false),
            ("port 80 or (tcp and port 81)", true),
            ("host fd00::1", false),
        ] {
            assert_eq!(matches(filter, a, b), expected, "{filter}");
        }
        assert!(matches(
            "ip6 and host fd00::1",
            "[fd00::1]:1",
            "[fd00::2]:2"
        ));
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for (filter, part) in [
            ("port", "missing at the end"),
            ("port http", "not a port"),
            ("port 9-8", "not a port"),
            ("host web.shop", "names are not looked up"),
            ("net 10", "address range"),
            ("tcp port 80 443", "left over"),
            ("(tcp", "missing at the end"),
            ("tcp)", "left over"),
            ("vlan 7", "not understood"),
            ("tcp src host 10.0.0.1", "not understood"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(part), "{filter}: {error}");
        }
        let deep = "(".repeat(2000);
        assert_eq!(deep.parse::<Filter>(), Err(FilterError::Large));
        let negated = "!".repeat(1500);
        assert_eq!(negated.parse::<Filter>(), Err(FilterError::Large));
        let long = "tcp or ".repeat(1000);
        assert_eq!(long.parse::<Filter>(), Err(FilterError::Large));
    }
}
