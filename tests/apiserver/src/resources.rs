//! Which resources there are: the built-in ones and what custom resource definitions add. Holds no objects.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value;

use crate::status::qualified;

/// A resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    /// Served ones, the preferred one first.
    pub versions: Vec<String>,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub is_namespaced: bool,
    pub has_status: bool,
    /// Defined by a custom resource definition.
    pub is_custom: bool,
}

impl Resource {
    /// `plural.group`: the key of its table.
    #[must_use]
    pub fn id(&self) -> String {
        qualified(&self.group, &self.plural)
    }

    /// `group/version`, or `version` for the core group.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// Whether it may be selected by this field.
    #[must_use]
    pub fn selects_by(&self, field: &str) -> bool {
        match field {
            "metadata.name" => true,
            "metadata.namespace" => self.is_namespaced,
            "spec.nodeName" => self.id() == "pods",
            "status.phase" => matches!(self.id().as_str(), "pods" | "namespaces"),
            _ => false,
        }
    }

    /// Whether changes of its spec are counted in `metadata.generation`.
    #[must_use]
    pub fn has_generation(&self) -> bool {
        self.is_custom || self.group == "apps" || self.id() == "pods"
    }

    fn builtin(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut word = || words.next().map(str::to_owned);
        let (group, version, plural, kind, flags) = (
            word()?,
            word()?,
            word()?,
            word()?,
            word().unwrap_or_default(),
        );
        let short = word().unwrap_or_default();
        let list = |text: &str| {
            text.split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Some(Self {
            group: if group == "-" { String::new() } else { group },
            versions: vec![version],
            singular: kind.to_lowercase(),
            plural,
            kind,
            short_names: list(&short),
            categories: if flags.contains('a') {
                vec!["all".into()]
            } else {
                Vec::new()
            },
            is_namespaced: flags.contains('n'),
            has_status: flags.contains('s'),
            is_custom: false,
        })
    }

    /// What a `CustomResourceDefinition` defines; nothing when it isn't one.
    #[must_use]
    pub fn defined_by(definition: &Value) -> Option<Self> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = |value: &Value| -> Vec<String> {
            let values = value.as_array().into_iter().flatten();
            values.filter_map(text).collect()
        };
        let versions = spec["versions"].as_array()?;
        let served = versions.iter().filter(|version| version["served"] == true);
        let names = &spec["names"];
        let kind = text(&names["kind"])?;
        Some(Self {
            group: text(&spec["group"])?,
            versions: served
                .filter_map(|version| text(&version["name"]))
                .collect(),
            plural: text(&names["plural"])?,
            singular: text(&names["singular"]).unwrap_or_else(|| kind.to_lowercase()),
            kind,
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            is_namespaced: spec["scope"] == "Namespaced",
            has_status: versions
                .iter()
                .any(|version| version["subresources"]["status"].is_object()),
            is_custom: true,
        })
    }
}

/// group version plural kind flags(n: namespaced, s: status, a: of `kubectl get all`) short names
const BUILTIN: &str = "
- v1 pods Pod nsa po
- v1 services Service nsa svc
- v1 namespaces Namespace s ns
- v1 nodes Node s no
- v1 configmaps ConfigMap n cm
- v1 secrets Secret n
- v1 serviceaccounts ServiceAccount n sa
- v1 endpoints Endpoints n ep
- v1 events Event n ev
discovery.k8s.io v1 endpointslices EndpointSlice n
apps v1 daemonsets DaemonSet nsa ds
apps v1 deployments Deployment nsa deploy
apps v1 replicasets ReplicaSet nsa rs
apps v1 statefulsets StatefulSet nsa sts
coordination.k8s.io v1 leases Lease n
policy v1 poddisruptionbudgets PodDisruptionBudget ns pdb
networking.k8s.io v1 networkpolicies NetworkPolicy n netpol
scheduling.k8s.io v1 priorityclasses PriorityClass - pc
rbac.authorization.k8s.io v1 roles Role n
rbac.authorization.k8s.io v1 rolebindings RoleBinding n
rbac.authorization.k8s.io v1 clusterroles ClusterRole
rbac.authorization.k8s.io v1 clusterrolebindings ClusterRoleBinding
apiextensions.k8s.io v1 customresourcedefinitions CustomResourceDefinition s crd,crds
";

/// Resource types by their id.
#[derive(Debug)]
pub struct Registry(RwLock<BTreeMap<String, Arc<Resource>>>);

impl Default for Registry {
    fn default() -> Self {
        let builtin = BUILTIN.lines().filter_map(Resource::builtin);
        let by_id = builtin.map(|resource| (resource.id(), Arc::new(resource)));
        Self(RwLock::new(by_id.collect()))
    }
}

impl Registry {
    /// The resource at a path, if it is served in that version.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let resource = self.by_id(&qualified(group, plural))?;
        let is_served = resource.versions.iter().any(|served| served == version);
        is_served.then_some(resource)
    }

    pub fn by_id(&self, id: &str) -> Option<Arc<Resource>> {
        let resources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        resources.get(id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Resource>> {
        let resources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        resources.values().cloned().collect()
    }

    /// Adds or replaces a custom one.
    pub fn define(&self, resource: Resource) {
        let mut resources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        resources.insert(resource.id(), Arc::new(resource));
    }

    pub fn undefine(&self, id: &str) {
        let mut resources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        resources.remove(id);
    }
}
