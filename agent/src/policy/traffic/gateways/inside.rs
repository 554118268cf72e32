//! The first request inside of TLS that ends here, where servers of one port want different things of their clients: what
//! is shown to one of them must not open another (RFC 9110, section 7.4). Requests behind it are not looked at.

use super::{Caller, Gateways, best};
use crate::policy::traffic::gateway::{Clients, Credential, ServerTls, TlsVersion, Work};

/// What a server wants of its clients.
#[derive(PartialEq, Eq)]
struct Wanted<'p> {
    clients: Clients,
    /// Where their authorities are.
    authorities: Option<&'p Credential>,
    names: &'p [String],
    versions: [TlsVersion; 2],
    suites: &'p [u16],
}

impl<'p> Wanted<'p> {
    fn of(tls: &'p ServerTls) -> Self {
        let asked = tls.clients != Clients::Anybody;
        Self {
            clients: tls.clients,
            authorities: asked.then_some(&tls.credential),
            names: &tls.names,
            versions: [tls.versions.least, tls.versions.most],
            suites: &tls.suites,
        }
    }
}

impl Gateways {
    /// Whether it makes a difference which server of a port a request inside of TLS is for.
    #[must_use]
    pub fn differ(&self, port: u16, caller: Caller<'_>) -> bool {
        let servers = self.servers(port, caller);
        let mut wanted = servers.filter_map(|served| http(&served.server.work).map(Wanted::of));
        let first = wanted.next();
        wanted.any(|other| first.as_ref() != Some(&other))
    }

    /// Whether a request for the caller's host may come by TLS that has ended like this.
    #[must_use]
    pub fn admits(&self, port: u16, tls: &ServerTls, caller: Caller<'_>) -> bool {
        let servers = self.servers(port, caller);
        let fitting = servers.filter_map(|s| Some((s.server.specificity(caller.name)?, s)));
        let tls_of_host = best(fitting).and_then(|served| http(&served.server.work));
        tls_of_host.is_some_and(|of_host| Wanted::of(of_host) == Wanted::of(tls))
    }
}

fn http(work: &Work) -> Option<&ServerTls> {
    match work {
        Work::Terminate(tls) if tls.http => Some(tls),
        Work::Terminate(_) | Work::Redirect | Work::Http | Work::Tcp | Work::Passthrough => None,
    }
}
