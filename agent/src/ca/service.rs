//! The CA service: signs workload certificates for whoever proves who it is.
//!
//! Each request goes one way: who asks ([`caller`]), what it may have ([`grant`]), whether the request itself is
//! fit ([`csr`], [`replayed`]), the signature. Whatever isn't granted is refused, counted and logged with both
//! identities. Does not decide which workloads there are: [`Placement`] tells.

mod caller;
mod csr;
mod grant;
mod listen;
mod method;
mod own;
mod places;
mod preface;
mod refusal;
mod replayed;
mod strikes;
#[cfg(test)]
pub(in crate::ca) mod testing;
mod tokens;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use self::{caller::Caller, csr::Csr, replayed::Certified as CertifiedKeys, strikes::Strikes};
pub use self::{
    csr::CsrError,
    grant::{NodeAccount, ParseNodeAccountError, Placement},
    listen::serve,
    refusal::Refusal,
    tokens::{
        ReviewError, Reviewed, Reviewer, Reviews, TokenError, TokenKeys, TokenKeysError,
        TokenRules, Tokens,
    },
};
use super::{
    CaError, EmbeddedCa, authority, leaf, pem,
    wire::{CertificateRequest, CertificateResponse},
};
use crate::{identity::SpiffeId, telemetry::CaMetrics, tls::CertificateId};

/// Bursts may be as long as this much of the rate.
const BURST_SECONDS: u32 = 10;
/// Callers whose rate is kept track of before those that have been quiet are forgotten.
const CALLERS: usize = 4096;

/// Which certificates are not to be believed any more.
pub trait Revocation: Send + Sync + 'static {
    /// Whether one of a chain is revoked.
    fn revokes(&self, chain: &[CertificateId]) -> bool;
}

/// What the service is told at start.
pub struct ServiceSettings {
    pub revocation: Arc<dyn Revocation>,
    /// Accounts that may ask in the name of pods of their node.
    pub node_accounts: Vec<NodeAccount>,
    /// Certificates per second for one caller.
    pub rate: NonZeroU32,
}

/// Signs, or refuses.
pub struct CaService {
    ca: Arc<EmbeddedCa>,
    tokens: Tokens,
    placement: Arc<dyn Placement>,
    revocation: Arc<dyn Revocation>,
    node_accounts: Vec<NodeAccount>,
    certified: CertifiedKeys,
    strikes: Strikes,
    rates: DefaultKeyedRateLimiter<Caller>,
    metrics: CaMetrics,
}

/// What came with a request, beside its message.
struct Credentials<'a> {
    address: Option<SocketAddr>,
    /// Value of the `authorization` header.
    authorization: Option<&'a str>,
    /// Shown in the handshake, and verified against the CA's own roots.
    certificate: Option<&'a SpiffeId>,
    /// What was shown has been revoked.
    revoked: bool,
}

impl CaService {
    #[must_use]
    pub fn new(
        ca: Arc<EmbeddedCa>,
        tokens: Tokens,
        placement: Arc<dyn Placement>,
        settings: ServiceSettings,
        metrics: CaMetrics,
    ) -> Self {
        let burst = settings
            .rate
            .saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let quota = Quota::per_second(settings.rate).allow_burst(burst);
        Self {
            ca,
            tokens,
            placement,
            revocation: settings.revocation,
            node_accounts: settings.node_accounts,
            certified: CertifiedKeys::default(),
            strikes: Strikes::default(),
            rates: RateLimiter::keyed(quota),
            metrics,
        }
    }

    /// Answers one request, and counts and logs what became of it.
    async fn answer(
        &self,
        credentials: &Credentials<'_>,
        request: &CertificateRequest,
        now: SystemTime,
    ) -> Result<CertificateResponse, Refusal> {
        let started = Instant::now();
        let caller = self.authenticate(credentials).await;
        let answer = match &caller {
            Ok(caller) => self.certify(caller, request, now),
            Err(refusal) => Err(refusal.clone()),
        };
        match &answer {
            Ok(_) => self.metrics.certificate_signed(started.elapsed()),
            Err(refusal) => {
                self.metrics.request_refused(refusal.reason());
                self.log_refusal(caller.as_ref().ok(), credentials, request, refusal);
            }
        }
        answer
    }

