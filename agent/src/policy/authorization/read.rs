//! The written document -> terms, or what is wrong with it. Refuses what Istio's validation refuses
//! (pkg/config/validation: `ValidateAuthorizationPolicy`), and what takes HTTP.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Action,
    document::{self, AuthorizationPolicySpec, WrittenAction},
    pattern::Pattern,
    term::{Account, Pair, Rule, Term},
};
use crate::policy::{
    FieldPath, Invalid, Reason,
    peer::port_number,
    selector::{Labels, WorkloadSelector},
};

/// What a specification says.
pub(super) struct Read {
    pub(super) action: Action,
    pub(super) labels: Labels,
    pub(super) rules: Vec<Rule>,
}

/// Reads a specification of a document in `namespace`; without meaning when there were errors.
pub(super) fn spec(
    namespace: &str,
    spec: AuthorizationPolicySpec,
    errors: &mut Vec<Invalid>,
) -> Read {
    let mut reader = Reader { namespace, errors };
    let action = reader.action(&spec);
    let labels = WorkloadSelector::checked(spec.selector, "spec.selector", reader.errors);
    let rules = spec.rules.unwrap_or_default();
    let rules = rules.iter().enumerate().map(|(index, rule)| {
        let at = FieldPath::of("spec.rules").index(index);
        reader.rule(rule.as_ref(), &at)
    });
    Read {
        action,
        labels,
        rules: rules.collect(),
    }
}

/// Collects complaints.
struct Reader<'a> {
    /// Of the document: short service accounts are in it.
    namespace: &'a str,
    errors: &'a mut Vec<Invalid>,
}

/// Reads one value; `None` after a complaint.
type ReadOne<'a, T> = fn(&mut Reader<'a>, &str, FieldPath) -> Option<T>;

impl<'a> Reader<'a> {
    fn complain(&mut self, field: FieldPath, reason: Reason) {
        self.errors.push(Invalid::new(field, reason));
    }

    fn action(&mut self, spec: &AuthorizationPolicySpec) -> Action {
        if spec.target_ref.is_some() {
            self.complain(FieldPath::of("spec.targetRef"), Reason::TargetRef);
        }
        if spec.target_refs.as_ref().is_some_and(|t| !t.is_empty()) {
            self.complain(FieldPath::of("spec.targetRefs"), Reason::TargetRef);
        }
        if spec.provider.is_some() && spec.action != WrittenAction::Custom {
            self.complain(FieldPath::of("spec.provider"), Reason::Provider);
        }
        if spec.action == WrittenAction::Deny && spec.rules.as_ref().is_none_or(Vec::is_empty) {
            self.complain(FieldPath::of("spec.rules"), Reason::DenyNothing);
        }
        let unsupported = match spec.action {
            WrittenAction::Allow => return Action::Allow,
            WrittenAction::Deny => return Action::Deny,
            WrittenAction::Audit => return Action::Audit,
            WrittenAction::Custom => Reason::Custom,
        };
        self.complain(FieldPath::of("spec.action"), unsupported);
        Action::Deny
    }

    fn rule(&mut self, rule: Option<&document::Rule>, at: &FieldPath) -> Rule {
        let Some(document::Rule { from, to, when }) = rule else {
            self.complain(at.clone(), Reason::Empty);
            return Rule::default();
        };
        let at = |key| at.clone().key(key);
        let from = self.each(from.as_deref(), &at("from"), |reader, from, at| {
            reader.source(from.source.as_ref(), &at.key("source"))
        });
        let to = self.each(to.as_deref(), &at("to"), |reader, to, at| {
            reader.operation(to.operation.as_ref(), &at.key("operation"))
        });
        let when = when.iter().flatten().enumerate();
        let when = when
            .filter_map(|(index, condition)| self.condition(condition, &at("when").index(index)));
        Rule {
            from,
            to,
            when: when.collect(),
        }
    }

    /// An empty list would match everything where its author may have meant nothing.
    fn each<W, T>(
        &mut self,
        written: Option<&[W]>,
        at: &FieldPath,
        read: impl Fn(&mut Self, &W, FieldPath) -> T,
    ) -> Vec<T> {
        if written.is_some_and(<[W]>::is_empty) {
            self.complain(at.clone(), Reason::Empty);
        }
        let items = written.unwrap_or_default().iter().enumerate();
        items
            .map(|(index, item)| read(self, item, at.clone().index(index)))
            .collect()
    }

