//! Clients of HTTP of which nobody knows which host they mean: where all hosts lead to the same place that is where they go.

use super::{Caller, Gateways, NoRoute, Served, Taken, VirtualService};
use crate::policy::{
    host::Host,
    traffic::{gateway::Work, virtual_service::Route},
};

impl Gateways {
    /// Whether it makes a difference which host an HTTP client of a port asks for.
    #[must_use]
    pub fn depends_on_host(&self, port: u16, caller: Caller<'_>) -> bool {
        let mut servers = self.servers(port, caller);
        let for_all = servers.any(|served| {
            let everything = [Host::Suffix(String::new())].into_iter();
            let mut routes = self.with_hosts(served, everything, caller);
            routes.any(|routes| served.server.is_for_all(routes))
        });
        !for_all || self.unnamed(port, caller).is_err()
    }

    /// Where a client of HTTP goes that doesn't say which host it means: to the only place that there is.
    pub(super) fn unnamed<'p>(
        &'p self,
        port: u16,
        caller: Caller<'_>,
    ) -> Result<Taken<'p>, NoRoute> {
        let mut servers = self.servers(port, caller);
        if let Some(served) = servers.find(|s| s.server.work == Work::Redirect) {
            let gateway = served.gateway.clone();
            return Err(NoRoute::Redirects { gateway });
        }
        let Some((served, routes, route)) = only(self.candidates(port, caller))? else {
            let first = self.servers(port, caller).next();
            return Err(first.map_or_else(
                || NoRoute::no_server(port, None),
                |s| NoRoute::nobody(s, None),
            ));
        };
        Ok(served.to(routes, route))
    }

    /// Everywhere that connections to a port may go.
    pub fn places<'p>(&'p self, port: u16, caller: Caller<'_>) -> impl Iterator<Item = Taken<'p>> {
        let candidates = self.candidates(port, caller);
        candidates.map(|(served, routes, route)| served.to(routes, route))
    }

    fn candidates<'p>(
        &'p self,
        port: u16,
        caller: Caller<'_>,
    ) -> impl Iterator<Item = Candidate<'p>> {
        self.servers(port, caller).flat_map(move |served| {
            let visible = self.visible(served, caller);
            visible.filter_map(move |r| Some((served, r, served.matching(r, caller)?)))
        })
    }
}

/// A route that may count, and whose it is.
pub(super) type Candidate<'p> = (Served<'p>, &'p VirtualService, &'p Route);

/// The only place that all of them lead to.
pub(super) fn only<'p>(
    mut found: impl Iterator<Item = Candidate<'p>>,
) -> Result<Option<Candidate<'p>>, NoRoute> {
    let Some(first) = found.next() else {
        return Ok(None);
    };
    match found.find(|(_, _, other)| other.destinations != first.2.destinations) {
        None => Ok(Some(first)),
        Some((_, second, _)) => Err(NoRoute::Ambiguous {
            gateway: first.0.gateway.clone(),
            first: Box::new(first.1.document.clone()),
            second: Box::new(second.document.clone()),
        }),
    }
}
