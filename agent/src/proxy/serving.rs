//! The task of one connection: setting it up, then relaying. What the first takes is freed before the second
//! begins, so that an idle connection is its relay and little else.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    Proxy,
    carrier::Carrier,
    dial::Published,
    outcome::Failure,
    relay::{Meter as _, Relay},
    report::Report,
};

/// To be spawned.
pub(super) struct Serving<C: Carrier = Proxy>(Stage<C>);

#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what lasts: boxed, it would cost an allocation more"
)]
enum Stage<C: Carrier> {
    /// Nothing comes of connections that were refused.
    Setup(Setup<C>),
    Open(Open<C>),
    Ended,
}

type Setup<C> = Pin<Box<dyn Future<Output = Option<Open<C>>> + Send>>;

/// An established connection.
pub(super) struct Open<C: Carrier = Proxy> {
    report: Report<C>,
    relay: Relay,
    client: Option<Published>,
}

impl<C: Carrier> Serving<C> {
    pub(super) fn new(setup: impl Future<Output = Option<Open<C>>> + Send + 'static) -> Self {
        Self(Stage::Setup(Box::pin(setup)))
    }
}

impl<C: Carrier> Future for Serving<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.0 = match &mut self.0 {
                Stage::Setup(setup) => match ready!(setup.as_mut().poll(cx)) {
                    Some(open) => Stage::Open(open),
                    None => Stage::Ended,
                },
                Stage::Open(open) => {
                    let result = ready!(open.poll(cx));
                    if let Stage::Open(open) = std::mem::replace(&mut self.0, Stage::Ended) {
                        open.end(&result);
                    }
                    Stage::Ended
                }
                Stage::Ended => return Poll::Ready(()),
            }
        }
    }
}

impl<C: Carrier> Open<C> {
    /// `client` shows the application who its client is.
    pub(super) fn new(mut report: Report<C>, relay: Relay, client: Option<Published>) -> Self {
        report.opened();
        report.down(relay.received());
        Self {
            report,
            relay,
            client,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let cut = self.report.connection().poll_cut(cx);
        let outcome = ready!(self.relay.poll_run(cx, &self.report, cut));
        Poll::Ready(match outcome {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(Failure::Cut(reason)),
            Err(error) => Err(error.into()),
        })
    }

    /// The sockets are closed before the end is told: who hears of it finds them gone.
    fn end(self, result: &Result<(), Failure>) {
        drop(self.relay);
        if let Some(published) = self.client {
            self.report.withdraw(published);
        }
        self.report.finish(result);
    }
}
