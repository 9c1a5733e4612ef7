//! Items 89-90: ROUTE-REFRESH (RFC 2918, 7313).

use crate::octets::{self, REFRESH, UPDATE, message, refresh};
use crate::script::{End, Script};

/// A session of IPv4 and IPv6, or IPv4 only, with one own route of each family told.
fn told(v6: bool) -> (Script, margay_bgp::ConnectionId) {
    let mut script = Script::new(65001);
    script.apply(vec![crate::script::peer(2, 65002)]);
    let mut open = octets::open_of(2, 65002);
    if !v6 {
        open.parameters = octets::parameter(&[octets::family(1), octets::four_octets(65002)]);
    }
    let connection = script.establish(2, open);
    script.originate(&["10.1.0.0/16", "fd00:1::/64"]);
    script.heard(connection);
    (script, connection)
}

#[test]
fn item_089_a_refresh_brings_all_of_the_family_again() {
    for afi in [1, 2] {
        let (mut script, connection) = told(true);
        script.say(connection, &refresh(afi, 0, 1));
        let heard = script.heard(connection);
        assert!(heard.iter().all(|message| message.kind == UPDATE));
        // IPv4 stands in the classic field, IPv6 in MP_REACH_NLRI.
        let prefix: &[u8] = if afi == 1 {
            &[16, 10, 1]
        } else {
            &[64, 0xfd, 0, 0, 1, 0, 0, 0, 0]
        };
        let found = heard
            .iter()
            .any(|message| message.body.windows(prefix.len()).any(|w| w == prefix));
        assert!(found, "address family {afi}: {heard:?}");
    }
}

#[test]
fn item_089_a_refresh_of_what_was_not_negotiated_is_ignored() {
    for (afi, safi) in [(2, 1), (1, 128), (25, 70), (0, 0)] {
        let (mut script, connection) = told(false);
        script.say(connection, &refresh(afi, 0, safi));
        assert!(script.heard(connection).is_empty(), "{afi}/{safi}");
    }
}

#[test]
fn item_090_refreshes_of_a_wrong_length() {
    let (mut script, connection) = told(true);
    script.say(connection, &message(REFRESH, &[0, 1, 0]));
    assert_eq!(script.end(connection), End::Notified(1, 2, vec![0, 22]));
    for subtype in [1, 2] {
        let (mut script, connection) = told(true);
        let long = message(REFRESH, &[0, 1, subtype, 1, 0]);
        script.say(connection, &long);
        assert_eq!(
            script.end(connection),
            End::Notified(7, 1, long),
            "subtype {subtype}"
        );
    }
}
