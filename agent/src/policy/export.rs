//! `spec.exportTo` of Istio's networking documents.

use std::collections::BTreeSet;

use super::{FieldPath, Invalid, Reason};
use crate::workload::Visibility;

/// Nobody at all: only a `ServiceEntry` may say so.
const NOBODY: &str = "~";

/// `.` is the document's own namespace, `*` all of them; nothing is written: all.
pub(super) fn visibility(
    written: Option<Vec<String>>,
    own: &str,
    errors: &mut Vec<Invalid>,
) -> Visibility {
    namespaces(&written.unwrap_or_default(), own, errors)
}

/// [`visibility`] of a host: `~` is nobody (Istio: `validateExportTo`).
pub(super) fn of_host(
    written: Option<Vec<String>>,
    own: &str,
    errors: &mut Vec<Invalid>,
) -> Visibility {
    let written = written.unwrap_or_default();
    match written.iter().position(|namespace| namespace == NOBODY) {
        None => namespaces(&written, own, errors),
        Some(index) => {
            if written.len() > 1 {
                let field = FieldPath::of("spec.exportTo").index(index);
                errors.push(Invalid::new(field, Reason::ExportToNobody));
            }
            Visibility::Namespaces(BTreeSet::new())
        }
    }
}

fn namespaces(written: &[String], own: &str, errors: &mut Vec<Invalid>) -> Visibility {
    let mut namespaces = BTreeSet::new();
    for (index, namespace) in written.iter().enumerate() {
        let named = match namespace.as_str() {
            "." => Ok(own),
            name if name == "*" || is_namespace(name) => Ok(name),
            _ => Err(Reason::ExportTo(namespace.clone())),
        };
        let added = named.and_then(|name| match namespaces.insert(name.to_owned()) {
            true => Ok(()),
            false => Err(Reason::Twice(name.to_owned())),
        });
        if let Err(reason) = added {
            let field = FieldPath::of("spec.exportTo").index(index);
            errors.push(Invalid::new(field, reason));
        }
    }
    let all = written.iter().position(|namespace| namespace == "*");
    // As Istio's validation (`validateExportTo`).
    if let Some(index) = all.filter(|_| written.len() > 1) {
        let field = FieldPath::of("spec.exportTo").index(index);
        errors.push(Invalid::new(field, Reason::ExportToAll));
    }
    if written.is_empty() || written.iter().any(|namespace| namespace == "*") {
        Visibility::Everywhere
    } else {
        Visibility::Namespaces(namespaces)
    }
}

/// A label of DNS, as Kubernetes wants names of namespaces (RFC 1123).
fn is_namespace(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().next_back()];
    name.len() <= 63
        && ends.iter().all(|end| end.is_some_and(plain))
        && name.bytes().all(|b| plain(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(written: &[&str]) -> Result<Vec<&'static str>, String> {
        let mut errors = Vec::new();
        let written = written.iter().map(|w| (*w).to_owned()).collect();
        let visibility = visibility(Some(written), "shop", &mut errors);
        match errors.first() {
            Some(error) => Err(error.field.to_string()),
            None => Ok(["shop", "bank", "test"]
                .into_iter()
                .filter(|namespace| visibility.reaches(namespace))
                .collect()),
        }
    }

    #[test]
    fn names_are_namespaces_and_a_point_is_the_documents_own() {
        for (written, reaches) in [
            (&[][..], &["shop", "bank", "test"][..]),
            (&["*"], &["shop", "bank", "test"]),
            (&["."], &["shop"]),
            (&[".", "bank"], &["shop", "bank"]),
            (&["bank"], &["bank"]),
        ] {
            assert_eq!(reached(written).unwrap(), reaches, "{written:?}");
        }
        assert_eq!(reached(&[".", "*"]).unwrap_err(), "spec.exportTo[1]");
        assert_eq!(reached(&[".", "shop"]).unwrap_err(), "spec.exportTo[1]");
        assert_eq!(reached(&["*", "*"]).unwrap_err(), "spec.exportTo[1]");
        for bad in ["~", "", "Shop", "a.b", "sh*"] {
            assert_eq!(
                reached(&[".", bad]).unwrap_err(),
                "spec.exportTo[1]",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_host_may_be_for_nobody_and_then_for_nobody_else() {
        let mut errors = Vec::new();
        let mut of = |written: &[&str]| {
            let written = written.iter().map(|w| (*w).to_owned()).collect();
            of_host(Some(written), "shop", &mut errors)
        };
        assert!(!of(&["~"]).reaches("shop"));
        assert!(of(&["."]).reaches("shop"));
        of(&[".", "~"]);
        of(&["~", "*"]);
        let fields: Vec<_> = errors.iter().map(|e| e.field.to_string()).collect();
        assert_eq!(fields, ["spec.exportTo[1]", "spec.exportTo[0]"]);
    }
}
