//! Which pool an address comes from.

use super::*;
use crate::pool::object;
use margay_proto::crd::IPPool;

/// Active, and changed by `edit`.
fn with(name: &str, cidr: &str, edit: impl FnOnce(&mut IPPool)) -> Pool {
    let mut object = object(name, cidr, Some(29));
    edit(&mut object);
    let mut pool = Pool::try_from(&object).unwrap();
    pool.active = true;
    pool
}

fn priority(name: &str, cidr: &str, priority: i32) -> Pool {
    with(name, cidr, |o| o.spec.priority = priority)
}

fn for_team(name: &str, cidr: &str, team: &str) -> Pool {
    let selector = format!(r#"{{"matchLabels":{{"team":"{team}"}}}}"#);
    with(name, cidr, |o| {
        o.spec.namespace_selector = Some(serde_json::from_str(&selector).unwrap());
    })
}

/// A node that owns the first usable block of each pool.
fn node(pools: &[Pool]) -> Allocator {
    let first = |p: &Pool| block(&format!("{}/29", p.cidr.network()), &p.name);
    let blocks: Vec<Block> = pools.iter().map(first).collect();
    allocator(pools, &blocks)
}

fn first(allocator: &mut Allocator, container: u8, wish: &Wish) -> String {
    let got = allocator.allocate(request(container), wish, S(0));
    addresses(got.unwrap()).join(" ")
}

fn refusal(allocator: &mut Allocator, wish: &Wish) -> String {
    let got = allocator.allocate(request(9), wish, S(0));
    got.unwrap_err().to_string()
}

const V4: &str = "margay.dev/ipv4-pools";
const V6: &str = "margay.dev/ipv6-pools";

#[test]
fn annotation_then_selector_then_priority_then_name() {
    let pools = [
        priority("a", "10.1.0.0/24", 0),
        priority("b", "10.2.0.0/24", 5),
        priority("c", "10.3.0.0/24", 5),
        for_team("red", "10.4.0.0/24", "red"),
        for_team("blue", "10.5.0.0/24", "blue"),
    ];
    let mut a = node(&pools);
    assert_eq!(
        first(&mut a, 1, &plain()),
        "10.2.0.1",
        "priority, then name"
    );
    assert_eq!(first(&mut a, 2, &named(&[])), "10.4.0.1", "selector");
    assert_eq!(first(&mut a, 3, &named(&[(V4, "a")])), "10.1.0.1");
    assert_eq!(
        first(&mut a, 4, &named(&[(V4, "c,a")])),
        "10.3.0.1",
        "as listed"
    );
    let namespace = BTreeMap::from([(V4.to_owned(), "a".to_owned())]);
    let none = BTreeMap::new();
    let of_namespace = Wish::of(("web", &none), ("default", &namespace), none.clone());
    assert_eq!(first(&mut a, 5, &of_namespace), "10.1.0.2");
    let pod = BTreeMap::from([(V4.to_owned(), "c".to_owned())]);
    let of_pod = Wish::of(("web", &pod), ("default", &namespace), none);
    assert_eq!(first(&mut a, 6, &of_pod), "10.3.0.2", "the pod goes first");
}

#[test]
fn an_annotation_for_one_family_leaves_the_other_alone() {
    let pools = [
        priority("a", "10.1.0.0/24", 0),
        priority("b", "10.2.0.0/24", 0),
        pool("six", "fd00::/120", 125),
    ];
    let mut a = allocator(
        &pools,
        &[
            block("10.1.0.8/29", "a"),
            block("10.2.0.8/29", "b"),
            block("fd00::8/125", "six"),
        ],
    );
    assert_eq!(first(&mut a, 1, &named(&[(V4, "b")])), "10.2.0.8 fd00::8");
    assert_eq!(first(&mut a, 2, &named(&[(V6, "six")])), "10.1.0.8 fd00::9");
}

#[test]
fn a_better_rank_is_claimed_from_before_a_worse_one_is_used() {
    let pools = [
        priority("a", "10.1.0.0/24", 0),
        priority("b", "10.2.0.0/24", 5),
    ];
    let mut a = allocator(&pools, &[block("10.1.0.0/29", "a")]);
    let Err(Refusal::NeedBlock(need)) = a.allocate(request(1), &plain(), S(0)).cloned() else {
        panic!("pool b goes first");
    };
    assert_eq!(need.pools[0].name, "b");
    a.set_exhausted(["b".to_owned()], S(0));
    assert_eq!(first(&mut a, 1, &plain()), "10.1.0.1", "when it has none");
    // Of equal ones a free address goes first.
    let equal = [
        priority("a", "10.1.0.0/24", 0),
        priority("b", "10.2.0.0/24", 0),
    ];
    let mut a = allocator(&equal, &[block("10.2.0.0/29", "b")]);
    assert_eq!(first(&mut a, 1, &plain()), "10.2.0.1");
}

#[test]
fn an_annotation_is_never_answered_from_another_pool() {
    let pools = [pool("a", "10.1.0.0/29", 29), pool("b", "10.2.0.0/24", 29)];
    let mut a = node(&pools);
    let wish = named(&[(V4, "a")]);
    for container in 1..=6 {
        assert!(first(&mut a, container, &wish).starts_with("10.1.0."));
    }
    a.set_exhausted(["a".to_owned()], S(0));
    assert_eq!(
        refusal(&mut a, &wish),
        "no free IPv4 address: pool a has no free block; enlarge its cidr or add a pool to the annotation (pod default/web: annotation margay.dev/ipv4-pools is `a`)"
    );
}

#[test]
fn a_wrong_annotation_is_refused_with_object_field_value_and_remedy() {
    let mut disabled = pool("off", "10.6.0.0/24", 29);
    disabled.disabled = true;
    let mut inactive = pool("new", "10.7.0.0/24", 29);
    inactive.active = false;
    let elsewhere = with("rack2", "10.8.0.0/24", |o| {
        let selector = r#"{"matchLabels":{"rack":"2"}}"#;
        o.spec.node_selector = Some(serde_json::from_str(selector).unwrap());
    });
    let pools = [
        pool("a", "10.1.0.0/24", 29),
        pool("six", "fd00::/120", 125),
        for_team("blue", "10.5.0.0/24", "blue"),
        disabled,
        inactive,
        elsewhere,
    ];
    let mut a = node(&pools[..1]);
    a.set_pools(pools, &BTreeMap::new());
    for (value, why) in [
        (
            "gone",
            "there is no IPPool gone; `kubectl get ippools` lists them",
        ),
        ("a,gone", "there is no IPPool gone"),
        (
            "six",
            "IPPool six is of IPv6; name it in margay.dev/ipv6-pools",
        ),
        (
            "off",
            "IPPool off is disabled; set its spec.disabled to false",
        ),
        (
            "new",
            "IPPool new is not active; its condition Active says why",
        ),
        (
            "rack2",
            "the spec.nodeSelector of IPPool rack2 does not select this node",
        ),
        (
            "blue",
            "the spec.namespaceSelector of IPPool blue does not select namespace default",
        ),
        (
            " ",
            "it names no IPPool; give names separated by commas, or remove it",
        ),
    ] {
        let text = refusal(&mut a, &named(&[(V4, value)]));
        let object = format!("pod default/web: annotation {V4} is `{value}`: ");
        assert!(text.starts_with(&format!("{object}{why}")), "{text}");
    }
    let both = named(&[(V4, "rack2,a"), (V6, "six")]);
    a.add_block(block("fd00::8/125", "six"));
    assert_eq!(
        first(&mut a, 1, &both),
        "10.1.0.1 fd00::8",
        "another name serves"
    );
}

#[test]
fn a_namespace_that_no_pool_is_for_is_told_so() {
    let mut a = node(&[for_team("blue", "10.5.0.0/24", "blue")]);
    assert_eq!(a.families(&named(&[])), []);
    assert_eq!(
        refusal(&mut a, &named(&[])),
        "no active pool selects this node and namespace default; see `kubectl get ippools`"
    );
}

#[test]
fn blocks_of_special_pools_are_claimed_when_asked_for_and_given_back_when_idle() {
    let pools = [
        priority("a", "10.1.0.0/24", 0),
        priority("low", "10.2.0.0/24", -1),
        for_team("red", "10.4.0.0/24", "red"),
    ];
    let mut a = allocator(&pools, &[]);
    let wanted = |a: &mut Allocator| a.wants_block(S(0)).map(|r| r.pools[0].name.clone());
    assert_eq!(wanted(&mut a).as_deref(), Some("a"));
    a.add_block(block("10.1.0.8/29", "a"));
    assert_eq!(
        wanted(&mut a),
        None,
        "neither of lower rank nor of a namespace"
    );
    a.add_block(block("10.4.0.8/29", "red"));
    a.add_block(block("10.2.0.8/29", "low"));
    assert_eq!(
        a.surplus(S(0)),
        None,
        "whoever they were claimed for comes again"
    );
    for container in 1..=8 {
        first(&mut a, container, &named(&[]));
    }
    assert_eq!(
        wanted(&mut a).as_deref(),
        Some("red"),
        "while pods have its addresses"
    );
    (1..=8).for_each(|c| drop(a.release(&key(c), S(0))));
    assert_eq!(a.surplus(QUARANTINE), Some(block("10.2.0.8/29", "low")));
    assert!(a.remove_block(net("10.2.0.8/29")).is_empty());
    assert_eq!(a.surplus(QUARANTINE), None, "idle since now");
    assert_eq!(a.surplus(2 * QUARANTINE), Some(block("10.4.0.8/29", "red")));
}

#[test]
fn without_reserved_edges_every_address_is_used() {
    let all = with("a", "10.1.0.0/29", |o| o.spec.reserve_edges = Some(false));
    let mut a = node(&[all]);
    let got: BTreeSet<String> = (1..=8).map(|c| first(&mut a, c, &plain())).collect();
    assert_eq!(got.len(), 8);
    assert!(got.contains("10.1.0.0") && got.contains("10.1.0.7"));
    let mut object = object("six", "fd00::/125", Some(125));
    object.spec.reserve_edges = Some(true);
    let mut six = Pool::try_from(&object).unwrap();
    six.active = true;
    let mut a = allocator(&[six], &[block("fd00::/125", "six")]);
    assert_eq!(first(&mut a, 1, &plain()), "fd00::1");
}
