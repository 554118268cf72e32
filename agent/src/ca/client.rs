//! The agent's side of a CA service: asks for SVIDs of the pods on this node, and checks what it gets.
//!
//! Keys are made here, one for each request, and never sent. Knows when the CA's certificate and its answers
//! are not what they should be; when to ask again, `svids` decides.

mod answer;
mod connect;
mod error;
mod roots;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hyper::{Uri, http::uri::PathAndQuery};
use rcgen::CertificateParams;
use tokio::{sync::watch, time};
use tonic::{
    Request,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use self::{answer::Answer, connect::Connector, roots::Roots};
pub use self::{
    answer::AnswerError,
    connect::{CaAddress, ConnectError, ParseCaAddressError},
    error::CaClientError,
};
use super::{
    leaf::{self, LeafKey},
    wire::{self, CertificateRequest, CertificateResponse, MAX_ANSWER, METHOD},
};
use crate::identity::{SpiffeId, Svid, TrustBundle, TrustDomain};

/// How long one answer may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(10);
/// A server that is gone without a word is noticed after this and [`KEEPALIVE_DEADLINE`].
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);
/// Where the CA service is, and what this agent shows it.
#[derive(Clone, Debug)]
pub struct CaClientSettings {
    pub address: CaAddress,
    /// Name that the server's certificate must have; that of the address when not given.
    pub server_name: Option<String>,
    /// PEM file of the roots that the server's certificate must chain to. They are roots of the mesh, too.
    pub roots: PathBuf,
    /// File with a bearer token, read for each request: it is replaced before it expires.
    pub token: Option<PathBuf>,
    pub trust_domain: TrustDomain,
    /// Wanted life.
    pub ttl: Duration,
}

/// Asks one CA service, over one connection that is made again when it breaks.
pub struct CaClient {
    settings: CaClientSettings,
    channel: Channel,
    roots: Roots,
    /// When the first certificate between the CA and the root expires, once an answer has told.
    not_after: Mutex<Option<SystemTime>>,
}

impl CaClient {
    /// Connects with the first request.
    ///
    /// # Errors
    /// When the file of roots can't be used, or the address is none.
    pub fn new(settings: CaClientSettings) -> Result<Self, CaClientError> {
        let file = connect::read_roots(&settings.roots)?;
        let roots = Roots::new(settings.trust_domain.clone(), settings.ttl, file);
        let connector = Connector::new(&settings, roots.clone())?;
        // The connector does the TLS, so that its errors can be told apart.
        let origin: Uri = format!("https://{}", settings.address)
            .parse()
            .map_err(|_| CaClientError::Address)?;
        let endpoint = Endpoint::from_shared(format!("http://{}", settings.address))
            .map_err(|_| CaClientError::Address)?
            .origin(origin)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_DEADLINE);
        Ok(Self {
            channel: endpoint.connect_with_connector_lazy(connector),
            settings,
            roots,
            not_after: Mutex::default(),
        })
    }

    /// A fresh key and the CA's certificate for it.
    ///
    /// # Errors
    /// When there is none, or when it is not what was asked for.
    pub async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, CaClientError> {
        let key = leaf::generate_key()?;
        let csr = {
            let mut params = CertificateParams::default();
            params.subject_alt_names = leaf::svid_name(id)?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            let csr = params.serialize_request(&LeafKey(&key));
            csr.and_then(|csr| csr.pem()).map_err(CaClientError::Csr)?
        };
        let request = self.request(id, csr).await?;
        let response = time::timeout(DEADLINE, self.ask(request))
            .await
            .map_err(|_| CaClientError::Timeout)??;
        let answer = Answer::parse(&response)?;
        let svid = answer.check(id, &key, &self.roots.all(), now)?;
        *self.last_end() = Some(answer.authority_not_after());
        self.roots.learn(answer.roots(), now);
        Ok(svid)
    }

    /// The roots, and news of them.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.roots.subscribe()
    }

    /// When the first certificate between the CA and the root expires, once an answer has told.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        *self.last_end()
    }

    fn last_end(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.not_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn address(&self) -> &CaAddress {
        &self.settings.address
    }

    async fn request(
        &self,
        id: &SpiffeId,
        csr: String,
    ) -> Result<Request<CertificateRequest>, CaClientError> {
        let mut request = Request::new(CertificateRequest {
            csr,
            validity_duration: i64::try_from(self.settings.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(wire::impersonating(id.to_string())),
        });
        if let Some(path) = &self.settings.token {
            let unreadable = |source| CaClientError::Token {
                path: path.clone(),
                source,
            };
            let token = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
            let token = Zeroizing::new(token);
            let header = Zeroizing::new(format!("Bearer {}", token.trim()));
            let mut value: MetadataValue<Ascii> = header
                .parse()
                .map_err(|_| CaClientError::TokenForm { path: path.clone() })?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    async fn ask(
        &self,
        request: Request<CertificateRequest>,
    ) -> Result<CertificateResponse, CaClientError> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        grpc.ready()
            .await
            .map_err(|error| CaClientError::of_transport(&error))?;
        let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
        let path = PathAndQuery::from_static(METHOD);
        let response = grpc.unary(request, path, codec).await;
        let response = response.map_err(|status| CaClientError::of_status(&status))?;
        Ok(response.into_inner())
    }
}

#[cfg(test)]
mod tests;
