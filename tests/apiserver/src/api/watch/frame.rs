//! The documents of a watch, one a line.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    api::{accept::Form, table},
    resources::Resource,
    selector::Selection,
    status::Status,
    store::{Event, Stored},
};

/// How a watch's events look.
pub struct Framing {
    form: Form,
    resource: Arc<Resource>,
    version: String,
}

impl Framing {
    pub fn new(form: Form, resource: Arc<Resource>, version: String) -> Self {
        Self {
            form,
            resource,
            version,
        }
    }

    pub fn object(&self, kind: &str, object: &Stored) -> Result<Vec<u8>, Status> {
        let mut out = Vec::with_capacity(object.size() + 128);
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
        self.form
            .write(&mut out, &self.resource, &self.version, object)?;
        out.extend_from_slice(b"}\n");
        Ok(out)
    }

    /// What a change is to those who select: an object that leaves the selection is deleted for them, as it was before
    /// but at the change's version (convertToWatchEvent in cache_watcher.go).
    pub fn event(&self, event: &Event, selection: &Selection) -> Result<Option<Vec<u8>>, Status> {
        let is_selected = |object: &&Arc<Stored>| selection.selects(object);
        let before = event.before.as_ref().filter(is_selected);
        let after = event.after.as_ref().filter(is_selected);
        Ok(match (before, after) {
            (None, None) => None,
            (None, Some(object)) => Some(self.object("ADDED", object)?),
            (Some(_), Some(object)) => Some(self.object("MODIFIED", object)?),
            (Some(object), None) => Some(self.object("DELETED", &object.at(event.version)?)?),
        })
    }

    /// `ends`: all objects have been sent.
    pub fn bookmark(&self, version: u64, ends: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if ends {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (api_version, kind) = self.form.kind(&self.resource, &self.version);
        let object = match self.form {
            Form::Table(_) => table::document(&self.resource, &metadata, &[]),
            Form::Whole | Form::Metadata => {
                json!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
            }
        };
        line(&json!({"type": "BOOKMARK", "object": object}))
    }

    #[expect(clippy::unused_self, reason = "errors look the same in every form")]
    pub fn error(&self, status: &Status) -> Vec<u8> {
        line(&json!({"type": "ERROR", "object": status.document()}))
    }
}

fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}
