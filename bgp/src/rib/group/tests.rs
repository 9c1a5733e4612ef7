use std::net::IpAddr;

use super::*;
use crate::config::LocalAddresses;
use crate::family::{Asn, Families};
use crate::policy::{Facing, Policy};
use crate::wire::{
    Context, Encoding, Framer, Kind, NextHop, Refresh, Update, decode_route_refresh,
};

fn group() -> Group {
    Group::new(ExportKey {
        external: true,
        local_as: Asn(65001),
        encoding: Encoding {
            four_octet_as: true,
            extended_messages: false,
        },
        families: Families::BOTH,
        next_hops: LocalAddresses::default(),
        next_hop_self: false,
        policy: Policy::accept_all().facing(&Facing {
            link: None,
            peer: [192, 0, 2, 1].into(),
            remote_as: Asn(65002),
            external: true,
        }),
    })
}

fn attributes(med: u32) -> Arc<Attributes> {
    let next_hop = Some(NextHop::from(IpAddr::from([192, 0, 2, 1])));
    Arc::new(Attributes {
        med: Some(med),
        next_hop,
        ..Attributes::default()
    })
}

fn prefix(number: u32) -> IpNetwork {
    IpNetwork::new(
        IpAddr::from((0x0a00_0000 + (number << 8)).to_be_bytes()),
        24,
    )
    .unwrap()
}

/// What a peer hears: `+` announced, `-` withdrawn, `.` End-of-RIB, `<` and `>` a refresh's beginning and end; and in how many messages.
fn hear(group: &mut Group, peer: PeerId) -> (Vec<String>, usize) {
    let context = Context {
        four_octet_as: true,
        external: false,
        families: Families::BOTH,
    };
    let (mut heard, mut messages) = (Vec::new(), 0);
    while let Some(octets) = group.next_octets(peer) {
        let mut framer = Framer::default();
        framer.push(&octets);
        while let Some(frame) = framer.next_frame().unwrap() {
            messages += 1;
            if frame.kind == Kind::RouteRefresh {
                let (family, marker) = decode_route_refresh(frame.body).unwrap().unwrap();
                let end = if marker == Refresh::End { '>' } else { '<' };
                heard.push(format!("{end}{family}"));
                continue;
            }
            let update = Update::decode(frame.body, &context).unwrap();
            heard.extend(
                update
                    .withdrawn
                    .iter()
                    .map(|nlri| format!("-{}", nlri.prefix)),
            );
            let announced = update
                .announced
                .iter()
                .flat_map(|announcement| &announcement.prefixes);
            heard.extend(announced.map(|nlri| format!("+{}", nlri.prefix)));
            heard.extend(update.end_of_rib.map(|_| ".".to_owned()));
        }
    }
    (heard, messages)
}

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