    fn source(&mut self, source: Option<&document::Source>, at: &FieldPath) -> Vec<Term> {
        let Some(source) = source else {
            self.complain(at.clone(), Reason::Empty);
            return Vec::new();
        };
        self.needs_http(
            at,
            &[
                ("requestPrincipals", &source.request_principals),
                ("notRequestPrincipals", &source.not_request_principals),
            ],
        );
        self.needs_forwarding(source, at);
        let names = Self::pattern as ReadOne<'a, _>;
        let principals = [
            ("principals", &source.principals),
            ("notPrincipals", &source.not_principals),
        ];
        let principals = self.pair(at, principals, names);
        let namespaces = [
            ("namespaces", &source.namespaces),
            ("notNamespaces", &source.not_namespaces),
        ];
        let namespaces = self.pair(at, namespaces, names);
        let accounts = [
            ("serviceAccounts", &source.service_accounts),
            ("notServiceAccounts", &source.not_service_accounts),
        ];
        let accounts = self.pair(at, accounts, Self::account as ReadOne<'a, _>);
        let blocks = [
            ("ipBlocks", &source.ip_blocks),
            ("notIpBlocks", &source.not_ip_blocks),
        ];
        let blocks = self.pair(at, blocks, Self::block as ReadOne<'a, _>);
        if !(principals.is_empty() && namespaces.is_empty()) {
            self.no_accounts(&accounts, at);
        }
        let terms = [
            principals.into_term(Term::Principal),
            namespaces.into_term(Term::Namespace),
            accounts.into_term(Term::ServiceAccount),
            blocks.into_term(Term::SourceIp),
        ];
        self.not_empty(terms.into_iter().flatten().collect(), at)
    }

    /// Addresses that only the requests tell.
    fn needs_forwarding(&mut self, source: &document::Source, at: &FieldPath) {
        for (key, values, instead) in [
            ("remoteIpBlocks", &source.remote_ip_blocks, "ipBlocks"),
            (
                "notRemoteIpBlocks",
                &source.not_remote_ip_blocks,
                "notIpBlocks",
            ),
        ] {
            if !is_unset(values) {
                self.complain(at.clone().key(key), Reason::ForwardedAddress(instead));
            }
        }
    }

    /// They name the namespace already.
    fn no_accounts(&mut self, accounts: &Pair<Account>, at: &FieldPath) {
        let key = match (accounts.any_of.is_empty(), accounts.none_of.is_empty()) {
            (false, _) => "serviceAccounts",
            (true, false) => "notServiceAccounts",
            (true, true) => return,
        };
        self.complain(at.clone().key(key), Reason::ServiceAccountCombined);
    }

    fn operation(&mut self, operation: Option<&document::Operation>, at: &FieldPath) -> Vec<Term> {
        let Some(operation) = operation else {
            self.complain(at.clone(), Reason::Empty);
            return Vec::new();
        };
        self.needs_http(
            at,
            &[
                ("hosts", &operation.hosts),
                ("notHosts", &operation.not_hosts),
                ("methods", &operation.methods),
                ("notMethods", &operation.not_methods),
                ("paths", &operation.paths),
                ("notPaths", &operation.not_paths),
            ],
        );
        let ports = [
            ("ports", &operation.ports),
            ("notPorts", &operation.not_ports),
        ];
        let ports = self.pair(at, ports, Self::port as ReadOne<'a, _>);
        let terms = ports.into_term(Term::DestinationPort);
        self.not_empty(terms.into_iter().collect(), at)
    }

    fn condition(&mut self, condition: &document::Condition, at: &FieldPath) -> Option<Term> {
        let document::Condition {
            key,
            values,
            not_values,
        } = condition;
        let written = [("values", values), ("notValues", not_values)];
        if written.iter().all(|(_, values)| is_unset(values)) {
            self.complain(at.clone(), Reason::NoValues);
            return None;
        }
        let names = Self::pattern as ReadOne<'a, _>;
        let blocks = Self::block as ReadOne<'a, _>;
        match key.as_deref().unwrap_or_default() {
            "source.ip" => self.pair(at, written, blocks).into_term(Term::SourceIp),
            "destination.ip" => self
                .pair(at, written, blocks)
                .into_term(Term::DestinationIp),
            "source.namespace" => self.pair(at, written, names).into_term(Term::Namespace),
            "source.principal" => self.pair(at, written, names).into_term(Term::Principal),
            "connection.sni" => self.pair(at, written, names).into_term(Term::Sni),
            "source.serviceAccount" => {
                let accounts = Self::account as ReadOne<'a, _>;
                self.pair(at, written, accounts)
                    .into_term(Term::ServiceAccount)
            }
            "destination.port" => {
                let ports = Self::port as ReadOne<'a, _>;
                self.pair(at, written, ports)
                    .into_term(Term::DestinationPort)
            }
            other => {
                let reason = match other {
                    "" => Reason::NoKey,
                    "remote.ip" => Reason::ForwardedAddress("source.ip"),
                    _ if is_of_http(other) => Reason::NeedsHttp,
                    _ => Reason::Condition(other.to_owned()),
                };
                self.complain(at.clone().key("key"), reason);
                None
            }
        }
    }

    /// Terms of which none was written match everything, where their author may have meant nothing.
    fn not_empty(&mut self, terms: Vec<Term>, at: &FieldPath) -> Vec<Term> {
        if terms.is_empty() && self.errors.is_empty() {
            self.complain(at.clone(), Reason::Empty);
        }
        terms
    }

    fn needs_http(&mut self, at: &FieldPath, fields: &[(&str, &Option<Vec<String>>)]) {
        for (key, _) in fields.iter().filter(|(_, values)| !is_unset(values)) {
            self.complain(at.clone().key(key), Reason::NeedsHttp);
        }
    }

    fn pair<T>(
        &mut self,
        at: &FieldPath,
        [any_of, none_of]: [(&str, &Option<Vec<String>>); 2],
        read: ReadOne<'a, T>,
    ) -> Pair<T> {
        let mut list = |(key, values): (&str, &Option<Vec<String>>)| {
            let mut items = Vec::new();
            for (index, value) in values.iter().flatten().enumerate() {
                let field = at.clone().key(key).index(index);
                if value.is_empty() {
                    self.complain(field, Reason::Empty);
                } else {
                    items.extend(read(self, value, field));
                }
            }
            items
        };
        Pair {
            any_of: list(any_of),
            none_of: list(none_of),
        }
    }

    fn pattern(&mut self, text: &str, field: FieldPath) -> Option<Pattern> {
        let pattern = Pattern::parse(text);
        self.or_complain(pattern, field, || Reason::Wildcard(text.to_owned()))
    }

    fn block(&mut self, text: &str, field: FieldPath) -> Option<IpNet> {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        // As Go's ParsePrefix: `/08` may be meant as octal.
        let is_padded = |(_, length): (&str, &str)| length.len() > 1 && length.starts_with('0');
        let block = text
            .parse()
            .ok()
            .filter(|_| !text.split_once('/').is_some_and(is_padded));
        let block = block.or_else(address);
        self.or_complain(block, field, || Reason::IpBlock(text.to_owned()))
    }

    fn port(&mut self, text: &str, field: FieldPath) -> Option<u16> {
        self.or_complain(port_number(text), field, || Reason::Port(text.to_owned()))
    }

    fn account(&mut self, text: &str, field: FieldPath) -> Option<Account> {
        let (namespace, name) = text.split_once('/').unwrap_or((self.namespace, text));
        let usable = !namespace.is_empty() && !name.is_empty() && !name.contains(['/', '*']);
        let account = (usable && !namespace.contains('*')).then(|| Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
        self.or_complain(account, field, || Reason::ServiceAccount(text.to_owned()))
    }

    fn or_complain<T>(
        &mut self,
        value: Option<T>,
        field: FieldPath,
        reason: impl FnOnce() -> Reason,
    ) -> Option<T> {
        if value.is_none() {
            self.complain(field, reason());
        }
        value
    }
}

impl<T> Pair<T> {
    fn into_term(self, term: fn(Self) -> Term) -> Option<Term> {
        (!self.is_empty()).then(|| term(self))
    }
}

fn is_unset(values: &Option<Vec<String>>) -> bool {
    values.as_ref().is_none_or(Vec::is_empty)
}

/// Attributes that Istio has for HTTP only
/// (<https://istio.io/latest/docs/reference/config/security/conditions/>).
fn is_of_http(key: &str) -> bool {
    key.starts_with("request.") || key.starts_with("experimental.envoy.filters.")
}
