//! Items 7-21: OPEN (RFC 4271 §4.2, §6.2; RFC 5492, 6286, 6793, 7607, 9072).

use margay_bgp::{Families, PeerConfig, State};

use crate::octets::{
    KEEPALIVE, NEXT_HOP, OPEN, ORIGIN, OpenFields, TEN, attribute, capability, family, four_octets,
    keepalive, message, open_of, parameter, update,
};
use crate::script::{End, SECOND, Script, peer};

/// What the speaker of AS 65001 says to this OPEN of the peer that is configured as AS 65002.
fn answer(open: &OpenFields) -> End {
    answer_of(65001, peer(2, 65002), &open.message())
}

fn answer_of(own_as: u32, config: PeerConfig, open: &[u8]) -> End {
    let mut script = Script::new(own_as);
    script.apply(vec![config]);
    let connection = script.connect(2);
    script.say(connection, open);
    let end = script.end(connection);
    let state = script.status().state;
    assert_eq!(
        end == End::Open,
        state == State::OpenConfirm,
        "{state} {end:?}"
    );
    end
}

fn usual() -> OpenFields {
    open_of(2, 65002)
}

/// The usual OPEN with these optional parameters instead.
fn with_parameters(parameters: &[u8]) -> OpenFields {
    OpenFields {
        parameters: parameters.to_vec(),
        ..usual()
    }
}

#[test]
fn item_007_versions_other_than_four() {
    for version in [0, 3, 5] {
        let open = OpenFields { version, ..usual() };
        assert_eq!(answer(&open), End::Notified(2, 1, vec![0, 4]), "{version}");
    }
}

#[test]
fn item_008_an_as_that_is_not_configured() {
    assert_eq!(answer(&open_of(2, 65003)), End::notified(2, 2));
    assert_eq!(answer(&open_of(2, 4_200_000_000)), End::notified(2, 2));
    assert_eq!(answer(&usual()), End::Open);
}

#[test]
fn item_009_as_0() {
    assert_eq!(
        answer(&OpenFields { asn: 0, ..usual() }),
        End::notified(2, 2)
    );
    let open = with_parameters(&parameter(&[family(1), four_octets(0)]));
    assert_eq!(answer(&open), End::notified(2, 2));
}

#[test]
fn item_010_a_capability_65_of_another_as() {
    let open = with_parameters(&parameter(&[family(1), four_octets(65003)]));
    assert_eq!(answer(&open), End::notified(2, 2));
}

#[test]
fn item_011_as_trans_stands_for_a_capability_only() {
    let config = peer(2, 4_200_000_000);
    let open = open_of(2, 4_200_000_000);
    assert_eq!(open.asn, 23456);
    assert_eq!(answer_of(65001, config.clone(), &open.message()), End::Open);
    let bare = OpenFields {
        parameters: parameter(&[family(1)]),
        ..open
    };
    assert_eq!(
        answer_of(65001, config, &bare.message()),
        End::notified(2, 2)
    );
}

#[test]
fn item_012_identifiers_that_are_none_or_ours() {
    let zero = OpenFields {
        id: [0; 4],
        ..usual()
    };
    assert_eq!(answer(&zero), End::notified(2, 3));
    let ours = OpenFields {
        id: [192, 0, 2, 1],
        ..usual()
    };
    assert_eq!(answer(&ours), End::Open, "external: RFC 6286");
    assert_eq!(
        answer_of(65002, peer(2, 65002), &ours.message()),
        End::notified(2, 3)
    );
}

#[test]
fn item_013_hold_times() {
    for hold_time in [1, 2] {
        let open = OpenFields {
            hold_time,
            ..usual()
        };
        assert_eq!(answer(&open), End::notified(2, 6));
    }
    for hold_time in [0, 3, u16::MAX] {
        assert_eq!(
            answer(&OpenFields {
                hold_time,
                ..usual()
            }),
            End::Open
        );
    }
}

