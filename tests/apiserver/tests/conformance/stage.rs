//! The server under test, and a namespace of it for one check.

use std::{collections::BTreeMap, sync::Mutex};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use sealane_apiserver::{Config as ServerConfig, Server};
use serde_json::{Value, json};

use crate::call::Api;

/// A server.
pub struct Cluster {
    pub api: Api,
    /// None for one that was there before.
    server: Option<Server>,
    pub kubeconfig: String,
}

impl Cluster {
    /// The one that `KUBECONFIG` names, or one of our own.
    pub async fn reach() -> Result<Self> {
        if std::env::var_os("KUBECONFIG").is_none() {
            return Self::start(ServerConfig {
                issuer: "https://issuer.test".into(),
                ..ServerConfig::default()
            })
            .await;
        }
        let kubeconfig = Kubeconfig::from_env()?.context("KUBECONFIG names no file")?;
        let text = serde_json::to_string(&kubeconfig)?;
        Ok(Self {
            api: api(kubeconfig).await?,
            server: None,
            kubeconfig: text,
        })
    }

    /// A server of the check's own, for orders that would disturb others.
    pub async fn start(config: ServerConfig) -> Result<Self> {
        let server = Server::start(config).await?;
        let kubeconfig = server.kubeconfig("conformance", &["system:masters"])?;
        let api = api(Kubeconfig::from_yaml(&kubeconfig)?).await?;
        Ok(Self {
            api,
            server: Some(server),
            kubeconfig,
        })
    }

    pub fn is_ours(&self) -> bool {
        self.server.is_some()
    }

    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("it takes no orders")
    }

    /// As somebody with this token, or as nobody.
    pub async fn with_token(&self, token: Option<&str>) -> Result<Api> {
        let mut kubeconfig: Value = serde_json::from_str(&self.kubeconfig)?;
        let user = token.map_or(json!({}), |token| json!({"token": token}));
        for entry in kubeconfig["users"].as_array_mut().context("no users")? {
            entry["user"] = user.clone();
        }
        api(serde_json::from_value(kubeconfig)?).await
    }
}

async fn api(kubeconfig: Kubeconfig) -> Result<Api> {
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // Checks want to see the server's answers, not the last of several.
    config.default_retry = false;
    Ok(Api(Client::try_from(config)?))
}

/// A namespace for one check.
pub struct Stage {
    pub cluster: std::sync::Arc<Cluster>,
    pub api: Api,
    pub namespace: String,
    /// Paths of objects outside of the namespace that have to be removed.
    litter: Mutex<Vec<String>>,
}

impl Stage {
    pub async fn set(cluster: std::sync::Arc<Cluster>) -> Result<Self> {
        let namespace = format!("conformance-{:08x}", fastrand::u32(..));
        let api = cluster.api.clone();
        api.create(
            "/api/v1/namespaces",
            json!({"metadata": {"name": namespace}}),
        )
        .await?
        .is(201)?;
        let stage = Self {
            cluster,
            api,
            namespace,
            litter: Mutex::default(),
        };
        // A server without controllers makes none, and pods need one.
        let account = json!({"metadata": {"name": "default"}});
        let made = stage
            .api
            .create(&stage.path("serviceaccounts"), account)
            .await?;
        ensure!(matches!(made.code, 201 | 409), "default account: {made:?}");
        Ok(stage)
    }

    /// Of a core resource in the namespace.
    pub fn path(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    /// Of a resource of a group (`apps/v1`) in the namespace.
    pub fn path_of(&self, group_version: &str, resource: &str) -> String {
        format!(
            "/apis/{group_version}/namespaces/{}/{resource}",
            self.namespace
        )
    }

    /// A name that no other check uses.
    pub fn unique(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// To be deleted at the end.
    pub fn remove_later(&self, path: &str) {
        if let Ok(mut litter) = self.litter.lock() {
            litter.push(path.to_owned());
        }
    }

    /// Makes a config map and gives it back.
    pub async fn config_map(&self, name: &str, labels: &[(&str, &str)]) -> Result<Value> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let object = json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}});
        Ok(self
            .api
            .create(&self.path("configmaps"), object)
            .await?
            .is(201)?
            .body)
    }

    /// Makes a secret and gives it back: unlike config maps, no controller makes others.
    pub async fn secret(&self, name: &str) -> Result<Value> {
        let object = json!({"metadata": {"name": name}, "stringData": {"k": "v"}});
        Ok(self
            .api
            .create(&self.path("secrets"), object)
            .await?
            .is(201)?
            .body)
    }

    /// Makes a pod; without a node no kubelet takes it.
    pub async fn pod(&self, name: &str, node: Option<&str>) -> Result<Value> {
        let mut pod = json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "containers": [{"name": "main", "image": "example.invalid/none"}],
                "terminationGracePeriodSeconds": 20, "automountServiceAccountToken": false,
                "schedulerName": "nobody",
            },
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = json!(node);
        }
        Ok(self
            .api
            .create(&self.path("pods"), pod)
            .await?
            .is(201)?
            .body)
    }

    /// Removes everything that the check made.
    pub async fn clear(&self) -> Result<()> {
        let litter = self
            .litter
            .lock()
            .map(|litter| litter.clone())
            .unwrap_or_default();
        for path in litter {
            self.api.delete(&path).await?;
        }
        let now = json!({"gracePeriodSeconds": 0});
        for resource in ["pods", "configmaps", "secrets"] {
            self.api
                .send(
                    "DELETE",
                    &self.path(resource),
                    "application/json",
                    now.to_string(),
                )
                .await?;
        }
        let gone = self
            .api
            .delete(&format!("/api/v1/namespaces/{}", self.namespace))
            .await?;
        ensure!(
            matches!(gone.code, 200 | 202 | 404),
            "the namespace stays: {gone:?}"
        );
        Ok(())
    }
}
