//! Objects as the client library lists and watches them, cut down while they are read.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{control::objects::api, workload::ObjectName};

/// A type with the fields that are kept of an object.
pub(super) trait Trimmed: Clone + Debug + DeserializeOwned + Send + 'static {
    fn metadata(&self) -> api::ObjectMeta;
}

/// What the library needs to know of an object, and the object.
#[derive(Clone, Debug)]
pub(super) struct Slim<T> {
    /// Name, namespace and version only: the rest is most of an object's bytes.
    metadata: ObjectMeta,
    pub(super) object: T,
}

impl<T> Slim<T> {
    pub(super) fn name(&self) -> ObjectName {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (text(&self.metadata.namespace), text(&self.metadata.name));
        ObjectName::new(&namespace, &name)
    }
}

impl<'de, T: Trimmed> Deserialize<'de> for Slim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = T::deserialize(deserializer)?;
        let api::ObjectMeta {
            name,
            namespace,
            resource_version,
            ..
        } = object.metadata();
        Ok(Self {
            metadata: ObjectMeta {
                name,
                namespace,
                resource_version,
                ..ObjectMeta::default()
            },
            object,
        })
    }
}

impl<T> Resource for Slim<T> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// An object of which all is kept that policy may be about, as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Whole(pub(super) serde_json::Value);

impl Trimmed for Whole {
    fn metadata(&self) -> api::ObjectMeta {
        let field = |name| {
            self.0
                .get("metadata")?
                .get(name)?
                .as_str()
                .map(str::to_owned)
        };
        api::ObjectMeta {
            name: field("name"),
            namespace: field("namespace"),
            resource_version: field("resourceVersion"),
            ..api::ObjectMeta::default()
        }
    }
}

/// Types that have the metadata of every object.
macro_rules! trimmed {
    ($($name:ident)*) => {$(
        impl Trimmed for api::$name {
            fn metadata(&self) -> api::ObjectMeta {
                let api::ObjectMeta { name, namespace, resource_version, .. } = &self.metadata;
                api::ObjectMeta {
                    name: name.clone(),
                    namespace: namespace.clone(),
                    resource_version: resource_version.clone(),
                    ..api::ObjectMeta::default()
                }
            }
        }
    )*};
}

trimmed! { Pod Service EndpointSlice Namespace }