#[test]
fn item_013_no_hold_time_means_no_keepalives_and_no_expiry() {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let open = OpenFields {
        hold_time: 0,
        ..usual()
    };
    let connection = script.establish(2, open);
    script.wait(SECOND * 100_000);
    assert_eq!(
        script
            .heard(connection)
            .iter()
            .filter(|m| m.kind == KEEPALIVE)
            .count(),
        0
    );
    assert_eq!(script.status().state, State::Established);
}

#[test]
fn item_014_the_smaller_hold_time_counts_and_keepalives_come_in_time() {
    for (ours, theirs, agreed) in [(9, 90, 9), (90, 9, 9), (30, 30, 30)] {
        let mut script = Script::new(65001);
        script.apply(vec![PeerConfig {
            hold_time: ours,
            ..peer(2, 65002)
        }]);
        let connection = script.establish(
            2,
            OpenFields {
                hold_time: theirs,
                ..usual()
            },
        );
        assert_eq!(script.status().hold_time_seconds, agreed);
        // RFC 4271 §10: a third of the hold time, less up to a quarter of it.
        let third = SECOND * agreed as u32 / 3;
        let (mut last, mut pauses) = (script.now, Vec::new());
        while pauses.len() < 20 {
            script.now = script.speaker.poll_timeout().unwrap();
            script.speaker.handle_timeout(script.now);
            script.settle();
            if !script.heard(connection).is_empty() {
                pauses.push(script.now - last);
                last = script.now;
                script.say(connection, &keepalive());
            }
        }
        assert!(
            pauses
                .iter()
                .all(|pause| *pause <= third && *pause >= third * 3 / 4),
            "{pauses:?}"
        );
        assert!(
            pauses.iter().any(|pause| *pause != pauses[0]),
            "no jitter: {pauses:?}"
        );
        assert_eq!(script.status().state, State::Established);
    }
}

#[test]
fn item_015_optional_parameters_that_nobody_knows() {
    assert_eq!(answer(&with_parameters(&[9, 0])), End::notified(2, 4));
    assert_eq!(answer(&with_parameters(&[9, 2, 1, 1])), End::notified(2, 4));
    assert_eq!(
        answer(&with_parameters(&[1, 1, 0])),
        End::notified(2, 4),
        "authentication"
    );
}

#[test]
fn item_016_parameters_and_capabilities_that_overrun() {
    for parameters in [
        &[2, 9, 2, 0][..],
        &[2],
        &[2, 2, 65, 4],
        &[2, 1, 65],
        &[2, 3, 2, 0, 65],
    ] {
        assert_eq!(
            answer(&with_parameters(parameters)),
            End::notified(2, 0),
            "{parameters:?}"
        );
    }
    // The length of all parameters is more, and less, than what there is.
    for length in [5, 1] {
        let mut open = with_parameters(&[2, 2, 2, 0]).message();
        open[28] = length;
        assert_eq!(answer_of(65001, peer(2, 65002), &open), End::notified(2, 0));
    }
}

#[test]
fn item_017_unknown_repeated_and_scattered_capabilities() {
    let odd = [
        capability(99, &[]),
        capability(239, &[1, 2, 3]),
        capability(99, &[7; 200]),
    ];
    assert_eq!(answer(&usual().and(&odd)), End::Open);
    let repeated = [
        family(1),
        family(2),
        family(2),
        four_octets(65002),
        capability(2, &[]),
    ];
    assert_eq!(answer(&usual().and(&repeated)), End::Open);
    let scattered: Vec<_> = repeated
        .iter()
        .flat_map(|one| parameter(std::slice::from_ref(one)))
        .collect();
    assert_eq!(answer(&with_parameters(&scattered)), End::Open);
    assert_eq!(
        answer(&with_parameters(&[2, 0, 2, 0])),
        End::Open,
        "empty parameters"
    );
}

