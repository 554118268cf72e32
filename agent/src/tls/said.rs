//! What a peer says behind the handshake, read before anybody has taken its connection over: record by record and not a
//! byte more, so that whoever takes it over can open what follows.

use std::io;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{
    Established, Opener,
    record::{HEADER, MAX_RECORD, Opened},
};

impl<P> Established<P> {
    /// Adds the next record's plaintext to `said`.
    ///
    /// # Errors
    /// The socket's; when the peer has ended, or says something that is not for the application.
    pub async fn hear(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
        let record = next_record(&mut self.stream).await?;
        let secrets = &mut self.secrets;
        let opener = Opener::new(secrets.suite, &secrets.rx);
        let mut opener = opener.map_err(io::Error::other)?;
        let mut output = vec![0; MAX_RECORD];
        let opened = opener.open(&record, &mut output);
        match opened.map_err(io::Error::other)? {
            Opened::Data { length, .. } => said.extend_from_slice(&output[..length]),
            Opened::Incomplete | Opened::Control { .. } => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        secrets.rx.advance_to(opener.rx.sequence);
        Ok(())
    }
}

/// A length that is impossible is left for whoever opens it.
async fn next_record(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut record = vec![0; HEADER];
    stream.read_exact(&mut record).await?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    if length <= MAX_RECORD {
        record.resize(HEADER + length, 0);
        stream.read_exact(&mut record[HEADER..]).await?;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use rustls::crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS13_AES_128_GCM_SHA256,
    };

    use super::*;
    use crate::tls::testing::{client, pki, server};

    #[test]
    fn what_follows_can_be_opened() {
        for suite in [
            TLS13_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (pki, address) = (pki(), listener.local_addr().unwrap());
            let ours = pki.clone();
            let talking = thread::spawn(move || {
                let stream = std::net::TcpStream::connect(address).unwrap();
                let mut tls = client(&ours, suite, None, stream);
                for words in ["one ", "two ", "three"] {
                    tls.write_all(words.as_bytes()).unwrap();
                    tls.flush().unwrap();
                }
                tls
            });
            let (established, copy) = server(pki, &listener);
            let mut established = established.unwrap();
            copy.set_nonblocking(true).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let stream = copy.try_clone().unwrap();
                established.stream = TcpStream::from_std(stream).unwrap();
                let mut said = Vec::new();
                for expected in [&b"one "[..], b"one two ", b"one two three"] {
                    established.hear(&mut said).await.unwrap();
                    assert_eq!(said, expected);
                }
            });
            drop(talking.join().unwrap());
        }
    }
}
