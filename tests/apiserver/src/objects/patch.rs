//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch. Server-side apply is refused.

use serde_json::Value;

use super::merge;
use crate::{resources::Resource, status::Status};

const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// A patch that was read.
pub enum Patch {
    Operations(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// # Errors
    /// 415 for a kind that can't be applied to this resource, 400 for one that can't be read.
    pub fn read(content: &str, body: &[u8], resource: &Resource) -> Result<Self, Status> {
        let content = content.split(';').next().unwrap_or_default().trim();
        let broken = |error: serde_json::Error| {
            Status::bad_request(format!("error decoding patch: {error}"))
        };
        match content {
            "application/json-patch+json" => serde_json::from_slice(body)
                .map(Self::Operations)
                .map_err(broken),
            "application/merge-patch+json" => serde_json::from_slice(body)
                .map(Self::Merge)
                .map_err(broken),
            // Custom resources have no merge keys.
            "application/strategic-merge-patch+json" if !resource.is_custom => {
                serde_json::from_slice(body)
                    .map(Self::Strategic)
                    .map_err(broken)
            }
            _ => Err(Status::unsupported_media(ACCEPTED)),
        }
    }

    /// # Errors
    /// 422 when an operation doesn't fit the object.
    pub fn apply(&self, object: &mut Value) -> Result<(), Status> {
        match self {
            Self::Operations(operations) => {
                json_patch::patch(object, operations).map_err(|error| {
                    let errors = [("patch".to_owned(), error.to_string())];
                    Status::invalid("", "Patch", "", &errors)
                })?
            }
            Self::Merge(patch) => json_patch::merge(object, patch),
            Self::Strategic(patch) => merge::apply(object, patch),
        }
        if object["metadata"].is_object() {
            Ok(())
        } else {
            Err(Status::bad_request("the patch removes metadata"))
        }
    }
}
