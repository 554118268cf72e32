//! Sources that feed the store: they read Kubernetes and Istio objects, say what is wrong with them, and
//! publish snapshots. What a policy means is decided in `policy`.

mod build;
mod candidate;
mod error;
mod file;
mod kubernetes;
mod names;
mod objects;
mod publisher;
mod secrets;
mod yaml;

pub use build::{Mesh, Settings, TrustDomains};
pub use candidate::{Candidate, SourceText};
pub use error::{LoadError, LoadErrors, Place, Problem, escaped, one_line};
pub use file::{DirectoryWatch, FileSource, load, load_changes, load_texts, subdirectories};
pub use kubernetes::{
    Asking, ClusterSettings, ConnectError, KubernetesSource, Scope, TokenReviews, connect, untaint,
};
pub use objects::Cache;
pub use publisher::{HeldBack, Loaded, NotFound, SourceStatus};
pub use secrets::{Secret, SecretError, Secrets, SecretsError, secrets};
pub use yaml::{FieldPath, YamlProblem};
