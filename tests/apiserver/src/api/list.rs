//! Lists: of which moment, in which chunks. Source: "Resource versions" and "Retrieving large results sets in chunks"
//! of the Kubernetes API concepts.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::stream;
use hyper::{Response, body::Bytes, header};
use serde_json::{Value, json};

use super::{Asked, Body, accept::Form, body};
use crate::{
    request::Query,
    resources::Resource,
    selector::Selection,
    server::Cluster,
    status::Status,
    store::{State, Stored, Table},
};

/// Bytes of a list that are made at a time.
const FRAME: usize = 128 * 1024;

/// The moment whose objects are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Latest,
    NotOlderThan(u64),
    At(u64),
}

/// Where a chunk begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk {
    /// The last key of the chunk before.
    after: String,
    limit: Option<usize>,
    is_continued: bool,
}

struct Page {
    version: u64,
    objects: Vec<Arc<Stored>>,
    resume: Option<String>,
    remaining: Option<usize>,
}

pub async fn list(
    cluster: &Cluster,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let selection = selected(resource, asked)?;
    let include = asked.query.text("includeObject");
    let form = Form::accepted(asked.header(header::ACCEPT), include)?;
    check(&asked.query)?;
    let (moment, chunk) = read(&asked.query)?;
    if let Moment::NotOlderThan(version) = moment {
        cluster.wait_for(version).await?;
    }
    let page = page(&cluster.store.read(), resource, &selection, moment, &chunk)?;
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(resume) = page.resume {
        metadata["continue"] = json!(resume);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let version = asked.target.version.clone();
    Ok(streamed(
        Arc::clone(resource),
        version,
        form,
        &metadata,
        page.objects,
    ))
}

/// The selection of a list, a watch or a deletion.
pub fn selected(resource: &Resource, asked: &Asked) -> Result<Selection, Status> {
    let labels = asked.query.text("labelSelector");
    let fields = asked.query.text("fieldSelector");
    Selection::new(resource, asked.scope(resource), labels, fields)
}

/// ValidateListOptions in k8s.io/apimachinery/pkg/apis/meta/internalversion/validation.
fn check(query: &Query) -> Result<(), Status> {
    let matched = query.text("resourceVersionMatch");
    let mut wrong = Vec::new();
    let mut forbid =
        |field: &str, why: &str| wrong.push((field.to_owned(), format!("Forbidden: {why}")));
    if !matched.is_empty() {
        let field = "resourceVersionMatch";
        if query.text("resourceVersion").is_empty() {
            forbid(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if !query.text("continue").is_empty() {
            forbid(
                field,
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if matched == "Exact" && query.text("resourceVersion") == "0" {
            forbid(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        if !matches!(matched, "Exact" | "NotOlderThan") {
            let why = format!(
                "Unsupported value: \"{matched}\": supported values: \"Exact\", \"NotOlderThan\", \"\""
            );
            wrong.push((field.into(), why));
        }
    }
    if query.optional_flag("sendInitialEvents").is_some() {
        let why = "Forbidden: sendInitialEvents is forbidden for list";
        wrong.push(("sendInitialEvents".into(), why.into()));
    }
    refused(&wrong)
}

/// 422 when anything is wrong with the options.
pub fn refused(wrong: &[(String, String)]) -> Result<(), Status> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", wrong))
}

fn read(query: &Query) -> Result<(Moment, Chunk), Status> {
    let asked = query.text("resourceVersion");
    let number = resource_version(asked)?;
    let limit = query.number("limit").filter(|limit| *limit > 0);
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let token = query.text("continue");
    if !token.is_empty() {
        if number != 0 {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (version, after) = decode(token)?;
        let moment = version.map_or(Moment::Latest, Moment::At);
        return Ok((
            moment,
            Chunk {
                after,
                limit,
                is_continued: true,
            },
        ));
    }
    // The watch cache, which serves "0", makes no chunks.
    let chunk = Chunk {
        limit: limit.filter(|_| asked != "0"),
        ..Chunk::default()
    };
    let moment = match (query.text("resourceVersionMatch"), number) {
        (_, 0) => Moment::Latest,
        ("Exact", number) => Moment::At(number),
        ("", number) if chunk.limit.is_some() => Moment::At(number),
        (_, number) => Moment::NotOlderThan(number),
    };
    Ok((moment, chunk))
}

/// Zero for none.
pub fn resource_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "Invalid value: \"{text}\": resourceVersion is not a number"
        ))
    })
}

/// The version of the moment, if it is there still and already.
fn version(
    state: &State,
    table: Option<&Table>,
    moment: Moment,
    chunk: &Chunk,
) -> Result<u64, Status> {
    Ok(match moment {
        Moment::Latest | Moment::NotOlderThan(_) => state.version,
        Moment::At(version) if version > state.version => {
            return Err(Status::too_large(version, state.version));
        }
        Moment::At(version) if table.is_some_and(|table| !table.remembers(version)) => {
            return Err(if chunk.is_continued {
                Status::expired_chunk(encode(None, &chunk.after))
            } else {
                Status::expired("The resourceVersion for the provided list is too old.")
            });
        }
        Moment::At(version) => version,
    })
}

fn page(
    state: &State,
    resource: &Resource,
    selection: &Selection,
    moment: Moment,
    chunk: &Chunk,
) -> Result<Page, Status> {
    let table = state.table(&resource.id());
    let version = version(state, table, moment, chunk)?;
    let objects = table.map_or_else(Vec::new, |table| {
        table.at(version, selection.namespace(), &chunk.after)
    });
    let total = objects.len();
    let mut selected = objects
        .into_iter()
        .filter(|object| selection.selects(object));
    let Some(limit) = chunk.limit else {
        let objects = selected.cloned().collect();
        return Ok(Page {
            version,
            objects,
            resume: None,
            remaining: None,
        });
    };
    let objects: Vec<_> = selected.by_ref().take(limit).cloned().collect();
    let has_more = selected.next().is_some();
    let resume = objects.last().filter(|_| has_more);
    let resume = resume.map(|last| encode(Some(version), &last.key()));
    let remaining = (has_more && !selection.is_filter()).then(|| total - objects.len());
    Ok(Page {
        version,
        objects,
        resume,
        remaining,
    })
}

/// The token's form is the real server's (k8s.io/apiserver/pkg/storage/continue.go); -1 is "the latest".
fn encode(version: Option<u64>, after: &str) -> String {
    let version = version.map_or(json!(-1), |version| json!(version));
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": format!("{after}\u{0}")});
    BASE64_URL_SAFE_NO_PAD.encode(token.to_string())
}

fn decode(token: &str) -> Result<(Option<u64>, String), Status> {
    let broken = || Status::bad_request("continue key is not valid: the token can't be read");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| broken())?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| broken())?;
    let version = token["rv"]
        .as_i64()
        .filter(|version| *version != 0)
        .ok_or_else(broken)?;
    let start = token["start"]
        .as_str()
        .and_then(|start| start.strip_suffix('\u{0}'));
    let start = start.ok_or_else(broken)?;
    Ok((u64::try_from(version).ok(), start.to_owned()))
}

/// A list that is made while it is sent, so that large ones need no memory of their own.
pub fn streamed(
    resource: Arc<Resource>,
    version: String,
    form: Form,
    metadata: &Value,
    objects: Vec<Arc<Stored>>,
) -> Response<Body> {
    let head = form.head(&resource, &version, metadata).into_bytes();
    let rest = Some((head, objects.into_iter().peekable()));
    let frames = stream::unfold(rest, move |rest| {
        let frame = rest.map(|(mut out, mut objects)| {
            while out.len() < FRAME {
                let Some(object) = objects.next() else { break };
                if form
                    .write_item(&mut out, &resource, &version, &object)
                    .is_err()
                {
                    return (Err(body::Broken), None);
                }
                if objects.peek().is_some() {
                    out.push(b',');
                }
            }
            if objects.peek().is_some() {
                return (Ok(Bytes::from(out)), Some((Vec::new(), objects)));
            }
            out.extend_from_slice(b"]}\n");
            (Ok(Bytes::from(out)), None)
        });
        std::future::ready(frame)
    });
    body::streamed("application/json", frames)
}
