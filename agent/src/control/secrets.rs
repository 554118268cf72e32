//! `v1/Secret`, for a gateway that has to show what is in them. An agent skips them: it neither keeps nor needs them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    error::LoadErrors,
    file::texts,
    objects::pieces,
    yaml::{self, Budget, YamlProblem},
};

/// What a Secret holds. Wiped when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(BTreeMap<String, Zeroizing<Vec<u8>>>);

/// Why Secrets can't be told from what they were.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("{}", .0.texts().join("; "))]
    Load(#[from] LoadErrors),
    #[error("{file}, document {document}: {problem}")]
    Yaml {
        file: String,
        document: usize,
        problem: YamlProblem,
    },
}

/// One Secret is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("{file}: Secret {name}: data.{key} is not base64")]
    Base64 {
        file: String,
        name: String,
        key: String,
    },
    #[error("{file}: Secret {name} is there twice, first in {first}")]
    Twice {
        file: String,
        name: String,
        first: String,
    },
}

/// By name.
pub type Secrets = HashMap<String, Result<Secret, SecretError>>;

impl Secret {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Zeroizing<Vec<u8>>> {
        self.0.get(key)
    }

    pub fn insert(&mut self, key: &str, value: Zeroizing<Vec<u8>>) {
        self.0.insert(key.to_owned(), value);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All Secrets of a namespace that are in the files of a directory. What is read on the way is wiped as far as it is
/// ours. Not ours: what the YAML parser copies while it reads (block texts as they grow, tokens), what an anchor holds for
/// its aliases, and a document that breaks off.
///
/// # Errors
/// When a file that may hold some can't be read: what it held is not known.
pub fn secrets(dir: &Path, namespace: &str) -> Result<Secrets, SecretsError> {
    let mut found = Found::default();
    for (file, text) in &texts(dir)? {
        read(file, text, namespace, &mut found)?;
    }
    Ok(found.secrets)
}

#[derive(Default)]
struct Found {
    secrets: Secrets,
    files: HashMap<String, String>,
}

fn read(file: &str, text: &str, namespace: &str, found: &mut Found) -> Result<(), SecretsError> {
    let budget = Budget::default();
    let may_have = |piece: &str| piece.contains("Secret");
    for piece in pieces(text).into_iter().filter(|p| may_have(p.text)) {
        for document in yaml::documents(piece.text, &budget) {
            let document = document.map_err(|error| SecretsError::Yaml {
                file: file.to_owned(),
                document: piece.documents + error.document,
                problem: error.problem,
            })?;
            let value = Wiped(document.into_value());
            found.document(file, &value.0, namespace);
        }
    }
    Ok(())
}

impl Found {
    fn document(&mut self, file: &str, value: &Value, namespace: &str) {
        if is_secret(value) {
            self.secret(file, value, namespace);
        }
        let items = value.get("items").and_then(Value::as_array);
        for item in items.into_iter().flatten().filter(|item| is_secret(item)) {
            self.secret(file, item, namespace);
        }
    }

    fn secret(&mut self, file: &str, value: &Value, namespace: &str) {
        let metadata = |key: &str| value.get("metadata")?.get(key)?.as_str();
        let Some(name) = metadata("name") else { return };
        if metadata("namespace").unwrap_or("default") != namespace {
            return;
        }
        let secret = match self.files.insert(name.to_owned(), file.to_owned()) {
            None => secret(file, name, value),
            Some(first) => Err(SecretError::Twice {
                file: file.to_owned(),
                name: name.to_owned(),
                first,
            }),
        };
        self.secrets.insert(name.to_owned(), secret);
    }
}

fn is_secret(value: &Value) -> bool {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    text("kind") == Some("Secret") && text("apiVersion") == Some("v1")
}

/// `stringData` overrides `data`, as for the Kubernetes API.
fn secret(file: &str, name: &str, value: &Value) -> Result<Secret, SecretError> {
    let mut secret = Secret::default();
    let pairs = |field: &str| {
        let object = value.get(field).and_then(Value::as_object);
        let pairs = object.into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key, value.as_str()?)))
    };
    for (key, text) in pairs("data") {
        // As much as there can be: growing would leave copies behind.
        let mut encoded = Zeroizing::new(Vec::with_capacity(text.len()));
        encoded.extend(text.bytes().filter(|b| !b.is_ascii_whitespace()));
        let decoded = STANDARD
            .decode(&*encoded)
            .map_err(|_| SecretError::Base64 {
                file: file.to_owned(),
                name: name.to_owned(),
                key: key.clone(),
            })?;
        secret.insert(key, Zeroizing::new(decoded));
    }
    for (key, text) in pairs("stringData") {
        secret.insert(key, Zeroizing::new(text.as_bytes().to_vec()));
    }
    Ok(secret)
}

/// What a document says, until it is of no use any more.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Secrets {
        let mut found = Found::default();
        read("f.yaml", text, "edge", &mut found).unwrap();
        found.secrets
    }

    fn of(secrets: &Secrets, name: &str, key: &str) -> Option<Vec<u8>> {
        let secret = secrets.get(name)?.as_ref().ok()?;
        Some(secret.get(key)?.to_vec())
    }

    #[test]
    fn secrets_of_the_namespace_are_found_wherever_they_stand() {
        let secrets = found(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: edge}\ndata:\n  k: |\n    aGVs\n    bG8=\n\
             stringData: {s: text}\n---\napiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Secret, metadata: {name: b, namespace: edge}, data: {k: '!'}}\n\
             - {apiVersion: v1, kind: Secret, metadata: {name: c, namespace: other}, data: {k: aGk=}}\n\
             - {apiVersion: v1, kind: ConfigMap, metadata: {name: d, namespace: edge}, data: {k: aGk=}}\n",
        );
        assert_eq!(of(&secrets, "a", "k").as_deref(), Some(&b"hello"[..]));
        assert_eq!(of(&secrets, "a", "s").as_deref(), Some(&b"text"[..]));
        assert!(matches!(secrets["b"], Err(SecretError::Base64 { .. })));
        assert_eq!(secrets.len(), 2);
    }

    #[test]
    fn of_two_with_one_name_neither_counts() {
        let one =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: edge}\ndata: {k: aGk=}\n";
        let secrets = found(&format!("{one}---\n{one}"));
        assert!(matches!(secrets["a"], Err(SecretError::Twice { .. })));
    }

    #[test]
    fn what_can_not_be_read_is_not_taken_for_empty() {
        let bad = "apiVersion: v1\nkind: Secret\n  metadata: [";
        assert!(read("f.yaml", bad, "edge", &mut Found::default()).is_err());
    }
}
