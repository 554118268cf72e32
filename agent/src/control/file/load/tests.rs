//! Directories, once.

use std::sync::Arc;

use std::{fs, time::Instant};

use super::*;
use crate::policy::AuthorizationPolicy;

fn errors(dir: &Path) -> Vec<String> {
    let errors = load(dir, &Settings::of_tests()).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn pod(index: usize) -> String {
    let (b, c) = (index / 250, index % 250 + 1);
    format!(
        "---
apiVersion: v1
kind: Pod
metadata:
  name: web-{index}
  namespace: shop
  uid: 6a1f0ac5-0ed1-4b3a-9d0a-{index:012}
  creationTimestamp: \"2024-01-01T00:00:00Z\"
  labels:
    app: web
    pod-template-hash: 5d9c7b
    version: v1
  annotations:
    sealane.dev/netns: /run/netns/web-{index}
    sealane.dev/cgroup: /sys/fs/cgroup/web-{index}
  ownerReferences:
  - apiVersion: apps/v1
    controller: true
    kind: ReplicaSet
    name: web-5d9c7b
    uid: 6a1f0ac5-0ed1-4b3a-9d0a-000000000000
spec:
  nodeName: node-a
  serviceAccountName: web
  containers:
  - name: web
    image: registry.example.org/shop/web:1.2.3
    ports:
    - name: http
      containerPort: 8080
      protocol: TCP
    resources:
      requests:
        cpu: 100m
        memory: 128Mi
status:
  phase: Running
  podIP: 10.1.{b}.{c}
  podIPs:
  - ip: 10.1.{b}.{c}
  conditions:
  - type: Ready
    status: \"True\"
"
    )
}

#[test]
fn reads_the_objects_of_a_directory_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    file("a.yaml", &pod(1));
    file("b.yml", &pod(2));
    file(
        "c.json",
        r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}"#,
    );
    for ignored in ["d.txt", ".e.yaml", "f.yaml~", "yaml", ".yaml"] {
        file(ignored, "not: [yaml");
    }
    fs::create_dir(dir.path().join("g.yaml")).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/h.yaml"), "not: [yaml").unwrap();
    std::os::unix::fs::symlink(dir.path().join("a.yaml"), dir.path().join(".link.yaml")).unwrap();
    let loaded = load(dir.path(), &Settings::of_tests()).unwrap();
    assert_eq!((loaded.files, loaded.documents, loaded.skipped), (3, 3, 1));
    assert_eq!(loaded.mesh.workloads.len(), 2);
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn an_empty_directory_is_an_empty_mesh_but_a_missing_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(dir.path(), &Settings::of_tests()).unwrap();
    let empty = Mesh {
        settled: true,
        ..Mesh::default()
    };
    assert_eq!(loaded.mesh, empty);
    let missing = dir.path().join("missing");
    let expected = format!("{}: cannot be read: entity not found", missing.display());
    assert_eq!(errors(&missing), [expected]);
}

#[test]
fn what_is_no_file_is_an_error_and_what_is_empty_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("a.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("b.YAML")).unwrap();
    assert_eq!(
        errors(dir.path()),
        [
            "a.yaml: not a file: only files are read",
            "b.YAML: not a file: only files are read",
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.yml"), "").unwrap();
    fs::write(dir.path().join("d.yml"), "# nothing yet\n").unwrap();
    let loaded = load(dir.path(), &Settings::of_tests()).unwrap();
    assert_eq!(loaded.warnings, ["c.yml: there is nothing in it"]);
}

#[test]
fn errors_of_all_files_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).unwrap();
    file("a.yaml", b"a: [\n");
    file("b.yaml", b"kind: Pod\n---\ngood: x\n# \xff\n");
    file("c.yaml", b"kind: Pod\n---\napiVersion: v1\n");
    std::os::unix::fs::symlink("nowhere", dir.path().join("d.yaml")).unwrap();
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\n\
                  spec: {portLevelMtls: {80: {}}}";
    file("e.yaml", policy.as_bytes());
    let found = errors(dir.path());
    assert!(
        found[0].starts_with("a.yaml:1: document 1: not YAML: "),
        "{found:#?}"
    );
    assert_eq!(
        found[1..5],
        [
            "b.yaml:4: document 2: not UTF-8",
            "c.yaml:1: document 1: apiVersion: missing: write `apiVersion: v1`",
            "c.yaml:3: document 2: kind: missing: write `kind: Namespace` or `kind: Pod` or `kind: Service` or \
             `kind: ConfigMap`",
            "d.yaml: cannot be read: entity not found",
        ]
    );
    assert!(found[5].starts_with("e.yaml:4: document 1: spec.portLevelMtls: "));
}

