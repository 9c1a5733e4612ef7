//! Against the kernel itself, in a network namespace for each test. The oracle of the encoder is nft(8): what it makes of the
//! table's text must be what it reads back from the table that we wrote.

mod layout;
mod oracle;
mod packets;
mod words;

use std::net::Ipv4Addr;
use std::time::Duration;

use margay_policy::table::{Element, KeyType, Set};

use self::layout::{changed, layout, redeclared};
use self::oracle::{assert_loaded, nft, nft_with};
use self::words::*;
use super::*;
use crate::kernel::testnet::isolated;

fn unprotected() -> NftSink {
    NftSink {
        ownership: Ownership::Unsupported,
        ..NftSink::open().unwrap()
    }
}

/// The next agent's sink after `ended`, once the kernel gives the table back: a child that another test forks just now holds a copy of
/// the socket until it executes its program.
fn successor(ended: NftSink) -> NftSink {
    drop(ended);
    let begin = std::time::Instant::now();
    loop {
        let mut sink = NftSink::open().unwrap();
        match sink.adopt() {
            Err(Error::Owned { .. }) if begin.elapsed() < Duration::from_secs(10) => {
                std::thread::yield_now();
            }
            adopted => {
                adopted.unwrap();
                return sink;
            }
        }
    }
}

/// Deletes the table by nft once no agent owns it.
fn delete_unowned() {
    let begin = std::time::Instant::now();
    while !nft_with("delete table inet margay", "").status.success() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the table stays owned"
        );
    }
}

#[test]
fn the_kernel_holds_what_nft_makes_of_the_same_text() {
    isolated(|| async {
        let table = layout();
        table.check().unwrap();
        let applied = NftSink::open().unwrap().apply(&table).unwrap();
        assert_eq!(applied.transactions, 1);
        assert_loaded(&table);
        assert!(nft("list set inet margay p4_nsy").contains("comment \"pods of 'y'\""));
        assert!(nft("list map inet margay to_pod").contains("\"mgya\" : jump i_77d0"));
    });
}

#[test]
fn every_change_leaves_what_a_fresh_load_would_and_the_next_agent_finds_it_so() {
    isolated(|| async {
        let tables = [
            layout(),
            changed(),
            layout(),
            redeclared(),
            changed(),
            redeclared(),
            layout(),
            Table::default(),
            changed(),
        ];
        let mut sink = NftSink::open().unwrap();
        for table in tables {
            assert_eq!(sink.apply(&table).unwrap().transactions, 1);
            assert_loaded(&table);
            assert!(sink.apply(&table).unwrap().is_unchanged());
            sink = successor(sink);
            assert_eq!(sink.ownership(), Ownership::Held);
            assert_eq!(sink.apply(&table).unwrap(), Applied::default());
        }
    });
}

#[test]
fn reading_back_gives_what_was_written() {
    isolated(|| async {
        let table = layout();
        let mut first = NftSink::open().unwrap();
        first.apply(&table).unwrap();
        let mut sink = successor(first);
        let observed = sink.adopt().unwrap();
        assert!(!observed.alien);
        assert_eq!(observed.maps, table.maps);
        assert_eq!(
            observed.sets.keys().collect::<Vec<_>>(),
            table.sets.keys().collect::<Vec<_>>()
        );
        for (name, set) in &table.sets {
            assert_eq!(observed.sets[name].elements, set.elements, "{name}");
        }
        assert_eq!(observed.chains.len(), table.chains.len());
    });
}

#[test]
fn nobody_else_can_touch_an_owned_table() {
    isolated(|| async {
        let mut sink = NftSink::open().unwrap();
        sink.apply(&layout()).unwrap();
        for attempt in [
            "delete table inet margay",
            "add element inet margay p4_nsy { 10.66.0.1 }",
            "flush chain inet margay to",
        ] {
            let output = nft_with(attempt, "");
            assert!(!output.status.success(), "{attempt}");
        }
        nft("add table inet foreign");
        nft("flush ruleset");
        assert!(sink.verify(&layout()).unwrap().is_unchanged());
        assert!(matches!(
            NftSink::open().unwrap().adopt(),
            Err(Error::Owned { .. })
        ));
        drop(sink);
        // No agent runs: the table is there, and anybody may take it away.
        delete_unowned();
        let mut sink = NftSink::open().unwrap();
        assert_eq!(*sink.adopt().unwrap(), Observed::default());
        sink.apply(&layout()).unwrap();
        assert_loaded(&layout());
    });
}

#[test]
fn a_table_of_foreign_making_is_replaced_in_one_transaction() {
    isolated(|| async {
        let foreign = "table inet margay { chain forward { type filter hook prerouting priority 5; ip saddr { 10.0.0.1, 10.0.0.2 } drop; }; counter c { }; }";
        for text in [
            foreign.to_owned(),
            layout().render(),
            "table inet margay { flags dormant; }".to_owned(),
        ] {
            let output = nft_with("-f -", &text);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let mut sink = NftSink::open().unwrap();
            assert!(sink.adopt().unwrap().alien);
            assert_eq!(sink.apply(&layout()).unwrap().transactions, 1);
            assert_eq!(sink.ownership(), Ownership::Held);
            assert_loaded(&layout());
            drop(sink);
            delete_unowned();
        }
    });
}

