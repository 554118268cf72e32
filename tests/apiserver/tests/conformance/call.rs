//! Requests as they go over the wire: codes, headers and documents, without a client's interpretation.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Request, header};
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::time::timeout;

/// How long a check waits for what has to come.
pub const SOON: Duration = Duration::from_secs(20);

/// A client that asks as somebody.
#[derive(Clone)]
pub struct Api(pub Client);

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    /// Null when it is not JSON.
    pub body: Value,
}

/// A running watch.
pub struct Watch {
    pub body: Body,
    seen: Vec<u8>,
}

impl Answer {
    pub fn is(self, code: u16) -> Result<Self> {
        ensure!(
            self.code == code,
            "{code} was expected, not {}: {}",
            self.code,
            self.body
        );
        Ok(self)
    }

    /// A `Status` document with this code and reason.
    pub fn fails(self, code: u16, reason: &str) -> Result<Self> {
        let answer = self.is(code)?;
        let body = &answer.body;
        let is_status =
            body["kind"] == "Status" && body["status"] == "Failure" && body["code"] == code;
        ensure!(
            is_status && body["reason"] == reason,
            "no Status with {reason}: {body}"
        );
        Ok(answer)
    }

    /// Names of a list's items, or of a table's rows.
    pub fn names(&self) -> Vec<String> {
        let items = self.body["items"].as_array().into_iter().flatten();
        items.map(|item| text(item, "/metadata/name")).collect()
    }

    pub fn version(&self) -> String {
        text(&self.body, "/metadata/resourceVersion")
    }
}

/// A text in a document; empty when it isn't there.
pub fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A resource version as a number: the documentation allows it since 1.35, and all servers use numbers.
pub fn number(value: &Value) -> Result<u64> {
    let version = text(value, "/metadata/resourceVersion");
    version
        .parse()
        .with_context(|| format!("resourceVersion {version:?}"))
}

impl Api {
    async fn raw(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        content: &str,
        body: String,
    ) -> Result<hyper::Response<Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept);
        if !content.is_empty() {
            request = request.header(header::CONTENT_TYPE, content);
        }
        let request = request.body(Body::from(body.into_bytes()))?;
        let response = timeout(SOON, self.0.send(request))
            .await
            .with_context(|| format!("{method} {path}: no answer"))?;
        response.with_context(|| format!("{method} {path}"))
    }

    async fn whole(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        content: &str,
        body: String,
    ) -> Result<Answer> {
        let response = self.raw(method, path, accept, content, body).await?;
        let (parts, body) = response.into_parts();
        let bytes = timeout(SOON, body.collect())
            .await
            .context("no end of the body")?
            .context("reading the body")?;
        let body = serde_json::from_slice(&bytes.to_bytes()).unwrap_or_default();
        Ok(Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        body: String,
    ) -> Result<Answer> {
        self.whole(method, path, "application/json", content, body)
            .await
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, "", String::new()).await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Answer> {
        self.whole("GET", path, accept, "", String::new()).await
    }

    pub async fn create(&self, path: &str, object: Value) -> Result<Answer> {
        self.send("POST", path, "application/json", object.to_string())
            .await
    }

    pub async fn update(&self, path: &str, object: &Value) -> Result<Answer> {
        self.send("PUT", path, "application/json", object.to_string())
            .await
    }

    /// A JSON merge patch.
    pub async fn merge(&self, path: &str, patch: Value) -> Result<Answer> {
        self.send(
            "PATCH",
            path,
            "application/merge-patch+json",
            patch.to_string(),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send("DELETE", path, "", String::new()).await
    }

    /// Begins a watch; `path` has its parameters but `watch`.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        self.watch_as(path, "application/json").await
    }

    pub async fn watch_as(&self, path: &str, accept: &str) -> Result<Watch> {
        let join = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{join}watch=true");
        let response = self.raw("GET", &path, accept, "", String::new()).await?;
        let (parts, body) = response.into_parts();
        ensure!(parts.status == 200, "watch {path}: {}", parts.status);
        Ok(Watch {
            body,
            seen: Vec::new(),
        })
    }
}

impl Watch {
    /// The next event; none at an orderly end.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        timeout(SOON, self.line()).await.context("no event came")?
    }

    async fn line(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.seen.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.seen.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let Some(frame) = self.body.frame().await else {
                ensure!(self.seen.is_empty(), "the watch ended within an event");
                return Ok(None);
            };
            if let Ok(data) = frame.context("the watch broke")?.into_data() {
                self.seen.extend_from_slice(&data);
            }
        }
    }

    /// The next event, which has to be of this type.
    pub async fn expect(&mut self, kind: &str) -> Result<Value> {
        let event = self
            .next()
            .await?
            .with_context(|| format!("the watch ended before {kind}"))?;
        ensure!(event["type"] == kind, "{kind} was expected, not {event}");
        Ok(event["object"].clone())
    }

    /// The next event but bookmarks: its type and the object's name.
    pub async fn change(&mut self) -> Result<(String, String)> {
        loop {
            let event = self.next().await?.context("the watch ended")?;
            if event["type"] != "BOOKMARK" {
                return Ok((text(&event, "/type"), text(&event, "/object/metadata/name")));
            }
        }
    }

    /// Whether nothing comes for so long.
    pub async fn is_silent(&mut self, time: Duration) -> Result<()> {
        match timeout(time, self.line()).await {
            Err(_) => Ok(()),
            Ok(event) => bail!("nothing was expected, not {event:?}"),
        }
    }
}
