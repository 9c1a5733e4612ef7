//! `ipBlock` and `except`, per family.

use super::{
    arena::Arena,
    basic::{Case, run},
};
use crate::report::Report;

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) {
    run(arena, report, CASES);
}

const CASES: &[Case] = &[
    Case {
        what: "[34] egress to a CIDR",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '@y/b:v4/32'}}, {ipBlock: {cidr: '@y/b:v6/128'}}]}]}",
        )],
        open: |a| !a.from("x/a") || a.to("y/b"),
    },
    Case {
        what: "[35] except",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: ['@y/b:v4/32']}}, {ipBlock: {cidr: 'fd00:10:244::/56', except: ['@y/b:v6/128']}}]}]}",
        )],
        open: |a| !a.from("x/a") || a.at_pod() && !a.to("y/b"),
    },
    Case {
        what: "[36] in CIDR of one and except of another policy is allowed",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: ['@y/b:v4/32']}}, {ipBlock: {cidr: 'fd00:10:244::/56', except: ['@y/b:v6/128']}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '@y/b:v4/32'}}, {ipBlock: {cidr: '@y/b:v6/128'}}]}]}",
            ),
        ],
        open: |a| !a.from("x/a") || a.at_pod(),
    },
    Case {
        what: "[54] ingress from an ipBlock: the outside host; nodes and pods by their own addresses",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: '2001:db8:113::/64'}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/28]}}, {ipBlock: {cidr: '2001:db8:113::/64', except: ['2001:db8:113::/120']}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{ipBlock: {cidr: '@n1:v4/32'}}, {ipBlock: {cidr: '@n1:v6/128'}}, {ipBlock: {cidr: '@z/c:v4/32'}}, {ipBlock: {cidr: '@z/c:v6/128'}}]}]}",
            ),
        ],
        open: |a| {
            (!a.to("x/a") || a.from("outside"))
                && !a.to("x/b")
                && (!a.to("x/c") || a.from("n1") || a.from("z/c"))
        },
    },
    Case {
        what: "[70] except never hides a later peer, rule or policy",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}, {ipBlock: {cidr: '::/0', except: ['fd00:10:244::/56']}}, {podSelector: {matchLabels: {pod: b}}}]}, {from: [{ipBlock: {cidr: '@y/a:v4/32'}}, {ipBlock: {cidr: '@y/a:v6/128'}}], ports: [{port: 80}]}]}",
            ),
            (
                "x",
                "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{protocol: UDP}]}]}",
            ),
        ],
        open: |a| {
            let udp_of_z = a.sender_in("z") && (a.udp(80) || a.udp(81));
            if a.to("x/a") {
                return !a.by_pod() || a.from("x/b") || a.from("y/a") && a.tcp(80) || udp_of_z;
            }
            !a.receiver_in("x") || udp_of_z
        },
    },
    Case {
        what: "[71] nested, overlapping and duplicate CIDRs in one rule and over policies",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16}}, {ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 10.244.0.0/16}}, {ipBlock: {cidr: '@y/a:v4/32'}}, {ipBlock: {cidr: 'fd00::/8', except: ['fd00:10:244::/64', 'fd00:10:244::/57', 'fd00:10:244::/64']}}, {ipBlock: {cidr: 'fd00:10:244::/56'}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/17}}, {ipBlock: {cidr: '@y/a:v6/128'}}, {ipBlock: {cidr: '@outside:v4/32'}}]}]}",
            ),
        ],
        open: |a| {
            // Nodes have IPv6 addresses of fd00::/8 as well.
            let by_v6 = !a.v4 && !a.from("outside");
            !a.to("x/a") || a.by_pod() || by_v6 || a.from("outside") && a.v4
        },
    },
    Case {
        what: "[71] /0 of each family alone, and an except in two halves that leaves nothing",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [0.0.0.0/1, 128.0.0.0/1]}}, {ipBlock: {cidr: '::/0', except: ['::/1', '8000::/1']}}]}]}",
            ),
        ],
        open: |a| (!a.to("x/a") || a.v4) && (!a.to("x/b") || !a.v4) && !a.to("x/c"),
    },
    Case {
        what: "[71] [85] an IPv4 except beside an IPv6 rule; a block of one family isolates both",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: ['@y/a:v4/32']}}, {ipBlock: {cidr: 'fd00:10:244::/56'}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16}}]}]}",
            ),
        ],
        open: |a| {
            (!a.to("x/a") || a.by_pod() && !(a.v4 && a.from("y/a")))
                && (!a.from("x/b") || a.v4 && a.at_pod())
        },
    },
];
