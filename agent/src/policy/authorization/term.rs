//! What rules are made of, and whether a connection is like that.

use std::net::IpAddr;

use ipnet::IpNet;

use super::pattern::Pattern;
use crate::identity::SpiffeId;

/// What authorization knows of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Whose certificate the client proved to hold; `None` without mutual TLS.
    pub principal: Option<&'a SpiffeId>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The workload's own port.
    pub port: u16,
    /// The name that the client's TLS asked for.
    pub sni: Option<&'a str>,
}

/// `values` and `notValues`: one of the first, if there are any, and none of the second.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair<T> {
    pub(super) any_of: Vec<T>,
    pub(super) none_of: Vec<T>,
}

impl<T> Pair<T> {
    fn holds(&self, matches: impl Fn(&T) -> bool) -> bool {
        (self.any_of.is_empty() || self.any_of.iter().any(&matches))
            && !self.none_of.iter().any(&matches)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.any_of.is_empty() && self.none_of.is_empty()
    }
}

impl<T> Pair<T> {
    fn each(&self) -> impl Iterator<Item = &T> {
        self.any_of.iter().chain(&self.none_of)
    }
}

impl Pair<Pattern> {
    fn exact(&self) -> impl Iterator<Item = &str> {
        self.each().filter_map(|pattern| match pattern {
            Pattern::Exact(text) => Some(text.as_str()),
            Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Present => None,
        })
    }
}

/// A service account with its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Account {
    pub(in crate::policy) namespace: String,
    pub(in crate::policy) name: String,
}

/// A client that a policy names.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) enum Named<'p> {
    Principal(&'p str),
    Namespace(&'p str),
    Account(&'p Account),
    Block(&'p IpNet),
}

/// A condition on one attribute. What a client without mutual TLS doesn't have is none of the values, and so
/// satisfies `notValues`, as in Istio.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Term {
    Principal(Pair<Pattern>),
    Namespace(Pair<Pattern>),
    ServiceAccount(Pair<Account>),
    SourceIp(Pair<IpNet>),
    DestinationIp(Pair<IpNet>),
    DestinationPort(Pair<u16>),
    Sni(Pair<Pattern>),
}

impl Term {
    pub(super) fn holds(&self, connection: &Attributes<'_>) -> bool {
        let principal = connection.principal;
        match self {
            Self::Principal(pair) => {
                pair.holds(|p| principal.is_some_and(|id| p.matches(id.principal())))
            }
            Self::Namespace(pair) => {
                pair.holds(|p| principal.is_some_and(|id| p.matches(id.namespace())))
            }
            Self::ServiceAccount(pair) => pair.holds(|account| {
                principal.is_some_and(|id| {
                    id.namespace() == account.namespace && id.service_account() == account.name
                })
            }),
            Self::SourceIp(pair) => pair.holds(|block| block.contains(&connection.source)),
            Self::DestinationIp(pair) => {
                pair.holds(|block| block.contains(&connection.destination))
            }
            Self::DestinationPort(pair) => pair.holds(|port| *port == connection.port),
            Self::Sni(pair) => pair.holds(|p| connection.sni.is_some_and(|sni| p.matches(sni))),
        }
    }
}

impl Term {
    /// Whether it may hold at a port; `None`: at one that nobody names.
    fn is_for(&self, port: Option<u16>) -> bool {
        match self {
            Self::DestinationPort(pair) => pair.holds(|named| Some(*named) == port),
            _ => true,
        }
    }
}

/// One of `from`, one of `to`, and all of `when`; what is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    pub(super) from: Vec<Vec<Term>>,
    pub(super) to: Vec<Vec<Term>>,
    pub(super) when: Vec<Term>,
}

impl Rule {
    pub(super) fn matches(&self, connection: &Attributes<'_>) -> bool {
        let all = |terms: &Vec<Term>| terms.iter().all(|term| term.holds(connection));
        let one = |of: &[Vec<Term>]| of.is_empty() || of.iter().any(all);
        one(&self.from) && one(&self.to) && all(&self.when)
    }

    /// Whether it says anything of a port; `None`: of one that nobody names.
    pub(super) fn is_for(&self, port: Option<u16>) -> bool {
        let all = |terms: &Vec<Term>| terms.iter().all(|term| term.is_for(port));
        (self.to.is_empty() || self.to.iter().any(all)) && all(&self.when)
    }

    pub(super) fn principals(&self) -> impl Iterator<Item = &Pattern> {
        let terms = self.from.iter().flatten().chain(&self.when);
        let principals = terms.filter_map(|term| match term {
            Term::Principal(pair) => Some(pair),
            _ => None,
        });
        principals.flat_map(|pair| pair.any_of.iter().chain(&pair.none_of))
    }

    /// Who is named in full.
    pub(super) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        let terms = self.from.iter().flatten().chain(&self.when);
        terms.flat_map(|term| match term {
            Term::Principal(pair) => pair.exact().map(Named::Principal).collect(),
            Term::Namespace(pair) => pair.exact().map(Named::Namespace).collect(),
            Term::ServiceAccount(pair) => pair.each().map(Named::Account).collect(),
            Term::SourceIp(pair) => pair.each().map(Named::Block).collect(),
            Term::DestinationIp(_) | Term::DestinationPort(_) | Term::Sni(_) => Vec::new(),
        })
    }

    /// Of the workload, each as often as it is named.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        let terms = self.to.iter().flatten().chain(&self.when);
        let ports = terms.filter_map(|term| match term {
            Term::DestinationPort(pair) => Some(pair),
            _ => None,
        });
        ports.flat_map(|pair| pair.any_of.iter().chain(&pair.none_of).copied())
    }

    /// Blocks of addresses, of clients and of servers.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        let terms = self.from.iter().chain(&self.to).flatten().chain(&self.when);
        let pairs = terms.filter_map(|term| match term {
            Term::SourceIp(pair) | Term::DestinationIp(pair) => Some(pair),
            _ => None,
        });
        pairs.flat_map(Pair::each)
    }

    pub(super) fn principals_mut(&mut self) -> impl Iterator<Item = &mut Pair<Pattern>> {
        let terms = self.from.iter_mut().flatten().chain(&mut self.when);
        terms.filter_map(|term| match term {
            Term::Principal(pair) => Some(pair),
            _ => None,
        })
    }
}
