//! An object at one version, as compact as its JSON: the metadata apart from the rest, so that requests for metadata
//! alone and selections parse nothing.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{resources::Resource, status::Status};

/// An object that doesn't change any more.
#[derive(Debug)]
pub struct Stored {
    pub version: u64,
    pub namespace: Arc<str>,
    pub name: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
    node: Option<Box<str>>,
    phase: Option<Box<str>>,
    metadata: Box<[u8]>,
    /// Members other than `apiVersion`, `kind` and `metadata`, without the outer braces.
    rest: Box<[u8]>,
}

impl Stored {
    /// Takes an object whose metadata is complete but for the version.
    ///
    /// # Errors
    /// When it is not an object with metadata.
    pub fn new(mut object: Value, version: u64) -> Result<Self, Status> {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.ok_or_else(|| Status::bad_request("metadata is missing"))?;
        metadata.insert("resourceVersion".into(), json!(version.to_string()));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(Box::from);
        let labels = metadata.get("labels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((Box::from(key.as_str()), Box::from(value.as_str()?))));
        let labels = labels.collect();
        let name = text(metadata.get("name")).unwrap_or_default();
        let namespace = metadata.get("namespace").and_then(Value::as_str);
        let namespace = Arc::from(namespace.unwrap_or_default());
        let node = text(object.pointer("/spec/nodeName"));
        let phase = text(object.pointer("/status/phase"));
        let encode = |value: &Value| serde_json::to_vec(value).map_err(Status::internal);
        let metadata = encode(&object["metadata"])?.into_boxed_slice();
        if let Some(members) = object.as_object_mut() {
            members.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
        }
        let rest = encode(&object)?;
        let rest = rest[1..rest.len() - 1].into();
        Ok(Self {
            version,
            namespace,
            name,
            labels,
            node,
            phase,
            metadata,
            rest,
        })
    }

    /// The same object under another version.
    ///
    /// # Errors
    /// When what is stored is not JSON.
    pub fn at(&self, version: u64) -> Result<Self, Status> {
        Self::new(self.value()?, version)
    }

    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(name, _)| &**name == key)
            .map(|(_, value)| &**value)
    }

    /// A field that objects can be selected by. What isn't there is empty.
    #[must_use]
    pub fn field(&self, field: &str) -> &str {
        match field {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            "spec.nodeName" => self.node.as_deref().unwrap_or_default(),
            "status.phase" => self.phase.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// Without `apiVersion` and `kind`.
    ///
    /// # Errors
    /// When what is stored is not JSON.
    pub fn value(&self) -> Result<Value, Status> {
        let mut bytes = Vec::with_capacity(self.size() + 16);
        self.write(&mut bytes, None);
        serde_json::from_slice(&bytes).map_err(Status::internal)
    }

    /// # Errors
    /// When what is stored is not JSON.
    pub fn metadata(&self) -> Result<Map<String, Value>, Status> {
        serde_json::from_slice(&self.metadata).map_err(Status::internal)
    }

    /// Appends the whole object, with `(apiVersion, kind)` if they are given.
    pub fn write(&self, out: &mut Vec<u8>, kind: Option<(&str, &str)>) {
        self.write_metadata(out, kind);
        if !self.rest.is_empty() {
            out.pop();
            out.push(b',');
            out.extend_from_slice(&self.rest);
            out.push(b'}');
        }
    }

    /// Appends the object with nothing but its metadata.
    pub fn write_metadata(&self, out: &mut Vec<u8>, kind: Option<(&str, &str)>) {
        out.push(b'{');
        if let Some((api_version, kind)) = kind {
            out.extend_from_slice(
                format!("\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").as_bytes(),
            );
        }
        out.extend_from_slice(b"\"metadata\":");
        out.extend_from_slice(&self.metadata);
        out.push(b'}');
    }

    /// Bytes of JSON that it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.metadata.len() + self.rest.len()
    }

    /// The key in its table: as in etcd, ordered by namespace and name.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }

    /// With its type, for those who read it.
    ///
    /// # Errors
    /// When what is stored is not JSON.
    pub fn typed(&self, resource: &Resource, version: &str) -> Result<Value, Status> {
        let mut value = self.value()?;
        value["apiVersion"] = json!(resource.api_version(version));
        value["kind"] = json!(resource.kind);
        Ok(value)
    }
}

/// Where an object lies in its table.
#[must_use]
pub fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}
