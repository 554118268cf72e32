//! Directories of a large mesh's documents.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::Result;

pub const PODS: usize = 5_000;
pub const POLICIES: usize = 10_000;
/// Documents of one file.
const EACH: usize = 100;

/// How policies are spread over workloads.
pub struct Shape {
    pub name: &'static str,
    pub namespaces: usize,
    /// Policies of one file.
    each: usize,
    /// Whether policies select the pods of one application; all of a namespace otherwise.
    selects: bool,
}

/// Two policies for every pod.
pub const BY_LABEL: Shape = Shape {
    name: "each selects one application",
    namespaces: 50,
    each: EACH,
    selects: true,
};

/// The same, in a single file.
pub const IN_ONE_FILE: Shape = Shape {
    name: "all in one file",
    each: POLICIES,
    ..BY_LABEL
};

/// A hundred for every pod.
pub const BY_NAMESPACE: Shape = Shape {
    name: "each is for a whole namespace",
    namespaces: 100,
    each: EACH,
    selects: false,
};

impl Shape {
    /// Writes it down.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_files(dir, "namespaces", self.namespaces, EACH, namespace)?;
        write_files(dir, "pods", PODS, EACH, |text, n| self.pod(text, n))?;
        let policies = |text: &mut String, n| self.policy(text, n);
        write_files(dir, "policies", POLICIES, self.each, policies)
    }

    /// How many files have policies.
    pub fn files(&self) -> usize {
        POLICIES.div_ceil(self.each)
    }

    fn pod(&self, text: &mut String, n: usize) -> std::fmt::Result {
        let (namespace, app) = (n % self.namespaces, n / self.namespaces);
        write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata:
  name: pod-{n}
  namespace: ns{namespace}
  labels:
    app: app-{app}
    tier: tier-{}
    version: v1
spec:
  serviceAccountName: sa-{app}
  nodeName: node-{}
  containers:
  - name: main
    ports:
    - containerPort: 8080
      name: http
status:
  phase: Running
  podIP: 10.0.{}.{}
  conditions:
  - type: Ready
    status: \"True\"
",
            n % 7,
            n % 100,
            n / 250,
            n % 250 + 1
        )
    }

    /// Each names two callers and two ports, one in five denies.
    fn policy(&self, text: &mut String, n: usize) -> fmt::Result {
        let namespaces = self.namespaces;
        let (namespace, app) = (n % namespaces, n / namespaces % (PODS / namespaces));
        let action = if n.is_multiple_of(5) { "DENY" } else { "ALLOW" };
        let selector = match self.selects {
            true => format!("  selector:\n    matchLabels:\n      app: app-{app}\n"),
            false => String::new(),
        };
        write!(
            text,
            "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: policy-{n}
  namespace: ns{namespace}
spec:
{selector}  action: {action}
  rules:
  - from:
    - source:
        principals: [\"cluster.local/ns/ns{}/sa/sa-{app}\", \"cluster.local/ns/ns{}/sa/sa-{}\"]
    to:
    - operation:
        ports: [\"8080\", \"9090\"]
",
            (n + 1) % namespaces,
            (n + 2) % namespaces,
            app / 2
        )
    }
}

fn namespace(text: &mut String, n: usize) -> fmt::Result {
    writeln!(
        text,
        "---
apiVersion: v1
kind: Namespace
metadata: {{name: ns{n}, labels: {{istio-injection: enabled}}}}"
    )
}

fn write_files(
    dir: &Path,
    name: &str,
    count: usize,
    each: usize,
    document: impl Fn(&mut String, usize) -> fmt::Result,
) -> Result<()> {
    for (file, start) in (0..count).step_by(each).enumerate() {
        let mut text = String::new();
        for index in start..count.min(start + each) {
            document(&mut text, index)?;
        }
        fs::write(dir.join(format!("{name}-{file}.yaml")), text)?;
    }
    Ok(())
}
