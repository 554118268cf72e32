//! The watched directory: real files, real events.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use super::*;
use crate::store::{Reader, store};

/// Well above the delay that the source promises, well below the poll that would hide a lost event.
const SOON: Duration = Duration::from_secs(4);

struct Running {
    status: watch::Receiver<SourceStatus>,
    reader: Reader,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let settings = Settings::of_tests();
        let (writer, reader) = store();
        let (source, status) = FileSource::new(dir.to_owned(), settings, writer);
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(stop.clone()));
        Self {
            status,
            reader,
            stop,
            task,
        }
    }

    async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&SourceStatus) -> bool,
    ) -> SourceStatus {
        let wait = tokio::time::timeout(SOON, self.status.wait_for(|status| holds(status)));
        let found = wait.await.ok().map(|status| status.unwrap().clone());
        found.unwrap_or_else(|| panic!("{what}: {:#?}", self.status.borrow()))
    }

    async fn until_pods(&mut self, names: &[&str]) {
        let reader = self.reader.clone();
        let pods = || {
            let mut pods: Vec<_> = reader
                .current()
                .workloads()
                .map(|w| w.name.name.to_string())
                .collect();
            pods.sort();
            pods
        };
        self.until(&format!("{names:?}"), |_| pods() == names).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

fn pod(name: &str, number: u8) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: 10.0.0.{number}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_writes_renames_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a", 1)).unwrap();
    let mut running = Running::start(dir.path());
    running.until_pods(&["a"]).await;
    let hidden = dir.path().join(".new");
    fs::write(&hidden, pod("b", 1)).unwrap();
    fs::rename(&hidden, &file).unwrap();
    running.until_pods(&["b"]).await;
    fs::write(dir.path().join("c.yaml"), pod("c", 2)).unwrap();
    running.until_pods(&["b", "c"]).await;
    fs::remove_file(&file).unwrap();
    running.until_pods(&["c"]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_objects_leave_the_last_good_snapshot_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a", 1)).unwrap();
    let mut running = Running::start(dir.path());
    let good = running.until("loaded", |s| s.generation == 1).await;
    fs::write(&file, "kind: Pod\n---\nkind: [\n").unwrap();
    let bad = running.until("refused", |s| s.errors.len() == 2).await;
    let expected = "a.yaml:1: document 1: apiVersion: missing: write `apiVersion: v1`";
    assert_eq!(bad.errors[0], expected);
    assert_eq!(
        (bad.generation, bad.loaded_at, bad.files),
        (1, good.loaded_at, 1)
    );
    assert_eq!(running.reader.current().workloads().count(), 1);
    fs::write(&file, pod("b", 1)).unwrap();
    let mended = running.until("mended", |s| s.errors.is_empty()).await;
    assert_eq!(mended.generation, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a", 1)).unwrap();
    let mut running = Running::start(dir.path());
    let first = running.until("loaded", |s| s.generation == 1).await;
    fs::write(&file, format!("# a comment\n{}", pod("a", 1))).unwrap();
    let second = running
        .until("loaded again", |s| s.loaded_at > first.loaded_at)
        .await;
    assert_eq!(second.generation, 1);
    fs::write(&file, pod("b", 1)).unwrap();
    running.until("published", |s| s.generation == 2).await;
    running.stop().await;
}

/// As the kubelet does it: `..data` is a link to a directory with a date for a name, and is replaced by
/// renaming another link over it (kubernetes/kubernetes, pkg/volume/util/atomic_writer.go).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_a_mounted_config_map() {
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, pod: String| {
        let data = dir.path().join(name);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("mesh.yaml"), pod).unwrap();
        symlink(name, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version("..2026_01_01", pod("a", 1));
    symlink("..data/mesh.yaml", dir.path().join("mesh.yaml")).unwrap();
    let mut running = Running::start(dir.path());
    running.until_pods(&["a"]).await;
    version("..2026_01_02", pod("b", 1));
    fs::remove_dir_all(dir.path().join("..2026_01_01")).unwrap();
    running.until_pods(&["b"]).await;
    assert!(running.status.borrow().errors.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_may_come_go_and_be_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("mesh");
    let mut running = Running::start(&dir);
    running.until("missing", |s| s.errors.len() == 1).await;
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), pod("a", 1)).unwrap();
    running.until_pods(&["a"]).await;
    fs::remove_dir_all(&dir).unwrap();
    let status = running.until("gone", |s| s.errors.len() == 1).await;
    assert!(status.errors[0].contains("cannot be read"), "{status:?}");
    assert_eq!(running.reader.current().workloads().count(), 1);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), pod("b", 1)).unwrap();
    running.until_pods(&["b"]).await;
    let other = parent.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.yaml"), pod("c", 1)).unwrap();
    fs::rename(&dir, parent.path().join("old")).unwrap();
    fs::rename(&other, &dir).unwrap();
    running.until_pods(&["c"]).await;
    fs::write(dir.join("b.yaml"), pod("d", 2)).unwrap();
    running.until_pods(&["c", "d"]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_at_once_are_few_loads() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path());
    running.until("loaded", |s| s.generation == 1).await;
    let start = Instant::now();
    for number in 0..200_u8 {
        fs::write(
            dir.path().join(format!("{number}.yaml")),
            pod(&format!("p{number}"), number),
        )
        .unwrap();
    }
    let writing = start.elapsed();
    let status = running.until("all", |s| s.files == 200).await;
    // One per delay at the most while it lasted, the empty one, and the last.
    let most = 3 + writing.as_millis() / 20;
    assert!(
        u128::from(status.generation) <= most,
        "{} in {writing:?}",
        status.generation
    );
    running.stop().await;
}
