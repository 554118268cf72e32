//! The taint with which a node keeps pods away until its agent is ready.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

/// Takes the taints with this key off a node. Returns whether there was one.
///
/// # Errors
/// When the server can't be asked, refuses, or somebody has changed the node meanwhile (409).
pub async fn untaint(client: Client, node: &str, key: &str) -> Result<bool, kube::Error> {
    let nodes: Api<Node> = Api::all(client);
    let found = nodes.get(node).await?;
    let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let (gone, kept): (Vec<Taint>, Vec<_>) = taints.into_iter().partition(|taint| taint.key == key);
    if gone.is_empty() {
        return Ok(false);
    }
    // The list is replaced whole: not if it is another one now.
    let patch = json!({
        "metadata": {"resourceVersion": found.metadata.resource_version},
        "spec": {"taints": kept},
    });
    let patch = Patch::Merge(&patch);
    nodes.patch(node, &PatchParams::default(), &patch).await?;
    Ok(true)
}
