//! What a record's header looks like.

/// Bytes before a record's content.
pub(super) const HEADER: u32 = WHOLE as u32;
pub(super) const WHOLE: u8 = 5;
/// Content of a record at most (RFC 5246 6.2.3; TLS 1.3 has less).
pub(super) const MAX_CONTENT: u64 = (1 << 14) + 2048;
/// Content types (RFC 8446 B.1) that a record may have: change_cipher_spec, alert, handshake, application_data.
pub(super) const FIRST_KIND: u64 = 20;
pub(super) const LAST_KIND: u64 = 23;
pub(super) const HANDSHAKE: u64 = 22;

#[inline(always)]
pub(super) const fn is_kind(kind: u64) -> bool {
    kind >= FIRST_KIND && kind <= LAST_KIND
}

/// The first record may say 3.1 (RFC 8446 5.1); TLS 1.0 is on the wire as it is.
#[inline(always)]
pub(super) const fn is_version(version: u64) -> bool {
    version >= 0x0301 && version <= 0x0303
}

/// Whether five bytes are a record's header. Records without content would be none to encrypt.
#[inline(always)]
pub(super) const fn is_header(head: u64) -> bool {
    let length = head & 0xffff;
    is_kind(head >> 32) && is_version((head >> 16) & 0xffff) && length > 0 && length <= MAX_CONTENT
}
