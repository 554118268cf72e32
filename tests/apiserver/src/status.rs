//! Every error of the API, as the `Status` that the real server sends. Knows no transport.
//!
//! Source: k8s.io/apimachinery/pkg/api/errors; the messages are its messages.

use serde_json::{Map, Value, json};

/// What a request ends with when it can't be served.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{code} {reason}: {message}")]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// Seconds; also sent as `Retry-After`.
    pub retry_after: Option<u32>,
    details: Box<Details>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    group: String,
    kind: String,
    name: String,
    causes: Vec<(&'static str, String, String)>,
    resume: Option<String>,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            retry_after: None,
            details: Box::default(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        group.clone_into(&mut self.details.group);
        kind.clone_into(&mut self.details.kind);
        name.clone_into(&mut self.details.name);
        self
    }

    fn caused(mut self, kind: &'static str, message: &str, field: &str) -> Self {
        let cause = (kind, message.to_owned(), field.to_owned());
        self.details.causes.push(cause);
        self
    }

    /// The path names nothing.
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, plural));
        Self::new(404, "NotFound", message).about(group, plural, name)
    }

    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, plural));
        Self::new(409, "AlreadyExists", message).about(group, plural, name)
    }

    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(group, plural, name)
    }

    /// The object was changed since the client read it.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// `errors`: field, what is wrong with it.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[(String, String)]) -> Self {
        let shown: Vec<String> = errors
            .iter()
            .map(|(field, wrong)| format!("{field}: {wrong}"))
            .collect();
        let shown = match shown.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let what = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let message = format!("{what} \"{name}\" is invalid: {shown}");
        let status = Self::new(422, "Invalid", message).about(group, kind, name);
        errors.iter().fold(status, |status, (field, wrong)| {
            status.caused("FieldValueInvalid", wrong, field)
        })
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(group: &str, plural: &str, name: &str, message: String) -> Self {
        Self::new(403, "Forbidden", message).about(group, plural, name)
    }

    /// Nothing can be made in a namespace that goes away.
    pub fn terminating(group: &str, plural: &str, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let what = qualified(group, plural);
        let message = format!("{what} \"{name}\" is forbidden: {why}");
        let field = "metadata.namespace";
        let cause = format!("namespace {namespace} is being terminated");
        Self::forbidden(group, plural, name, message).caused("NamespaceTerminating", &cause, field)
    }

    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(406, "NotAcceptable", message)
    }

    pub fn unsupported_media(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The resource version is not in the history any more.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// As [`Status::expired`], for a chunk; `resume` continues without consistency.
    pub fn expired_chunk(resume: String) -> Self {
        let mut status = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        status.details.resume = Some(resume);
        status
    }

    /// A resource version from the future.
    pub fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", message).caused(
            "ResourceVersionTooLarge",
            "Too large resource version",
            "",
        );
        status.retry_after = Some(1);
        status
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {message}");
        Self::new(500, "InternalError", message)
    }

    pub fn request_too_large() -> Self {
        let message = "Request entity too large: limit is 3145728";
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// For the fault switches.
    pub fn ordered(code: u16, retry_after: Option<u32>) -> Self {
        let (reason, message) = match code {
            429 => (
                "TooManyRequests",
                "Too many requests, please try again later.",
            ),
            500 => (
                "InternalError",
                "Internal error occurred: a fault was ordered",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted",
            ),
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden: a fault was ordered"),
            410 => ("Expired", "The resourceVersion is too old."),
            _ => ("Unknown", "a fault was ordered"),
        };
        let mut status = Self::new(code, reason, message);
        status.retry_after = retry_after;
        status
    }

    /// The document that goes over the wire.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(resume) = &self.details.resume {
            metadata.insert("continue".into(), json!(resume));
        }
        let mut document = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        let details = self.details_document();
        if !details.is_empty() {
            document["details"] = Value::Object(details);
        }
        document
    }

    fn details_document(&self) -> Map<String, Value> {
        let mut details = Map::new();
        let texts = [
            ("name", &self.details.name),
            ("group", &self.details.group),
            ("kind", &self.details.kind),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                details.insert(key.into(), json!(text));
            }
        }
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        let causes = self.details.causes.iter().map(|(reason, message, field)| {
            let mut cause = json!({"reason": reason, "message": message});
            if !field.is_empty() {
                cause["field"] = json!(field);
            }
            cause
        });
        let causes: Vec<Value> = causes.collect();
        if !causes.is_empty() {
            details.insert("causes".into(), Value::Array(causes));
        }
        details
    }
}

/// `plural.group`, as messages name resources.
pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}
