//! The rendered table is text that `nft` understands and that the kernel loads, in a network namespace of its own.
#![allow(clippy::disallowed_methods, reason = "asks the real nft")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use fixtures::{PodExt, World, address, namespace, pod, policy};
use margay_policy::{Masquerade, Table};
use serde_json::json;

/// Loads the text into the kernel, in a namespace that ends with the command. (`nft -c` would not ask the kernel.)
fn load(text: &str) -> Result<(), String> {
    let spawned = Command::new("unshare")
        .args(["--net", "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| {
        format!("unshare cannot be run ({error}): install the Debian package util-linux")
    })?;
    // A child that ended early closes the pipe; what it said about it follows below.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        return Err(format!(
            "{said}: this test needs root, for a network namespace"
        ));
    }
    if said.contains("No such file or directory")
        && said.contains("nft")
        && !said.contains("/dev/stdin")
    {
        return Err(format!("{said}: install the Debian package nftables"));
    }
    Err(said.into_owned())
}

/// A cluster that makes every kind of match, action, set and map appear.
fn everything() -> World {
    let ports: Vec<_> = (80..90).map(|port| json!({ "port": port })).collect();
    World {
        pods: vec![
            pod("x", "a", &[("app", "a")], &["10.0.0.1", "fd00::1"]).serving("TCP", "http", 8080),
            pod("x", "b", &[("app", "b")], &["10.0.0.2", "fd00::2"]).serving("UDP", "dns", 53),
            pod("y", "c", &[], &["10.0.0.3", "fd00::3"]),
        ],
        namespaces: vec![namespace("x", &[]), namespace("y", &[("team", "red")])],
        policies: vec![
            policy(
                "x",
                "few-ports",
                json!({
                    "podSelector": { "matchLabels": { "app": "b" } },
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [
                        { "from": [{ "ipBlock": { "cidr": "192.0.2.0/24", "except": ["192.0.2.64/26"] } }], "ports": [{ "port": 8080, "endPort": 8090 }] },
                        { "from": [{ "ipBlock": { "cidr": "::/0" } }, { "ipBlock": { "cidr": "198.51.100.0/24" } }], "ports": [{ "protocol": "SCTP" }] },
                        { "from": [{ "namespaceSelector": { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["red", "blue"] }] } }] },
                    ],
                    "egress": [
                        { "to": [{ "podSelector": {} }], "ports": [{ "port": "http" }] },
                        { "ports": [{ "port": "dns", "protocol": "UDP" }] },
                        { "to": [{ "ipBlock": { "cidr": "fd00::/8", "except": ["fd00::/16"] } }], "ports": [{ "port": "http" }] },
                    ],
                }),
            ),
            policy(
                "x",
                "many-ports",
                json!({
                    "podSelector": { "matchLabels": { "app": "a" } },
                    "ingress": [
                        { "from": [{ "podSelector": {} }], "ports": ports },
                        { "ports": [{ "port": 443 }, { "port": 53, "protocol": "UDP" }] },
                    ],
                }),
            ),
        ],
        local: vec![
            ("mgya".to_owned(), 0),
            ("mgyb".to_owned(), 1),
            ("mgyc".to_owned(), 2),
        ],
    }
}

fn full_table() -> Table {
    let mut index = everything().index();
    index.set_masquerade(Masquerade {
        sources: BTreeSet::from(["10.0.0.0/16", "fd00::/48"].map(|pool| pool.parse().unwrap())),
        exempt: BTreeSet::from(
            ["10.0.0.0/16", "10.1.0.0/16", "fd00::/48"].map(|pool| pool.parse().unwrap()),
        ),
        nodes: BTreeSet::from(["172.16.0.1", "172.16.0.9", "fd01::1"].map(address)),
        v4: Some("172.16.0.1".parse().unwrap()),
        v6: Some("fd01::1".parse().unwrap()),
    });
    index.table()
}

#[test]
fn nft_accepts_the_rendered_table() {
    load(&full_table().render()).unwrap();
    load(&Table::default().render()).unwrap();
}

#[test]
fn nft_refuses_a_table_that_check_refuses() {
    let mut table = full_table();
    table.sets.clear();
    assert!(table.check().is_err());
    assert!(load(&table.render()).is_err());
}

#[test]
fn rendered_text_is_as_agreed() {
    let text = full_table().render();
    if text != include_str!("golden/table.nft") {
        let written = concat!(env!("CARGO_TARGET_TMPDIR"), "/table.nft");
        std::fs::write(written, text).unwrap();
        panic!(
            "the text changed: compare {written} with tests/golden/table.nft and copy it there when the change is wanted"
        );
    }
}
