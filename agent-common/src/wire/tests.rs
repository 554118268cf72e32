use super::*;

struct Bytes<'a>(&'a [u8]);

impl crate::framing::Payload for Bytes<'_> {
    fn header(&self, at: u32) -> Option<u64> {
        let at = at as usize;
        let bytes = self.0.get(at..at + 5)?;
        Some(
            bytes
                .iter()
                .fold(0, |head, byte| (head << 8) | u64::from(*byte)),
        )
    }

    fn byte(&self, at: u32) -> Option<u8> {
        self.0.get(at as usize).copied()
    }
}

fn open() -> WireFlow {
    let mut flow = WireFlow::default();
    flow.opened(Way::SENT, true, 99);
    flow.opened(Way::RECEIVED, false, 199);
    flow
}

fn say(flow: &mut WireFlow, way: usize, bytes: &[u8]) {
    let stream = &mut flow.streams[way];
    let length = u32::try_from(bytes.len()).unwrap();
    stream.follow(stream.next, length, Bytes(bytes));
}

const CLIENT_HELLO: [u8; 7] = [22, 3, 1, 0, 2, 1, 0];
const SERVER_HELLO: [u8; 7] = [22, 3, 3, 0, 2, 2, 0];
const DATA: [u8; 6] = [23, 3, 3, 0, 1, 7];

#[test]
fn hellos_and_data_make_an_encrypted_connection() {
    let mut flow = open();
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Silent));
    say(&mut flow, Way::SENT, &CLIENT_HELLO);
    say(&mut flow, Way::RECEIVED, &SERVER_HELLO);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Handshake));
    say(&mut flow, Way::SENT, &DATA);
    assert_eq!(flow.verdict(), Verdict::Encrypted);
    say(&mut flow, Way::RECEIVED, b"x");
    assert_eq!(flow.verdict(), Verdict::Plaintext);
}

#[test]
fn framing_alone_is_not_enough() {
    let mut flow = open();
    say(&mut flow, Way::SENT, &DATA);
    say(&mut flow, Way::RECEIVED, &DATA);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Handshake));
    let mut flow = open();
    say(&mut flow, Way::SENT, &CLIENT_HELLO);
    say(&mut flow, Way::RECEIVED, &CLIENT_HELLO);
    say(&mut flow, Way::RECEIVED, &DATA);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Handshake));
}

#[test]
fn what_was_there_before_stays_unknown() {
    let mut flow = WireFlow::default();
    say(&mut flow, Way::SENT, &CLIENT_HELLO);
    say(&mut flow, Way::RECEIVED, &SERVER_HELLO);
    say(&mut flow, Way::SENT, &DATA);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Beginning));
}

#[test]
fn a_second_syn_wipes_nothing_out_of_an_open_connection() {
    let mut flow = open();
    say(&mut flow, Way::RECEIVED, b"in clear");
    flow.opened(Way::RECEIVED, true, 5000);
    assert_eq!(flow.verdict(), Verdict::Plaintext);
    flow.reset(Way::SENT, flow.streams[Way::SENT].next);
    flow.opened(Way::RECEIVED, true, 5000);
    flow.opened(Way::SENT, false, 6000);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Silent));
    assert_eq!(usize::from(flow.opener), Way::RECEIVED + 1);
}

fn encrypted() -> WireFlow {
    let mut flow = open();
    say(&mut flow, Way::SENT, &CLIENT_HELLO);
    say(&mut flow, Way::RECEIVED, &SERVER_HELLO);
    say(&mut flow, Way::SENT, &DATA);
    assert_eq!(flow.verdict(), Verdict::Encrypted);
    flow
}

/// Its end was never seen: the peer has died, say. The new numbers lie behind the old ones, as if they had been sent.
#[test]
fn what_is_opened_anew_over_an_open_connection_is_not_vouched_for() {
    let mut flow = encrypted();
    flow.opened(Way::SENT, true, u32::MAX - 1000);
    flow.opened(Way::RECEIVED, false, u32::MAX - 1000);
    let text = b"GET / HTTP/1.1";
    for way in [Way::SENT, Way::RECEIVED] {
        flow.streams[way].follow(u32::MAX - 999, 14, Bytes(text));
    }
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Beginning));
    assert_eq!(flow.streams[Way::SENT].counts.unclassified, 14);
}

#[test]
fn a_reset_that_nobody_heeds_ends_nothing() {
    let mut flow = open();
    say(&mut flow, Way::RECEIVED, b"in clear");
    let next = flow.streams[Way::RECEIVED].next;
    for sequence in [next.wrapping_sub(1), next + 2, next.wrapping_add(1 << 31)] {
        flow.reset(Way::RECEIVED, sequence);
        flow.opened(Way::RECEIVED, true, next + 9);
        assert_eq!(flow.verdict(), Verdict::Plaintext);
        flow.streams[Way::RECEIVED].next = next;
        flow.streams[Way::RECEIVED].phase = Phase::PLAINTEXT;
    }
    flow.reset(Way::RECEIVED, next + 1);
    assert!(flow.is_over());
}

/// RFC 7413: data comes with the SYN, and so before the other end's.
#[test]
fn data_before_the_answer_to_its_syn_is_followed() {
    let mut flow = WireFlow::default();
    flow.opened(Way::RECEIVED, true, 99);
    say(&mut flow, Way::RECEIVED, &CLIENT_HELLO);
    flow.opened(Way::SENT, false, 199);
    say(&mut flow, Way::SENT, &SERVER_HELLO);
    say(&mut flow, Way::RECEIVED, &DATA);
    assert_eq!(flow.verdict(), Verdict::Encrypted);
}

#[test]
fn an_end_of_one_side_alone_wipes_nothing_out() {
    let mut flow = open();
    say(&mut flow, Way::RECEIVED, b"in clear");
    flow.closing(Way::RECEIVED, true, None);
    flow.opened(Way::RECEIVED, true, 5000);
    assert_eq!(flow.verdict(), Verdict::Plaintext);
}

#[test]
fn urgent_bytes_and_fragments_are_not_vouched_for() {
    let mut flow = encrypted();
    flow.interrupt(Way::SENT);
    say(&mut flow, Way::SENT, &DATA);
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Unclassified));
    let mut flow = encrypted();
    flow.doubted = 1;
    assert_eq!(flow.verdict(), Verdict::Unknown(Doubt::Unclassified));
    let mut flow = open();
    say(&mut flow, Way::SENT, b"telnet");
    flow.interrupt(Way::SENT);
    say(&mut flow, Way::SENT, b"\xff\xf2");
    assert_eq!(flow.streams[Way::SENT].counts.plaintext, 8);
}

#[test]
fn it_is_over_for_good_when_both_ends_were_acknowledged() {
    let mut flow = open();
    assert!(!flow.closing(Way::SENT, true, Some(200)));
    assert!(!flow.is_over());
    assert!(!flow.closing(Way::RECEIVED, true, Some(100)));
    assert!(flow.is_over());
    assert!(!flow.closing(Way::SENT, false, Some(201)));
    assert!(flow.closing(Way::RECEIVED, false, Some(101)));
}
