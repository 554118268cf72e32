//! Waiting for what no event tells.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

/// Not at all at first, then longer every time, up to a quarter of a second.
#[derive(Default)]
pub(super) struct Wait {
    sleep: Option<Pin<Box<Sleep>>>,
    rounds: u32,
}

impl Wait {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        let delay = Duration::from_millis(1 << self.rounds.min(8));
        self.sleep = Some(Box::pin(tokio::time::sleep(delay)));
        self.rounds += 1;
        Poll::Ready(())
    }
}
