//! The server itself.

use std::{
    collections::HashMap,
    convert::Infallible,
    ffi::OsString,
    future::{Ready, ready},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context as Waker, Poll},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::{Stream, stream};
use hyper::http;
use prost::Message;
use spire_api::pb::spire::api::{
    agent::delegatedidentity::v1::{
        SubscribeToX509BundlesRequest, SubscribeToX509BundlesResponse, SubscribeToX509sviDsRequest,
        SubscribeToX509sviDsResponse, X509svidWithKey,
    },
    types::X509svid,
};
use tokio::{net::UnixListener, sync::watch, time::sleep};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{SOCKET, State};

const LOOK: Duration = Duration::from_millis(20);

/// `spire-agent DIRECTORY`: serves until it is killed.
///
/// # Errors
/// When it can't.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let directory = PathBuf::from(arguments.next().context("the directory is missing")?);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    runtime.block_on(serve(&directory))
}

async fn serve(directory: &Path) -> Result<()> {
    let (sender, state) = watch::channel(State::read(directory)?);
    let listener = UnixListener::bind(directory.join(SOCKET))?;
    let incoming = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let incoming = Box::pin(incoming);
    tokio::select! {
        served = Server::builder().serve_with_incoming(DelegatedIdentity(state), incoming) => Ok(served?),
        followed = follow(directory, sender) => followed,
    }
}

async fn follow(directory: &Path, sender: watch::Sender<State>) -> Result<()> {
    loop {
        sleep(LOOK).await;
        let state = State::read(directory)?;
        sender.send_if_modified(|known| {
            let is_new = *known != state;
            *known = state;
            is_new
        });
    }
}

#[derive(Clone)]
struct DelegatedIdentity(watch::Receiver<State>);

type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

impl NamedService for DelegatedIdentity {
    const NAME: &'static str = "spire.api.agent.delegatedidentity.v1.DelegatedIdentity";
}

impl Service<http::Request<Body>> for DelegatedIdentity {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Waker<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path().rsplit('/').next() {
                Some("SubscribeToX509SVIDs") => {
                    let codec = ProstCodec::<
                        SubscribeToX509sviDsResponse,
                        SubscribeToX509sviDsRequest,
                    >::default();
                    Grpc::new(codec).server_streaming(service, request).await
                }
                Some("SubscribeToX509Bundles") => {
                    let codec = ProstCodec::<
                        SubscribeToX509BundlesResponse,
                        SubscribeToX509BundlesRequest,
                    >::default();
                    Grpc::new(codec).server_streaming(service, request).await
                }
                _ => Status::unimplemented("not needed").into_http(),
            })
        })
    }
}

impl ServerStreamingService<SubscribeToX509sviDsRequest> for DelegatedIdentity {
    type Response = SubscribeToX509sviDsResponse;
    type ResponseStream = Answers<Self::Response>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<SubscribeToX509sviDsRequest>) -> Self::Future {
        let selectors = request.into_inner().selectors.into_iter();
        let selectors: Vec<_> = selectors
            .map(|s| format!("{}:{}", s.r#type, s.value))
            .collect();
        eprintln!("{selectors:?}");
        if selectors.is_empty() {
            return ready(Err(Status::invalid_argument("no selectors")));
        }
        ready(Ok(Response::new(
            self.answers(move |state| entitled(state, &selectors)),
        )))
    }
}

impl ServerStreamingService<SubscribeToX509BundlesRequest> for DelegatedIdentity {
    type Response = SubscribeToX509BundlesResponse;
    type ResponseStream = Answers<Self::Response>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<SubscribeToX509BundlesRequest>) -> Self::Future {
        let of = |state: &State| {
            let bundles = state.bundles.clone().into_iter();
            let ca_certificates: HashMap<_, _> = bundles.map(|(d, der)| (d, der.into())).collect();
            SubscribeToX509BundlesResponse { ca_certificates }
        };
        ready(Ok(Response::new(self.answers(of))))
    }
}

impl DelegatedIdentity {
    /// What `of` makes of the state, now and whenever it makes something else of it.
    fn answers<A>(&self, of: impl Fn(&State) -> A + Send + 'static) -> Answers<A>
    where
        A: Message + Clone + PartialEq + 'static,
    {
        let start = (self.0.clone(), None, of);
        Box::pin(stream::unfold(start, async |(mut state, mut told, of)| {
            loop {
                let answer = Some(of(&state.borrow_and_update()));
                if answer != told {
                    told.clone_from(&answer);
                    return Some((Ok(answer?), (state, told, of)));
                }
                state.changed().await.ok()?;
            }
        }))
    }
}

fn entitled(state: &State, selectors: &[String]) -> SubscribeToX509sviDsResponse {
    let has_all = |wanted: &[String]| wanted.iter().all(|s| selectors.contains(s));
    let entries = state.entries.values().filter(|e| has_all(&e.selectors));
    let svids = entries.map(|entry| X509svidWithKey {
        x509_svid: Some(X509svid {
            cert_chain: entry.chain.iter().cloned().map(Into::into).collect(),
            ..X509svid::default()
        }),
        x509_svid_key: entry.key.clone().into(),
    });
    SubscribeToX509sviDsResponse {
        x509_svids: svids.collect(),
        federates_with: Vec::new(),
    }
}
