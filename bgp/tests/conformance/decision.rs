//! Items 107-109: best path, multipath and well-known communities as peers and the kernel see them (RFC 4271 §9.1, RFC 1997, 8326).
//! Each step of the decision alone, in every order of arrival: `rib::decision::tests`.

use margay_bgp::{ConnectionId, SpeakerConfig};

use crate::octets::{NEXT_HOP, ORIGIN, PATH, TEN, attribute, open_of, path, update};
use crate::script::{Script, ip, peer};

/// An external speaker with peers 2 and 3 of AS 65002 and 65003, and what each announces for 10.0.0.0/8.
fn race(first: &[&[u8]], second: &[&[u8]], relax: bool) -> Vec<String> {
    let mut results = Vec::new();
    for order in [[2, 3], [3, 2]] {
        let mut script = Script::with(SpeakerConfig {
            multipath_relax: relax,
            ..SpeakerConfig::new(margay_bgp::Asn(65001), [192, 0, 2, 1].into())
        });
        script.apply(vec![peer(2, 65002), peer(3, 65003)]);
        let two = script.establish(2, open_of(2, 65002));
        let three = script.establish(3, open_of(3, 65003));
        for number in order {
            let (connection, attributes) = if number == 2 {
                (two, first)
            } else {
                (three, second)
            };
            script.say(connection, &update(&[], attributes, TEN));
        }
        results.push(script.learned());
    }
    assert_eq!(results[0], results[1], "the order of arrival decides");
    results.remove(0)
}

fn next_hop(number: u8) -> Vec<u8> {
    attribute(0x40, 3, &[192, 0, 2, number])
}

const TWO: [&str; 1] = ["10.0.0.0/8 via 192.0.2.2"];
const THREE: [&str; 1] = ["10.0.0.0/8 via 192.0.2.3"];

#[test]
fn item_107_steps_of_the_decision_in_octets() {
    let (via_two, via_three) = (next_hop(2), next_hop(3));
    let three = path(&[65003]);
    let egp = attribute(0x40, 1, &[1]);
    let med = |value: u8| attribute(0x80, 4, &[0, 0, 0, value]);
    // AS path length, whatever comes later in the order.
    let long = path(&[65002, 65009]);
    assert_eq!(
        race(
            &[ORIGIN, &long, &via_two],
            &[&egp, &three, &via_three],
            true
        ),
        THREE
    );
    // ORIGIN.
    assert_eq!(
        race(
            &[&egp, PATH, &via_two],
            &[ORIGIN, &three, &via_three, &med(9)],
            true
        ),
        THREE
    );
    // MED does not compare between neighbour ASes: both are used, or the lower router id.
    let both = ["10.0.0.0/8 via 192.0.2.2, 192.0.2.3"];
    assert_eq!(
        race(
            &[ORIGIN, PATH, &via_two, &med(9)],
            &[ORIGIN, &three, &via_three],
            true
        ),
        both
    );
    assert_eq!(
        race(
            &[ORIGIN, PATH, &via_two, &med(9)],
            &[ORIGIN, &three, &via_three],
            false
        ),
        TWO
    );
}

/// Peers 2 and 3 of the same AS, external or ours, and what each announces.
fn siblings(own_as: u32, first: &[&[u8]], second: &[&[u8]]) -> Vec<String> {
    let mut script = Script::new(own_as);
    script.apply(vec![peer(2, 65002), peer(3, 65002)]);
    let two = script.establish(2, open_of(2, 65002));
    let three = script.establish(3, open_of(3, 65002));
    script.say(two, &update(&[], first, TEN));
    script.say(three, &update(&[], second, TEN));
    script.learned()
}

#[test]
fn item_107_med_within_one_neighbour_as_and_a_missing_one_is_0() {
    let (via_two, via_three) = (next_hop(2), next_hop(3));
    let med = |value: u8| attribute(0x80, 4, &[0, 0, 0, value]);
    assert_eq!(
        siblings(
            65001,
            &[ORIGIN, PATH, &via_two, &med(2)],
            &[ORIGIN, PATH, &via_three, &med(1)]
        ),
        THREE
    );
    assert_eq!(
        siblings(
            65001,
            &[ORIGIN, PATH, &via_two, &med(1)],
            &[ORIGIN, PATH, &via_three]
        ),
        THREE
    );
    assert_eq!(
        siblings(
            65001,
            &[ORIGIN, PATH, &via_two, &med(0)],
            &[ORIGIN, PATH, &via_three]
        )
        .len(),
        1
    );
}

