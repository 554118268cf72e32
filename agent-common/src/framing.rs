//! Follows the framing of TLS records (RFC 8446 5.1, RFC 5246 6.2.1) along one direction of a TCP connection.
//!
//! The one piece of logic in this crate: the programs run it, and tests on the host hold it against one that looks at
//! each byte. It reads headers only and steps over what they announce by sequence number. It proves framing and the
//! presence of a handshake, not cryptography: whoever writes record headers around plaintext is taken at their word.
//! Bytes are counted once, where their sequence number is first reached; what a retransmission says of bytes that were
//! passed before is not looked at, so that other content under old numbers goes unnoticed. What the framing was lost for
//! is counted as unclassified, never as TLS.

mod header;
mod walk;

use header::{FIRST_KIND, HANDSHAKE, HEADER, WHOLE, is_header, is_kind, is_version};
pub use walk::{MAX_STEPS, Payload, Walk};

/// No window is wider (RFC 7323 2.2): what lies further ahead belongs to no stream that is followed.
const MAX_WINDOW: u32 = 1 << 30;
/// Headers in a row that make framing certain again after it was lost.
const CERTAIN: u8 = 3;
/// Values of [`Stream::phase`].
#[derive(Debug)]
pub struct Phase;

impl Phase {
    /// Nothing was seen of it.
    pub const UNSEEN: u8 = 0;
    /// Seen from its beginning; nothing was sent so far.
    pub const START: u8 = 1;
    pub const RECORDS: u8 = 2;
    pub const PLAINTEXT: u8 = 3;
    /// Where records begin isn't known.
    pub const LOST: u8 = 4;
    /// It looks as if records began here again.
    pub const TRIAL: u8 = 5;
}

/// Values of [`Stream::opening`].
#[derive(Debug)]
pub struct Opening;

impl Opening {
    /// The first record was no handshake, or was not read.
    pub const NONE: u8 = 0;
    /// `client_hello` (RFC 8446 B.3).
    pub const CLIENT_HELLO: u8 = 1;
    /// `server_hello`.
    pub const SERVER_HELLO: u8 = 2;
    /// The next byte says.
    pub const AWAITED: u8 = 0xff;
}

/// What was on the wire. Bytes are TCP payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    /// Of records, with their headers.
    pub tls: u64,
    pub plaintext: u64,
    pub unclassified: u64,
    /// Sent again, and counted before.
    pub repeated: u64,
}

/// One direction of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The sequence number up to which it was followed.
    pub next: u32,
    /// Content of the current record that is still to come.
    pub remaining: u32,
    /// The bytes of a header that has not come whole.
    pub head: u64,
    /// The sequence number of its first byte.
    pub start: u32,
    /// How many bytes of a header these are.
    pub have: u8,
    /// One of [`Phase`].
    pub phase: u8,
    /// One of [`Opening`].
    pub opening: u8,
    /// Headers in a row since framing was lost.
    pub trial: u8,
    /// A bit for each content type that was seen, from `change_cipher_spec` on.
    pub kinds: u8,
    /// Not zero: seen from its beginning.
    pub began: u8,
    pub pad: [u8; 2],
    /// Of the packet that is being followed. Here and not on the stack, where the verifier would follow each value.
    pub left: u32,
    /// The programs': one packet at a time.
    pub lock: u64,
    pub counts: Counts,
}

impl Counts {
    pub const NONE: Self = Self {
        records: 0,
        tls: 0,
        plaintext: 0,
        unclassified: 0,
        repeated: 0,
    };

    #[inline(always)]
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.tls += other.tls;
        self.plaintext += other.plaintext;
        self.unclassified += other.unclassified;
        self.repeated += other.repeated;
    }

    /// What has come since `before`.
    #[inline(always)]
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            records: self.records.wrapping_sub(before.records),
            tls: self.tls.wrapping_sub(before.tls),
            plaintext: self.plaintext.wrapping_sub(before.plaintext),
            unclassified: self.unclassified.wrapping_sub(before.unclassified),
            repeated: self.repeated.wrapping_sub(before.repeated),
        }
    }

    /// Payload that was counted once.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.tls + self.plaintext + self.unclassified
    }
}

impl Stream {
    pub const UNSEEN: Self = Self {
        next: 0,
        remaining: 0,
        head: 0,
        start: 0,
        have: 0,
        phase: Phase::UNSEEN,
        opening: Opening::NONE,
        trial: 0,
        kinds: 0,
        began: 0,
        pad: [0; 2],
        left: 0,
        lock: 0,
        counts: Counts::NONE,
    };

    /// Its SYN was seen.
    #[inline(always)]
    pub fn begin(&mut self, syn: u32) {
        let lock = self.lock;
        *self = Self {
            next: syn.wrapping_add(1),
            start: syn.wrapping_add(1),
            phase: Phase::START,
            began: 1,
            lock,
            ..Self::default()
        };
    }

