//! `sealane verify`: what was on the wire, and an exit code for scripts.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    ask::{Answer, ask},
    status::list,
    table::{bytes, or_absent, render},
};
use crate::{
    admin::api::{self, Verification, WireFlow},
    cli::{OutputFormat, VerifyArgs},
};

const AGAIN: Duration = Duration::from_secs(2);

/// What scripts are told; greater is worse, but for [`super::FAILED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Encrypted = 0,
    Unknown = 3,
    Plaintext = 1,
}

/// `sealane verify`: 0 when all connections are ENCRYPTED, 1 when one is PLAINTEXT, else 3 when one is UNKNOWN.
///
/// # Errors
/// When the agent can't be asked, or its answer can't be written.
pub async fn verify(args: &VerifyArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut worst = Outcome::Encrypted;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let answer = ask(&args.query.socket, &path(args.workload.as_deref())).await?;
        let verification: Verification = answer.parse()?;
        worst = worse(worst, outcome(&verification));
        if !shown(args, &answer, &verification, out)? || !args.watch {
            break;
        }
        tokio::select! {
            _ = &mut interrupted => break,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    Ok(ExitCode::from(worst as u8))
}

fn path(workload: Option<&str>) -> String {
    let Some(workload) = workload else {
        return "/v1/verify".to_owned();
    };
    // What the name of a Kubernetes object can't have would end the query.
    let encoded = workload.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'/' | b'_' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    format!("/v1/verify?workload={}", encoded.collect::<String>())
}

/// Returns whether anybody still reads.
fn shown(
    args: &VerifyArgs,
    answer: &Answer,
    verification: &Verification,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut text = match args.query.output {
        OutputFormat::Table => table(verification).into_bytes(),
        OutputFormat::Json => answer.raw().to_vec(),
    };
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("writing the answer"),
    }
}

fn outcome(verification: &Verification) -> Outcome {
    if verification.plaintext > 0 {
        Outcome::Plaintext
    } else if verification.unknown > 0 || !verification.unwatched.is_empty() {
        Outcome::Unknown
    } else {
        Outcome::Encrypted
    }
}

fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Plaintext, _) | (_, Outcome::Plaintext) => Outcome::Plaintext,
        (Outcome::Unknown, _) | (_, Outcome::Unknown) => Outcome::Unknown,
        (Outcome::Encrypted, Outcome::Encrypted) => Outcome::Encrypted,
    }
}

fn table(verification: &Verification) -> String {
    let Verification {
        encrypted,
        plaintext,
        unknown,
        generation,
        ..
    } = verification;
    let mut text = format!(
        "{}, policy generation {generation}: {encrypted} ENCRYPTED, {plaintext} PLAINTEXT, {unknown} UNKNOWN\n\
         This shows {}.\n",
        verification.time,
        api::PROVES,
    );
    let unwatched = verification.unwatched.iter();
    let unwatched: Vec<_> = unwatched
        .map(|u| format!("{}: {}", u.workload, u.why))
        .collect();
    list(&mut text, "Not watched", &unwatched);
    text.push('\n');
    if verification.flows.is_empty() {
        text.push_str("No connection is on the wire now.\n");
        return text;
    }
    let header = [
        "VERDICT",
        "WORKLOAD",
        "DIRECTION",
        "LOCAL",
        "REMOTE",
        "PEER",
        "POLICY",
        "RECORDS",
        "PLAINTEXT",
        "UNCLASSIFIED",
        "REASON",
    ];
    text.push_str(&render(&header, verification.flows.iter().map(row)));
    text.push('\n');
    text
}

fn row(flow: &WireFlow) -> Vec<String> {
    let direction = flow.direction.map(api::Direction::as_str);
    let both = |of: fn(&api::WireCounts) -> u64| (of(&flow.sent), of(&flow.received));
    let (records_out, records_in) = both(|counts| counts.records);
    let (plain_out, plain_in) = both(|counts| counts.plaintext_bytes);
    let (lost_out, lost_in) = both(|counts| counts.unclassified_bytes);
    vec![
        flow.verdict.as_str().to_owned(),
        flow.workload.clone(),
        or_absent(direction),
        flow.local.to_string(),
        flow.remote.to_string(),
        peer(flow),
        or_absent(flow.policy.as_deref()),
        (records_out + records_in).to_string(),
        bytes(plain_out + plain_in),
        bytes(lost_out + lost_in),
        or_absent(flow.reason.as_deref()),
    ]
}

/// Who has proven to be it, or else whose address it is.
fn peer(flow: &WireFlow) -> String {
    match (&flow.peer_identity, &flow.peer) {
        (Some(identity), _) => identity.clone(),
        (None, Some(peer)) => format!("{peer} (by address)"),
        (None, None) => or_absent(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_worse_than_not_knowing() {
        use Outcome::{Encrypted, Plaintext, Unknown};
        for (one, other, worst) in [
            (Encrypted, Unknown, Unknown),
            (Unknown, Plaintext, Plaintext),
            (Plaintext, Encrypted, Plaintext),
            (Encrypted, Encrypted, Encrypted),
        ] {
            assert_eq!(worse(one, other), worst);
            assert_eq!(worse(other, one), worst);
        }
        assert_eq!([Encrypted, Plaintext, Unknown].map(|o| o as u8), [0, 1, 3]);
    }

    #[test]
    fn names_can_not_end_the_question() {
        assert_eq!(path(Some("shop/web")), "/v1/verify?workload=shop/web");
        assert_eq!(path(Some("a b&c")), "/v1/verify?workload=a%20b%26c");
    }

    #[test]
    fn a_pod_that_nobody_watches_is_no_success() {
        let verification = Verification {
            time: jiff::Timestamp::UNIX_EPOCH,
            node: "a".into(),
            generation: 1,
            proves: api::PROVES.into(),
            encrypted: 1,
            plaintext: 0,
            unknown: 0,
            unwatched: vec![api::Unwatched {
                workload: "shop/web".into(),
                why: "no clsact".into(),
            }],
            flows: vec![],
        };
        assert_eq!(outcome(&verification), Outcome::Unknown);
        let text = table(&verification);
        assert!(
            text.contains("shop/web: no clsact") && text.contains(api::PROVES),
            "{text}"
        );
    }
}
