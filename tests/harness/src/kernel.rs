//! What the running kernel should be able to do, found out by other means than the product's.

use std::{fs, path::Path, sync::LazyLock};

static TLS: LazyLock<bool> = LazyLock::new(|| {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release.trim());
    let builtin = fs::read_to_string(modules.join("modules.builtin")).unwrap_or_default();
    Path::new("/sys/module/tls").exists()
        || builtin
            .lines()
            .any(|line| line.ends_with("/net/tls/tls.ko"))
        || ["tls.ko", "tls.ko.xz", "tls.ko.zst", "tls.ko.gz"]
            .iter()
            .any(|name| modules.join("kernel/net/tls").join(name).exists())
});

/// Whether it has TLS (`CONFIG_TLS`), built in or as a module.
#[must_use]
pub fn has_tls() -> bool {
    *TLS
}

/// Whether the processor has instructions for AES.
#[must_use]
pub fn has_aes_instructions() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu.lines()
        .filter(|line| line.starts_with("flags") || line.starts_with("Features"))
        .any(|line| line.split_whitespace().any(|flag| flag == "aes"))
}
