//! What the kernel keeps of connections as they are on the wire of a pod's interfaces.

use crate::{
    Address,
    framing::{Counts, Opening, Phase, Stream},
};

/// A connection at a pod's interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WireKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// The pod's end.
    pub local: Address,
    pub remote: Address,
    /// Host order.
    pub local_port: u16,
    pub remote_port: u16,
    pub pad: u32,
}

/// A connection as far as it was followed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireFlow {
    /// By [`Way`].
    pub streams: [Stream; 2],
    /// `CLOCK_BOOTTIME` in nanoseconds of the last packet.
    pub seen: u64,
    /// Bits of [`Closed`].
    pub closed: u8,
    /// The [`Way`] of the first SYN, plus one; zero: it was not seen.
    pub opener: u8,
    /// Not zero: some of it could not be followed, in fragments or for want of time.
    pub doubted: u8,
    pub pad: [u8; 5],
}

/// Sums of a pod, by [`Way`], of connections that are over as well. Each processor has its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireTotals {
    pub ways: [Counts; 2],
    /// Plaintext that was sent on connections to STRICT ports, and not excused.
    pub strict: u64,
}

/// Indices of [`WireFlow::streams`] and [`WireTotals::ways`].
#[derive(Debug)]
pub struct Way;

impl Way {
    /// Out of the pod.
    pub const SENT: usize = 0;
    /// Into the pod.
    pub const RECEIVED: usize = 1;
}

/// Bits of [`WireFlow::closed`].
#[derive(Debug)]
pub struct Closed;

impl Closed {
    /// A FIN was sent, shifted by the [`Way`].
    pub const FIN: u8 = 1;
    /// The FIN was acknowledged, shifted by its [`Way`].
    pub const ACKNOWLEDGED: u8 = 1 << 2;
    /// Nothing can come any more, in either direction.
    pub const ORDERLY: u8 = 0b1100;
    pub const RESET: u8 = 1 << 4;
}

/// What can be said of a connection. Of framing and the presence of a handshake, not of cryptography.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From the first byte on TLS records in both directions, which began with ClientHello and ServerHello.
    Encrypted,
    /// At least one byte was in no record.
    Plaintext,
    Unknown(Doubt),
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was there before it was watched.
    Beginning,
    /// Where records begin was lost.
    Unclassified,
    /// Nothing was sent.
    Silent,
    /// Records without ClientHello and ServerHello, or nothing after them so far.
    Handshake,
}

impl WireKey {
    #[must_use]
    pub const fn new(netns: u64, local: (Address, u16), remote: (Address, u16)) -> Self {
        Self {
            netns,
            local: local.0,
            remote: remote.0,
            local_port: local.1,
            remote_port: remote.1,
            pad: 0,
        }
    }
}

impl WireTotals {
    pub const EMPTY: Self = Self {
        ways: [Counts::NONE; 2],
        strict: 0,
    };
}

impl WireFlow {
    pub const EMPTY: Self = Self {
        streams: [Stream::UNSEEN; 2],
        seen: 0,
        closed: 0,
        opener: 0,
        doubted: 0,
        pad: [0; 5],
    };
    /// Bit of `application_data` in [`Stream::kinds`].
    const APPLICATION_DATA: u8 = 1 << 3;

    /// A SYN was seen; `first`: one without ACK. Returns from where its stream counts on.
    #[inline(always)]
    pub fn opened(&mut self, way: usize, first: bool, sequence: u32) -> Counts {
        let stream = &self.streams[way];
        let before = stream.counts;
        if stream.began != 0 && stream.start == sequence.wrapping_add(1) {
            return before;
        }
        let is_new = self.is_over() || self.is_silent();
        // The answer to a SYN that has brought data along (RFC 7413).
        let is_answer = stream.phase == Phase::UNSEEN && stream.counts.bytes() == 0;
        if !is_new && !is_answer {
            // Its receiver won't follow, or the end of the one before was never seen: nobody knows where numbers go on.
            let stream = &mut self.streams[way];
            *stream = Stream {
                lock: stream.lock,
                counts: before,
                ..Stream::UNSEEN
            };
            return before;
        }
        if first && is_new {
            self.closed = 0;
            self.doubted = 0;
            self.opener = if way == Way::SENT { 1 } else { 2 };
            let other = &mut self.streams[1 - way];
            *other = Stream {
                lock: other.lock,
                ..Stream::default()
            };
        }
        self.streams[way].begin(sequence);
        Counts::NONE
    }

    /// Some of what comes is urgent: its receiver takes it out of the stream (RFC 6093 2), from which TLS never has any
    /// taken out.
    #[inline(always)]
    pub fn interrupt(&mut self, way: usize) {
        self.doubted = 1;
        let stream = &mut self.streams[way];
        if stream.phase != Phase::PLAINTEXT {
            stream.lose();
        }
    }

    /// A RST was seen. Its receiver heeds it only where the stream has come to (RFC 5961 3.2), with its FIN if there was
    /// one.
    #[inline(always)]
    pub fn reset(&mut self, way: usize, sequence: u32) {
        let stream = &self.streams[way];
        if stream.phase == Phase::UNSEEN || sequence.wrapping_sub(stream.next) <= 1 {
            self.closed |= Closed::RESET;
        }
    }

    /// Nothing was carried so far.
    #[inline(always)]
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.streams[0].counts.bytes() == 0 && self.streams[1].counts.bytes() == 0
    }

    /// An end was seen, or the acknowledgement of one; whether nothing can come any more.
    #[inline(always)]
    pub fn closing(&mut self, way: usize, fin: bool, acknowledged: Option<u32>) -> bool {
        if fin {
            self.closed |= Closed::FIN << way;
        }
        let other = 1 - way;
        let its_end = self.streams[other].next.wrapping_add(1);
        if self.closed & (Closed::FIN << other) != 0 && acknowledged == Some(its_end) {
            self.closed |= Closed::ACKNOWLEDGED << other;
        }
        self.closed & Closed::ORDERLY == Closed::ORDERLY
    }

    /// Whether somebody else opened it.
    #[inline(always)]
    #[must_use]
    pub const fn is_inbound(&self) -> bool {
        self.opener as usize == Way::RECEIVED + 1
    }

    /// Whether both ends are done with it.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.closed & Closed::RESET != 0
            || self.closed & (Closed::FIN | Closed::FIN << 1) == Closed::FIN | Closed::FIN << 1
    }

    /// What can be said of it as far as it was followed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let any = |of: fn(&Stream) -> bool| self.streams.iter().any(of);
        if any(|s| s.counts.plaintext > 0) {
            return Verdict::Plaintext;
        }
        Verdict::Unknown(if any(|s| s.began == 0) {
            Doubt::Beginning
        } else if self.doubted != 0 || any(|s| s.counts.unclassified > 0 || s.have > 0) {
            Doubt::Unclassified
        } else if self.is_silent() {
            Doubt::Silent
        } else if self.is_opened() && any(|s| s.kinds & Self::APPLICATION_DATA != 0) {
            return Verdict::Encrypted;
        } else {
            Doubt::Handshake
        })
    }

    fn is_opened(&self) -> bool {
        let [sent, received] = self.streams.map(|s| s.opening);
        matches!(
            (sent, received),
            (Opening::CLIENT_HELLO, Opening::SERVER_HELLO)
                | (Opening::SERVER_HELLO, Opening::CLIENT_HELLO)
        )
    }
}

#[cfg(test)]
mod tests;
