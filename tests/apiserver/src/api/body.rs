//! Bodies of responses: whole ones, streams, and ones that break off.

use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame},
    header,
};
use serde_json::Value;

use crate::status::Status;

pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Ends a response before its end: the connection is closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the response is cut, as ordered")]
pub struct Broken;

pub fn bytes(code: StatusCode, content: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    response(code, content, body)
}

pub fn json(code: StatusCode, value: &Value) -> Response<Body> {
    let mut text = value.to_string();
    text.push('\n');
    bytes(code, "application/json", text)
}

pub fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &status.document());
    if let Some(seconds) = status.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub fn streamed(
    content: &'static str,
    frames: impl Stream<Item = Result<Bytes, Broken>> + Send + 'static,
) -> Response<Body> {
    let body = StreamBody::new(frames.map(|bytes| bytes.map(Frame::data)));
    response(StatusCode::OK, content, body.boxed_unsync())
}

fn response(code: StatusCode, content: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// The response, broken off after so many bytes of its body.
pub fn cut(response: Response<Body>, bytes: usize) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let frames = stream::unfold(Some((body.into_data_stream(), bytes)), |state| async move {
        let (mut rest, left) = state?;
        if left == 0 {
            return Some((Err(Broken), None));
        }
        match rest.next().await? {
            Ok(frame) => {
                let taken = frame.len().min(left);
                Some((Ok(frame.slice(..taken)), Some((rest, left - taken))))
            }
            Err(broken) => Some((Err(broken), None)),
        }
    });
    let body = StreamBody::new(frames.map(|bytes| bytes.map(Frame::data)));
    Response::from_parts(parts, body.boxed_unsync())
}
