use super::*;

fn community(text: &str) -> AnyCommunity {
    text.parse().unwrap()
}

fn pattern(text: &str) -> CommunityPattern {
    text.parse().unwrap()
}

fn carrying(texts: &[&str]) -> Attributes {
    let mut attributes = Attributes::default();
    texts
        .iter()
        .for_each(|text| community(text).add(&mut attributes));
    attributes
}

#[test]
fn notations_are_those_of_the_rfcs() {
    for (text, value) in [
        ("65000:100", AnyCommunity::Standard(Community(0xfde8_0064))),
        ("no-export", AnyCommunity::Standard(Community::NO_EXPORT)),
        (
            "4200000001:1:2",
            AnyCommunity::Large(LargeCommunity(4_200_000_001, 1, 2)),
        ),
        // RFC 4360 §3.1 and §3.2, RFC 5668 §2.
        (
            "rt:65000:100",
            AnyCommunity::Extended([0, 2, 0xfd, 0xe8, 0, 0, 0, 100]),
        ),
        (
            "soo:10.0.0.1:7",
            AnyCommunity::Extended([1, 3, 10, 0, 0, 1, 0, 7]),
        ),
        (
            "rt:70000:7",
            AnyCommunity::Extended([2, 2, 0, 1, 0x11, 0x70, 0, 7]),
        ),
        (
            "0x4306000102030405",
            AnyCommunity::Extended([0x43, 6, 0, 1, 2, 3, 4, 5]),
        ),
    ] {
        assert_eq!(community(text), value, "{text}");
        assert_eq!(value.to_string(), text);
    }
}

#[test]
fn what_is_no_community_is_refused() {
    for text in [
        "",
        "65000",
        "65536:1",
        "1:65536",
        "-1:1",
        "+1:1",
        "a:b",
        "1:2:3:4",
        "1:2:4294967296",
        "rt:65000",
        "rt:65000:4294967296",
        "rt:70000:65536",
        "rt:10.0.0.1:65536",
        "rt:*:1",
        "0x12",
        "0x123456789abcdefg",
        "NO-EXPORT",
    ] {
        assert!(text.parse::<CommunityPattern>().is_err(), "{text}");
    }
    assert!("65000:*".parse::<AnyCommunity>().is_err());
}

#[test]
fn a_star_is_any_number() {
    let route = carrying(&["65000:100", "1:2:3", "rt:65000:9", "rt:70000:7"]);
    for (text, expected) in [
        ("65000:*", true),
        ("*:100", true),
        ("*:*", true),
        ("65001:*", false),
        ("1:*:3", true),
        ("1:*:4", false),
        ("rt:65000:*", true),
        ("soo:65000:*", false),
        ("rt:70000:*", true),
        ("rt:70001:*", false),
    ] {
        assert_eq!(pattern(text).is_on(&route), expected, "{text}");
    }
    // The other kinds are not meant, whatever their bits.
    assert!(!pattern("*:*:*").is_on(&carrying(&["0:3"])));
    assert!(!pattern("*:*").is_on(&carrying(&["0:0:3"])));
}

#[test]
fn communities_are_added_removed_and_replaced() {
    let mut route = carrying(&["65000:1", "65000:2", "1:2:3", "rt:65000:9"]);
    let apply = |change: CommunityChange, route: &mut Attributes| {
        Change::Communities(change).apply(route, true, &hand());
    };
    apply(
        CommunityChange::Add(vec![community("65000:1"), community("65000:3")]),
        &mut route,
    );
    assert_eq!(
        route,
        carrying(&["65000:1", "65000:2", "65000:3", "1:2:3", "rt:65000:9"])
    );
    apply(
        CommunityChange::Remove(vec![pattern("65000:*"), pattern("rt:65000:9")]),
        &mut route,
    );
    assert_eq!(route, carrying(&["1:2:3"]));
    apply(
        CommunityChange::Replace(vec![community("no-export")]),
        &mut route,
    );
    assert_eq!(route, carrying(&["no-export"]));
}

fn any_community() -> impl Strategy<Value = AnyCommunity> {
    prop_oneof![
        any::<u32>().prop_map(|value| AnyCommunity::Standard(Community(value))),
        any::<(u32, u32, u32)>().prop_map(|(a, b, c)| AnyCommunity::Large(LargeCommunity(a, b, c))),
        any::<[u8; 8]>().prop_map(AnyCommunity::Extended),
        (0..3_u8, 2..4_u8, any::<[u8; 6]>()).prop_map(|(kind, subtype, [a, b, c, d, e, f])| {
            AnyCommunity::Extended([kind, subtype, a, b, c, d, e, f])
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_shown_can_be_typed(value in any_community()) {
        prop_assert_eq!(value.to_string().parse::<AnyCommunity>(), Ok(value));
    }

    /// Of a set of communities the order of adding does not matter to any condition, and removing takes off exactly what the pattern names.
    #[test]
    fn adding_and_removing_are_set_operations(
        values in prop::collection::vec(any_community(), 0..12),
        removed in prop::collection::vec(any_community(), 0..4),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let mut rotated = values.clone();
        if !rotated.is_empty() {
            let by = shuffled.index(rotated.len());
            rotated.rotate_left(by);
        }
        let build = |values: &[AnyCommunity]| {
            let mut attributes = Attributes::default();
            values.iter().for_each(|value| value.add(&mut attributes));
            removed.iter().for_each(|value| CommunityPattern::from(*value).remove(&mut attributes));
            attributes
        };
        let (one, other) = (build(&values), build(&rotated));
        for value in &values {
            let expected = !removed.contains(value);
            prop_assert_eq!(CommunityPattern::from(*value).is_on(&one), expected);
            prop_assert_eq!(CommunityPattern::from(*value).is_on(&other), expected);
        }
    }
}
