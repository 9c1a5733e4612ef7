//! Item 24: two connections at once (RFC 4271 §6.8). A thousand orders of events: `speaker::tests::sessions`.

use margay_bgp::{PeerConfig, State};

use crate::octets::{OpenFields, keepalive, open_of};
use crate::script::{End, Script, peer};

/// The speaker dials and accepts at once; the peer's identifier is `id`. What becomes of either connection.
fn collide(id: [u8; 4], own_first: bool) -> (End, End) {
    let mut script = Script::new(65001);
    script.apply(vec![PeerConfig {
        passive: false,
        ..peer(2, 65002)
    }]);
    let dialled = script.connected();
    let accepted = script.connect(2);
    let open = OpenFields {
        id,
        ..open_of(2, 65002)
    }
    .message();
    let order = if own_first {
        [dialled, accepted]
    } else {
        [accepted, dialled]
    };
    for connection in order {
        script.say(connection, &open);
        script.say(connection, &keepalive());
    }
    assert_eq!(script.status().state, State::Established);
    (script.end(dialled), script.end(accepted))
}

#[test]
fn item_024_of_two_connections_the_higher_identifiers_lives() {
    // The first OPEN decides: the peer's identifier is known from then on, whichever connection it came on.
    for own_first in [true, false] {
        assert_eq!(
            collide([192, 0, 2, 0], own_first),
            (End::Open, End::notified(6, 7))
        );
        assert_eq!(
            collide([192, 0, 2, 2], own_first),
            (End::notified(6, 7), End::Open)
        );
    }
}
