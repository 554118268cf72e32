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
/// Annotation of the Secret: why what was put into it is not in force.
const REFUSED: &str = "sealane.dev/refused";
/// Of names of files that are refused.
const ASIDE: &str = "refused.";

pub(super) struct Cluster {
    secret: (Api<Secret>, String),
    roots: (Api<ConfigMap>, String),
}

/// The Secret as it was read: a change by others since then is refused by the API server.
pub(super) struct Held {
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

    /// Says whether it was another one.
    ///
    /// # Errors
    /// When others have changed the Secret since it was read, or it may not be changed.
    pub(super) async fn save(&self, held: &Held, secret: &Secret) -> anyhow::Result<bool> {
        if held.secret == *secret {
            return Ok(false);
        }
        let (api, name) = &self.secret;
        let saved = api.replace(name, &PostParams::default(), secret).await;
        saved.with_context(|| format!("Secret {name}"))?;
        Ok(true)
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
    fn of(secret: Secret) -> Self {
        let data = secret.data.iter().flatten();
        let files = data.map(|(name, ByteString(bytes))| (name.clone(), bytes.clone()));
        Self {
            files: files.collect(),
            secret,
        }
    }

    /// The Secret with these files, and with what others keep there.
    pub(super) fn with(&self, files: &Files) -> Secret {
        let mut secret = self.secret.clone();
        let data = secret.data.get_or_insert_default();
        data.retain(|name, _| !Files::has_place_for(name));
        let own = files.iter();
        data.extend(own.map(|(name, bytes)| (name.clone(), ByteString(bytes.to_vec()))));
        let is_aside = data.keys().any(|name| name.starts_with(ASIDE));
        if let Some(annotations) = secret.metadata.annotations.as_mut().filter(|_| !is_aside) {
            annotations.remove(REFUSED);
        }
        secret
    }

    /// Without what was refused before.
    pub(super) fn settled(&self) -> Self {
        let mut secret = self.secret.clone();
        let data = secret.data.get_or_insert_default();
        data.retain(|name, _| !name.starts_with(ASIDE));
        Self::of(secret)
    }

    /// The Secret with the reason why its files are not in force. With `instead` they stand aside, and these are saved.
    pub(super) fn refused(&self, why: &str, instead: Option<&Files>) -> Secret {
        let mut secret = instead.map_or_else(|| self.secret.clone(), |files| self.with(files));
        if instead.is_some() {
            let data = secret.data.get_or_insert_default();
            let refused = self.files.iter();
            let aside = refused.map(|(name, bytes)| (format!("{ASIDE}{name}"), bytes));
            data.extend(aside.map(|(name, bytes)| (name, ByteString(bytes.to_vec()))));
        }
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(REFUSED.to_owned(), why.to_owned());
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(list: &[(&str, &str)]) -> Option<BTreeMap<String, ByteString>> {
        let entry = |(name, text): (&str, &str)| (name.to_owned(), ByteString(text.into()));
        Some(list.iter().copied().map(entry).collect())
    }

    fn held(list: &[(&str, &str)]) -> Held {
        Held::of(Secret {
            data: data(list),
            ..Secret::default()
        })
    }

    fn key(text: &str) -> Files {
        Files::from_iter([("ca.key".to_owned(), text.into())])
    }

    fn reason(secret: &Secret) -> Option<&str> {
        let annotations = secret.metadata.annotations.as_ref()?;
        annotations.get(REFUSED).map(String::as_str)
    }

    #[test]
    fn the_cas_files_are_replaced_and_keys_of_others_stay() {
        let held = held(&[("ca.key", "1"), ("next.key", "2"), ("notes", "3")]);
        assert_eq!(held.files.iter().count(), 2);
        let saved = data(&[("ca.key", "2"), ("notes", "3")]);
        assert_eq!(held.with(&key("2")).data, saved);
    }

    #[test]
    fn what_is_refused_stays_with_the_reason_until_it_is_mended() {
        let edited = held(&[("ca.key", "bad"), ("notes", "3")]);
        let told = edited.refused("no key", None);
        assert_eq!(
            (reason(&told), &told.data),
            (Some("no key"), &edited.secret.data)
        );
        let again = Held::of(told.clone());
        assert_eq!(again.refused("no key", None), told);
        assert_eq!(reason(&again.with(&key("good"))), None);
    }

    #[test]
    fn what_is_refused_stands_aside_when_the_directory_has_to_be_saved() {
        let edited = held(&[("ca.key", "bad")]);
        let saved = Held::of(edited.refused("no key", Some(&key("1"))));
        let both = data(&[("ca.key", "1"), ("refused.ca.key", "bad")]);
        assert_eq!(saved.secret.data, both);
        assert!(saved.files == key("1"));
        let later = saved.with(&key("2"));
        assert_eq!(reason(&later), Some("no key"));
        let mended = saved.settled().with(&key("3"));
        assert_eq!(
            (reason(&mended), mended.data.clone()),
            (None, data(&[("ca.key", "3")]))
        );
    }
}
