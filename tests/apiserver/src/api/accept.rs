//! In which form a client wants objects: whole, as metadata only, or as rows of a table. JSON only.

use serde_json::{Value, json};

use super::table;
use crate::{resources::Resource, status::Status, store::Stored};

/// A form of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    Metadata,
    Table(Included),
}

/// What a row of a table tells beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    Nothing,
    Metadata,
    Object,
}

impl Form {
    /// The first form of an Accept header that can be served.
    ///
    /// # Errors
    /// 406 when none can.
    pub fn accepted(header: &str, include: &str) -> Result<Self, Status> {
        if header.trim().is_empty() {
            return Ok(Self::Whole);
        }
        let forms = header
            .split(',')
            .filter_map(|offer| Self::offered(offer, include));
        let mut forms = forms.peekable();
        forms.peek().copied().ok_or_else(Status::not_acceptable)
    }

    fn offered(offer: &str, include: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let mut wanted = ("", "", "");
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                "as" => wanted.0 = value,
                "g" => wanted.1 = value,
                "v" => wanted.2 = value,
                _ => {}
            }
        }
        match wanted {
            ("", ..) => Some(Self::Whole),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
                Some(Self::Metadata)
            }
            ("Table", "meta.k8s.io", "v1" | "v1beta1") => Some(Self::Table(match include {
                "None" => Included::Nothing,
                "Object" => Included::Object,
                _ => Included::Metadata,
            })),
            _ => None,
        }
    }

    /// The kind and the version of one object in this form.
    pub fn kind(self, resource: &Resource, version: &str) -> (String, String) {
        match self {
            Self::Whole => (resource.api_version(version), resource.kind.clone()),
            Self::Metadata => ("meta.k8s.io/v1".into(), "PartialObjectMetadata".into()),
            Self::Table(_) => ("meta.k8s.io/v1".into(), "Table".into()),
        }
    }

    /// Appends an object that stands alone.
    pub fn write(
        self,
        out: &mut Vec<u8>,
        resource: &Resource,
        version: &str,
        object: &Stored,
    ) -> Result<(), Status> {
        let (api_version, kind) = self.kind(resource, version);
        let kind = Some((api_version.as_str(), kind.as_str()));
        match self {
            Self::Whole => object.write(out, kind),
            Self::Metadata => object.write_metadata(out, kind),
            Self::Table(included) => {
                let rows = vec![table::row(resource, version, object, included)?];
                let shown = object.version.to_string();
                let table = table::document(resource, &json!({"resourceVersion": shown}), &rows);
                out.extend_from_slice(table.to_string().as_bytes());
            }
        }
        Ok(())
    }

    /// Appends an object that stands in a list.
    pub fn write_item(
        self,
        out: &mut Vec<u8>,
        resource: &Resource,
        version: &str,
        object: &Stored,
    ) -> Result<(), Status> {
        match self {
            // Items of built-in resources don't name their type; the list does.
            Self::Whole if !resource.is_custom => object.write(out, None),
            Self::Whole | Self::Metadata => self.write(out, resource, version, object)?,
            Self::Table(included) => {
                let row = table::row(resource, version, object, included)?;
                out.extend_from_slice(row.to_string().as_bytes());
            }
        }
        Ok(())
    }

    /// A list's text up to its first item; the items end with `]}`.
    pub fn head(self, resource: &Resource, version: &str, metadata: &Value) -> String {
        match self {
            Self::Whole => {
                let (api_version, kind) = (resource.api_version(version), &resource.kind);
                format!(
                    "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
                )
            }
            Self::Metadata => format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"items\":["
            ),
            Self::Table(_) => {
                let columns = table::columns(resource);
                format!(
                    "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":["
                )
            }
        }
    }
}
