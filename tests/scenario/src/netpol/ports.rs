//! Ports and protocols: numbers, names, ranges, and that none opens another. SCTP packets are crafted.

use super::{
    arena::Arena,
    basic::{Case, run},
};
use crate::{matrix::Protocol, report::Report};

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) {
    run(arena, report, CASES);
}

const CASES: &[Case] = &[
    Case {
        what: "[14] ports",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: TCP, port: 81}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y") && a.tcp(81),
    },
    Case {
        what: "[17] ingress on one named port",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: serve-80-tcp}]}]}",
        )],
        open: |a| !a.to("x/a") || a.tcp(80),
    },
    Case {
        what: "[18] ingress from a namespace on one named port",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: UDP, port: serve-81-udp}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y") && a.udp(81),
    },
    Case {
        what: "[19] egress on one named port",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: serve-80-tcp}]}]}",
        )],
        open: |a| !a.from("x/a") || a.at_pod() && a.tcp(80),
    },
    Case {
        what: "[30] any port of one protocol, each protocol",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: TCP}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{protocol: UDP}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{ports: [{protocol: SCTP}]}]}",
            ),
        ],
        open: |a| {
            (!a.to("x/a") || a.protocol == Protocol::Tcp)
                && (!a.to("x/b") || a.protocol == Protocol::Udp)
                && (!a.to("x/c") || a.protocol == Protocol::Sctp)
        },
    },
    Case {
        what: "[38] an SCTP rule does not open TCP",
        policies: &[
            ("x", "{podSelector: {}, policyTypes: [Ingress]}"),
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: SCTP, port: 80}]}]}",
            ),
        ],
        open: |a| !a.receiver_in("x") || a.to("x/a") && a.sctp(80),
    },
    Case {
        what: "[39] an SCTP-only policy still isolates TCP",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: SCTP, port: 9}]}]}",
        )],
        open: |a| !a.to("x/a"),
    },
    Case {
        what: "[40] a UDP rule does not open TCP",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: UDP, port: 80}]}]}",
        )],
        open: |a| !a.to("x/a") || a.udp(80),
    },
    Case {
        what: "[43] [46] default-deny-ingress, UDP and SCTP",
        policies: &[("y", "{podSelector: {}, policyTypes: [Ingress]}")],
        open: |a| !a.receiver_in("y"),
    },
    Case {
        what: "[44] UDP ports",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: UDP, port: 81}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y") && a.udp(81),
    },
    Case {
        what: "[45] UDP only from a pod in another namespace",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: a}}}], ports: [{protocol: UDP, port: 80}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("y/a") && a.udp(80),
    },
    Case {
        what: "[47] SCTP ports",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: SCTP, port: 81}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y") && a.sctp(81),
    },
    Case {
        what: "[48] SCTP only from a pod in another namespace",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: a}}}], ports: [{protocol: SCTP, port: serve-80-sctp}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("y/a") && a.sctp(80),
    },
    Case {
        what: "[57] a named port of another protocol opens nothing",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: UDP, port: serve-80-tcp}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{ports: [{protocol: SCTP, port: serve-80-tcp}]}]}",
            ),
        ],
        open: |a| !a.to("x/a") && !a.from("x/b"),
    },
    Case {
        what: "[57] a name or number that nobody serves opens nothing that is served",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: serve-7981-tcp}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{port: 7981}]}]}",
            ),
            (
                "y",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: serve-7981-tcp}, {port: 7981}]}]}",
            ),
        ],
        open: |a| !a.to("x/a") && !a.to("x/b") && !a.from("y/a"),
    },
    Case {
        what: "[69] ports: [{}, {port: 80}] are all TCP ports",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{}, {port: 80}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{ports: [{port: 80}, {}]}]}",
            ),
        ],
        open: |a| !(a.to("x/a") || a.from("x/b")) || a.protocol == Protocol::Tcp,
    },
    Case {
        what: "[73] endPort equal to port, endPort 65535, a range over a single port of another policy",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81, endPort: 81}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{protocol: UDP, port: 81, endPort: 65535}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: SCTP, port: 80, endPort: 81}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{protocol: SCTP, port: 80}]}]}",
            ),
        ],
        open: |a| {
            (!a.to("x/a") || a.tcp(81))
                && (!a.to("x/b") || a.udp(81))
                && (!a.to("x/c")
                    || a.sender_in("y") && a.protocol == Protocol::Sctp
                    || a.sender_in("z") && a.sctp(80))
        },
    },
];
