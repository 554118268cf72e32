//! What a request asks for, read from its method, path and query. Source: RequestInfoFactory in
//! k8s.io/apiserver/pkg/endpoints/request.

use std::collections::BTreeMap;

use hyper::{Method, http::request::Parts};

/// A request's place in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub verb: &'static str,
    pub path: String,
    /// Of a resource; all else has a path only.
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub plural: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// Query parameters.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Empty when it isn't there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether it is there and neither `false` nor `0`: as the conversion of query parameters reads booleans.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    #[must_use]
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        let value = self.0.get(name)?;
        Some(!matches!(value.to_lowercase().as_str(), "false" | "0"))
    }

    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }
}

impl Target {
    #[must_use]
    pub fn new(parts: &Parts, query: &Query) -> Self {
        let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        let mut target = Self {
            path: path.to_string(),
            ..Self::default()
        };
        target.read_path();
        let has_name = !target.name.is_empty();
        target.verb = match parts.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if has_name => "delete",
            Method::DELETE => "deletecollection",
            _ if !target.is_resource || has_name => "get",
            _ if query.flag("watch") => "watch",
            _ => "list",
        };
        if !target.is_resource {
            target.verb = method_verb(&parts.method);
        }
        target
    }

    fn read_path(&mut self) {
        let path = self.path.clone();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (group, version) = match parts.next() {
            Some("api") => (Some(""), parts.next()),
            Some("apis") => (parts.next(), parts.next()),
            _ => (None, None),
        };
        let (Some(group), Some(version)) = (group, version) else {
            return;
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, "status" | "finalize"] => (*namespace, &rest[..]),
            ["namespaces", namespace, _, ..] => (*namespace, &rest[2..]),
            ["namespaces", namespace] => (*namespace, &rest[..]),
            _ => ("", &rest[..]),
        };
        let Some(plural) = rest.first() else { return };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        self.is_resource = true;
        group.clone_into(&mut self.group);
        version.clone_into(&mut self.version);
        (*plural).clone_into(&mut self.plural);
        namespace.clone_into(&mut self.namespace);
        self.name = at(1);
        self.subresource = rest.get(2..).unwrap_or_default().join("/");
    }

    /// `plural/subresource`, as rules name it.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.subresource.is_empty() {
            self.plural.clone()
        } else {
            format!("{}/{}", self.plural, self.subresource)
        }
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        _ => "get",
    }
}

#[cfg(test)]
mod tests;
