//! Step by step through one packet's payload.

use super::{Counts, Opening, Phase, Stream};

/// Steps through one packet, two for each record: 64 KiB of the smallest that TLS 1.3 has (RFC 8446 5.2).
pub const MAX_STEPS: u32 = 6144;

/// A packet's payload, of which single bytes can be read.
pub trait Payload: Sized {
    /// The five bytes from `at`, the first one the most significant; `None` when they can't be read.
    fn header(&self, at: u32) -> Option<u64>;
    /// The byte at `at`.
    fn byte(&self, at: u32) -> Option<u8>;
    /// Calls [`Walk::step`] until it has no more to do, [`MAX_STEPS`] times at most.
    fn walk(walk: &mut Walk<'_, Self>) {
        let _ = (0..MAX_STEPS).all(|_| walk.step());
    }
}

/// The way through one packet's payload.
#[derive(Debug)]
pub struct Walk<'a, P> {
    pub(super) stream: &'a mut Stream,
    pub(super) payload: P,
    /// What has been passed of it.
    pub(super) at: u32,
    pub(super) length: u32,
    pub(super) counts: Counts,
}

impl<P: Payload> Walk<'_, P> {
    /// Over a header, a part of one, or what a header has announced. Whether there is more to do.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        let Self {
            stream,
            payload,
            at,
            length,
            counts,
        } = self;
        let left = *length - *at;
        match stream.phase {
            Phase::PLAINTEXT => counts.plaintext += u64::from(left),
            Phase::LOST => counts.unclassified += u64::from(left),
            _ if stream.remaining == 0 => match stream.header(*at, left, payload, counts) {
                Some(read) => {
                    *at += read;
                    return *at < *length;
                }
                None => return false,
            },
            _ => {
                if stream.opening == Opening::AWAITED {
                    stream.open(payload.byte(*at));
                }
                let content = if stream.remaining < left {
                    stream.remaining
                } else {
                    left
                };
                stream.pass(content, counts);
                *at += content;
                return *at < *length;
            }
        }
        *at = *length;
        false
    }

    /// What no step came to, because there were too many or the packet could not be read.
    #[inline(always)]
    pub(super) fn rest(mut self) -> Counts {
        if self.at < self.length {
            self.stream.lose(&mut self.counts);
            self.counts.unclassified += u64::from(self.length - self.at);
        }
        self.counts
    }
}
