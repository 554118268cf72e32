//! `sealane policy diff`: a candidate, tried on what an agent has seen, or on what a directory makes possible.

use std::{fs, io::Write, path::Path, process::ExitCode};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;

use super::{
    ask::ask_about,
    flows::last_seen,
    review::{code, loaded, show},
    table::{ABSENT, or_absent, render},
};
use crate::{
    admin::api::{MAX_QUESTION, PolicyDiff},
    cli::DiffArgs,
    config::{self, MeshConfig},
    control::{Candidate, Settings, SourceText},
    review::{self, Answer, Change, Diff, Flows, Judged, SeenFlow, Sent, Subject},
};

/// Exits with 1 when something would be cut, or sent unencrypted.
///
/// # Errors
/// When the candidate or what is to be asked can't be read or makes no sense, or the answer can't be written.
pub async fn diff(args: &DiffArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in args.dir.iter().chain(&args.files) {
        let texts = Candidate::texts(path);
        files.extend(texts.map_err(|errors| anyhow::anyhow!(errors.texts().join("\n")))?);
    }
    let candidate = match Candidate::read(&files) {
        Ok(candidate) => candidate,
        Err(errors) => bail!("the candidate is invalid:\n{}", errors.texts().join("\n")),
    };
    ensure!(
        !candidate.is_empty,
        "the candidate has no documents: a directory's *.yaml, *.yml and *.json are read"
    );
    let diff = match &args.ask.from {
        Some(dir) => offline(args, dir, candidate)?,
        None => asked(args, files).await?,
    };
    show(&diff, args.ask.output, out, shown)?;
    Ok(code(diff.is_harmless()))
}

async fn asked(args: &DiffArgs, files: Vec<SourceText>) -> anyhow::Result<Diff> {
    let question = serde_json::to_vec(&PolicyDiff {
        files,
        replace: args.replace,
        last_seconds: config::window(&args.last)?.as_secs(),
    })?;
    ensure!(
        question.len() <= MAX_QUESTION,
        "the candidate is larger than {} MiB, which is what an agent reads: name only its policy documents, or ask a \
         directory with --from",
        MAX_QUESTION >> 20
    );
    let answer = ask_about(&args.ask.socket, "/v1/policy-diff", question).await?;
    Ok(answer.parse()?)
}

fn offline(args: &DiffArgs, dir: &Path, candidate: Candidate) -> anyhow::Result<Diff> {
    let settings = Settings::from(MeshConfig::try_from(&args.ask.mesh)?).of_dump();
    let snapshot = loaded(dir, &settings)?;
    let policy = candidate.compile(&settings, &snapshot.documents, args.replace);
    let untried = candidate.untried();
    let mut diff = if args.flows.is_empty() {
        review::possible(&snapshot, &policy, &untried)
    } else {
        let (mut all, mut window, mut evicted) = (Vec::<SeenFlow>::new(), 0, 0);
        for path in &args.flows {
            let mut flows = seen(path)?;
            all.append(&mut flows.flows);
            window = flows.window_seconds.max(window);
            evicted += flows.evicted;
        }
        review::by_client(&mut all);
        let mut diff = review::diff(&snapshot, &policy, &untried, all);
        diff.window_seconds = Some(window);
        diff.summary.evicted = evicted;
        diff
    };
    diff.warnings.splice(..0, candidate.warnings);
    Ok(diff)
}

fn seen(path: &Path) -> anyhow::Result<Flows> {
    let text = fs::read(path).with_context(|| format!("--flows {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        let path = path.display();
        format!("--flows {path} is not what `sealane flows -o json` prints")
    })
}

fn shown(diff: &Diff) -> String {
    let mut text = String::new();
    for sentence in &diff.summary.text {
        text.push_str(&format!("{sentence}\n"));
    }
    for warning in &diff.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    let remarks = [
        (
            diff.summary.left_out,
            "flows are left out: their servers are gone or not in the mesh",
        ),
        (
            diff.summary.evicted,
            "flows were forgotten for want of room, and may be missing",
        ),
        (diff.summary.omitted, "rows are left out of the lists below"),
    ];
    for (count, remark) in remarks.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("note: {count} {remark}\n"));
    }
    if let Some(table) = table(diff) {
        text.push('\n');
        text.push_str(&table);
    }
    text
}

/// `None`: nothing would change.
fn table(diff: &Diff) -> Option<String> {
    let changes = [
        (&diff.cut, ""),
        (&diff.exposed, ""),
        (&diff.allowed, ""),
        (&diff.elsewhere, ""),
        (&diff.uncertain, "perhaps "),
        (&diff.reconnecting, ""),
    ];
    if changes.iter().all(|(list, _)| list.is_empty()) {
        return None;
    }
    let header = [
        "CLIENT",
        "PRINCIPAL",
        "SERVER",
        "PORT",
        "SECURITY",
        "CONNECTIONS",
        "LAST SEEN",
        "NOW",
        "THEN",
        "DECIDED BY",
    ];
    let now = Timestamp::now();
    let rows = changes.into_iter().flat_map(|(list, perhaps)| {
        let rows = list.iter();
        rows.map(move |change| row(change, perhaps, now))
    });
    Some(render(&header, rows))
}

fn row(change: &Change, perhaps: &str, now: Timestamp) -> Vec<String> {
    let subject = &change.subject;
    let decisive = match subject.after.verdict {
        Answer::Deny => &subject.after,
        Answer::Allow if subject.before.verdict == Answer::Deny => &subject.before,
        Answer::Allow => &subject.after,
    };
    let decided_by = if decisive.decided_by.is_empty() {
        ABSENT.to_owned()
    } else {
        decisive.decided_by.join("\n")
    };
    vec![
        subject.client.clone(),
        or_absent(subject.client_principal.as_deref()),
        server(subject),
        subject.port.to_string(),
        subject.security.name().to_owned(),
        change.connections.to_string(),
        last_seen(change.open, change.last_seen, now),
        verdict(&subject.before),
        format!("{perhaps}{}", verdict(&subject.after)),
        decided_by,
    ]
}

fn server(subject: &Subject) -> String {
    match &subject.asked {
        None => subject.server.clone(),
        Some(asked) => format!("{}\nasked for as {asked}", subject.server),
    }
}

fn verdict(judged: &Judged) -> String {
    let word = match judged.verdict {
        Answer::Allow => "allowed",
        Answer::Deny => "refused",
    };
    let mut text = format!("{word}, {}", judged.security.name());
    if let Some(Sent { asked, to, subset }) = &judged.route {
        let to = to.as_deref().unwrap_or("nowhere");
        text.push_str(&format!("\n{asked} leads to {to}"));
        let subset = subset.as_ref().map(|subset| format!(", subset {subset}"));
        text.push_str(&subset.unwrap_or_default());
    }
    text
}