#[test]
fn changes_are_packed_by_attributes_and_members_in_step_share_octets() {
    let mut group = group();
    group.join(A, true, &[]);
    group.join(B, true, &[]);
    let (one, two) = (attributes(1), attributes(2));
    for number in 0..100 {
        let set = if number % 2 == 0 { &one } else { &two };
        group.set(prefix(number), Some(Arc::clone(set)), Source::Local);
    }
    let (first, second) = (group.next_octets(A).unwrap(), group.next_octets(B).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(hear(&mut group, A), (vec![".".into(), ".".into()], 2));
    let mut late = self::group();
    late.join(A, false, &[]);
    (0..100).for_each(|number| late.set(prefix(number), Some(Arc::clone(&one)), Source::Local));
    assert_eq!(hear(&mut late, A).1, 1);
}

#[test]
fn a_late_joiner_hears_what_is_and_not_what_was() {
    let mut group = group();
    group.join(A, false, &[]);
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.set(prefix(2), Some(attributes(1)), Source::Local);
    assert_eq!(hear(&mut group, A).0.len(), 2);
    group.set(prefix(1), None, Source::Local);
    group.join(B, true, &[]);
    assert_eq!(hear(&mut group, B).0, ["+10.0.2.0/24", ".", "."]);
    assert_eq!(hear(&mut group, A).0, ["-10.0.1.0/24"]);
    // Everybody has heard of it, so it is forgotten.
    assert_eq!((group.entries.len(), group.log.len()), (1, 1));
}

#[test]
fn a_slow_member_hears_only_the_latest_state() {
    let mut group = group();
    group.join(A, false, &[]);
    for med in 0..1000 {
        group.set(prefix(1), Some(attributes(med)), Source::Local);
        group.set(prefix(2), Some(attributes(med)), Source::Local);
        group.set(prefix(2), None, Source::Local);
    }
    assert_eq!(group.log.len(), 2);
    assert_eq!(hear(&mut group, A).0, ["+10.0.1.0/24"]);
}

#[test]
fn a_member_does_not_hear_its_own_routes() {
    let mut group = group();
    group.join(A, false, &[]);
    group.join(B, false, &[]);
    let set = attributes(1);
    group.set(prefix(1), Some(Arc::clone(&set)), Source::Peer(B));
    assert_eq!(hear(&mut group, A).0, ["+10.0.1.0/24"]);
    assert!(hear(&mut group, B).0.is_empty());
    // The same attributes from another source are news for the old one.
    group.set(prefix(1), Some(set), Source::Peer(A));
    assert_eq!(hear(&mut group, A).0, ["-10.0.1.0/24"]);
    assert_eq!(hear(&mut group, B).0, ["+10.0.1.0/24"]);
}

#[test]
fn who_moves_here_hears_withdrawn_what_is_not_told_here() {
    let mut group = group();
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.join(A, false, &[prefix(1), prefix(2)]);
    assert_eq!(hear(&mut group, A).0, ["-10.0.2.0/24", "+10.0.1.0/24"]);
}

#[test]
fn attributes_that_fit_no_message_withdraw() {
    let mut group = group();
    group.join(A, false, &[]);
    let mut long = Attributes::clone(&attributes(1));
    long.cluster_list = vec![[1, 1, 1, 1].into(); 2000];
    group.set(prefix(1), Some(Arc::new(long)), Source::Local);
    assert_eq!(hear(&mut group, A).0, ["-10.0.1.0/24"]);
}

#[test]
fn who_joins_when_the_last_change_was_a_withdrawal_is_told_and_done() {
    let mut group = group();
    group.join(A, false, &[]);
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.set(prefix(2), Some(attributes(1)), Source::Local);
    group.set(prefix(2), None, Source::Local);
    assert_eq!(hear(&mut group, A).0, ["+10.0.1.0/24"]);
    group.join(B, true, &[]);
    assert_eq!(hear(&mut group, B).0, ["+10.0.1.0/24", ".", "."]);
    group.set(prefix(1), None, Source::Local);
    assert_eq!(hear(&mut group, A).0, ["-10.0.1.0/24"]);
    assert_eq!(hear(&mut group, B).0, ["-10.0.1.0/24"]);
    group.join(PeerId(3), true, &[]);
    assert_eq!(hear(&mut group, PeerId(3)).0, [".", "."]);
}

#[test]
fn a_refresh_has_a_beginning_and_an_end_after_end_of_rib() {
    let mut group = group();
    group.join(A, true, &[]);
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.owe(A, Owed::refresh(Family::Ipv4Unicast, true));
    let (begin, end) = ("<ipv4-unicast", ">ipv4-unicast");
    assert_eq!(
        hear(&mut group, A).0,
        ["+10.0.1.0/24", ".", ".", begin, "+10.0.1.0/24", end]
    );
    group.owe(A, Owed::refresh(Family::Ipv6Unicast, false));
    assert_eq!(hear(&mut group, A).0, ["+10.0.1.0/24"]);
}

#[test]
fn what_is_withdrawn_while_a_refresh_waits_is_heard() {
    let mut group = group();
    group.join(A, false, &[]);
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.set(prefix(2), Some(attributes(2)), Source::Local);
    hear(&mut group, A);
    group.owe(A, Owed::refresh(Family::Ipv6Unicast, true));
    // The beginning fills the window; before there is room again a route goes.
    group.next_octets(A).unwrap();
    group.set(prefix(2), None, Source::Local);
    let heard = hear(&mut group, A).0;
    assert_eq!(heard.last().unwrap(), ">ipv6-unicast");
    assert_eq!(heard[heard.len() - 2], "-10.0.2.0/24");
}

#[test]
fn who_moves_here_also_hears_what_goes_before_its_turn() {
    let mut group = group();
    group.set(prefix(1), Some(attributes(1)), Source::Local);
    group.join(A, false, &[prefix(1)]);
    group.set(prefix(1), None, Source::Local);
    assert_eq!(hear(&mut group, A).0, ["+10.0.1.0/24", "-10.0.1.0/24"]);
}

#[test]
fn what_is_owed_goes_along_to_another_group() {
    let mut old = group();
    old.join(A, true, &[]);
    old.set(prefix(1), Some(attributes(1)), Source::Local);
    old.owe(A, Owed::refresh(Family::Ipv4Unicast, true));
    let owed = old.owed(A).unwrap();
    let mut new = group();
    new.join(A, false, &old.leave(A));
    new.owe(A, owed);
    assert_eq!(
        hear(&mut new, A).0,
        ["-10.0.1.0/24", ".", ".", "<ipv4-unicast", ">ipv4-unicast"]
    );
}
