//! The kernel's driver for AES-GCM, which makes the difference between the fastest cipher and the slowest.

use std::fs;

use super::sys;

const PROC_CRYPTO: &str = "/proc/crypto";

/// The driver that the kernel uses for `gcm(aes)`, as /proc/crypto names it; `None` before the first use.
pub(super) fn aes_gcm() -> Option<String> {
    best(&fs::read_to_string(PROC_CRYPTO).ok()?, "gcm(aes)")
}

/// Has the kernel load an accelerated AES where the CPU has one and no driver is there yet.
pub(super) fn load_accelerated() {
    let crypto = fs::read_to_string(PROC_CRYPTO).unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let only_generic = best(&crypto, "aes").is_none_or(|driver| driver.ends_with("-generic"));
    if only_generic && has_aes(&cpu) {
        // Without it the probe measures AES as slow, which is what it then is.
        let _ = sys::load_aes_drivers();
    }
}

/// x86 lists `flags`, Arm `Features`.
fn has_aes(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| matches!(key.trim(), "flags" | "Features"))
        .any(|(_, flags)| flags.split_whitespace().any(|flag| flag == "aes"))
}

/// The driver of the highest priority for an algorithm.
fn best(crypto: &str, algorithm: &str) -> Option<String> {
    let field = |block: &str, key: &str| {
        block
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(k, value)| (k.trim() == key).then(|| value.trim().to_owned()))
    };
    crypto
        .split("\n\n")
        .filter(|block| field(block, "name").as_deref() == Some(algorithm))
        // Internal drivers are parts of others.
        .filter(|block| field(block, "internal").as_deref() != Some("yes"))
        .max_by_key(|block| field(block, "priority").and_then(|p| p.parse::<i64>().ok()))
        .and_then(|block| field(block, "driver"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRYPTO: &str = "\
name         : gcm(aes)
driver       : gcm_base(ctr(aes-generic),ghash-generic)
priority     : 100
internal     : no

name         : __gcm(aes)
driver       : __generic-gcm-aesni
priority     : 500
internal     : yes

name         : gcm(aes)
driver       : generic-gcm-aesni
priority     : 400
internal     : no
";

    #[test]
    fn the_driver_in_use_is_the_one_of_the_highest_priority() {
        assert_eq!(
            best(CRYPTO, "gcm(aes)").as_deref(),
            Some("generic-gcm-aesni")
        );
        assert_eq!(best(CRYPTO, "aes"), None);
        assert_eq!(best("", "gcm(aes)"), None);
    }

    #[test]
    fn aes_of_the_cpu() {
        assert!(has_aes("processor\t: 0\nflags\t\t: fpu aes avx\n"));
        assert!(has_aes("Features\t: fp asimd aes\n"));
        assert!(!has_aes("flags\t\t: fpu vaes_like\nmodel name\t: aes\n"));
    }
}
