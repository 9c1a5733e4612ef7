//! Differences of random tables: applied as strictly as the kernel would, they lead from one to the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use margay_policy::diff::SLICE;
use margay_policy::table::{
    Action, Base, Chain, ChainKind, ChainName, ChainPolicy, Element, Hook, KeyType, Match, Rule,
    Set, SetName, Verdict, VerdictMap, VmapKey,
};
use margay_policy::{Batch, Change, Observed, ObservedChain, Table, diff, diff_observed};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SETS: [&str; 4] = ["s0", "s1", "s2", "s3"];
const MAPS: [&str; 3] = ["m0", "m1", "m2"];
const CHAINS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];

fn elements(interval: bool) -> impl Strategy<Value = Vec<Element>> {
    let numbers: Vec<u8> = (0..6).collect();
    subsequence(numbers, 0..6).prop_map(move |numbers| {
        let address = |number: u8| std::net::Ipv4Addr::new(10, 0, number, 0);
        let element = |number| {
            if interval {
                Element::Ipv4Range(address(number), address(number))
            } else {
                Element::Ipv4(address(number))
            }
        };
        numbers.into_iter().map(element).collect()
    })
}

fn set() -> impl Strategy<Value = Set> {
    prop::bool::weighted(0.1).prop_flat_map(|interval| {
        elements(interval).prop_map(move |elements| {
            let set = if interval {
                Set::interval(KeyType::Ipv4)
            } else {
                Set::hash(KeyType::Ipv4)
            };
            set.with(elements)
        })
    })
}

/// Verdicts may only lead to later chains: the kernel refuses loops.
fn verdict(chains: Vec<ChainName>) -> BoxedStrategy<Verdict> {
    let plain = select(vec![Verdict::Accept, Verdict::Drop, Verdict::Return]);
    if chains.is_empty() {
        return plain.boxed();
    }
    let leading = (select(chains), any::<bool>()).prop_map(|(chain, back)| {
        if back {
            Verdict::Jump(chain)
        } else {
            Verdict::Goto(chain)
        }
    });
    prop_oneof![plain, leading].boxed()
}

fn rules(
    sets: Vec<SetName>,
    maps: Vec<SetName>,
    chains: Vec<ChainName>,
) -> impl Strategy<Value = Vec<Rule>> {
    let matches = if sets.is_empty() {
        Just(Vec::new()).boxed()
    } else {
        let test = select(sets).prop_map(|set| Match::AddressIn {
            side: margay_policy::table::Side::Source,
            family: margay_policy::table::Family::V4,
            set,
            inverted: false,
        });
        proptest::collection::vec(test, 0..2).boxed()
    };
    let action = if maps.is_empty() {
        verdict(chains).prop_map(Action::Verdict).boxed()
    } else {
        let lookup = select(maps).prop_map(|map| Action::Vmap {
            key: VmapKey::ProtoPort,
            map,
        });
        prop_oneof![verdict(chains).prop_map(Action::Verdict), lookup].boxed()
    };
    let rule = (matches, action)
        .prop_map(|(matches, action)| Rule::new(matches, [Action::Counter, action]));
    proptest::collection::vec(rule, 0..3)
}

fn table() -> impl Strategy<Value = Table> {
    let names = (
        subsequence(SETS.to_vec(), 0..=4),
        subsequence(MAPS.to_vec(), 0..=3),
        subsequence(CHAINS.to_vec(), 0..=5),
    );
    names.prop_flat_map(|(sets, maps, chains)| {
        let sets: Vec<_> = sets.into_iter().map(SetName::new).collect();
        let maps: Vec<_> = maps.into_iter().map(SetName::new).collect();
        let chains: Vec<_> = chains.into_iter().map(ChainName::new).collect();
        let contents: Vec<_> = sets.iter().map(|_| set()).collect();
        let verdicts: Vec<_> = maps
            .iter()
            .map(|_| {
                proptest::collection::btree_map(
                    (80..84u16).prop_map(|port| {
                        Element::ProtoPort(margay_policy::table::Protocol::Tcp, port)
                    }),
                    verdict(chains.clone()),
                    0..4,
                )
            })
            .collect();
        let bodies: Vec<_> = chains
            .iter()
            .enumerate()
            .map(|(number, _)| {
                (
                    rules(sets.clone(), maps.clone(), chains[number + 1..].to_vec()),
                    prop::bool::weighted(0.1),
                )
            })
            .collect();
        (Just((sets, maps, chains)), contents, verdicts, bodies).prop_map(
            |((sets, maps, chains), contents, verdicts, bodies)| {
                let mut table = Table::default();
                sets.into_iter()
                    .zip(contents)
                    .for_each(|(name, set)| table.add_set(name, set));
                for (name, elements) in maps.into_iter().zip(verdicts) {
                    table.add_map(
                        name,
                        VerdictMap {
                            key: KeyType::ProtoPort,
                            elements,
                        },
                    );
                }
                for (name, (rules, is_base)) in chains.into_iter().zip(bodies) {
                    let base = Base {
                        kind: ChainKind::Filter,
                        hook: Hook::Forward,
                        priority: 0,
                        policy: ChainPolicy::Accept,
                    };
                    table.add_chain(
                        name,
                        Chain {
                            base: is_base.then_some(base),
                            rules,
                        },
                    );
                }
                table
            },
        )
    })
}

fn applied(mut table: Table, batches: &[Batch]) -> Table {
    for change in batches.iter().flat_map(|batch| &batch.changes) {
        table
            .apply(change)
            .unwrap_or_else(|misfit| panic!("{change:?}: {misfit}"));
    }
    table
}

