//! The checks: each uses what the relay will use, and compares what comes out.

use std::io::{Read as _, Write as _};

use rustls::SupportedCipherSuite;

use super::{
    super::{Key, KeyLimit, Pipe, Receive, Transmit, prepare},
    loopback::{CheckError, Loopback, pattern},
};

/// Record types (RFC 8446, section 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Bytes of one round of the measurement, and rounds, of which the best counts: others were interrupted. In all a
/// millisecond on a CPU with AES.
const ROUND: usize = 32 * 1024;
const ROUNDS: usize = 6;

/// A cipher: what is on the wire is a record, both directions work. Returns bytes per second.
pub(super) fn cipher(suite: SupportedCipherSuite) -> Result<u64, CheckError> {
    seals(suite)?;
    let (mut pair, _transmit, _receive) = Loopback::keyed(suite)?;
    let data = pattern(ROUND);
    let mut best = pair.pass(&data)?;
    for _ in 1..ROUNDS {
        best = best.min(pair.pass(&data)?);
    }
    let rate = ROUND as u128 * 1_000_000_000 / best.as_nanos().max(1);
    Ok(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// What leaves a socket with a key is not what was written to it.
fn seals(suite: SupportedCipherSuite) -> Result<(), CheckError> {
    let mut pair = Loopback::open()?;
    prepare(&pair.near)?;
    let _transmit = Transmit::install(&pair.near, &Key::known(suite, 1)?, KeyLimit::DEFAULT)?;
    let data = pattern(64);
    pair.near.write_all(&data)?;
    let mut record = [0; 5 + 64 + 1 + 16];
    pair.far.read_exact(&mut record)?;
    let framed = record.starts_with(&[APPLICATION_DATA, 3, 3, 0, 81]);
    if !framed || record.windows(16).any(|part| part == &data[..16]) {
        return Err(CheckError::Wrong("what was sent is not a sealed record"));
    }
    Ok(())
}

/// Bytes pass from a socket through a pipe into a sealed connection, and out of it through a pipe into a
/// socket, unchanged; a control record is told from data and does not get lost.
pub(super) fn splice(suite: SupportedCipherSuite) -> Result<(), CheckError> {
    let (keyed, mut transmit, receive) = Loopback::keyed(suite)?;
    let (mut source, mut sink) = (Loopback::open()?, Loopback::open()?);
    // Lengths around those of pages and records.
    for length in [1, 4095, 5000, 16384, 16385, 50_000] {
        let data = pattern(length);
        source.near.write_all(&data)?;
        through(&source.far, &keyed.near, length)?;
        through(&keyed.far, &sink.near, length)?;
        let mut received = vec![0; length];
        sink.far.read_exact(&mut received)?;
        if received != data {
            return Err(CheckError::Wrong("spliced data arrived changed"));
        }
    }
    transmit.record(&keyed.near, ALERT, &[1, 0])?;
    control(&keyed, &receive)
}

/// What a splice says of a control record, and that the record can then be read.
fn control(keyed: &Loopback, receive: &Receive) -> Result<(), CheckError> {
    wait_readable(&keyed.far)?;
    let mut pipe = Pipe::take().ok_or(CheckError::Wrong("no pipe to be had"))?;
    match pipe.fill(&keyed.far) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        _ => return Err(CheckError::Wrong("a control record was spliced as data")),
    }
    let mut buffer = [0; 16];
    match receive.record(&keyed.far, &mut buffer)? {
        Some((ALERT, 2)) if buffer[..2] == [1, 0] => Ok(()),
        _ => Err(CheckError::Wrong("a control record was lost")),
    }
}

/// Moves `length` bytes from one socket to another as the relay does.
fn through(
    from: &std::net::TcpStream,
    to: &std::net::TcpStream,
    length: usize,
) -> Result<(), CheckError> {
    let mut pipe = Pipe::take().ok_or(CheckError::Wrong("no pipe to be had"))?;
    let mut moved = 0;
    while moved < length {
        wait_readable(from)?;
        moved += match pipe.fill(from) {
            Ok(0) => return Err(CheckError::Wrong("the stream ended early")),
            Ok(filled) => filled,
            // Readable, but not a whole record yet.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        while pipe.filled() > 0 {
            pipe.drain(to)?;
        }
    }
    pipe.give_back();
    Ok(())
}

fn wait_readable(socket: &std::net::TcpStream) -> Result<(), CheckError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    };
    let mut watched = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut watched, Some(&limit)).map_err(std::io::Error::from)? {
        0 => Err(CheckError::Wrong("nothing arrived")),
        _ => Ok(()),
    }
}

/// Keys can be replaced on both ends, in the order of RFC 8446, section 4.6.3.
pub(super) fn rekey(suite: SupportedCipherSuite) -> Result<(), CheckError> {
    let (mut pair, mut transmit, receive) = Loopback::keyed(suite)?;
    pair.pass(&pattern(100))?;
    transmit.record(&pair.near, HANDSHAKE, &[24, 0, 0, 1, 0])?;
    transmit.renew(&pair.near, &Key::known(suite, 2)?)?;
    wait_readable(&pair.far)?;
    let mut buffer = [0; 16];
    match receive.record(&pair.far, &mut buffer)? {
        Some((HANDSHAKE, 5)) => receive.renew(&pair.far, &Key::known(suite, 2)?)?,
        _ => return Err(CheckError::Wrong("the key update was lost")),
    }
    pair.pass(&pattern(20_000)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as SUITE;

    use super::{super::super::probe, *};

    /// Where the kernel has TLS, all of this module runs; where it hasn't, the probe must say so.
    fn has_kernel_tls() -> bool {
        let pair = Loopback::open().unwrap();
        prepare(&pair.near).is_ok()
    }

    #[test]
    fn the_probe_finds_all_or_tells_why_not() {
        let found = probe(&[SUITE]);
        if has_kernel_tls() {
            assert!(found.has(SUITE), "{found:?}");
            assert!(found.splice, "{found:?}");
        } else {
            assert!(found.ciphers.is_empty());
            assert_eq!(found.missing[0].what, "kernel TLS");
        }
    }
}