    /// Where records begin isn't known any more; the bytes of a header that has begun are nobody's.
    #[inline(always)]
    pub fn lose(&mut self) {
        self.counts.unclassified += u64::from(self.have);
        self.have = 0;
        self.remaining = 0;
        self.phase = Phase::LOST;
        self.forget_opening();
    }

    /// Follows one packet's payload.
    #[inline(always)]
    pub fn follow<P: Payload>(&mut self, sequence: u32, length: u32, payload: P) {
        if length == 0 {
            return;
        }
        if self.phase == Phase::UNSEEN {
            self.phase = Phase::LOST;
            self.next = sequence;
        }
        self.left = length;
        let ahead = sequence.wrapping_sub(self.next);
        if ahead > i32::MAX as u32 {
            let known = self.next.wrapping_sub(sequence);
            if known >= length {
                self.counts.repeated += u64::from(length);
                return;
            }
            self.counts.repeated += u64::from(known);
            self.left -= known;
        } else if ahead > MAX_WINDOW {
            self.counts.unclassified += u64::from(length);
            return;
        } else if ahead > 0 {
            self.leap(ahead);
        }
        self.next = sequence.wrapping_add(length);
        if self.phase == Phase::LOST {
            self.try_again(length - self.left, &payload);
        }
        P::walk(&mut Walk {
            stream: self,
            payload,
            length,
        });
        // Too many steps, or the packet could not be read.
        if self.left > 0 {
            self.lose();
            self.counts.unclassified += u64::from(self.left);
        }
    }

    /// Over bytes that did not come, or not yet. Within a record its header has spoken for them.
    #[inline(always)]
    fn leap(&mut self, gap: u32) {
        if self.phase == Phase::PLAINTEXT {
            self.counts.plaintext += u64::from(gap);
        } else if self.remaining >= gap {
            self.forget_opening();
            self.pass(gap);
        } else {
            self.lose();
            self.counts.unclassified += u64::from(gap);
        }
    }

    /// What was to say whether it is a handshake did not come.
    #[inline(always)]
    fn forget_opening(&mut self) {
        if self.opening == Opening::AWAITED {
            self.opening = Opening::NONE;
        }
    }

    /// Content of the current record.
    #[inline(always)]
    fn pass(&mut self, length: u32) {
        self.remaining = self.remaining.wrapping_sub(length);
        self.count(length);
    }

    /// Bytes of records.
    #[inline(always)]
    fn count(&mut self, length: u32) {
        if self.phase == Phase::TRIAL {
            self.counts.unclassified += u64::from(length);
        } else {
            self.counts.tls += u64::from(length);
        }
    }

    /// What begins a packet may be a header.
    #[inline(always)]
    fn try_again(&mut self, at: u32, payload: &impl Payload) {
        if self.left >= HEADER
            && let Some(header) = payload.header(at)
            && is_header(header)
        {
            self.phase = Phase::TRIAL;
            self.trial = 0;
        }
    }

    #[inline(always)]
    fn open(&mut self, kind: Option<u8>) {
        self.opening = match kind {
            Some(Opening::CLIENT_HELLO) => Opening::CLIENT_HELLO,
            Some(Opening::SERVER_HELLO) => Opening::SERVER_HELLO,
            _ => Opening::NONE,
        };
    }

    /// A header, or the next byte of one. Returns how many bytes were read.
    #[inline(always)]
    fn header(&mut self, at: u32, payload: &impl Payload) -> Option<u32> {
        if self.have == 0 && self.left >= HEADER {
            self.head = payload.header(at)?;
            self.have = WHOLE;
            self.judge(is_header(self.head));
            return Some(HEADER);
        }
        let before = if self.have == 0 { 0 } else { self.head };
        self.head = (before << 8) | u64::from(payload.byte(at)?);
        self.have += 1;
        let fits = match self.have {
            1 => is_kind(self.head),
            2 => self.head & 0xff == 3,
            3 => is_version(self.head & 0xffff),
            4 => true,
            _ => is_header(self.head),
        };
        if !fits || self.have >= WHOLE {
            self.judge(fits);
        }
        Some(1)
    }

    /// A header is whole, or can't be one.
    #[inline(always)]
    fn judge(&mut self, fits: bool) {
        let have = u32::from(self.have);
        if !fits {
            if self.phase == Phase::TRIAL {
                self.lose();
            } else {
                self.counts.plaintext += u64::from(have);
                self.phase = Phase::PLAINTEXT;
                self.have = 0;
            }
            return;
        }
        self.have = 0;
        let kind = (self.head >> 32) & 0xff;
        self.remaining = (self.head & 0xffff) as u32;
        self.count(have);
        match self.phase {
            Phase::START => {
                self.phase = Phase::RECORDS;
                if kind == HANDSHAKE {
                    self.opening = Opening::AWAITED;
                }
            }
            Phase::TRIAL if self.trial + 1 < CERTAIN => {
                self.trial += 1;
                return;
            }
            Phase::TRIAL => self.phase = Phase::RECORDS,
            _ => {}
        }
        self.kinds |= 1 << ((kind - FIRST_KIND) & 3);
        self.counts.records += 1;
    }
}

#[cfg(test)]
mod tests;
