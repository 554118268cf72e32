//! Requests to the product's own addresses, from inside the network namespace where it has them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use anyhow::{Context, Result, anyhow};

use crate::{netns, pace, sockets::PATIENCE};

/// `GET path`: status code and body.
///
/// # Errors
/// When nobody answers there or the answer isn't HTTP.
pub(crate) fn get(netns: &Path, to: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = std::thread::scope(|scope| {
        let exchange = scope.spawn(|| -> Result<String> {
            netns::join(netns)?;
            let mut stream = TcpStream::connect_timeout(&to, pace::span(PATIENCE))?;
            stream.set_read_timeout(Some(pace::span(PATIENCE)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        exchange
            .join()
            .map_err(|_| anyhow!("the request panicked"))?
    })?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("not HTTP: {answer:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.context("no status code")?, body.to_owned()))
}
