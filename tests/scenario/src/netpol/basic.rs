//! Selectors, defaults and the sum of policies: the upstream cases that are about who, not about which port.

use super::{
    arena::{Arena, Policy},
    ask::Ask,
};
use crate::report::Report;

/// A case: its numbers and name, policies by namespace, and which paths they leave open. Nodes reach their own pods in any case.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) policies: &'static [(&'static str, &'static str)],
    pub(super) open: fn(&Ask<'_>) -> bool,
}

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) {
    run(arena, report, CASES);
}

pub(super) fn run(arena: &mut Arena<'_>, report: &mut Report, cases: &[Case]) {
    for case in cases {
        let owned = |(namespace, spec): &(&str, &str)| ((*namespace).into(), (*spec).into());
        let policies: Vec<Policy> = case.policies.iter().map(owned).collect();
        arena.case(report, case.what, &policies, Some(&case.open));
    }
}

const CASES: &[Case] = &[
    Case {
        what: "[1] default-deny-ingress",
        policies: &[("x", "{podSelector: {}, policyTypes: [Ingress]}")],
        open: |a| !a.receiver_in("x"),
    },
    Case {
        what: "[2] default-deny-all",
        policies: &[("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}")],
        open: |a| !a.receiver_in("x") && !a.sender_in("x"),
    },
    Case {
        what: "[3] pods of the server's namespace by podSelector",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("x/b"),
    },
    Case {
        what: "[4] ingress for a target beside default-deny",
        policies: &[
            ("x", "{podSelector: {}, policyTypes: [Ingress]}"),
            ("x", "{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}"),
        ],
        open: |a| !a.receiver_in("x") || a.to("x/a"),
    },
    Case {
        what: "[5] pods of all namespaces, and nobody who is no pod",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.by_pod(),
    },
    Case {
        what: "[6] only from a different namespace",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y"),
    },
    Case {
        what: "[7] podSelector with matchExpressions",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, none]}]}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("x/b"),
    },
    Case {
        what: "[8] namespaceSelector with matchExpressions",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x, z]}, {key: ns, operator: Exists}]}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y"),
    },
    Case {
        what: "[9] podSelector or namespaceSelector",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("x/b") || a.sender_in("y"),
    },
    Case {
        what: "[10] podSelector and namespaceSelector",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("y/b"),
    },
    Case {
        what: "[11] several podSelectors and namespaceSelectors",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}, namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: ['y', z]}]}}, {podSelector: {matchLabels: {pod: a}}, namespaceSelector: {matchLabels: {ns: z}}}]}]}",
        )],
        open: |a| {
            let among = ["y/b", "y/c", "z/b", "z/c", "z/a"];
            !a.to("x/a") || among.iter().any(|pod| a.from(pod))
        },
    },
    Case {
        what: "[12] any of several podSelectors",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("x/b") || a.from("x/c"),
    },
    Case {
        what: "[13] only a pod in a different namespace",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: a}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("y/a"),
    },
    Case {
        what: "[15] stacked policies with overlapping podSelectors",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{protocol: TCP, port: 80}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{protocol: TCP, port: 81}]}]}",
            ),
        ],
        open: |a| {
            let second = a.sender_in("z") && a.tcp(81);
            match (a.to("x/a"), a.to("x/b")) {
                (true, _) => a.sender_in("y") && a.tcp(80) || second,
                (_, true) => second,
                _ => true,
            }
        },
    },
    Case {
        what: "[16] allow-all",
        policies: &[("x", "{podSelector: {}, ingress: [{}]}")],
        open: |_| true,
    },
    Case {
        what: "[23] from other namespaces all is denied",
        policies: &[(
            "x",
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        )],
        open: |a| !a.receiver_in("x") || a.sender_in("x"),
    },
    Case {
        what: "[25] egress of one pod is denied",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}",
        )],
        open: |a| !a.from("x/a"),
    },
    Case {
        what: "[26] egress of a namespace is denied",
        policies: &[("y", "{podSelector: {}, policyTypes: [Egress], egress: []}")],
        open: |a| !a.sender_in("y"),
    },
    Case {
        what: "[27] ingress and egress in one policy",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}]}], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: 81}]}]}",
        )],
        open: |a| {
            (!a.to("x/a") || a.sender_in("y"))
                && (!a.from("x/a") || a.receiver_in("z") && a.tcp(81))
        },
    },
    Case {
        what: "[28] the client's egress is denied though the server allows",
        policies: &[
            ("x", "{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}"),
            (
                "y",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}",
            ),
        ],
        open: |a| !a.from("y/a") || a.receiver_in("z"),
    },
    Case {
        what: "[29] egress to a server in another namespace",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: a}}}]}]}",
        )],
        open: |a| !a.from("x/a") || a.to("y/a"),
    },
    Case {
        what: "[31] allow-all beside deny-all, ingress",
        policies: &[
            ("x", "{podSelector: {}, policyTypes: [Ingress]}"),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress]}",
            ),
            ("x", "{podSelector: {}, ingress: [{}]}"),
        ],
        open: |_| true,
    },
    Case {
        what: "[32] allow-all beside deny-all, egress",
        policies: &[
            ("x", "{podSelector: {}, policyTypes: [Egress]}"),
            (
                "x",
                "{podSelector: {}, policyTypes: [Egress], egress: [{}]}",
            ),
            ("z", "{podSelector: {}, policyTypes: [Egress]}"),
        ],
        open: |a| !a.sender_in("z"),
    },
    Case {
        what: "[37] ingress and egress are independent",
        policies: &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: []}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: []}",
            ),
        ],
        open: |a| !a.to("x/a") && !a.from("x/b"),
    },
    Case {
        what: "[41] namespace by its default label, matchLabels",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: 'y'}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.sender_in("y"),
    },
    Case {
        what: "[42] namespace by its default label, matchExpressions",
        policies: &[(
            "x",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, 'y', default]}]}, podSelector: {matchLabels: {pod: b}}}]}]}",
        )],
        open: |a| !a.to("x/a") || a.from("z/b"),
    },
    Case {
        what: "[67] missing ingress with policyTypes Ingress",
        policies: &[("y", "{podSelector: {}, policyTypes: [Ingress]}")],
        open: |a| !a.receiver_in("y"),
    },
    Case {
        what: "[67] ingress: [] with policyTypes Ingress, and egress: null with Egress",
        policies: &[
            (
                "x",
                "{podSelector: {}, policyTypes: [Ingress], ingress: []}",
            ),
            (
                "z",
                "{podSelector: {}, policyTypes: [Egress], egress: null}",
            ),
        ],
        open: |a| !a.receiver_in("x") && !a.sender_in("z"),
    },
    Case {
        what: "[68] policyTypes left out: egress rules isolate both ways, none only ingress; rules of a type left out count for nothing",
        policies: &[
            (
                "x",
                "{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}",
            ),
            ("y", "{podSelector: {matchLabels: {pod: a}}}"),
            (
                "z",
                "{podSelector: {}, policyTypes: [Egress], egress: [{}], ingress: [{from: [{podSelector: {}}]}]}",
            ),
        ],
        open: |a| !a.receiver_in("x") && !a.to("y/a") && !a.sender_in("x"),
    },
];
