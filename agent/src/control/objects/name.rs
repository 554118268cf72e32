//! What an object is called.

use super::{
    kind::Kind,
    site::{Site, Stream},
};
use crate::{
    control::{
        error::{LoadError, Problem},
        yaml::{FieldPath, Node},
    },
    workload::ObjectName,
};

/// Where objects are that don't say.
pub(super) const DEFAULT: &str = "default";

/// Namespaced objects without a namespace are where `kubectl apply` would put them: in `default`, if the command that
/// they were copied with doesn't say another.
pub(super) fn object_name(site: &Site<'_>, kind: Kind) -> Result<ObjectName, LoadError> {
    let Some(metadata) = site.node.get("metadata").filter(|m| !m.value.is_null()) else {
        let remedy = "write `metadata:` and, indented below it, `name:`".to_owned();
        return Err(site.error(&FieldPath::of("metadata"), Problem::Missing(remedy)));
    };
    let field = |key| FieldPath::of("metadata").key(key);
    let name = metadata
        .text("name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            let problem = match metadata.get("name") {
                Some(node) if !node.value.is_null() => Problem::Expected("a name"),
                _ => Problem::Missing(without_name(site, metadata)),
            };
            site.error(&field("name"), problem)
        })?;
    if !is_name(name, 253) {
        return Err(site.error(&field("name"), Problem::Name(name.to_owned())));
    }
    if matches!(kind, Kind::Namespace | Kind::MeshPolicy) {
        return Ok(ObjectName::new("", name));
    }
    let written = metadata.get("namespace").filter(|n| !n.value.is_null());
    let namespace = match written.map(|node| node.value.as_str()) {
        None | Some(Some("")) => site.namespace_around(),
        Some(Some(namespace)) if is_namespace(namespace) => namespace,
        Some(Some(other)) => {
            return Err(site.error(&field("namespace"), Problem::Name(other.to_owned())));
        }
        Some(None) => {
            let problem = Problem::Expected("a name");
            return Err(site.error(&field("namespace"), problem));
        }
    };
    Ok(ObjectName::new(namespace, name))
}

/// What is said of a document in a ConfigMap that names no namespace. Many will expect the ConfigMap's own, which is
/// where mesh-wide documents may be: it is not guessed.
pub(super) fn supposed_namespace(site: &Site<'_>, kind: Kind) -> Option<String> {
    let Stream::Value(_, config_map, _) = site.stream else {
        return None;
    };
    let metadata = site.node.get("metadata")?;
    let says = metadata.text("namespace").is_some_and(|n| !n.is_empty());
    if says || !kind.is_of_namespace() {
        return None;
    }
    let place = site.place(&FieldPath::of("metadata"));
    let (kind, own) = (kind.name(), &config_map.namespace);
    let name = metadata.text("name").unwrap_or_default();
    Some(format!(
        "{place}: {kind} {name} has no metadata.namespace and counts for `{DEFAULT}`, not for the ConfigMap's `{own}`: \
         write the one that is meant"
    ))
}

/// What to do about an object without a name.
fn without_name(site: &Site<'_>, metadata: Node<'_>) -> String {
    let remedy = if site.node.get("name").is_some() {
        "`name` stands outside of metadata: indent it below `metadata:`"
    } else if metadata.get("generateName").is_some() {
        "generateName is for `kubectl create`: write a name"
    } else {
        "write one, such as `name: default`"
    };
    remedy.to_owned()
}

pub(super) fn is_namespace(text: &str) -> bool {
    is_name(text, 63) && !text.contains('.')
}

/// A DNS subdomain, as Kubernetes wants names (RFC 1123).
fn is_name(text: &str, longest: usize) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(plain))
            && label.bytes().all(|b| plain(b) || b == b'-')
    };
    text.len() <= longest && text.split('.').all(is_label)
}
