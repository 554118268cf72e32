//! What the kernel starts from: the first process, the modules that it needs to reach the host's files, and the job.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio::Archive, kernels::Unpacked};
use crate::{process, workspace};

/// Debian's cloud kernels have everything else built in that is needed to start.
const MODULES: [&str; 3] = ["virtio_pci", "virtiofs", "overlay"];

/// What runs in the machine, and where.
#[derive(Clone, Debug, Default)]
pub struct Job {
    pub command: Vec<OsString>,
    pub environment: Vec<(String, OsString)>,
    /// On the host, as in the machine.
    pub directory: PathBuf,
    pub output: Option<PathBuf>,
}

/// Builds the first process: static, as there are no libraries where it starts.
///
/// # Errors
/// Cargo's own.
pub fn build() -> Result<()> {
    let mut cargo = process::cargo();
    cargo
        .args(["rustc", "--quiet", "--release", "-p", "sealane-vm-init"])
        // After the dashes they concern this crate alone: nothing else is built anew.
        .args([
            "--",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ]);
    process::run(cargo.current_dir(workspace::root()))
}

/// Writes the archive for a kernel and a job.
///
/// # Errors
/// When a part of it is missing.
pub fn write(kernel: &Unpacked, job: &Job, file: &Path) -> Result<()> {
    let mut archive = Archive::default();
    let init = workspace::program("sealane-vm-init")?;
    archive.file("init", &read(&init)?);
    archive.directory("modules");
    let mut order = String::new();
    for module in modules(kernel)? {
        let name = module.file_name().context("a module without a name")?;
        let name = name.to_string_lossy();
        archive.file(&format!("modules/{name}"), &read(&module)?);
        order += &format!("{name}\n");
    }
    archive.file("modules/order", order.as_bytes());
    archive.file("job", &fields(kernel, job));
    fs::write(file, archive.finish()).with_context(|| file.display().to_string())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| file.display().to_string())
}

/// The files of the modules, each after those that it needs.
fn modules(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let modprobe = process::find("modprobe").context("modprobe is missing: `cargo xtask setup`")?;
    let mut files = Vec::new();
    for module in MODULES {
        let mut command = Command::new(&modprobe);
        command.arg("-d").arg(&kernel.base);
        command.args(["-S", &kernel.release, "--show-depends", module]);
        let lines = process::output(&mut command)?;
        for line in lines.lines() {
            // Others are "builtin NAME".
            let Some(file) = line.strip_prefix("insmod ") else {
                continue;
            };
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// The job as tests/vm/init reads it.
fn fields(kernel: &Unpacked, job: &Job) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut field = |name: &str, value: &[u8]| {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(0);
    };
    for argument in &job.command {
        field("argument", argument.as_bytes());
    }
    for (name, value) in &job.environment {
        let both = [name.as_bytes(), b"=", value.as_bytes()].concat();
        field("environment", &both);
    }
    field("directory", job.directory.as_os_str().as_bytes());
    field("modules", kernel.modules.as_os_str().as_bytes());
    if let Some(output) = &job.output {
        field("output", output.as_os_str().as_bytes());
    }
    bytes
}
