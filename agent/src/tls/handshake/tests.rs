//! Peers that cut their messages up, or that must be refused.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rustls::{AlertDescription, Error, ServerConfig, crypto::aws_lc_rs::cipher_suite::*};

use super::HandshakeError;
use crate::tls::testing::{
    accepted, client, client_config, connected, id, pki, server, server_config,
};

#[test]
fn fragmented_messages_are_put_together() {
    for suite in [
        TLS13_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ] {
        let pki_server = pki();
        let pki_client = pki_server.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            let mut tls = client(&pki_client, suite, Some(40), stream);
            tls.write_all(b"behind the handshake").unwrap();
        });
        let (established, _stream) = server(pki_server, &listener);
        assert_eq!(established.unwrap().peer, id("customer"), "{suite:?}");
        peer.join().unwrap();
    }
}

#[test]
fn a_refused_peer_gets_an_alert_however_its_flight_is_packed() {
    for fragment in [None, Some(40)] {
        let pki_server = pki();
        // Another CA: the server knows neither of its certificates.
        let mut pki_client = pki();
        pki_client.anchors = Arc::clone(&pki_server.anchors);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            let mut tls = client(&pki_client, TLS13_AES_128_GCM_SHA256, fragment, stream);
            let written = tls.write_all(b"hello").and_then(|()| tls.flush());
            let read = written.and_then(|()| tls.read(&mut [0; 8]));
            let error = read.expect_err("refused").into_inner().expect("an alert");
            *error.downcast::<Error>().expect("rustls' error")
        });
        let (refused, stream) = server(pki_server, &listener);
        assert!(
            matches!(refused, Err(HandshakeError::Tls(_))),
            "{refused:?}"
        );
        drop(stream);
        assert_eq!(
            peer.join().unwrap(),
            Error::AlertReceived(AlertDescription::UnknownCA)
        );
    }
}

/// rustls finds this out once its ServerHello is written, so that the alert isn't the first that it has to say.
#[test]
fn who_offers_no_protocol_of_ours_gets_an_alert() {
    for suite in [
        TLS13_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ] {
        let pki = pki();
        let mut offering = client_config(&pki, suite, None);
        offering.alpn_protocols = vec![b"h2".to_vec()];
        let mut taking = ServerConfig::clone(&server_config(pki));
        taking.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let mut tls = connected(offering, TcpStream::connect(address).unwrap());
            let error = tls.read(&mut [0; 8]).expect_err("refused");
            let error = error.into_inner().expect("an alert");
            *error.downcast::<Error>().expect("rustls' error")
        });
        let (refused, stream) = accepted(Arc::new(taking), &listener);
        assert!(refused.is_err(), "{suite:?}");
        drop(stream);
        let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(peer.join().unwrap(), alert, "{suite:?}");
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..200_u32 {
        let mut bytes: Vec<u8> = (0..random.usize(..400)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 && bytes.len() > 6 {
            bytes[..6].copy_from_slice(&[22, 3, 1, 0, 4, 1]);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.write_all(&bytes).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let (refused, _stream) = server(pki(), &listener);
        assert!(refused.is_err());
    }
}
