//! Items 92-100, 102 and 103: graceful restart, ours and the peer's (RFC 4724, 8538).

use margay_bgp::{ConnectionId, Event, Families, PeerConfig, SpeakerConfig, State};

use crate::octets::{
    self, GLOBAL, NOTIFYING, OPEN, ORIGIN, PATH, UPDATE, V6_PREFIX, good_update, graceful,
    keepalive, notification, open_of, reach, unreach, update,
};
use crate::script::{End, SECOND, Script, ip, peer};

const BOTH: [(u8, bool); 2] = [(1, true), (2, true)];

/// One route of each family, by which a peer is recognised.
const ROUTES: [&str; 2] = ["10.0.0.0/8 via 192.0.2.2", "fd00:2::/64 via 2001:db8::2"];

/// A session with that graceful restart capability on which both routes and both End-of-RIB were heard.
fn session(capability: &[u8]) -> (Script, ConnectionId) {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let connection = script.establish(2, open_of(2, 65002).and(&[capability.to_vec()]));
    announce(&mut script, connection);
    end_of_rib(&mut script, connection);
    (script, connection)
}

fn announce(script: &mut Script, connection: ConnectionId) {
    script.say(connection, &good_update());
    script.say(
        connection,
        &update(&[], &[&reach(2, &GLOBAL, V6_PREFIX), ORIGIN, PATH], &[]),
    );
    assert_eq!(script.learned(), ROUTES);
}

fn end_of_rib(script: &mut Script, connection: ConnectionId) {
    script.say(connection, &update(&[], &[], &[]));
    script.say(connection, &update(&[], &[&unreach(2, &[])], &[]));
}

/// Flags, time and (address family, forwarding) of the graceful restart capability in the OPEN that we say.
fn offered(script: &mut Script) -> (u8, u16, Vec<(u8, bool)>) {
    let connection = script.connect(2);
    let open = script.heard(connection).remove(0);
    assert_eq!(open.kind, OPEN);
    script.lose(connection);
    let mut parameters = &open.body[10..];
    while let [2, length, tail @ ..] = parameters {
        let (mut capabilities, next) = tail.split_at(usize::from(*length));
        while let [code, length, tail @ ..] = capabilities {
            let (value, next) = tail.split_at(usize::from(*length));
            if *code == 64 {
                let families = value[2..].as_chunks::<4>().0.iter();
                let families = families
                    .map(|entry| (entry[1], entry[3] & 0x80 != 0))
                    .collect();
                return (
                    value[0] & 0xf0,
                    u16::from_be_bytes([value[0] & 0x0f, value[1]]),
                    families,
                );
            }
            capabilities = next;
        }
        parameters = next;
    }
    panic!("no graceful restart in {open:?}")
}

fn starts(restarting: bool, forwarding_preserved: Families) -> Script {
    let mut script = Script::with(SpeakerConfig {
        restarting,
        forwarding_preserved,
        ..SpeakerConfig::new(margay_bgp::Asn(65001), [192, 0, 2, 1].into())
    });
    script.apply(vec![peer(2, 65002)]);
    script
}

#[test]
fn item_092_our_open_says_truthfully_whether_we_restart_and_still_forward() {
    // R is 0x80 and N 0x40 of the first octet.
    let mut cold = starts(false, Families::NONE);
    assert_eq!(
        offered(&mut cold),
        (0x40, 120, vec![(1, false), (2, false)])
    );
    let mut killed = starts(true, Families::BOTH);
    assert_eq!(offered(&mut killed), (0xc0, 120, BOTH.to_vec()));
    // The kernel kept the routes of one family only.
    let mut halved = starts(
        true,
        Families {
            v4: true,
            v6: false,
        },
    );
    assert_eq!(
        offered(&mut halved),
        (0xc0, 120, vec![(1, true), (2, false)])
    );
    // Once the deferral is over we restart no more.
    killed.originate(&[]);
    killed.wait(SECOND * 10);
    assert!(!killed.speaker.is_deferring());
    assert_eq!(offered(&mut killed).0, 0x40);
    // Who does not offer it says nothing of it.
    cold.apply(vec![PeerConfig {
        graceful_restart: false,
        ..peer(2, 65002)
    }]);
    let connection = cold.connect(2);
    let open = cold.heard(connection).remove(0).body;
    assert!(!open.windows(3).any(|window| window == [64, 10, 0x40]));
}

#[test]
fn item_093_routes_of_a_lost_peer_are_kept_for_its_restart_time() {
    let (mut script, connection) = session(&graceful(0, 30, &BOTH));
    script.speaker.learned_changes();
    script.lose(connection);
    assert_eq!(script.learned(), ROUTES, "and forward");
    assert_eq!(
        script.speaker.learned_changes(),
        [],
        "the kernel hears nothing"
    );
    let prefixes = script.status().prefixes;
    assert_eq!((prefixes.v4.stale, prefixes.v6.stale), (1, 1));
    script.wait(SECOND * 29);
    assert_eq!(script.learned(), ROUTES);
    script.wait(SECOND * 2);
    assert!(script.learned().is_empty());
}

