//! What a peer says beside its data: alerts and the messages that may follow a handshake.

use super::{RecordError, content};

/// The meaning of a record that carries no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nothing that matters here: a session ticket, or a warning of TLS 1.2.
    Nothing,
    /// The peer sends no more.
    CloseNotify,
    /// The peer ends the connection.
    Alert(Alert),
    /// The peer's next record is under its next key (RFC 8446, section 4.6.3).
    KeyUpdate {
        /// It wants ours to change too, before our next data.
        asks: bool,
    },
}

/// A fatal alert (RFC 8446, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

/// The message with which we announce our next key, asking nothing back: both sides count for themselves.
pub const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
/// The alert that ends our direction.
pub const CLOSE_NOTIFY: [u8; 2] = [1, 0];

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
const HELLO_REQUEST: u8 = 0;
/// `user_canceled`: announces a `close_notify`.
const USER_CANCELED: u8 = 90;

/// Reads one record of another type than data.
///
/// # Errors
/// When the peer breaks the protocol.
pub fn control(kind: u8, message: &[u8], tls13: bool) -> Result<Control, RecordError> {
    match kind {
        content::ALERT => alert(message, tls13),
        content::HANDSHAKE => handshake(message, tls13),
        other => Err(RecordError::UnexpectedType(other)),
    }
}

fn alert(message: &[u8], tls13: bool) -> Result<Control, RecordError> {
    match message {
        [_, 0] => Ok(Control::CloseNotify),
        // TLS 1.2 has warnings that may be passed over; TLS 1.3 has none but this one.
        [1, description] if !tls13 || *description == USER_CANCELED => Ok(Control::Nothing),
        [_, description] => Ok(Control::Alert(Alert(*description))),
        _ => Err(RecordError::Malformed),
    }
}

/// Several messages may share a record; one split over records is not something that tickets or key updates
/// of a sane peer are, and is refused.
fn handshake(mut messages: &[u8], tls13: bool) -> Result<Control, RecordError> {
    if messages.is_empty() {
        return Err(RecordError::Malformed);
    }
    while let [kind, a, b, c, rest @ ..] = messages {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let body = rest.get(..length).ok_or(RecordError::Malformed)?;
        messages = &rest[length..];
        match (*kind, body) {
            // The key changes with the next record: nothing may follow in this one (RFC 8446, 5.1).
            (KEY_UPDATE, [asks @ (0 | 1)]) if tls13 && messages.is_empty() => {
                return Ok(Control::KeyUpdate { asks: *asks == 1 });
            }
            (NEW_SESSION_TICKET, _) if tls13 => {}
            (HELLO_REQUEST, []) if !tls13 => {}
            (other, _) => return Err(RecordError::UnexpectedHandshake(other)),
        }
    }
    if messages.is_empty() {
        Ok(Control::Nothing)
    } else {
        Err(RecordError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_after_the_handshake() {
        let handshake = |message: &[u8], tls13| control(content::HANDSHAKE, message, tls13);
        let asks = |asks| Control::KeyUpdate { asks };
        assert_eq!(handshake(&[24, 0, 0, 1, 0], true).unwrap(), asks(false));
        assert_eq!(handshake(&[24, 0, 0, 1, 1], true).unwrap(), asks(true));
        let ticket_and_update = [4, 0, 0, 2, 9, 9, 24, 0, 0, 1, 0];
        assert_eq!(handshake(&ticket_and_update, true).unwrap(), asks(false));
        assert_eq!(handshake(&[0, 0, 0, 0], false).unwrap(), Control::Nothing);
        for refused in [
            &[24, 0, 0, 1, 0, 4, 0, 0, 0][..],
            &[24, 0, 0, 1, 2],
            &[24, 0, 0, 0],
            &[24, 0, 0],
            &[4, 0, 0, 9, 1],
            &[1, 0, 0, 0],
            &[],
        ] {
            assert!(handshake(refused, true).is_err(), "{refused:?}");
        }
        assert!(handshake(&[24, 0, 0, 1, 0], false).is_err());
    }

    #[test]
    fn alerts() {
        let alert = |message: &[u8], tls13| control(content::ALERT, message, tls13);
        assert_eq!(alert(&CLOSE_NOTIFY, true).unwrap(), Control::CloseNotify);
        assert_eq!(alert(&[2, 0], true).unwrap(), Control::CloseNotify);
        assert_eq!(alert(&[1, 90], true).unwrap(), Control::Nothing);
        assert_eq!(alert(&[1, 100], false).unwrap(), Control::Nothing);
        let fatal = Control::Alert(Alert(48));
        assert_eq!(alert(&[1, 48], true).unwrap(), fatal);
        assert_eq!(alert(&[2, 48], false).unwrap(), fatal);
        assert!(alert(&[2], true).is_err());
        assert!(alert(&[2, 48, 0], true).is_err());
    }
}
