//! nft(8) as the judge: what it makes of a table's text, and what it reads of the table that is loaded.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use margay_policy::Table;
use serde_json::Value;

use crate::kernel::testnet::isolated;

pub(super) fn nft_with(arguments: &str, input: &str) -> Output {
    let mut nft = Command::new("nft")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test reads the kernel back with nft: install nftables");
    nft.stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    nft.wait_with_output().unwrap()
}

/// Runs nft(8), which must succeed.
pub(super) fn nft(arguments: &str) -> String {
    let output = nft_with(arguments, "");
    assert!(
        output.status.success(),
        "nft {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What nft(8) reads of the table: objects by kind and name, and the rules of each chain in order. Without what differs between
/// two loads: handles, counts, the order of elements, notes and flags of the table.
pub(super) fn listing() -> BTreeMap<String, Value> {
    let listed: Value = serde_json::from_str(&nft("-j list table inet margay")).unwrap();
    let mut objects = BTreeMap::new();
    for object in listed["nftables"].as_array().unwrap() {
        let (kind, object) = object.as_object().unwrap().iter().next().unwrap();
        let object = normal(object.clone());
        match kind.as_str() {
            "metainfo" | "table" => {}
            "rule" => {
                let rules = objects
                    .entry(format!("rules {}", object["chain"]))
                    .or_insert_with(|| Value::Array(Vec::new()));
                rules.as_array_mut().unwrap().push(object["expr"].clone());
            }
            _ => drop(objects.insert(format!("{kind} {}", object["name"]), object)),
        }
    }
    objects
}

pub(super) fn normal(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        for volatile in ["handle", "comment", "packets", "bytes"] {
            object.remove(volatile);
        }
        if let Some(Value::Array(elements)) = object.get_mut("elem") {
            elements.sort_by_key(ToString::to_string);
        }
        object
            .values_mut()
            .for_each(|inner| *inner = normal(inner.take()));
    }
    if let Some(array) = value.as_array_mut() {
        array
            .iter_mut()
            .for_each(|inner| *inner = normal(inner.take()));
    }
    value
}

/// What nft(8) makes of the table's text, in a namespace of its own.
pub(super) fn expected(table: &Table) -> BTreeMap<String, Value> {
    let (text, (send, receive)) = (table.render(), mpsc::channel());
    isolated(move || async move {
        let output = nft_with("-f -", &text);
        assert!(
            output.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&output.stderr)
        );
        send.send(listing()).unwrap();
    });
    receive.recv().unwrap()
}

pub(super) fn assert_loaded(table: &Table) {
    assert_eq!(listing(), expected(table), "{}", table.render());
}