#[test]
fn item_018_without_capabilities_ipv4_with_two_octet_numbers() {
    let mut script = Script::new(4_200_000_001);
    script.apply(vec![peer(2, 65002)]);
    script.originate(&["10.1.0.0/16", "fd00:1::/64"]);
    let connection = script.connect(2);
    script.say(connection, &with_parameters(&[]).message());
    script.heard(connection);
    script.say(connection, &keepalive());
    assert_eq!(script.status().families, [margay_bgp::Family::Ipv4Unicast]);
    // ORIGIN, AS_PATH AS_TRANS in two octets, NEXT_HOP, AS4_PATH; no IPv6.
    let heard = script.heard(connection);
    let expected = update(
        &[],
        &[
            ORIGIN,
            &[0x40, 2, 4, 2, 1, 0x5b, 0xa0],
            &[0x40, 3, 4, 192, 0, 2, 1],
            &attribute(0xc0, 17, &[2, 1, 0xfa, 0x56, 0xea, 1]),
        ],
        &[16, 10, 1],
    );
    let sent = |m: &crate::script::Message| message(m.kind, &m.body);
    assert_eq!(
        heard.iter().map(sent).collect::<Vec<_>>(),
        [expected, update(&[], &[], &[])]
    );
    let two = [0x40, 2, 6, 2, 2, 0xfd, 0xea, 0x5b, 0xa0];
    let four = attribute(0xc0, 17, &[2, 1, 0xfa, 0x56, 0xea, 9]);
    script.say(
        connection,
        &update(&[], &[ORIGIN, &two, NEXT_HOP, &four], TEN),
    );
    assert_eq!(
        script
            .routes()
            .iter()
            .find(|r| r.prefix.prefix() == 8)
            .unwrap()
            .paths[0]
            .as_path,
        "65002 4200000009"
    );
}

#[test]
fn item_019_capabilities_1_and_65_of_a_wrong_length() {
    for wrong in [
        capability(1, &[0, 1, 0]),
        capability(1, &[0, 1, 0, 1, 0]),
        capability(65, &[0, 1]),
        capability(65, &[]),
    ] {
        assert_eq!(
            answer(&with_parameters(&parameter(&[wrong]))),
            End::notified(2, 0)
        );
    }
}

#[test]
fn item_020_extended_parameters_are_read_and_written() {
    let mut body = vec![4, 0xfd, 0xea, 0, 90, 192, 0, 2, 2, 255, 255, 0, 12, 2, 0, 9];
    body.extend([four_octets(65002), capability(200, &[7])].concat());
    assert_eq!(
        answer_of(65001, peer(2, 65002), &message(OPEN, &body)),
        End::Open
    );
    // Cut, and longer than the message.
    body[12] = 13;
    assert_eq!(
        answer_of(65001, peer(2, 65002), &message(OPEN, &body)),
        End::notified(2, 0)
    );
    let long = margay_bgp::wire::Capability::Unknown {
        code: 200,
        value: vec![7; 254],
    };
    let open = margay_bgp::wire::Open {
        asn: margay_bgp::Asn(65001),
        hold_time: 9,
        router_id: [192, 0, 2, 1].into(),
        capabilities: vec![long],
    };
    let written = margay_bgp::wire::encode_open(&open);
    assert_eq!(written[28..37], [255, 255, 1, 3, 2, 1, 0, 200, 254]);
}

#[test]
fn item_021_no_family_in_common() {
    let config = PeerConfig {
        families: Families {
            v4: false,
            v6: true,
        },
        ..peer(2, 65002)
    };
    let mut script = Script::new(65001);
    script.apply(vec![config]);
    let connection = script.connect(2);
    script.say(
        connection,
        &with_parameters(&parameter(&[family(1), four_octets(65002)])).message(),
    );
    assert_eq!(
        script.end(connection),
        End::Notified(2, 7, vec![1, 4, 0, 2, 0, 1])
    );
    assert_eq!(
        script.status().last_error.unwrap().reason,
        "peer speaks none of ipv6-unicast"
    );
}
