//! The order of rules against an oracle that knows nothing of clever evaluation.

use super::*;

/// A rule of the oracle: applies to lengths in a range, then says what becomes of the route and sets a MED.
#[derive(Clone, Copy, Debug)]
struct Simple {
    from: u8,
    to: u8,
    med: u32,
    verdict: Verdict,
}

fn simple() -> impl Strategy<Value = Simple> {
    let verdict = prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Reject),
        Just(Verdict::Continue)
    ];
    (8..33_u8, 8..33_u8, any::<u32>(), verdict).prop_map(|(a, b, med, verdict)| Simple {
        from: a.min(b),
        to: a.max(b),
        med,
        verdict,
    })
}

fn real(simple: &Simple) -> Rule {
    let range = PrefixRange {
        prefix: net("10.0.0.0/8"),
        at_least: simple.from,
        at_most: simple.to,
    };
    rule(
        vec![Condition::Prefix(vec![range])],
        vec![Change::Med(simple.med)],
        simple.verdict,
    )
}

/// `None`: rejected; otherwise the MED.
fn oracle(rules: &[Simple], length: u8, otherwise: bool) -> Option<Option<u32>> {
    let mut med = None;
    for rule in rules {
        if length < rule.from || length > rule.to {
            continue;
        }
        match rule.verdict {
            Verdict::Reject => return None,
            Verdict::Accept => return Some(Some(rule.med)),
            Verdict::Continue => med = Some(rule.med),
        }
    }
    otherwise.then_some(med)
}

proptest! {
    #[test]
    fn rules_are_tried_in_order(
        rules in prop::collection::vec(simple(), 0..8),
        length in 8..33_u8,
        otherwise in any::<bool>(),
    ) {
        let last = if otherwise { Otherwise::Accept } else { Otherwise::Reject };
        let policy = Policy::new(rules.iter().map(real), last);
        let prefix = format!("10.0.0.0/{length}");
        let found = outcome(&policy, &prefix, &Attributes::default(), RouteSource::Learned);
        prop_assert_eq!(found.map(|route| route.med), oracle(&rules, length, otherwise));
        // What people are told is what was done.
        let (prefix, attributes) = (net(&prefix), Attributes::default());
        let subject = Subject {
            prefix: &prefix,
            attributes: &attributes,
            source: RouteSource::Learned,
        };
        let told = policy.trace(&peer(), subject, &hand());
        prop_assert_eq!(told.accepted, oracle(&rules, length, otherwise).is_some());
    }

    /// Rules that apply to no common route may stand in any order.
    #[test]
    fn disjoint_rules_may_be_permuted(
        order in Just((8..33_u8).collect::<Vec<_>>()).prop_shuffle(),
        verdicts in prop::collection::vec(any::<bool>(), 25),
        length in 8..33_u8,
    ) {
        let one = |length: u8| Simple {
            from: length,
            to: length,
            med: length.into(),
            verdict: if verdicts[usize::from(length - 8)] { Verdict::Accept } else { Verdict::Reject },
        };
        let sorted = Policy::new((8..33).map(|length| real(&one(length))), Otherwise::Reject);
        let shuffled = Policy::new(order.iter().map(|length| real(&one(*length))), Otherwise::Reject);
        let prefix = format!("10.0.0.0/{length}");
        let of = |policy| outcome(policy, &prefix, &Attributes::default(), RouteSource::Learned);
        prop_assert_eq!(of(&sorted), of(&shuffled));
    }

    /// The conditions of one rule are a set.
    #[test]
    fn conditions_of_a_rule_may_be_permuted(
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        asns in prop::collection::vec(65000..65004_u32, 0..4),
        length in 8..33_u8,
    ) {
        let all = [
            Condition::OriginAs(vec![Asn(65001)]),
            Condition::NeighbourAs(vec![Asn(65000), Asn(65001)]),
            Condition::PathLength(1, 3),
            Condition::Prefix(vec![PrefixRange { prefix: net("10.0.0.0/8"), at_least: 12, at_most: 28 }]),
        ];
        let policy = |order: &[usize]| {
            let conditions = order.iter().map(|index| all[*index].clone()).collect();
            Policy::new([rule(conditions, vec![], Verdict::Accept)], Otherwise::Reject)
        };
        let prefix = format!("10.0.0.0/{length}");
        let of = |order: &[usize]| {
            passes(&policy(order), &prefix, &of_path(&asns), RouteSource::Learned)
        };
        prop_assert_eq!(of(&[0, 1, 2, 3]), of(&order));
    }
}