#[test]
fn item_107_local_preference_originator_and_cluster_list_of_internal_peers() {
    let (via_two, via_three) = (next_hop(2), next_hop(3));
    let empty = attribute(0x40, 2, &[]);
    let preference = |value: u8| attribute(0x40, 5, &[0, 0, 0, value]);
    let shortest = siblings(
        65002,
        &[ORIGIN, &empty, &via_two, &preference(100)],
        &[ORIGIN, &path(&[65009]), &via_three, &preference(101)],
    );
    assert_eq!(shortest, THREE, "before path length");
    // Multipath shares up to the metric; what peers are told is decided by the originator, then the cluster list.
    let mut script = Script::with(SpeakerConfig {
        maximum_paths: 1,
        ..SpeakerConfig::new(margay_bgp::Asn(65002), [192, 0, 2, 1].into())
    });
    script.apply(vec![peer(2, 65002), peer(3, 65002)]);
    let two = script.establish(2, open_of(2, 65002));
    let three = script.establish(3, open_of(3, 65002));
    let originator = |last: u8| attribute(0x80, 9, &[1, 1, 1, last]);
    script.say(
        two,
        &update(&[], &[ORIGIN, &empty, &via_two, &originator(9)], TEN),
    );
    script.say(
        three,
        &update(&[], &[ORIGIN, &empty, &via_three, &originator(8)], TEN),
    );
    assert_eq!(script.learned(), THREE, "lower originator");
    let clusters = attribute(0x80, 10, &[2, 2, 2, 2]);
    script.say(
        three,
        &update(
            &[],
            &[ORIGIN, &empty, &via_three, &originator(9), &clusters],
            TEN,
        ),
    );
    assert_eq!(script.learned(), TWO, "shorter cluster list");
}

#[test]
fn item_107_external_over_internal_and_the_nearer_next_hop() {
    let (via_two, via_three) = (next_hop(2), next_hop(3));
    let mut script = Script::new(65002);
    script.apply(vec![peer(2, 65002), peer(3, 65003)]);
    let two = script.establish(2, open_of(2, 65002));
    let three = script.establish(3, open_of(3, 65003));
    script.say(two, &update(&[], &[ORIGIN, &path(&[65003]), &via_two], TEN));
    script.say(
        three,
        &update(&[], &[ORIGIN, &path(&[65003]), &via_three], TEN),
    );
    assert_eq!(script.learned(), THREE, "external");
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002), peer(3, 65002)]);
    for (number, hop) in [(2, &via_two), (3, &via_three)] {
        let connection = script.establish(number, open_of(number, 65002));
        script.say(connection, &update(&[], &[ORIGIN, PATH, hop], TEN));
    }
    script
        .speaker
        .set_next_hops([(ip("192.0.2.2"), Some(20)), (ip("192.0.2.3"), Some(10))].into());
    assert_eq!(script.learned(), THREE, "nearer");
}

#[test]
fn item_108_equal_paths_are_used_together_up_to_the_bound() {
    let announce = |script: &mut Script| {
        for (number, asn) in [(2, 65002), (3, 65003), (4, 65004)] {
            let connection = script.establish(number, open_of(number, asn));
            script.say(
                connection,
                &update(&[], &[ORIGIN, &path(&[asn]), &next_hop(number)], TEN),
            );
        }
    };
    for (maximum_paths, relax, expected) in [
        (64, true, "10.0.0.0/8 via 192.0.2.2, 192.0.2.3, 192.0.2.4"),
        (2, true, "10.0.0.0/8 via 192.0.2.2, 192.0.2.3"),
        (64, false, "10.0.0.0/8 via 192.0.2.2"),
        (1, true, "10.0.0.0/8 via 192.0.2.2"),
    ] {
        let mut script = Script::with(SpeakerConfig {
            maximum_paths,
            multipath_relax: relax,
            ..SpeakerConfig::new(margay_bgp::Asn(65001), [192, 0, 2, 1].into())
        });
        script.apply(vec![peer(2, 65002), peer(3, 65003), peer(4, 65004)]);
        announce(&mut script);
        assert_eq!(
            script.learned(),
            [expected],
            "{maximum_paths} paths, relaxed: {relax}"
        );
    }
}

/// Whether an external and an internal peer are told of 10.0.0.0/8 when it carries these communities.
fn told(communities: &[[u8; 4]]) -> (bool, bool) {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002), peer(3, 65003), peer(4, 65001)]);
    let from = script.establish(2, open_of(2, 65002));
    let external = script.establish(3, open_of(3, 65003));
    let internal = script.establish(4, open_of(4, 65001));
    let carried = attribute(0xc0, 8, &communities.concat());
    let attributes: [&[u8]; 4] = [
        ORIGIN,
        PATH,
        NEXT_HOP,
        if communities.is_empty() {
            &[]
        } else {
            &carried
        },
    ];
    script.say(from, &update(&[], &attributes, TEN));
    assert_eq!(script.learned(), TWO, "the kernel has it in any case");
    let mut heard = |connection: ConnectionId| !script.heard(connection).is_empty();
    (heard(external), heard(internal))
}

#[test]
fn item_109_well_known_communities() {
    assert_eq!(told(&[]), (true, true));
    assert_eq!(told(&[[0xff, 0xff, 0xff, 1]]), (false, true), "NO_EXPORT");
    assert_eq!(
        told(&[[0xff, 0xff, 0xff, 2]]),
        (false, false),
        "NO_ADVERTISE"
    );
    assert_eq!(
        told(&[[0xff, 0xff, 0xff, 3]]),
        (false, true),
        "NO_EXPORT_SUBCONFED"
    );
    assert_eq!(
        told(&[[0, 1, 0, 2], [0xff, 0xff, 0xff, 2]]),
        (false, false),
        "among others"
    );
    // BLACKHOLE means nothing unless a policy says so (RFC 7999).
    assert_eq!(told(&[[0xff, 0xff, 2, 0x9a]]), (true, true), "BLACKHOLE");
}
