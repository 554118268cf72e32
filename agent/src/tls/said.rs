//! What a peer says behind the handshake, read before anybody has taken its connection over: record by record and not a
//! byte more, so that whoever takes it over can open what follows.

use std::io;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{
    Established, Opener, Secret,
    record::{Control, HEADER, MAX_RECORD, Opened},
};

/// Records without data between such with data, at most.
const MAX_EMPTY: usize = 32;

/// Reads what a peer says.
pub struct Hearing<'a> {
    stream: &'a mut TcpStream,
    key: &'a mut Secret,
    opener: Opener,
    record: Vec<u8>,
    output: Vec<u8>,
}

impl<P> Established<P> {
    /// # Errors
    /// When the keys can't be used.
    pub fn hear(&mut self) -> io::Result<Hearing<'_>> {
        let secrets = &mut self.secrets;
        let opener = Opener::new(secrets.suite, &secrets.rx).map_err(io::Error::other)?;
        Ok(Hearing {
            stream: &mut self.stream,
            key: &mut secrets.rx,
            opener,
            record: Vec::new(),
            output: vec![0; MAX_RECORD],
        })
    }
}

impl Hearing<'_> {
    /// Adds the next data to `said`; nothing when the peer has ended.
    ///
    /// # Errors
    /// The socket's; when the peer says something that is not for the application.
    pub async fn next(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
        for _ in 0..MAX_EMPTY {
            if !self.next_record().await? {
                return Ok(());
            }
            let opened = self.opener.open(&self.record, &mut self.output);
            let opened = opened.map_err(io::Error::other)?;
            self.key.advance_to(self.opener.rx.sequence);
            match opened {
                Opened::Data { length: 0, .. } => {}
                Opened::Data { length, .. } => {
                    said.extend_from_slice(&self.output[..length]);
                    return Ok(());
                }
                Opened::Control { control, .. } => match control {
                    Control::Nothing => {}
                    Control::CloseNotify => return Ok(()),
                    Control::Alert(alert) => {
                        return Err(io::Error::other(format!("alert {}", alert.0)));
                    }
                    Control::KeyUpdate { .. } => {
                        return Err(io::Error::other("a change of keys before any data"));
                    }
                },
                Opened::Incomplete => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Err(io::Error::other("too many records without data"))
    }

    /// Whether there is one. A length that is impossible is left for whoever opens it.
    async fn next_record(&mut self) -> io::Result<bool> {
        self.record.resize(HEADER, 0);
        let read = self.stream.read(&mut self.record).await?;
        if read == 0 {
            return Ok(false);
        }
        self.stream.read_exact(&mut self.record[read..]).await?;
        let length = usize::from(u16::from_be_bytes([self.record[3], self.record[4]]));
        if length <= MAX_RECORD {
            self.record.resize(HEADER + length, 0);
            self.stream.read_exact(&mut self.record[HEADER..]).await?;
        }
        Ok(true)
    }
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
                    let mut hearing = established.hear().unwrap();
                    hearing.next(&mut said).await.unwrap();
                    assert_eq!(said, expected);
                }
            });
            drop(talking.join().unwrap());
        }
    }
}
