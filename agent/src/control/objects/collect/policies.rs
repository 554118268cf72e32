//! Policy documents among the objects.

use std::sync::Arc;

use super::{Collector, Kind, LoadError, Located, ObjectName, Site, unheeded};
use crate::control::objects::policy::LegacyPolicy;

impl Collector {
    pub(super) fn policy(
        &mut self,
        site: &Site<'_>,
        kind: Kind,
        name: &ObjectName,
    ) -> Result<(), LoadError> {
        if let Some(note) = unheeded::elsewhere(site, kind) {
            self.objects.warnings.push(note);
            return Ok(());
        }
        let known = self.errors.len();
        let mut read = self.read_policy(site, kind, name);
        let new = self.errors.iter_mut().skip(known);
        for error in new.chain(read.as_mut().err()) {
            error.is_vital &= unheeded::is_vital(site, kind);
        }
        read
    }

    fn read_policy(
        &mut self,
        site: &Site<'_>,
        kind: Kind,
        name: &ObjectName,
    ) -> Result<(), LoadError> {
        /// Reads one and adds it to the list of its kind.
        macro_rules! add {
            ($list:ident) => {{
                let facts = self.facts(site, name)?.map(|located| located.facts);
                self.objects.documents.$list.extend(facts);
            }};
        }
        match kind {
            Kind::PeerAuthentication => add!(peer_authentications),
            Kind::AuthorizationPolicy => {
                let policy = self.facts(site, name)?.map(|p| Arc::new(p.facts));
                let documents = &mut self.objects.documents;
                documents.authorization_policies.extend(policy);
            }
            Kind::DestinationRule => add!(destination_rules),
            Kind::ServiceEntry => add!(service_entries),
            Kind::VirtualService => add!(virtual_services),
            Kind::Gateway => add!(gateways),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn legacy(
        &mut self,
        site: &Site<'_>,
        kind: Kind,
        name: &ObjectName,
    ) -> Result<(), LoadError> {
        let Some(Located { place, facts, .. }) = self.facts::<LegacyPolicy>(site, name)? else {
            return Ok(());
        };
        self.objects.warnings.push(format!(
            "{place}: {} of authentication.istio.io is deprecated since Istio 1.5: write a PeerAuthentication \
             (security.istio.io/v1)",
            kind.name()
        ));
        let documents = &mut self.objects.documents;
        documents.peer_authentications.push(facts.0);
        Ok(())
    }
}