#[test]
fn item_093_without_graceful_restart_nothing_is_kept() {
    let (mut script, connection) = Script::external();
    announce(&mut script, connection);
    script.lose(connection);
    assert!(script.learned().is_empty());
}

/// The peer's session is lost and it is back with this capability; nothing is announced yet.
fn back(script: &mut Script, connection: ConnectionId, capability: &[u8]) -> ConnectionId {
    script.lose(connection);
    script.establish(2, open_of(2, 65002).and(&[capability.to_vec()]))
}

#[test]
fn item_094_a_second_loss_drops_what_was_not_told_again() {
    let offer = graceful(octets::RESTARTING, 30, &BOTH);
    let (mut script, connection) = session(&offer);
    let connection = back(&mut script, connection, &offer);
    script.say(connection, &good_update());
    assert_eq!(script.learned(), ROUTES);
    script.lose(connection);
    assert_eq!(
        script.learned(),
        ROUTES[..1],
        "IPv4 was told again, IPv6 was not"
    );
}

#[test]
fn item_095_what_the_peer_did_not_keep_goes_at_once() {
    let (v4, v6) = ((1, true), (2, true));
    let rows: [(&str, Vec<u8>, &[&str]); 4] = [
        (
            "both kept",
            graceful(octets::RESTARTING, 30, &[v4, v6]),
            &ROUTES,
        ),
        (
            "F=0 for IPv6",
            graceful(octets::RESTARTING, 30, &[v4, (2, false)]),
            &ROUTES[..1],
        ),
        (
            "without IPv4",
            graceful(octets::RESTARTING, 30, &[v6]),
            &ROUTES[1..],
        ),
        ("no capability", octets::capability(2, &[]), &[]),
    ];
    for (name, capability, kept) in rows {
        let (mut script, connection) = session(&graceful(0, 30, &BOTH));
        back(&mut script, connection, &capability);
        assert_eq!(script.learned(), kept, "{name}");
    }
}

#[test]
fn item_096_a_new_connection_of_a_peer_that_is_up_is_its_restart() {
    let offer = graceful(0, 30, &BOTH);
    let (mut script, old) = session(&offer);
    script.wait(SECOND * 2);
    script.speaker.learned_changes();
    script.events.clear();
    let new = script.establish(2, open_of(2, 65002).and(&[offer]));
    assert_eq!(script.end(old), End::Silent);
    assert_eq!(script.learned(), ROUTES);
    assert_eq!(script.speaker.learned_changes(), []);
    let down = Event::PeerDown {
        peer: ip("192.0.2.2"),
        reason: "peer has restarted".into(),
        stale: true,
    };
    assert!(script.events.contains(&down), "{:?}", script.events);
    end_of_rib(&mut script, new);
    assert!(script.learned().is_empty(), "nothing was told again");
}

#[test]
fn item_097_end_of_rib_or_the_end_of_patience_sweeps() {
    let offer = graceful(octets::RESTARTING, 30, &BOTH);
    let (mut script, connection) = session(&offer);
    let connection = back(&mut script, connection, &offer);
    script.say(connection, &good_update());
    script.say(connection, &update(&[], &[], &[]));
    assert_eq!(script.learned(), ROUTES, "only IPv4 was swept");
    script.say(connection, &update(&[], &[&unreach(2, &[])], &[]));
    assert_eq!(script.learned(), ROUTES[..1]);
    // No End-of-RIB ever: as long as we would want to be waited for, 120 s.
    let (mut script, connection) = session(&offer);
    let connection = back(&mut script, connection, &offer);
    for _ in 0..119 {
        script.say(connection, &keepalive());
        script.wait(SECOND);
    }
    assert_eq!(script.learned(), ROUTES);
    script.wait(SECOND * 2);
    assert_eq!(script.status().state, State::Established);
    assert!(script.learned().is_empty());
}

#[test]
fn item_098_after_our_restart_best_path_waits_for_peers_that_are_up() {
    let mut script = starts(true, Families::BOTH);
    script.apply(vec![peer(2, 65002), peer(3, 65003)]);
    script.originate(&[]);
    let two = script.establish(2, open_of(2, 65002).and(&[graceful(0, 30, &BOTH)]));
    let three = script.establish(3, open_of(3, 65003).and(&[graceful(0, 30, &BOTH)]));
    script.say(two, &good_update());
    end_of_rib(&mut script, two);
    assert!(script.speaker.is_deferring() && script.learned().is_empty());
    // Peer 3 lives, and never says that it has said everything: ten seconds and no more.
    script.wait(SECOND * 5);
    script.say(two, &keepalive());
    script.say(three, &keepalive());
    script.wait(SECOND * 4);
    assert!(script.speaker.is_deferring() && script.learned().is_empty());
    script.wait(SECOND);
    assert!(!script.speaker.is_deferring());
    assert_eq!(script.learned(), ROUTES[..1]);
}

