//! `sealane capture`: packets of a pod, as lines or into a file.

mod line;
mod sink;

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use self::sink::{Sink, Wants};
use super::ask::upgrade;
use crate::{admin::api, cli::CaptureArgs, config};

/// What an agent may need to send what it has, when it is told that it is enough.
const LAST_PACKETS: Duration = Duration::from_secs(5);
/// Nobody waits so long.
const EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `sealane capture`.
///
/// # Errors
/// When the agent can't be asked or has something against it, or when packets can't be written.
pub async fn capture(args: &CaptureArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let lasting = args.duration.as_deref().map(config::lasting).transpose()?;
    let stopped = stopped(lasting.unwrap_or(EVER))?;
    let mut stream = upgrade(&args.query.socket, &path(args), api::PACKETS).await?;
    let mut sink = Sink::open(args, out)?;
    tokio::select! {
        received = receive(&mut stream, &mut sink) => received?,
        () = stopped => {}
    }
    // What the agent has by now, and its account of what had no room. A pod that is gone has closed already.
    if stream.shutdown().await.is_ok() {
        sink.ends();
        let rest = timeout(LAST_PACKETS, receive(&mut stream, &mut sink)).await;
        rest.context("the agent doesn't end")??;
    }
    eprintln!("{}", sink.finish()?);
    Ok(ExitCode::SUCCESS)
}

/// Until the agent has nothing more, or the sink has enough.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    sink: &mut Sink<'_, impl Write>,
) -> anyhow::Result<()> {
    loop {
        let read = stream.read_buf(sink.received()).await;
        if read.context("the agent broke off")? == 0 || sink.take()? == Wants::Nothing {
            return Ok(());
        }
    }
}

/// Told to, or long enough.
fn stopped(lasting: Duration) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = sleep(lasting) => {}
        }
    })
}

fn path(args: &CaptureArgs) -> String {
    let filter = args.filter.join(" ");
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    format!(
        "/v1/capture?workload={}&filter={}&plaintext={}&snaplen={}",
        encoded(&args.workload),
        encoded(&filter),
        args.plaintext,
        args.snaplen,
    )
}
