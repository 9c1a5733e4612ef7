//! What NetworkPolicy means, case by case; numbers are those of the project's checklist of semantics, and stand in the names of the
//! tests (`case_NN_…`). Every case is put to the compiled table and to the oracle.
//!
//! | number | what | memory, here | kernel (node-agent) or lab |
//! |---|---|---|---|
//! | 1-18 | ingress of the upstream e2e | `upstream_ingress` | lab `policy`, `netpol`: the same over real links |
//! | 19 | egress to a named port | `upstream_egress` | lab `netpol` |
//! | 20-24 | updates of policies, namespaces, pods | `upstream_updates` | lab `policy` measures how soon |
//! | 25-29, 32, 34-37 | egress, CIDRs | `upstream_egress` | lab `netpol` |
//! | 30, 31, 38-48 | protocols, default labels | `upstream_ingress` | SCTP by crafted packets: lab `netpol` |
//! | 33 | deletion of policies | `upstream_updates` | lab `policy` |
//! | 49 | actions of Cyclonus | `upstream_updates` | |
//! | 50-59 | generated cases of Cyclonus, whole truth tables | `cyclonus`, by `stated` | |
//! | 67, 68 | missing and empty lists, policyTypes | `lists` | the API server has its own defaults: lab `netpol` |
//! | 69, 73 | ports that do not narrow each other, endPort | `ports` | |
//! | 70, 71 | exceptions, CIDRs that overlap | `ports`, `blocks`, unit tests of `ranges` | `tests/nft.rs` loads them |
//! | 72 | named ports | `ports` | |
//! | 74 | pods on their node's network | `nodes` | lab `netpol` |
//! | 75 | kubelet probes under default deny | `nodes`: nothing filters what the node sends | lab `policy`, `netpol` |
//! | 76 | another node | `nodes` | lab `netpol` |
//! | 77 | the own node | `nodes` | NodePort: lab `netpol`, `services` |
//! | 78 | Services | `flows`: backends and clients | DNAT itself: lab `services` |
//! | 79 | hairpin | `flows` | kernel, `nft/tests/packets`; through kube-proxy: lab `services` |
//! | 80 | replies, RELATED, invalid, echo | `flows` | fragments, ICMP errors: kernel, `nft/tests/packets` of the agent |
//! | 83 | reuse of addresses | `addresses` | flows of the old owner: `kernel::conntrack` of the agent |
//! | 84 | deleted pods | `addresses` | lab `churn` |
//! | 85 | dual stack, neighbour discovery | `addresses`, `blocks`, `nodes` | lab: every check in both families |
//! | 90 | objects that cannot be obeyed | `unreadable` | events: lab `netpol` |
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/fixtures.rs"]
mod fixtures;

mod addresses;
mod blocks;
mod cluster;
mod cyclonus;
mod flows;
mod lists;
mod nodes;
mod ports;
mod shape;
mod small;
mod stated;
mod unreadable;
mod upstream_egress;
mod upstream_ingress;
mod upstream_updates;
