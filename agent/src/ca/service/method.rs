//! One gRPC method over HTTP/2: takes the credentials out of a request and puts the answer into a response.

use std::{
    convert::Infallible,
    future::ready,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use hyper::http;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{CaService, Credentials, Refusal, listen::Peer, places::Places};
use crate::{
    ca::wire::{CertificateRequest, CertificateResponse, MAX_REQUEST, METHOD, SERVICE},
    telemetry::CaCrowding,
};

/// Requests that are read and answered at the same time. Before its end nobody has proven anything: at 8 KiB for the
/// headers and 16 KiB for the message, these are 96 MiB.
const REQUESTS: usize = 4096;
/// Of one source.
const OF_ONE: usize = REQUESTS / 8;

/// What the HTTP server calls.
#[derive(Clone)]
pub(super) struct Method {
    service: Arc<CaService>,
    requests: Arc<Places>,
}

impl Method {
    pub(super) fn new(service: CaService) -> Self {
        Self::with_room(service, Places::new(REQUESTS, OF_ONE))
    }

    pub(super) fn with_room(service: CaService, requests: Places) -> Self {
        Self {
            service: Arc::new(service),
            requests: Arc::new(requests),
        }
    }

    fn refuse(&self, crowding: CaCrowding) -> http::Response<Body> {
        let refusal = Refusal::Rate;
        self.service.metrics.request_refused(refusal.reason());
        tracing::debug!(reason = crowding.as_str(), "too many requests");
        Status::from(refusal).into_http()
    }

    /// What gRPC has answered already: nobody has read who asked, nor for what.
    fn refuse_unread(&self, address: Option<SocketAddr>) {
        let refusal = Refusal::Malformed;
        let reason = refusal.reason();
        self.service.metrics.request_refused(reason);
        let reason = reason.as_str();
        tracing::warn!(caller = "unknown", ?address, reason, "refused: {refusal}");
    }
}

impl NamedService for Method {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Method {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != METHOD {
            let text = format!("only {METHOD} is served");
            return Box::pin(ready(Ok(Status::unimplemented(text).into_http())));
        }
        let peer = request.extensions().get::<Peer>();
        let place = peer.map(|peer| self.requests.take(peer.address.ip()));
        let place = match place.transpose() {
            Ok(place) => place,
            Err(crowding) => return Box::pin(ready(Ok(self.refuse(crowding)))),
        };
        let method = self.clone();
        Box::pin(async move {
            let _place = place;
            let codec = ProstCodec::<CertificateResponse, CertificateRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_REQUEST);
            let address = request.extensions().get::<Peer>().map(|peer| peer.address);
            let read = Arc::new(AtomicBool::new(false));
            let once = Once {
                service: Arc::clone(&method.service),
                read: Arc::clone(&read),
            };
            let response = grpc.unary(once, request).await;
            if read.load(Ordering::Relaxed) {
                return Ok(response);
            }
            method.refuse_unread(address);
            // What can't be decoded is an internal error for gRPC's library, and no fault of ours.
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) if status.code() == Code::Internal => {
                    Status::from(Refusal::Malformed).into_http()
                }
                _ => response,
            })
        })
    }
}

/// The answer to one request, and whether there has been one to answer.
struct Once {
    service: Arc<CaService>,
    read: Arc<AtomicBool>,
}

impl UnaryService<CertificateRequest> for Once {
    type Response = CertificateResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<CertificateResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<CertificateRequest>) -> Self::Future {
        self.read.store(true, Ordering::Relaxed);
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            let now = SystemTime::now();
            let peer = request.extensions().get::<Peer>();
            let authorization = request.metadata().get(http::header::AUTHORIZATION.as_str());
            let credentials = Credentials {
                address: peer.map(|peer| peer.address),
                // Anything else but text is no token, but must not count as none.
                authorization: authorization.map(|value| value.to_str().unwrap_or_default()),
                certificate: peer.and_then(|peer| peer.identity(now)),
                revoked: peer.is_some_and(|peer| service.revocation.revokes(peer.chain())),
            };
            let answer = service.answer(&credentials, request.get_ref(), now).await;
            if let (Ok(_), Some(peer)) = (&answer, peer) {
                peer.has_proven();
            }
            answer.map(Response::new).map_err(Status::from)
        })
    }
}
