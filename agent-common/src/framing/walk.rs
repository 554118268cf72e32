//! Step by step through one packet's payload.

use super::{Opening, Phase, Stream};

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

/// The way through one packet's payload. Nothing here changes on the way: what does is the stream's.
#[derive(Debug)]
pub struct Walk<'a, P> {
    pub(super) stream: &'a mut Stream,
    pub(super) payload: P,
    pub(super) length: u32,
}

impl<P: Payload> Walk<'_, P> {
    /// Over a header, a part of one, or what a header has announced. Whether there is more to do.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        let stream = &mut *self.stream;
        let left = stream.left;
        let at = self.length.wrapping_sub(left);
        let read = match stream.phase {
            Phase::PLAINTEXT => {
                stream.counts.plaintext += u64::from(left);
                left
            }
            Phase::LOST => {
                stream.counts.unclassified += u64::from(left);
                left
            }
            _ if stream.remaining == 0 => match stream.header(at, &self.payload) {
                Some(read) => read,
                None => return false,
            },
            _ => {
                if stream.opening == Opening::AWAITED {
                    stream.open(self.payload.byte(at));
                }
                let content = if stream.remaining < left {
                    stream.remaining
                } else {
                    left
                };
                stream.pass(content);
                content
            }
        };
        stream.left = left.wrapping_sub(read);
        stream.left > 0
    }
}