#[test]
fn a_hundred_errors_are_kept_and_all_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), "---\nkind: Pod\n".repeat(150)).unwrap();
    let errors = load(dir.path(), &Settings::of_tests()).unwrap_err();
    assert_eq!((errors.iter().count(), errors.total()), (100, 150));
}

#[test]
fn files_that_are_too_large_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("a.yaml")).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    assert_eq!(errors(dir.path()), ["a.yaml: larger than 64 MiB"]);
}

/// Generous: builds with few optimisations take part, and other tests run beside it.
#[test]
fn ten_thousand_pods_load_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..10_000).map(pod).collect();
    fs::write(dir.path().join("pods.yaml"), &text).unwrap();
    fs::write(
        dir.path().join("service.yaml"),
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: \
         10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}",
    )
    .unwrap();
    let start = Instant::now();
    let loaded = load(dir.path(), &Settings::of_tests()).unwrap();
    let elapsed = start.elapsed();
    assert_eq!(loaded.mesh.workloads.len(), 10_000);
    assert_eq!(
        loaded.mesh.services[0].ports[0].endpoints.iter().count(),
        10_000
    );
    assert!(elapsed.as_secs() < 10, "{elapsed:?}");
    eprintln!("{} bytes in {elapsed:?}", text.len());
}

/// Whatever is edited, what is read with a cache is what is read without.
#[test]
fn changes_are_read_as_the_whole_is() {
    const DOCUMENTS: [&str; 10] = [
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nstatus: {podIP: 10.0.0.1}\n",
        "\n# moved\napiVersion: v1\nkind: Pod\nmetadata: {name: q}\nstatus: {podIP: 10.0.0.2}\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: STRICT}}\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: b}\nspec: {mtls: {mode: STRIKT}}\n",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: c}\nspec: {rules: [{}]}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, labels: {sealane.dev/policy: \"true\"}}\ndata:\n  a: |\n    \
         apiVersion: security.istio.io/v1\n    kind: PeerAuthentication\n    metadata: {name: d}\n",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: e}\nspec: {selector: , rules: [{}]}\n",
        "# \u{a0}\napiVersion: v1\nkind: Namespace\nmetadata: {name: bank}\n",
        "a: [\n",
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut cache = Cache::default();
    let mut good = 0;
    for _ in 0..400 {
        for file in ["a.yaml", "b.yaml"] {
            if random.bool() {
                let some = (0..random.usize(..4)).map(|_| random.choice(DOCUMENTS).unwrap());
                let text: Vec<_> = some.collect();
                fs::write(dir.path().join(file), text.join("---\n")).unwrap();
            }
        }
        let shown = |result: Result<Loaded, LoadErrors>| match result {
            Ok(loaded) => Ok((loaded.mesh, loaded.documents, loaded.warnings)),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
        };
        let cached = shown(load_changes(dir.path(), &Settings::of_tests(), &mut cache));
        good += usize::from(cached.is_ok());
        assert_eq!(cached, shown(load(dir.path(), &Settings::of_tests())));
    }
    assert!((20..380).contains(&good), "{good} of 400 were good");
}

