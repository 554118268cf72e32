//! An image as the OCI lays it out (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>), in one
//! archive: skopeo, podman, containerd and docker load it. tar, gzip and sha256sum do the work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::binary::Program;
use crate::process;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Neither root nor anybody whom nodes know.
const USER: &str = "65532:65532";

/// What came out.
pub(super) struct Archive {
    pub(super) bytes: u64,
    /// Digest of the manifest: what the image is pinned by.
    pub(super) manifest: String,
}

/// A file of the layout, known by its digest.
struct Blob {
    digest: String,
    size: u64,
}

struct Layout {
    directory: PathBuf,
    time: u64,
}

/// Packs the directory `root` into `output`.
pub(super) fn pack(root: &Path, program: &Program, time: u64, output: &Path) -> Result<Archive> {
    let directory = root.with_extension("oci");
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())?;
    }
    let layout = Layout { directory, time };
    fs::create_dir_all(layout.blobs()).context("blobs")?;
    let (layer, unpacked) = layout.layer(root)?;
    let config = layout.json(&config(program.architecture(), &unpacked, &instant(time)?))?;
    let manifest = layout.json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    }))?;
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    listed["annotations"] = json!({"org.opencontainers.image.ref.name": VERSION});
    listed["platform"] = json!({"architecture": program.architecture(), "os": "linux"});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [listed]});
    layout.put("index.json", &index.to_string())?;
    layout.put(
        "oci-layout",
        &json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )?;
    if let Some(parent) = output.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    layout.tar(&layout.directory, output)?;
    Ok(Archive {
        bytes: fs::metadata(output)
            .with_context(|| output.display().to_string())?
            .len(),
        manifest: manifest.digest,
    })
}

impl Layout {
    fn blobs(&self) -> PathBuf {
        self.directory.join("blobs/sha256")
    }

    /// The compressed layer, and the digest of what it holds.
    fn layer(&self, root: &Path) -> Result<(Blob, String)> {
        let tar = self.directory.join("layer");
        self.tar(root, &tar)?;
        let unpacked = digest(&tar)?;
        // Without name and time.
        process::run(Command::new("gzip").args(["-9", "-n"]).arg(&tar))?;
        Ok((self.store(&tar.with_extension("gz"))?, unpacked))
    }

    /// Packs a directory so that nothing of this machine is in it.
    fn tar(&self, directory: &Path, output: &Path) -> Result<()> {
        let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        let mut tar = Command::new("tar");
        tar.args(["--create", "--format=ustar", "--sort=name"])
            .args([
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "--mode=u=rwX,go=rX",
            ])
            .arg(format!("--mtime=@{}", self.time))
            .arg("--directory")
            .arg(directory)
            .arg("--file")
            .arg(output)
            .args(names);
        process::run(&mut tar)
    }

    fn json(&self, value: &Value) -> Result<Blob> {
        let path = self.directory.join("json");
        fs::write(&path, value.to_string()).with_context(|| path.display().to_string())?;
        self.store(&path)
    }

    fn store(&self, path: &Path) -> Result<Blob> {
        let digest = digest(path)?;
        let size = fs::metadata(path)
            .with_context(|| path.display().to_string())?
            .len();
        let place = self.blobs().join(&digest);
        fs::rename(path, &place).with_context(|| place.display().to_string())?;
        Ok(Blob { digest, size })
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

fn config(architecture: &str, unpacked: &str, created: &str) -> Value {
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": USER,
            "Entrypoint": ["/usr/bin/sealane"],
            "Env": ["PATH=/usr/bin"],
            "Labels": {
                "org.opencontainers.image.title": "sealane",
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{unpacked}")]},
        "history": [{"created": created, "created_by": "cargo xtask image"}],
    })
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", blob.digest), "size": blob.size})
}

fn digest(path: &Path) -> Result<String> {
    let line = process::output(Command::new("sha256sum").arg("--binary").arg(path))?;
    let digest = line.split(' ').next().filter(|digest| digest.len() == 64);
    digest
        .map(str::to_owned)
        .with_context(|| format!("sha256sum: {line}"))
}

/// As RFC 3339 writes it.
pub(super) fn instant(time: u64) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"])
        .arg(format!("--date=@{time}"));
    process::output(&mut date)
}
