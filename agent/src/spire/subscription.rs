//! A stream of the SPIRE agent that is opened again whenever it breaks.

use std::{path::PathBuf, time::Duration};

use hyper::http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{sleep, timeout};
use tonic::{Request, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::SpireError;

/// For the connection. An answer may take long: SPIRE sends nothing before it has something to say.
const CONNECT: Duration = Duration::from_secs(5);
/// Pauses are doubled from one failure to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Where streams come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) channel: Channel,
}

impl Source {
    /// Tells every answer, and every failure, for ever. A stream that is of this `age` gives way to a new one.
    pub(super) async fn follow<Q, A>(
        &self,
        method: &'static str,
        question: Q,
        age: Duration,
        mut tell: impl FnMut(Result<A, SpireError>),
    ) where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut failures = 0;
        loop {
            let ended = match self.open(method, question.clone()).await {
                Ok(stream) => {
                    let told = |answer| {
                        failures = 0;
                        tell(Ok(answer));
                    };
                    let reading = self.read(stream, told);
                    timeout(age, reading).await.ok()
                }
                Err(error) => Some(error),
            };
            let Some(error) = ended else { continue };
            tell(Err(error));
            sleep(pause(failures, fastrand::f64())).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn open<Q, A>(
        &self,
        method: &'static str,
        question: Q,
    ) -> Result<Streaming<A>, SpireError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let connecting = timeout(CONNECT, grpc.ready()).await;
        connecting
            .map_err(|_| SpireError::Silent)?
            .map_err(|error| SpireError::of_transport(&error, &self.path))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let opened = grpc
            .server_streaming(Request::new(question), path, codec)
            .await;
        opened
            .map(tonic::Response::into_inner)
            .map_err(|status| SpireError::of_status(&status, &self.path))
    }

    async fn read<A>(&self, mut stream: Streaming<A>, mut tell: impl FnMut(A)) -> SpireError {
        loop {
            match stream.message().await {
                Ok(Some(answer)) => tell(answer),
                Ok(None) => return SpireError::Ended,
                Err(status) => return SpireError::of_status(&status, &self.path),
            }
        }
    }
}

/// `random` in `0.0..1.0`: a node's streams break together, and need not come back together.
fn pause(failures: u32, random: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + 0.5 * random)
}
