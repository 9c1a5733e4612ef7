//! Addresses: 71, and what the small cluster shows of 34, 35, 54.

use serde_json::{Value, json};

use crate::cluster::TCP;
use crate::small::{
    A, A6, B, B6, C, ICMP, ICMPV6, OUTSIDE, OUTSIDE6, check, egress, ingress, world,
};

#[test]
fn case_34_35_54_71_blocks_and_exceptions() {
    let out = |block: Value| world([egress(json!([{ "to": [{ "ipBlock": block }] }]))]);
    check(
        &out(json!({ "cidr": "0.0.0.0/0" })),
        &[
            (A, OUTSIDE, ICMP, 0, true),
            (A, B, TCP, 80, true),
            (A6, B6, TCP, 80, false),
        ],
    );
    check(
        &out(json!({ "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] })),
        &[(A, OUTSIDE, TCP, 80, true), (A, B, TCP, 80, false)],
    );
    check(
        &out(json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"] })),
        &[(A, B, TCP, 80, false)],
    );
    check(
        &out(json!({ "cidr": "10.0.1.3/24" })),
        &[(A, C, TCP, 80, true), (A, B, TCP, 80, false)],
    );
}

#[test]
fn case_71_blocks_that_overlap_nest_and_repeat() {
    let from = |peers: &[Value]| {
        let peers: Vec<_> = peers
            .iter()
            .map(|block| json!({ "ipBlock": block }))
            .collect();
        ingress(json!([{ "from": peers }]))
    };
    let plain = |cidr: &str| json!({ "cidr": cidr });
    let nested = [
        plain("10.0.0.0/30"),
        plain("10.0.0.0/24"),
        plain("10.0.0.2/32"),
        plain("10.0.0.2/32"),
        plain("10.0.0.128/25"),
    ];
    check(
        &world([from(&nested)]),
        &[
            (B, A, TCP, 80, true),
            (C, A, TCP, 80, false),
            (B6, A6, TCP, 80, false),
        ],
    );
    // An exception takes away from its own block only, in one rule as in two policies.
    let holed = json!({ "cidr": "10.0.0.0/16", "except": ["10.0.0.0/24", "10.0.0.0/25"] });
    check(
        &world([from(std::slice::from_ref(&holed))]),
        &[(B, A, TCP, 80, false), (C, A, TCP, 80, true)],
    );
    check(
        &world([from(&[holed.clone(), plain("10.0.0.2/32")])]),
        &[(B, A, TCP, 80, true), ("10.0.0.3", A, TCP, 80, false)],
    );
    check(
        &world([from(&[holed]), from(&[plain("10.0.0.0/31")])]),
        &[(B, A, TCP, 80, false), ("10.0.0.0", A, TCP, 80, true)],
    );
}

#[test]
fn case_71_85_each_family_has_its_blocks() {
    let everything = [json!({ "cidr": "0.0.0.0/0" }), json!({ "cidr": "::/0" })];
    let holed = [
        json!({ "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] }),
        json!({ "cidr": "::/0", "except": ["2001:db8::/32"] }),
    ];
    let from = |blocks: &[Value]| {
        let peers: Vec<_> = blocks
            .iter()
            .map(|block| json!({ "ipBlock": block }))
            .collect();
        world([ingress(json!([{ "from": peers }]))])
    };
    for (blocks, four, six) in [
        (&everything[..1], [true, true], [false, false]),
        (&everything[1..], [false, false], [true, true]),
        (&everything[..], [true, true], [true, true]),
        (&holed[..], [false, true], [true, false]),
    ] {
        check(
            &from(blocks),
            &[
                (B, A, TCP, 80, four[0]),
                (OUTSIDE, A, ICMP, 0, four[1]),
                (B6, A6, TCP, 80, six[0]),
                (OUTSIDE6, A6, ICMPV6, 0, six[1]),
            ],
        );
    }
}