/// What a process without memory reads back of a table.
fn read_back(table: &Table) -> Observed {
    let mut observed = Observed::from(table);
    for (name, chain) in &table.chains {
        let rules = chain.rules.iter().map(|rule| Some(rule.digest())).collect();
        observed.chains.insert(
            name.clone(),
            ObservedChain::Read {
                base: chain.base,
                rules,
            },
        );
    }
    observed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_leads_from_one_table_to_the_other(from in table(), to in table()) {
        prop_assert_eq!(from.check(), Ok(()));
        prop_assert_eq!(&applied(from.clone(), &diff(&from, &to)), &to);
        prop_assert_eq!(&applied(from.clone(), &diff_observed(&read_back(&from), &to)), &to);
    }

    #[test]
    fn no_difference_is_no_batch(table in table()) {
        prop_assert_eq!(diff(&table, &table), vec![]);
        prop_assert_eq!(diff_observed(&read_back(&table), &table), vec![]);
    }

    #[test]
    fn small_changes_are_one_transaction(from in table(), to in table()) {
        prop_assert!(diff(&from, &to).len() <= 1);
    }
}

fn chain(rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain {
        base: None,
        rules: rules.into_iter().collect(),
    }
}

fn accept() -> Rule {
    Rule::new([], [Action::Verdict(Verdict::Accept)])
}

#[test]
fn a_rule_without_our_digest_is_written_again() {
    let mut table = Table::default();
    table.add_chain(ChainName::new("c"), chain([accept()]));
    let mut observed = read_back(&table);
    for foreign in [vec![None], vec![], vec![Some(accept().digest()), None]] {
        observed.chains.insert(
            ChainName::new("c"),
            ObservedChain::Read {
                base: None,
                rules: foreign.clone(),
            },
        );
        let changes = diff_observed(&observed, &table).remove(0).changes;
        let flushes = changes
            .iter()
            .filter(|change| matches!(change, Change::FlushChain(_)))
            .count();
        assert_eq!(flushes, usize::from(!foreign.is_empty()));
        assert!(matches!(changes.last(), Some(Change::AddRules { .. })));
    }
}

#[test]
fn what_cannot_be_read_or_changed_makes_the_table_anew() {
    let mut table = Table::default();
    table.add_set(SetName::new("s"), Set::hash(KeyType::Ipv4));
    let alien = Observed {
        alien: true,
        ..Observed::default()
    };
    let mut other = Table::default();
    other.add_set(SetName::new("s"), Set::hash(KeyType::Ipv6));
    for batches in [diff_observed(&alien, &table), diff(&other, &table)] {
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].changes[0], Change::RecreateTable);
    }
}

#[test]
fn a_pod_is_re_pointed_in_one_transaction() {
    let link = Element::Ifname(margay_policy::table::Ifname::try_from("mgya").unwrap());
    let pointing_to = |class: &str| {
        let mut table = Table::default();
        table.add_chain(ChainName::new(class), chain([accept()]));
        let map = VerdictMap {
            key: KeyType::Ifname,
            elements: [(link, Verdict::Goto(ChainName::new(class)))].into(),
        };
        table.add_map(SetName::new("to_pod"), map);
        table
    };
    let (old, new) = (ChainName::new("old"), ChainName::new("new"));
    let batches = diff(&pointing_to("old"), &pointing_to("new"));
    let expected = vec![
        Change::AddChain {
            name: new.clone(),
            base: None,
        },
        Change::FlushChain(old.clone()),
        Change::AddRules {
            chain: new.clone(),
            rules: vec![accept()],
        },
        Change::DeleteVerdicts {
            map: SetName::new("to_pod"),
            keys: vec![link],
        },
        Change::AddVerdicts {
            map: SetName::new("to_pod"),
            elements: vec![(link, Verdict::Goto(new))],
        },
        Change::DeleteChain(old),
    ];
    assert_eq!(batches, vec![Batch { changes: expected }]);
}

#[test]
fn a_first_load_fills_sets_in_slices_and_hooks_them_up_last() {
    let count = u32::try_from(2 * SLICE + 5).unwrap();
    let many = (0..count).map(|number| Element::Ipv4(number.into()));
    let mut table = Table::default();
    table.add_set(SetName::new("big"), Set::hash(KeyType::Ipv4).with(many));
    table.add_set(SetName::new("empty"), Set::hash(KeyType::Ipv6));
    let test = Match::AddressIn {
        side: margay_policy::table::Side::Source,
        family: margay_policy::table::Family::V4,
        set: SetName::new("big"),
        inverted: false,
    };
    table.add_chain(
        ChainName::new("c"),
        chain([Rule::new([test], [Action::Verdict(Verdict::Drop)])]),
    );
    let batches = diff(&Table::default(), &table);
    assert_eq!(batches.len(), 4);
    let carried = |batch: &Batch| -> usize {
        batch
            .changes
            .iter()
            .map(|change| {
                if let Change::AddElements { elements, .. } = change {
                    elements.len()
                } else {
                    0
                }
            })
            .sum()
    };
    assert!(batches.iter().all(|batch| carried(batch) <= SLICE));
    let hook_up = batches.last().unwrap();
    assert!(
        hook_up
            .changes
            .iter()
            .all(|change| matches!(change, Change::AddChain { .. } | Change::AddRules { .. }))
    );
    assert_eq!(applied(Table::default(), &batches), table);
}

#[test]
fn unchanged_elements_are_not_compared_one_by_one() {
    let set = Set::hash(KeyType::Ipv4).with([Element::Ipv4([10, 0, 0, 1].into())]);
    let copy = set.clone();
    assert!(Arc::ptr_eq(&set.elements, &copy.elements));
}
