//! One HTTP request to a program of the product, from inside its network namespace.

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
pub fn get(netns: &Path, address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    exchange(netns, address, &request)
}

/// `POST path` with JSON.
///
/// # Errors
/// As [`get`].
pub fn post(netns: &Path, address: SocketAddr, path: &str, body: &str) -> Result<(u16, String)> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}");
    let request = format!("{head}\r\nContent-Type: application/json\r\n\r\n{body}");
    exchange(netns, address, &request)
}

fn exchange(netns: &Path, address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let answer = std::thread::scope(|scope| {
        let exchange = scope.spawn(|| -> Result<String> {
            netns::join(netns)?;
            let mut stream = TcpStream::connect_timeout(&address, pace::span(PATIENCE))?;
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
