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

/// The alert for what is nobody's fault but ours (RFC 8446, section 6.2).
pub const INTERNAL_ERROR: u8 = 80;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
/// The fields of a ticket are not longer than this together (RFC 8446, section 4.6.1).
const MAX_TICKET: u32 = 4 + 4 + 1 + 255 + 2 + 65_535 + 2 + 65_534;
const HELLO_REQUEST: u8 = 0;
/// `user_canceled`: announces a `close_notify`.
const USER_CANCELED: u8 = 90;

/// Reads records of other types than data. Of a message that goes on in the next record it keeps only how much is
/// missing: session tickets are long, and nobody wants them.
#[derive(Debug, Default)]
pub struct Messages {
    missing: u32,
}

impl Messages {
    /// Reads one such record.
    ///
    /// # Errors
    /// When the peer breaks the protocol.
    pub fn control(
        &mut self,
        kind: u8,
        message: &[u8],
        tls13: bool,
    ) -> Result<Control, RecordError> {
        match kind {
            content::ALERT => alert(message, tls13),
            content::HANDSHAKE => self.handshake(message, tls13),
            other => Err(RecordError::UnexpectedType(other)),
        }
    }

    /// To be called when data comes.
    ///
    /// # Errors
    /// Inside of a message: nothing may come in between (RFC 8446, section 5.1).
    pub fn expect_data(&self) -> Result<(), RecordError> {
        match self.missing {
            0 => Ok(()),
            _ => Err(RecordError::UnexpectedType(content::APPLICATION_DATA)),
        }
    }

    /// Several messages may share a record, and a ticket may be split over records. A key update that is split is
    /// not something that a sane peer sends, and is refused.
    fn handshake(&mut self, record: &[u8], tls13: bool) -> Result<Control, RecordError> {
        if record.is_empty() {
            return Err(RecordError::Malformed);
        }
        let missing = self.missing as usize;
        let Some(mut messages) = record.get(missing..) else {
            self.missing -= u32::try_from(record.len()).map_err(|_| RecordError::Malformed)?;
            return Ok(Control::Nothing);
        };
        self.missing = 0;
        while let [kind, a, b, c, rest @ ..] = messages {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            let Some((body, following)) = rest.split_at_checked(length as usize) else {
                return self.goes_on(*kind, length, rest.len(), tls13);
            };
            messages = following;
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

    fn goes_on(
        &mut self,
        kind: u8,
        length: u32,
        here: usize,
        tls13: bool,
    ) -> Result<Control, RecordError> {
        if kind != NEW_SESSION_TICKET || !tls13 || length > MAX_TICKET {
            return Err(RecordError::Malformed);
        }
        let here = u32::try_from(here).map_err(|_| RecordError::Malformed)?;
        self.missing = length - here;
        Ok(Control::Nothing)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_after_the_handshake() {
        let handshake =
            |message: &[u8], tls13| Messages::default().control(content::HANDSHAKE, message, tls13);
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
            &[24, 0, 0, 1],
            &[4, 0xff, 0, 9, 1],
            &[1, 0, 0, 0],
            &[],
        ] {
            assert!(handshake(refused, true).is_err(), "{refused:?}");
        }
        assert!(handshake(&[24, 0, 0, 1, 0], false).is_err());
    }

    #[test]
    fn tickets_may_be_split() {
        let mut messages = Messages::default();
        let mut next = |record: &[u8]| messages.control(content::HANDSHAKE, record, true);
        assert_eq!(next(&[4, 0, 0, 5, 1, 2]).unwrap(), Control::Nothing);
        assert_eq!(next(&[3]).unwrap(), Control::Nothing);
        let update = Control::KeyUpdate { asks: true };
        assert_eq!(next(&[4, 5, 24, 0, 0, 1, 1]).unwrap(), update);
        assert_eq!(next(&[4, 0, 0, 1]).unwrap(), Control::Nothing);
        assert!(messages.expect_data().is_err());
        let mut next = |record: &[u8]| messages.control(content::HANDSHAKE, record, true);
        assert_eq!(next(&[9]).unwrap(), Control::Nothing);
        assert!(messages.expect_data().is_ok());
    }

    #[test]
    fn alerts() {
        let alert =
            |message: &[u8], tls13| Messages::default().control(content::ALERT, message, tls13);
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