#[test]
fn a_refusal_names_its_object_and_changes_nothing() {
    isolated(|| async {
        let mut sink = NftSink::open().unwrap();
        sink.apply(&layout()).unwrap();
        let mut overlapping = changed();
        let culprit = v4_range("10.0.0.5", "10.0.0.9");
        overlapping.add_set(
            set("c_bad"),
            Set::interval(KeyType::Ipv4).with([v4_range("10.0.0.0", "10.0.0.6"), culprit]),
        );
        let Err(Error::Refused(refusals)) = sink.apply(&overlapping) else {
            panic!("ranges must not overlap")
        };
        let Subject::Element { set: name, element } = &refusals[0].subject else {
            panic!("{refusals:?}")
        };
        assert_eq!((name, element), (&set("c_bad"), &Some(v4("10.0.0.5"))));
        assert_loaded(&layout());
        let mut dangling = layout();
        add_chain(&mut dangling, "to", [always(goto("nowhere"))]);
        let error = sink.apply(&dangling).unwrap_err();
        assert!(matches!(&error, Error::Inconsistent(_)), "{error}");
        assert_loaded(&layout());
        let mut looping = layout();
        add_chain(&mut looping, "to", [always(jump("to"))]);
        let error = sink.apply(&looping).unwrap_err();
        assert!(matches!(&error, Error::Refused(_)), "{error}");
        sink.apply(&changed()).unwrap();
        assert_loaded(&changed());
    });
}

#[test]
fn large_sets_are_filled_in_slices_and_found_again() {
    isolated(|| async {
        let mut table = layout();
        let address = |n: u32| Ipv4Addr::from_bits(0x0a80_0000 + n);
        table.add_set(
            set("large"),
            Set::hash(KeyType::Ipv4).with((0..20_500).map(|n| Element::Ipv4(address(n)))),
        );
        let ranges = (0..5_000).map(|n| Element::Ipv4Range(address(n * 4), address(n * 4 + 2)));
        table.add_set(set("ranges"), Set::interval(KeyType::Ipv4).with(ranges));
        let mut sink = NftSink::open().unwrap();
        let applied = sink.apply(&table).unwrap();
        assert_eq!(applied.transactions, 4, "three slices and the hook-up");
        let mut sink = successor(sink);
        assert!(sink.apply(&table).unwrap().is_unchanged());
        assert_loaded(&table);
        let one_more = (0..10_000)
            .map(|n| Element::Ipv4(address(n)))
            .chain([v4("10.66.0.1")]);
        table.add_set(set("large"), Set::hash(KeyType::Ipv4).with(one_more));
        assert_eq!(
            sink.apply(&table).unwrap(),
            Applied {
                transactions: 1,
                changes: 2,
                repaired: false
            }
        );
        assert!(sink.verify(&table).unwrap().is_unchanged());
    });
}

#[test]
fn damage_to_an_unprotected_table_is_noticed_and_repaired() {
    isolated(|| async {
        let damages = [
            "flush ruleset",
            "delete element inet margay from_pod { mgya }",
            "add element inet margay p4_nsy { 10.3.0.4 }",
            "flush chain inet margay to",
            "add chain inet margay intruder",
            "add rule inet margay i_77d0_q1 accept",
            "add table inet margay { flags dormant; }",
        ];
        for damage in damages {
            let mut sink = unprotected();
            sink.apply(&layout()).unwrap();
            let mut watch = sink.watch().unwrap();
            sink.apply(&changed()).unwrap();
            sink.apply(&layout()).unwrap();
            nft("add table inet foreign");
            let quiet = tokio::time::timeout(Duration::from_millis(50), watch.damaged()).await;
            assert!(
                quiet.is_err(),
                "own and foreign tables' changes are no damage"
            );
            nft(damage);
            tokio::time::timeout(Duration::from_secs(5), watch.damaged())
                .await
                .expect(damage)
                .unwrap();
            assert!(!sink.verify(&layout()).unwrap().is_unchanged(), "{damage}");
            assert_loaded(&layout());
        }
    });
}

#[test]
fn a_refused_change_reveals_damage_that_nobody_noticed() {
    isolated(|| async {
        for damage in [
            "flush ruleset",
            "delete element inet margay p4_nsy { 10.3.0.2 }",
            "add element inet margay p4_nsy { 10.3.0.4 }",
        ] {
            let mut sink = unprotected();
            sink.apply(&layout()).unwrap();
            nft(damage);
            assert!(sink.apply(&changed()).unwrap().repaired, "{damage}");
            assert_loaded(&changed());
        }
    });
}

#[test]
fn an_owned_table_is_not_listened_for() {
    isolated(|| async {
        let mut sink = NftSink::open().unwrap();
        sink.apply(&layout()).unwrap();
        let mut watch = sink.watch().unwrap();
        nft("add table inet foreign");
        assert!(
            tokio::time::timeout(Duration::from_millis(20), watch.damaged())
                .await
                .is_err()
        );
    });
}

#[test]
fn a_table_that_was_deleted_or_flushed_is_put_back_without_knowing_it() {
    isolated(|| async {
        let table = changed();
        let mut sink = NftSink::open().unwrap();
        assert!(!sink.works(&table).unwrap(), "there is none");
        sink.apply(&table).unwrap();
        let image = Image::of(&table, sink.ownership());
        let kept = Image::parse(image.bytes().to_vec()).unwrap();
        assert_eq!(Image::parse(image.bytes()[1..].to_vec()), None);
        assert_eq!(Image::parse(image.bytes()[..40].to_vec()), None);
        for foreign in ["flush ruleset", "flush table inet margay"] {
            drop(sink);
            let begin = std::time::Instant::now();
            // Refused, or without effect, while a child that another test forked holds the socket.
            while nft("list ruleset").contains(" vmap @") {
                nft_with(foreign, "");
                assert!(begin.elapsed() < Duration::from_secs(10), "{foreign}");
            }
            sink = NftSink::open().unwrap();
            assert!(!sink.works(&table).unwrap(), "after {foreign}");
            sink.put_back(&kept).unwrap();
            assert_loaded(&table);
            assert_eq!(sink.ownership(), Ownership::Held);
            assert!(sink.apply(&table).unwrap().is_unchanged());
        }
    });
}
