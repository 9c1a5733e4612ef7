//! What becomes of one UPDATE: the outcomes of RFC 7606 as a peer and an operator see them.

use crate::octets::{NEXT_HOP, ORIGIN, PATH, TEN, good_update, update};
use crate::script::{End, Script};

/// Weakest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The route is used, and nothing was wrong.
    Kept,
    /// The route is used without an attribute.
    Discarded,
    /// The route is known and not used.
    Unused,
    /// The route is treated as withdrawn.
    Withdrawn,
    /// The session ends.
    Reset(u8, u8),
}

/// The outcome for 10.0.0.0/8, which the peer had announced well before.
pub(crate) fn of(session: fn() -> (Script, margay_bgp::ConnectionId), octets: &[u8]) -> Outcome {
    let (mut script, connection) = session();
    script.say(connection, &good_update());
    assert_eq!(script.learned().len(), 1);
    script.say(connection, octets);
    match script.end(connection) {
        End::Notified(code, subcode, _) => return Outcome::Reset(code, subcode),
        End::Silent => panic!("closed without a word"),
        End::Open => {}
    }
    let status = script.status();
    if status.prefixes.v4.received == 0 {
        assert!(script.learned().is_empty());
        Outcome::Withdrawn
    } else if script.learned().is_empty() {
        Outcome::Unused
    } else if status.counters.faults > 0 {
        Outcome::Discarded
    } else {
        Outcome::Kept
    }
}

pub(crate) fn external(octets: &[u8]) -> Outcome {
    of(Script::external, octets)
}

pub(crate) fn internal(octets: &[u8]) -> Outcome {
    of(Script::internal, octets)
}

/// The outcome of the mandatory attributes with one more, from an external and from an internal peer.
pub(crate) fn with(attribute: &[u8]) -> (Outcome, Outcome) {
    let octets = update(&[], &[ORIGIN, PATH, NEXT_HOP, attribute], TEN);
    (external(&octets), internal(&octets))
}

/// The outcome of exactly these attributes, which must be the same from both.
pub(crate) fn exactly(attributes: &[&[u8]]) -> Outcome {
    let octets = update(&[], attributes, TEN);
    let outcome = external(&octets);
    assert_eq!(internal(&octets), outcome, "internal");
    outcome
}
