//! Where objects come from, as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A directory, or a cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceArgs {
    /// Directory with the Kubernetes and Istio objects (*.yaml, *.yml, *.json), watched for changes
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALANE_SOURCE",
        group = "where_objects_are"
    )]
    pub source: Option<PathBuf>,

    /// The cluster whose pod this is: objects are those of its API server, asked as the pod's service account
    #[arg(long, env = "SEALANE_KUBERNETES", group = "where_objects_are")]
    pub kubernetes: bool,

    /// The cluster of this kubeconfig's current context
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALANE_KUBECONFIG",
        group = "where_objects_are"
    )]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of a cluster whose ConfigMaps with the label sealane.dev/policy=true have policy documents
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_POLICY_NAMESPACE",
        default_value = "sealane-system"
    )]
    pub policy_namespace: String,
}

/// What becomes of a node's pods before the agent knows them.
#[derive(Clone, Debug, Args)]
pub struct NodePodsArgs {
    /// What becomes of connections to the mesh of a cluster's pods, as long as the API server has not said whether they
    /// are in it: refuse or pass
    #[arg(
        long,
        value_name = "WHAT",
        env = "SEALANE_UNKNOWN_PODS",
        default_value = "refuse"
    )]
    pub unknown_pods: UnknownPods,

    /// Key of a taint of this node that is taken off once the agent is ready, so that no pod is scheduled before. Needs the
    /// rights to get and patch nodes
    #[arg(
        long,
        value_name = "KEY",
        env = "SEALANE_STARTUP_TAINT",
        conflicts_with = "source"
    )]
    pub startup_taint: Option<String>,
}

/// What becomes of pods of which the API server has not spoken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum UnknownPods {
    /// Their connections to the mesh are refused until it is known whether they are in it.
    #[default]
    Refuse,
    Pass,
}