#[test]
fn item_098_the_last_end_of_rib_ends_the_wait_at_once() {
    let mut script = starts(true, Families::BOTH);
    script.originate(&[]);
    let connection = script.establish(2, open_of(2, 65002).and(&[graceful(0, 30, &BOTH)]));
    script.say(connection, &good_update());
    assert!(script.learned().is_empty());
    assert!(
        script.heard(connection).iter().all(|m| m.kind != UPDATE),
        "no End-of-RIB of ours either"
    );
    end_of_rib(&mut script, connection);
    assert_eq!(script.learned(), ROUTES[..1]);
}

#[test]
fn item_099_which_endings_keep_the_routes() {
    type Ending = fn(&mut Script, ConnectionId);
    let fails: Ending = |script, connection| script.lose(connection);
    let cease: Ending = |script, connection| script.say(connection, &notification(6, 4));
    let error: Ending = |script, connection| script.say(connection, &notification(3, 1));
    let hard: Ending = |script, connection| script.say(connection, &notification(6, 9));
    let silence: Ending = |script, _| script.wait(SECOND * 9);
    let ours: Ending = |script, connection| script.say(connection, &[0; 19]);
    // Without the N bit, and with it (RFC 8538).
    let rows: [(&str, Ending, bool, bool); 6] = [
        ("transport failure", fails, true, true),
        ("Cease", cease, false, true),
        ("an error", error, false, true),
        ("hard reset", hard, false, false),
        ("hold timer", silence, false, true),
        ("our NOTIFICATION", ours, false, true),
    ];
    for (name, ending, without, with) in rows {
        for (flags, kept) in [(0, without), (NOTIFYING, with)] {
            let (mut script, connection) = session(&graceful(flags, 30, &BOTH));
            ending(&mut script, connection);
            assert!(script.is_closed(connection), "{name}");
            let expected: &[&str] = if kept { &ROUTES } else { &[] };
            assert_eq!(script.learned(), expected, "{name}, flags {flags:#x}");
        }
    }
}

#[test]
fn item_100_end_of_rib_of_every_family_even_when_empty_and_without_the_capability() {
    let v4 = update(&[], &[], &[]);
    let v6 = update(&[], &[&unreach(2, &[])], &[]);
    for capabilities in [vec![], vec![graceful(0, 30, &BOTH)]] {
        let mut script = Script::new(65001);
        script.apply(vec![peer(2, 65002)]);
        let connection = script.connect(2);
        script.say(connection, &open_of(2, 65002).and(&capabilities).message());
        script.heard(connection);
        script.say(connection, &keepalive());
        let heard = script.heard(connection);
        let heard: Vec<_> = heard
            .iter()
            .map(|m| octets::message(m.kind, &m.body))
            .collect();
        assert_eq!(heard, [v4.clone(), v6.clone()]);
    }
}

#[test]
fn item_102_odd_graceful_restart_capabilities() {
    let twice = [(1, true), (1, true), (2, true), (2, true)];
    let rows: [(&str, Vec<u8>, &[&str]); 6] = [
        ("no families", graceful(0, 30, &[]), &[]),
        ("one family", graceful(0, 30, &[(1, true)]), &ROUTES[..1]),
        ("restart time 0", graceful(0, 0, &BOTH), &[]),
        ("families twice", graceful(0, 30, &twice), &ROUTES),
        (
            "an unknown family",
            octets::capability(64, &[0, 30, 0, 25, 70, 0x80]),
            &[],
        ),
        (
            "a family that is cut",
            octets::capability(64, &[0, 30, 0, 1, 1]),
            &[],
        ),
    ];
    for (name, capability, kept) in rows {
        let (mut script, connection) = session(&capability);
        script.lose(connection);
        assert_eq!(script.learned(), kept, "{name}");
    }
    // The last of several counts (RFC 4724 §3).
    let both = [graceful(0, 30, &[]), graceful(0, 30, &BOTH)].concat();
    let (mut script, connection) = session(&both);
    script.lose(connection);
    assert_eq!(script.learned(), ROUTES);
}

#[test]
fn item_103_the_kernel_hears_nothing_of_a_restart() {
    let offer = graceful(octets::RESTARTING, 30, &BOTH);
    let (mut script, mut connection) = session(&offer);
    script.speaker.learned_changes();
    let quiet = |script: &mut Script, what: &str| {
        assert_eq!(script.speaker.learned_changes(), [], "{what}");
    };
    for _ in 0..3 {
        script.lose(connection);
        quiet(&mut script, "lost");
        connection = script.establish(2, open_of(2, 65002).and(std::slice::from_ref(&offer)));
        quiet(&mut script, "back");
        announce(&mut script, connection);
        quiet(&mut script, "told again");
        end_of_rib(&mut script, connection);
        quiet(&mut script, "swept");
    }
}
