//! HAProxy in front of client and server.

use std::{net::SocketAddr, path::Path};

use anyhow::Result;

use super::{
    Site,
    pair::{self, CIPHER, CLIENT_AT, Program, Proxies, SERVER_AT, Side},
};

pub(super) fn start(site: &Site) -> Result<Option<Proxies>> {
    let Some(path) = pair::find(&["haproxy"]) else {
        return Ok(None);
    };
    let threads = pair::threads()?;
    let program = Program {
        name: "haproxy",
        path: &path,
        about: format!("HAProxy in both pods, TCP mode, {threads} threads each"),
        configure: &|side, certificates, between| {
            configuration(side, certificates, between, threads)
        },
        arguments: &["-db", "-f"],
    };
    program.start(site).map(Some)
}

/// No session is resumed: every connection proves both identities, as Sealane's do.
fn configuration(side: Side, certificates: &Path, between: SocketAddr, threads: usize) -> String {
    let certificates = certificates.display();
    let tls = format!(
        "ca-file {certificates}/root.crt crt {certificates}/{}.pem ciphersuites {CIPHER}",
        side.name()
    );
    let (bind, server) = match side {
        Side::Client => (
            format!("bind {CLIENT_AT}"),
            format!(
                "server mesh {between} ssl verify required verifyhost server.test sni str(server.test) force-tlsv13 no-ssl-reuse {tls}"
            ),
        ),
        Side::Server => (
            format!("bind {between} ssl verify required force-tlsv13 no-tls-tickets {tls}"),
            format!("server application {SERVER_AT}"),
        ),
    };
    format!(
        "global\n\
         \x20 nbthread {threads}\n\
         \x20 maxconn 8000\n\
         \x20 tune.bufsize 65536\n\
         \x20 tune.ssl.cachesize 0\n\
         defaults\n\
         \x20 mode tcp\n\
         \x20 timeout connect 10s\n\
         \x20 timeout client 1h\n\
         \x20 timeout server 1h\n\
         listen mesh\n\
         \x20 {bind}\n\
         \x20 {server}\n"
    )
}
