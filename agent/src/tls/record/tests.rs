//! Our record layer against rustls' own, for every version and cipher suite that a peer may choose.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use rustls::crypto::aws_lc_rs;

use super::{CLOSE_NOTIFY, Control, MAX_PLAINTEXT, MAX_RECORD, Opened, RecordError, content};
use crate::{
    offload::KeyLimit,
    tls::{
        Established, Opener, Sealer, Secrets,
        testing::{client, id, pki, server},
    },
};

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect()
}

/// Opens records until `close_notify`. Tells whether the peer has changed its key.
fn read_to_end(established: &mut Established, stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let Secrets {
        rx,
        suite,
        schedule,
        ..
    } = &mut established.secrets;
    let mut opener = Opener::new(*suite, rx).unwrap();
    let mut input = Vec::new();
    let mut output = vec![0; MAX_RECORD];
    let (mut data, mut updated) = (Vec::new(), false);
    loop {
        match opener.open(&input, &mut output).unwrap() {
            Opened::Incomplete => {
                let mut chunk = [0; 4096];
                let length = stream.read(&mut chunk).unwrap();
                assert_ne!(length, 0, "ended without close_notify");
                input.extend_from_slice(&chunk[..length]);
            }
            Opened::Data { record, length } => {
                data.extend_from_slice(&output[..length]);
                input.drain(..record);
            }
            Opened::Control { record, control } => {
                input.drain(..record);
                match control {
                    Control::Nothing => {}
                    Control::KeyUpdate { .. } => {
                        opener.renew(schedule.as_mut().unwrap()).unwrap();
                        updated = true;
                    }
                    Control::CloseNotify => return (data, updated),
                    Control::Alert(alert) => panic!("{alert:?}"),
                }
            }
        }
    }
}

/// Seals everything, with a new key if asked to, and a `close_notify`.
fn seal_all(established: &mut Established, data: &[u8], update: bool) -> Vec<u8> {
    let Secrets {
        tx,
        suite,
        schedule,
        ..
    } = &mut established.secrets;
    let mut sealer = Sealer::new(*suite, tx, KeyLimit::DEFAULT).unwrap();
    let mut records = Vec::new();
    if update {
        records.extend(sealer.key_update(schedule.as_mut().unwrap()).unwrap());
    }
    for part in data.chunks(3 * MAX_PLAINTEXT + 100) {
        let mut buffer = vec![0; 4 * sealer.slot()];
        for (index, payload) in part.chunks(MAX_PLAINTEXT).enumerate() {
            let start = index * sealer.slot() + sealer.payload_offset();
            buffer[start..start + payload.len()].copy_from_slice(payload);
        }
        let length = sealer.seal_slots(&mut buffer, part.len()).unwrap();
        records.extend_from_slice(&buffer[..length]);
    }
    records.extend(sealer.control(content::ALERT, &CLOSE_NOTIFY).unwrap());
    records
}

#[test]
fn every_suite_carries_data_both_ways() {
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        // ECDSA certificates: RSA suites of TLS 1.2 can't be agreed on.
        if format!("{:?}", suite.suite()).contains("_RSA_") {
            continue;
        }
        let pki_server = pki();
        let pki_client = pki_server.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let mut tls = client(
                &pki_client,
                *suite,
                None,
                TcpStream::connect(address).unwrap(),
            );
            tls.write_all(&pattern(100_000)).unwrap();
            if suite.tls13().is_some() {
                tls.conn.refresh_traffic_keys().unwrap();
            }
            tls.write_all(&pattern(70_000)).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            let mut received = Vec::new();
            tls.read_to_end(&mut received).unwrap();
            received
        });
        let (established, mut stream) = server(pki_server, &listener);
        let mut established = established.unwrap();
        assert_eq!(established.peer, id("customer"));
        let (received, updated) = read_to_end(&mut established, &mut stream);
        assert_eq!(updated, suite.tls13().is_some());
        assert_eq!(
            received,
            [pattern(100_000), pattern(70_000)].concat(),
            "{suite:?}"
        );
        stream
            .write_all(&seal_all(&mut established, &pattern(300_000), updated))
            .unwrap();
        drop((stream, established));
        assert_eq!(peer.join().unwrap(), pattern(300_000), "{suite:?}");
    }
}

#[test]
fn a_changed_record_is_refused_and_nothing_panics() {
    let pki_server = pki();
    let pki_client = pki_server.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
    let peer = thread::spawn(move || {
        let mut tls = client(
            &pki_client,
            suite,
            None,
            TcpStream::connect(address).unwrap(),
        );
        tls.write_all(b"hello").unwrap();
        tls
    });
    let (established, mut stream) = server(pki_server, &listener);
    let established = established.unwrap();
    let _peer = peer.join().unwrap();
    let mut record = Vec::new();
    while record.len() < 5 + 5 + 1 + 16 {
        let mut chunk = [0; 64];
        let length = stream.read(&mut chunk).unwrap();
        record.extend_from_slice(&chunk[..length]);
    }
    let secrets = &established.secrets;
    let mut opener = Opener::new(secrets.suite, &secrets.rx).unwrap();
    let mut output = vec![0; MAX_RECORD];
    for length in 0..record.len() {
        assert_eq!(
            opener.open(&record[..length], &mut output).unwrap(),
            Opened::Incomplete
        );
    }
    for position in [0, 5, record.len() - 1] {
        let mut changed = record.clone();
        changed[position] ^= 1;
        assert!(opener.open(&changed, &mut output).is_err());
    }
    let too_long = [23, 3, 3, 0xff, 0xff];
    assert!(matches!(
        opener.open(&too_long, &mut output),
        Err(RecordError::TooLong(_))
    ));
    // What was refused has not moved the sequence number.
    assert!(matches!(
        opener.open(&record, &mut output).unwrap(),
        Opened::Data { length: 5, .. }
    ));
    assert_eq!(&output[..5], b"hello");
}