/// What has not changed is shared with what was read before, though it stands elsewhere now.
#[test]
fn one_change_leaves_the_other_documents_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |name: &str, port: u16| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{rules: [{{to: [{{operation: {{ports: [\"{port}\"]}}}}]}}]}}\n"
        )
    };
    let mut cache = Cache::default();
    let mut read = |first: &str, second: &str| {
        fs::write(dir.path().join("a.yaml"), first).unwrap();
        fs::write(dir.path().join("b.yaml"), second).unwrap();
        let loaded = load_changes(dir.path(), &Settings::of_tests(), &mut cache);
        loaded.map(|loaded| loaded.mesh.documents.authorization_policies.clone())
    };
    let (a, b, c) = (policy("a", 1), policy("b", 2), policy("c", 3));
    let before = read(&(a + &b), &c).unwrap();
    let shared = |after: &[Arc<AuthorizationPolicy>]| -> Vec<_> {
        let known = |after: &Arc<_>| before.iter().any(|b| Arc::ptr_eq(b, after));
        after.iter().map(known).collect()
    };
    let moved = format!("# first\n\n{}{b}", policy("a", 4));
    assert_eq!(shared(&read(&moved, &c).unwrap()), [false, true, true]);
    // Also after a time at which nothing of it counted.
    let error = read(&format!("{b}{c}"), &c).unwrap_err();
    let expected = "b.yaml:4: document 1: metadata.name: AuthorizationPolicy default/c is there already, at a.yaml:9: \
                    document 2";
    assert_eq!(error.texts(), [expected]);
    assert_eq!(shared(&read(&moved, &c).unwrap()), [false, true, true]);
}

#[test]
fn one_line_sets_the_mode_of_the_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: 10.0.0.1}\n---\n";
    let mesh = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d, namespace: \
                istio-system, creationTimestamp: \"2001-01-01T00:00:00Z\"}\nspec: {mtls: {mode: PERMISSIVE}}\n";
    fs::write(dir.path().join("objects.yaml"), format!("{pod}{mesh}")).unwrap();
    fs::write(dir.path().join("mtls-mode"), "STRICT\n").unwrap();
    let mesh = load(dir.path(), &Settings::of_tests()).unwrap().mesh;
    let effective = mesh.policy.workload_mode(&mesh.workloads[0]);
    assert_eq!(effective.mode, crate::policy::Mode::Strict);
    let said = effective.document.unwrap().to_string();
    assert_eq!(said, "MeshSwitch/istio-system/mtls-mode");
    fs::write(dir.path().join("mtls-mode"), "mode: STRICT").unwrap();
    assert!(
        errors(dir.path())[0]
            .starts_with("mtls-mode:1: document 1: \"mode: STRICT\" is not a mode")
    );
}

/// What a file may cost does not depend on how it is cut, and a second reading takes the same.
#[test]
fn a_megabyte_of_small_bombs_is_refused_soon() {
    let mut bomb = String::from("metadata: {annotations: {a0: &a0 [x, x, x, x, x, x, x, x, x, x]");
    for level in 1..5 {
        let copies = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!(", a{level}: &a{level} [{copies}]"));
    }
    bomb.push_str("}, name: x}\n");
    let documents: String = (0..3_000)
        .map(|n| format!("---\napiVersion: v1\nkind: Secret\nn: {n}\n{bomb}"))
        .collect();
    let values: String = (0..3_000)
        .map(|n| format!("  k{n}: \"{}\"\n", bomb.replace('\n', "")))
        .collect();
    let nested = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x, labels: {{sealane.dev/policy: \"true\"}}}}\ndata:\n{values}"
    );
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::default();
    for text in [documents, nested] {
        fs::write(dir.path().join("x.yaml"), text).unwrap();
        for _ in 0..2 {
            let errors = load_changes(dir.path(), &Settings::of_tests(), &mut cache).unwrap_err();
            let last = errors.iter().last().unwrap().to_string();
            let told = last.contains("aliases") || errors.total() > 100;
            assert!(told, "{last}");
        }
    }
}

/// Every error looks for its line.
#[test]
fn a_megabyte_of_errors_is_told_soon() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: x}}\nspec: {spec}\n"
        )
    };
    let principals = "a*b, ".repeat(200_000);
    let labels: String = (0..100_000).map(|n| format!("{n}*: x, ")).collect();
    let data: String = (0..100_000).map(|n| format!("k{n}: \"\", ")).collect();
    for text in [
        policy(&format!(
            "{{rules: [{{from: [{{source: {{principals: [{principals}]}}}}]}}]}}"
        )),
        policy(&format!("{{selector: {{matchLabels: {{{labels}}}}}}}")),
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x, labels: {{sealane.dev/policy: \"true\"}}}}\ndata: {{{data}}}\n"
        ),
    ] {
        let started = Instant::now();
        let _ = load_texts(&[("x.yaml", &text)], &Settings::of_tests());
        let taken = started.elapsed();
        assert!(taken.as_secs() < 10, "{taken:?}");
    }
}

#[test]
fn what_fuzzing_begins_with_is_read() {
    let corpus = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fuzz/corpus/documents"
    );
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let read = load_texts(&[("x.yaml", &text)], &Settings::of_tests());
        // The others are YAML, but not objects.
        let objects = text.contains("apiVersion");
        assert_eq!(read.is_ok(), objects, "{}: {read:?}", path.display());
    }
}
