//! stunnel in front of client and server.

use std::{net::SocketAddr, path::Path};

use anyhow::Result;

use super::{
    Site,
    pair::{self, CIPHER, CLIENT_AT, Program, Proxies, SERVER_AT, Side},
};

pub(super) fn start(site: &Site) -> Result<Option<Proxies>> {
    let Some(path) = pair::find(&["stunnel4", "stunnel"]) else {
        return Ok(None);
    };
    let program = Program {
        name: "stunnel",
        path: &path,
        about: "stunnel in both pods, a thread per connection".into(),
        configure: &configuration,
        arguments: &[],
    };
    program.start(site).map(Some)
}

/// No session is resumed: every connection proves both identities, as Sealane's do.
fn configuration(side: Side, certificates: &Path, between: SocketAddr) -> String {
    let (client, accept, connect, peer) = match side {
        Side::Client => ("yes", CLIENT_AT, between, "server.test"),
        Side::Server => ("no", between, SERVER_AT, "client.test"),
    };
    let (own, certificates) = (side.name(), certificates.display());
    format!(
        "foreground = yes\n\
         pid =\n\
         syslog = no\n\
         debug = err\n\
         socket = l:TCP_NODELAY=1\n\
         socket = r:TCP_NODELAY=1\n\
         [mesh]\n\
         client = {client}\n\
         accept = {accept}\n\
         connect = {connect}\n\
         cert = {certificates}/{own}.crt\n\
         key = {certificates}/{own}.key\n\
         CAfile = {certificates}/root.crt\n\
         verifyChain = yes\n\
         checkHost = {peer}\n\
         sslVersion = TLSv1.3\n\
         ciphersuites = {CIPHER}\n\
         sessionResume = no\n"
    )
}
