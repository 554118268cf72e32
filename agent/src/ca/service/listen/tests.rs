use std::convert::Infallible;

use futures_util::FutureExt as _;
use hyper::{
    body::{Body, Bytes, Frame},
    http::{Request, Response},
};
use tonic::Code;
use tower_service::Service as _;

use super::*;
use crate::ca::{service::testing::Bench, wire::METHOD};

/// Of a client that never says all.
struct Unending;

impl Body for Unending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn request(from: &str) -> Request<tonic::body::Body> {
    let mut request = Request::post(METHOD)
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(Unending))
        .unwrap();
    request.extensions_mut().insert(Peer {
        address: SocketAddr::new(from.parse().unwrap(), 1),
        shown: None,
        proven: Arc::default(),
    });
    request
}

/// What gRPC says of a request that is answered at once.
fn answered(
    answering: &mut (impl Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Unpin),
) -> Option<String> {
    let response = answering.now_or_never()?.unwrap();
    let status = response.headers()["grpc-status"].to_str();
    Some(status.unwrap().to_owned())
}

#[tokio::test]
async fn requests_that_nobody_ends_leave_room_for_others() {
    let bench = Bench::new();
    let mut method = Method::with_room(bench.service(), Places::new(3, 2));
    // Whoever has gone takes no room.
    for _ in 0..5 {
        let mut answering = method.call(request("10.0.0.1"));
        assert_eq!(answered(&mut answering), None);
    }
    let mut held = Vec::new();
    let exhausted = Some((Code::ResourceExhausted as i32).to_string());
    for (from, expected) in [
        ("10.0.0.1", None),
        ("10.0.0.1", None),
        ("10.0.0.1", exhausted.clone()),
        ("10.0.0.2", None),
        ("10.0.0.3", exhausted),
    ] {
        let mut answering = method.call(request(from));
        assert_eq!(answered(&mut answering), expected, "{from}");
        held.push(answering);
    }
}

#[tokio::test]
async fn requests_that_are_too_long_are_counted() {
    let bench = Bench::new();
    let metrics = CaMetrics::new().unwrap();
    let service = bench.service_with_metrics(metrics.clone());
    let mut method = Method::new(service);
    let response = method.call(sending(&[0; 17 << 10])).await.unwrap();
    assert_ne!(response.headers()["grpc-status"], "0");
    assert_eq!(metrics.totals(), (0, 1));
}

#[tokio::test]
async fn what_cannot_be_decoded_is_the_callers_fault() {
    let bench = Bench::new();
    let metrics = CaMetrics::new().unwrap();
    let mut method = Method::new(bench.service_with_metrics(metrics.clone()));
    let response = method.call(sending(b"\xff\xff\xff")).await.unwrap();
    let expected = (Code::InvalidArgument as i32).to_string();
    assert_eq!(response.headers()["grpc-status"], expected.as_str());
    assert_eq!(metrics.totals(), (0, 1));
}

/// A whole message.
fn sending(message: &[u8]) -> Request<tonic::body::Body> {
    let length = u32::try_from(message.len()).unwrap();
    let framed = [&[0], &length.to_be_bytes()[..], message].concat();
    let (parts, _) = request("10.0.0.1").into_parts();
    let body = tonic::body::Body::new(http_body_util::Full::new(Bytes::from(framed)));
    Request::from_parts(parts, body)
}
