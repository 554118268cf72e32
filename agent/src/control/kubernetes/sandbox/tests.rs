use super::*;

#[test]
fn pods_are_found_as_each_driver_names_them() {
    let uid = "8a2f7e9c-11aa-4c4e-9c5e-0123456789ab";
    let flat = uid.replace('-', "_");
    let dir = tempfile::tempdir().unwrap();
    let pod = |path: String| {
        let path = dir.path().join(path);
        fs::create_dir_all(&path).unwrap();
        let root = dir.path().to_owned();
        let found = Sandboxes::new(root).cgroups().unwrap();
        fs::remove_dir(&path).unwrap();
        found.get(uid) == Some(&path)
    };
    assert!(pod(format!("kubepods/pod{uid}")));
    assert!(pod(format!("kubepods/burstable/pod{uid}")));
    assert!(pod(format!("kubepods.slice/kubepods-pod{flat}.slice")));
    assert!(pod(format!(
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{flat}.slice"
    )));
    // In the root, in a container, and elsewhere it is none of kubelet's.
    assert!(!pod(format!("pod{uid}")));
    assert!(!pod(format!("kubepods/podother/kubepods/pod{uid}")));
    assert!(!pod(format!("system.slice/pod{uid}")));
}

#[test]
fn a_process_has_started_and_is_where_it_is() {
    assert!(started(Path::new("/proc/self")).unwrap() > 0);
    assert!(!is_in(Path::new("/proc/self"), Path::new("/no/such/pod")).unwrap());
}

/// Processes and cgroups of pods, all in files: a network namespace is a file of its own.
struct Node {
    dir: tempfile::TempDir,
    sandboxes: Sandboxes,
    wanted: Wanted,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("cgroup/kubepods")).unwrap();
        let sandboxes = Sandboxes::with_processes_in(path("proc"), path("cgroup"));
        Self {
            dir,
            sandboxes,
            wanted: Wanted::new(),
        }
    }

    /// Number of a namespace.
    fn netns(&self, name: &str) -> u64 {
        let path = self.dir.path().join(name);
        fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        fs::metadata(path).unwrap().ino()
    }

    /// A pod whose processes are in these namespaces, the oldest first.
    fn pod(&mut self, uid: &str, first: u32, namespaces: &[&str]) {
        let cgroup = self.dir.path().join(format!("cgroup/kubepods/pod{uid}"));
        fs::create_dir_all(&cgroup).unwrap();
        let mut pids = String::new();
        for (pid, netns) in (first..).zip(namespaces) {
            self.netns(netns);
            let process = self.dir.path().join(format!("proc/{pid}"));
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::create_dir_all(process.join("net")).unwrap();
            let _ = fs::remove_file(process.join("ns/net"));
            fs::hard_link(self.dir.path().join(netns), process.join("ns/net")).unwrap();
            let zeros = "0 ".repeat(18);
            fs::write(process.join("stat"), format!("{pid} (x) S {zeros}{pid} 0")).unwrap();
            fs::write(process.join("net/fib_trie"), "").unwrap();
            fs::write(process.join("cgroup"), format!("0::/kubepods/pod{uid}\n")).unwrap();
            pids += &format!("{pid}\n");
        }
        fs::write(cgroup.join("cgroup.procs"), pids).unwrap();
        let sought = Sought {
            cgroup: uid.into(),
            addressed: true,
        };
        self.wanted.insert(uid.into(), sought);
    }

    fn look(&mut self, pinned: &[&str]) -> bool {
        let pinned = pinned.iter().map(|name| self.netns(name)).collect();
        self.sandboxes.look_with(&self.wanted, &pinned).unwrap()
    }

    fn is_in(&self, uid: &str, netns: &str) -> bool {
        self.sandboxes.get(uid).unwrap().netns == self.netns(netns)
    }
}

#[test]
fn a_pod_stays_while_a_process_is_where_the_runtime_put_it_and_moves_with_its_sandbox() {
    let mut node = Node::new();
    node.pod("web", 10, &["pod", "pod", "own"]);
    assert!(node.look(&["pod"]) && node.is_in("web", "pod"));
    // Its older processes go elsewhere: the runtime's is meant all the same.
    node.pod("web", 10, &["own", "own", "pod"]);
    assert!(!node.look(&["pod"]) && node.is_in("web", "pod"));
    node.pod("web", 20, &["anew"]);
    assert!(node.look(&["anew"]) && node.is_in("web", "anew"));
    // Nothing is pinned any more: the first that was seen is kept.
    node.pod("web", 20, &["anew", "own"]);
    assert!(!node.look(&[]) && node.is_in("web", "anew"));
}

#[test]
fn addresses_of_a_pod_that_stays_are_read_until_the_api_has_them() {
    let mut node = Node::new();
    node.pod("web", 10, &["pod"]);
    let addressed = |node: &mut Node, addressed| {
        node.wanted.get_mut("web").unwrap().addressed = addressed;
    };
    addressed(&mut node, false);
    assert!(node.look(&["pod"]));
    let trie = node.dir.path().join("proc/10/net/fib_trie");
    fs::write(trie, "|-- 10.0.0.1\n/32 host LOCAL\n").unwrap();
    addressed(&mut node, true);
    assert!(!node.look(&["pod"]));
    addressed(&mut node, false);
    assert!(node.look(&["pod"]));
    let own: IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(*node.sandboxes.get("web").unwrap().addresses, [own]);
}
