//! The Secret and the ConfigMap, through the Kubernetes API.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, api::PostParams};

use super::files::Files;
use crate::{
    config::KeepConfig,
    control::{Asking, connect},
    workload::ObjectName,
};

/// Key of the ConfigMap that agents read.
const ROOTS: &str = "root.crt";

pub(super) struct Cluster {
    secret: (Api<Secret>, String),
    roots: (Api<ConfigMap>, String),
}

/// The Secret as it was read: a change by others since then is refused by the API server.
pub(super) struct Held {
    /// Without the CA's files: what is left is others', and stays.
    secret: Secret,
    pub(super) files: Files,
}

impl Cluster {
    /// # Errors
    /// Outside of a cluster, without a kubeconfig.
    pub(super) async fn new(config: &KeepConfig) -> anyhow::Result<Self> {
        let client = connect(config.kubeconfig.as_deref(), Asking::CaKeep).await?;
        let ObjectName { namespace, name } = &config.secret;
        let secret = (Api::namespaced(client.clone(), namespace), name.to_string());
        let ObjectName { namespace, name } = &config.roots;
        let roots = (Api::namespaced(client, namespace), name.to_string());
        Ok(Self { secret, roots })
    }

    /// # Errors
    /// When there is no such Secret, or it may not be read.
    pub(super) async fn secret(&self) -> anyhow::Result<Held> {
        let (api, name) = &self.secret;
        let secret = api.get(name).await;
        let secret = secret.with_context(|| format!("Secret {name}"))?;
        Ok(Held::of(secret))
    }

    /// # Errors
    /// When others have changed the Secret since it was read, or it may not be changed.
    pub(super) async fn save(&self, held: &Held, files: &Files) -> anyhow::Result<()> {
        let (api, name) = &self.secret;
        let secret = held.with(files);
        let saved = api.replace(name, &PostParams::default(), &secret).await;
        saved.map(drop).with_context(|| format!("Secret {name}"))
    }

    /// # Errors
    /// When the ConfigMap is not there or may not be changed.
    pub(super) async fn publish(&self, roots: &str) -> anyhow::Result<()> {
        let (api, name) = &self.roots;
        let what = || format!("ConfigMap {name}");
        let mut map = api.get(name).await.with_context(what)?;
        let data = map.data.get_or_insert_with(BTreeMap::new);
        if data.get(ROOTS).is_some_and(|present| present == roots) {
            return Ok(());
        }
        data.insert(ROOTS.to_owned(), roots.to_owned());
        let replaced = api.replace(name, &PostParams::default(), &map).await;
        replaced.with_context(what)?;
        tracing::info!("the roots are published");
        Ok(())
    }
}

impl Held {
    fn of(mut secret: Secret) -> Self {
        let data = secret.data.get_or_insert_default();
        let own = data.extract_if(.., |name, _| Files::has_place_for(name));
        let own = own.map(|(name, ByteString(bytes))| (name, bytes));
        Self {
            files: own.collect(),
            secret,
        }
    }

    /// The Secret with these files, and with what others keep there.
    fn with(&self, files: &Files) -> Secret {
        let mut secret = self.secret.clone();
        let data = files
            .iter()
            .map(|(name, bytes)| (name.clone(), ByteString(bytes.to_vec())));
        secret.data.get_or_insert_default().extend(data);
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cas_files_are_replaced_and_keys_of_others_stay() {
        let entry = |(name, text): (&str, &str)| (name.to_owned(), ByteString(text.into()));
        let data = |list: &[(&str, &str)]| list.iter().copied().map(entry).collect();
        let held = Held::of(Secret {
            data: Some(data(&[("ca.key", "1"), ("next.key", "2"), ("notes", "3")])),
            ..Secret::default()
        });
        assert_eq!(held.files.iter().count(), 2);
        let files = Files::from_iter([("ca.key".to_owned(), b"2".to_vec())]);
        let saved: BTreeMap<_, _> = data(&[("ca.key", "2"), ("notes", "3")]);
        assert_eq!(held.with(&files).data, Some(saved));
    }
}
