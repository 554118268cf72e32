//! Documents that look as if they were for the whole mesh, and aren't.

use super::Doubt;
use crate::policy::{DocumentRef, Documents, Labels};

/// Where documents for a whole mesh usually are: with Istio
/// (<https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>, `rootNamespace`), and beside the agents.
const USUAL: [&str; 2] = ["istio-system", "sealane-system"];

impl Documents {
    /// Documents for all pods of a namespace that is a usual root, and not the root of this mesh.
    #[must_use]
    pub fn beside_root(&self, root: &str) -> Vec<Doubt> {
        let peers = self.peer_authentications.iter();
        let peers = peers.map(|peer| (&peer.document, peer.labels()));
        let policies = self.authorization_policies.iter();
        let policies = policies.map(|policy| (policy.document(), policy.labels()));
        let doubt = |(document, labels): (&DocumentRef, &Labels)| {
            let namespace = document.namespace.as_str();
            let suspect = labels.is_empty() && namespace != root && USUAL.contains(&namespace);
            suspect.then(|| Doubt::NotRoot {
                document: document.clone(),
                root: root.to_owned(),
            })
        };
        peers.chain(policies).filter_map(doubt).collect()
    }
}
