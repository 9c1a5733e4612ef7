//! Which items of the list have tests, wherever they live; the rest stands here with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Items of the list.
const ITEMS: std::ops::RangeInclusive<u32> = 1..=125;

/// What no test shows, wholly or in part, and why. Take a line out when its test is there.
#[rustfmt::skip]
const OPEN: &[(u32, &str)] = &[
    (13, "in part: a smallest hold time cannot be configured"),
    (22, "no capability can be demanded yet"),
    (23, "roles (RFC 9234) are not offered"),
    (33, "in part: a shutdown carries no text yet"),
    (34, "in part: DelayOpen is not offered; OPEN is sent at once"),
    (39, "in part: connections of strangers are not counted yet"),
    (40, "in part: a peer that is held down is closed without Cease 6/5, after which BIRD would wait a minute and more"),
    (87, "in part: the choice between the two next hops cannot be configured"),
    (88, "roles and OTC (RFC 9234) are not offered"),
    (93, "in part: no cap below the peer's own restart time, 4095 s at most"),
    (101, "long-lived graceful restart (RFC 9494) is not offered"),
    (103, "in part: that the kernel saw nothing is shown by the scenarios restart and kill, which carry no number"),
    (104, "ADD-PATH (RFC 7911) is not offered yet"),
    (105, "IPv4 over IPv6 next hops (RFC 8950) are not offered yet"),
    (106, "reflection (RFC 4456) is not offered yet"),
    (113, "needs network namespaces with a peer that loses power"),
    (115, "in part: the source address; not bound devices, link-local scope and links of several sizes"),
    (116, "BFD is not built in yet"),
    (117, "BFD is not built in yet"),
    (118, "BFD is not built in yet"),
    (119, "BFD is not built in yet"),
    (120, "BFD is not built in yet"),
];

/// How the names of numbered tests begin.
const PREFIXES: [&str; 2] = ["item_", "conformance_"];

#[test]
fn every_item_has_a_test_or_a_reason() {
    let tests = tests_by_item();
    let open: BTreeMap<_, _> = OPEN.iter().copied().collect();
    assert_eq!(
        open.len(),
        OPEN.len(),
        "an item stands twice among those that are open"
    );
    let known: BTreeSet<u32> = ITEMS.collect();
    let stray = tests
        .keys()
        .chain(open.keys())
        .find(|item| !known.contains(item));
    assert_eq!(stray, None, "the list has no such item");
    let forgotten: Vec<_> = ITEMS
        .filter(|item| !tests.contains_key(item) && !open.contains_key(item))
        .collect();
    assert!(
        forgotten.is_empty(),
        "items {forgotten:?} have neither a test (item_NNN_…) nor a reason in OPEN"
    );
    let lies: Vec<_> = OPEN
        .iter()
        .filter(|(item, reason)| reason.starts_with("in part") && !tests.contains_key(item))
        .collect();
    assert!(lies.is_empty(), "shown in part by no test at all: {lies:?}");
    let done = ITEMS.filter(|item| tests.contains_key(item)).count();
    println!(
        "{done} of {} items have tests; {} are open in whole or in part",
        ITEMS.count(),
        OPEN.len()
    );
}

/// Test names by the number in them, of the whole repository.
fn tests_by_item() -> BTreeMap<u32, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    collect(root, &mut sources);
    let mut tests: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for source in sources {
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            let name = name.and_then(|name| PREFIXES.iter().find_map(|p| name.strip_prefix(p)));
            if let Some((number, rest)) = name.and_then(|name| name.split_once('_'))
                && is_test
                && let Ok(number) = number.parse()
            {
                let name = rest.split('(').next().unwrap().to_owned();
                tests.entry(number).or_default().push(name);
            }
            // Attributes stand between the one that makes a test and the function.
            is_test = line.starts_with("#[") && (is_test || line.ends_with("test]"));
        }
    }
    tests
}

#[expect(clippy::disallowed_methods, reason = "this test reads the sources")]
fn collect(folder: &Path, sources: &mut Vec<String>) {
    for entry in folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&entry, sources);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            sources.push(std::fs::read_to_string(&entry).unwrap());
        }
    }
}
