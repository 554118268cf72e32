//! What is in another process' memory.

use std::{fs, io, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};

/// Bytes of a private key on P-256, and what stands before one in DER (RFC 5915).
const SCALAR: usize = 32;
const OCTETS: [u8; 2] = [0x04, 0x20];
const CHUNK: usize = 1 << 20;

/// Whether a process holds the private key that belongs to a public one (P-256, uncompressed): as DER has it, or as
/// the words in which libraries calculate.
///
/// # Errors
/// When the memory can't be read.
pub fn holds_key(pid: u32, public: &[u8]) -> Result<bool> {
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut chunk = vec![0; CHUNK + SCALAR + OCTETS.len()];
    for (start, end) in maps.lines().filter_map(writable) {
        let mut at = start;
        while at < end {
            let length = chunk.len().min(usize::try_from(end - at)?);
            match memory.read_at(&mut chunk[..length], at) {
                Ok(read) if holds(&chunk[..read], public) => return Ok(true),
                Ok(_) => {}
                // Gone meanwhile, or not there at all.
                Err(error) if error.raw_os_error() == Some(5) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("reading memory"),
            }
            at += CHUNK as u64;
        }
    }
    Ok(false)
}

/// proc_pid_maps(5): from where to where.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw").then_some(())?;
    Some((number(start)?, number(end)?))
}

fn holds(bytes: &[u8], public: &[u8]) -> bool {
    let of_der = bytes
        .windows(OCTETS.len() + SCALAR)
        .filter(|window| window.starts_with(&OCTETS))
        .any(|window| belongs(&window[OCTETS.len()..], public));
    let of_words = || {
        let windows = bytes.windows(SCALAR).step_by(8);
        let mut random = windows.filter(|window| looks_random(window));
        random.any(|window| {
            let reversed: Vec<_> = window.iter().rev().copied().collect();
            belongs(&reversed, public)
        })
    };
    of_der || of_words()
}

/// Neither pointers nor small numbers: one of 8,000 keys is missed.
fn looks_random(window: &[u8]) -> bool {
    let mut words = window.chunks_exact(8);
    words.all(|word| !matches!(word[6..], [0, 0] | [0xff, 0xff]))
}

fn belongs(scalar: &[u8], public: &[u8]) -> bool {
    let key = PrivateKey::from_private_key(&ECDH_P256, scalar);
    let own = key.and_then(|key| Ok(key.compute_public_key()?));
    own.is_ok_and(|own| own.as_ref() == public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_forms() {
        let key = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = key.compute_public_key().unwrap();
        let scalar = aws_lc_rs::encoding::AsBigEndian::<
            aws_lc_rs::encoding::EcPrivateKeyBin<'_>,
        >::as_be_bytes(&key)
        .unwrap();
        let der = [&[1, 2, 3][..], &OCTETS, scalar.as_ref(), &[9]].concat();
        assert!(holds(&der, public.as_ref()));
        let words: Vec<_> = scalar.as_ref().iter().rev().copied().collect();
        assert!(holds(&[&[7; 8][..], &words].concat(), public.as_ref()));
        assert!(!holds(&[5; 4096], public.as_ref()));
    }
}