    fn log_refusal(
        &self,
        caller: Option<&Caller>,
        credentials: &Credentials<'_>,
        request: &CertificateRequest,
        refusal: &Refusal,
    ) {
        let caller = caller.map_or_else(|| self.said(credentials), Caller::to_string);
        let asked_for = request.impersonated().unwrap_or("its own identity");
        let (address, reason) = (credentials.address, refusal.reason().as_str());
        tracing::warn!(caller, asked_for, ?address, reason, "refused: {refusal}");
    }

    /// Who somebody may be whose proof doesn't hold.
    fn said(&self, credentials: &Credentials<'_>) -> String {
        let token = credentials.authorization.and_then(caller::bearer);
        let claimed = token.and_then(|token| tokens::claimed(token, self.ca.trust_domain()));
        match (claimed, credentials.certificate) {
            (Some(claimed), Some(shown)) => {
                format!("{claimed}, unproven, with a certificate of {shown}")
            }
            (Some(claimed), None) => format!("{claimed}, unproven"),
            (None, Some(shown)) => shown.to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Caller, Refusal> {
        match (credentials.authorization, credentials.certificate) {
            (Some(header), _) => {
                let token = caller::bearer(header).ok_or(Refusal::NoCredentials)?;
                self.vouched(token, credentials.address).await
            }
            (None, Some(identity)) if credentials.revoked => {
                Err(Refusal::Revoked(identity.clone()))
            }
            (None, Some(identity)) => Ok(Caller::of_certificate(identity.clone())),
            (None, None) => Err(Refusal::NoCredentials),
        }
    }

    async fn vouched(&self, token: &str, address: Option<SocketAddr>) -> Result<Caller, Refusal> {
        let from = address.map(|address| address.ip());
        if from.is_some_and(|from| self.strikes.is_out(from, Instant::now())) {
            return Err(Refusal::Rate);
        }
        let verified = self.tokens.verify(token, self.ca.trust_domain()).await;
        let is_good = matches!(
            verified,
            Ok(_) | Err(Refusal::Token(TokenError::Unreviewed))
        );
        if let Some(from) = from.filter(|_| !is_good) {
            self.strikes.strike(from, Instant::now());
        }
        verified
    }

    fn certify(
        &self,
        caller: &Caller,
        request: &CertificateRequest,
        now: SystemTime,
    ) -> Result<CertificateResponse, Refusal> {
        self.check_rate(caller)?;
        let identity = self.granted(caller, request.impersonated())?;
        let csr = Csr::parse(&request.csr)?;
        csr.check_names(&identity)?;
        let ttl = self.lifetime(request.validity_duration);
        self.certified.claim(&csr.key_der)?;
        let failed = |error: CaError| {
            self.certified.give_back(&csr.key_der);
            tracing::error!(%error, "signing failed");
            Refusal::Signing
        };
        let names = leaf::svid_name(&identity).map_err(failed)?;
        let certified = self.ca.certify(names, &csr.key, ttl, now).map_err(failed)?;
        tracing::info!(
            %caller, %identity, serial = certified.serial,
            not_after = %authority::timestamp(certified.validity.not_after),
            "certificate signed"
        );
        // Istio's agents take all of the last part for roots, and nothing else (istio/istio,
        // security/pkg/nodeagent/cache/secretcache.go).
        let roots = self.ca.roots().iter().map(|der| pem(der)).collect();
        let chain = certified.chain.iter().map(|der| pem(der));
        Ok(CertificateResponse {
            cert_chain: chain.chain([roots]).collect(),
        })
    }

    fn check_rate(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.rates.len() > CALLERS {
            self.rates.retain_recent();
        }
        self.rates.check_key(caller).map_err(|_| Refusal::Rate)
    }

    /// Nobody gets more than the CA's longest; who doesn't say gets that.
    fn lifetime(&self, seconds: i64) -> Duration {
        match u64::try_from(seconds) {
            Ok(0) | Err(_) => self.ca.ttl(),
            Ok(seconds) => Duration::from_secs(seconds).clamp(SHORTEST_LIFE, self.ca.ttl()),
        }
    }
}

/// Shorter lives would be over before the certificate has arrived.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
