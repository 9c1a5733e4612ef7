//! What a person who listens hears, and that nobody else pays for it.

use super::*;
use crate::{Heard, Told};

fn changes(net: &mut Net) -> (Vec<(String, String)>, u64) {
    let (heard, missed) = net.nodes[1].speaker.heard();
    let text = |heard: Heard| {
        assert_eq!(heard.peer, ip("192.0.2.1"));
        let what = match heard.change {
            Told::Withdrawn => "withdrawn".to_owned(),
            Told::Announced { refused, .. } => refused.unwrap_or_else(|| "announced".to_owned()),
        };
        (heard.prefix.to_string(), what)
    };
    (heard.into_iter().map(text).collect(), missed)
}

fn of(prefix: &str, what: &str) -> (String, String) {
    (prefix.to_owned(), what.to_owned())
}

/// Two nodes with a session, and what the first announces.
fn announcing(prefixes: &[&str]) -> Net {
    let mut net = pair(65001, 65002);
    net.originate(0, prefixes);
    net.advance(SECOND * 5);
    assert!(net.all_up());
    net
}

fn announce(net: &mut Net, prefixes: &[&str]) {
    net.originate(0, prefixes);
    net.settle();
}

#[test]
fn changes_are_heard_while_somebody_listens() {
    let mut net = announcing(&["10.1.0.0/16"]);
    assert_eq!(changes(&mut net), (vec![], 0));
    net.nodes[1].speaker.listen(16);
    announce(&mut net, &["10.1.0.0/16", "fd00:1::/64"]);
    assert_eq!(changes(&mut net), (vec![of("fd00:1::/64", "announced")], 0));
    let refuse = PeerConfig {
        import: Policy::reject_all(),
        ..peer(2, 1, 65001)
    };
    net.apply(1, vec![refuse]);
    net.settle();
    announce(&mut net, &["10.2.0.0/16", "fd00:1::/64"]);
    let (mut heard, missed) = changes(&mut net);
    heard.sort();
    assert_eq!(
        (heard, missed),
        (
            vec![
                of("10.1.0.0/16", "withdrawn"),
                of("10.2.0.0/16", "rejected by import policy")
            ],
            0
        )
    );
    net.nodes[1].speaker.listen(0);
    announce(&mut net, &[]);
    assert_eq!(changes(&mut net), (vec![], 0));
}

#[test]
fn a_listener_that_does_not_come_misses_the_oldest_and_is_told_how_many() {
    let mut net = announcing(&[]);
    net.nodes[1].speaker.listen(2);
    for prefix in ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"] {
        announce(&mut net, &[prefix]);
    }
    let (heard, missed) = changes(&mut net);
    // Announced thrice, withdrawn twice.
    assert_eq!((heard.len(), missed), (2, 3));
    assert!(heard.contains(&of("10.3.0.0/16", "announced")), "{heard:?}");
    assert_eq!(changes(&mut net), (vec![], 0));
}
