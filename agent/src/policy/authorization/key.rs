//! What can be told of a connection at once, so that the rules that may match it are found without looking at
//! the others.
//!
//! Only narrows the search: whoever finds a rule asks it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{
    Attributes,
    pattern::Pattern,
    term::{Account, Rule, Term},
};

/// Something that is true of a connection; names as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Of the client; its trust domain is left to the rule.
    Account(u64),
    Namespace(u64),
    Port(u16),
    Any,
}

impl Key {
    fn account(namespace: &str, name: &str) -> Self {
        Self::Account(hash((namespace, name)))
    }

    fn namespace(namespace: &str) -> Self {
        Self::Namespace(hash(namespace))
    }
}

fn hash(names: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

/// All keys of a connection; every rule that matches it has one of them.
pub(super) fn of_connection(connection: &Attributes<'_>) -> impl Iterator<Item = Key> + Clone {
    let caller = connection.principal.map(|id| {
        let namespace = id.namespace();
        [
            Key::account(namespace, id.service_account()),
            Key::namespace(namespace),
        ]
    });
    let others = [Key::Port(connection.port), Key::Any];
    caller.into_iter().flatten().chain(others)
}

/// The keys of the connections that a rule may match.
pub(super) fn of_rule(rule: &Rule) -> Vec<Key> {
    let keys = required(rule, &rule.from, callers).or_else(|| required(rule, &rule.to, ports));
    let mut keys = keys.unwrap_or_else(|| vec![Key::Any]);
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Keys one of which is true of all that a rule matches, if its conditions or all of `alternatives` ask for such.
fn required(
    rule: &Rule,
    alternatives: &[Vec<Term>],
    keys: fn(&Term) -> Option<Vec<Key>>,
) -> Option<Vec<Key>> {
    let conditions = rule.when.iter().find_map(keys);
    conditions.or_else(|| {
        let each = alternatives.iter().map(|terms| terms.iter().find_map(keys));
        let all: Option<Vec<_>> = each.collect();
        all.filter(|all| !all.is_empty()).map(|all| all.concat())
    })
}

fn callers(term: &Term) -> Option<Vec<Key>> {
    let keys: Option<Vec<_>> = match term {
        Term::Principal(pair) => pair.any_of.iter().map(caller).collect(),
        Term::Namespace(pair) => pair.any_of.iter().map(namespace).collect(),
        Term::ServiceAccount(pair) => {
            let account = |account: &Account| Key::account(&account.namespace, &account.name);
            Some(pair.any_of.iter().map(account).collect())
        }
        Term::SourceIp(_) | Term::DestinationIp(_) | Term::DestinationPort(_) | Term::Sni(_) => {
            None
        }
    };
    keys.filter(|keys| !keys.is_empty())
}

fn namespace(pattern: &Pattern) -> Option<Key> {
    match pattern {
        Pattern::Exact(namespace) => Some(Key::namespace(namespace)),
        Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Present => None,
    }
}

/// From `DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, as far as it is written out.
fn caller(pattern: &Pattern) -> Option<Key> {
    match pattern {
        Pattern::Exact(text) | Pattern::Suffix(text) => {
            let mut parts = text.rsplitn(4, '/');
            let (name, _, namespace) = (parts.next()?, parts.next()?, parts.next()?);
            // Something before it: it is whole.
            parts.next()?;
            Some(Key::account(namespace, name))
        }
        Pattern::Prefix(text) => {
            let mut parts = text.splitn(4, '/');
            let (_, _, namespace) = (parts.next()?, parts.next()?, parts.next()?);
            parts.next()?;
            Some(Key::namespace(namespace))
        }
        Pattern::Present => None,
    }
}

fn ports(term: &Term) -> Option<Vec<Key>> {
    match term {
        Term::DestinationPort(pair) if !pair.any_of.is_empty() => {
            Some(pair.any_of.iter().copied().map(Key::Port).collect())
        }
        _ => None,
    }
}
