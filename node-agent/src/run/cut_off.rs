//! ADD and DEL cut off at every step, by a real `kill -9` of a real process, and what the next verb or the next start makes of what is left.
//!
//! ```text
//!  test ──starts──► agent (this binary, `cut_off::agent::serves`): real records, links, routes and nftables in a namespace of its own
//!    │ arm POINT        │
//!    ├─ ADD or DEL ───► ✗ SIGKILL at POINT
//!    ├─ looks with ls, ip and nft: what is left is what this step leaves
//!    └─ starts ───────► agent ◄── ADD or DEL again │ DEL │ nothing, the pod's namespace is gone
//!                         └─► afterwards everything is as before: records, links, routes, neighbours, rules, addresses in memory
//! ```
//! All of the agent runs but its watches, in whose place the test tells it a small cluster, and the report. Blocks at the API server and what
//! the kubelet does are the lab's (scenario `add-stress`).

mod agent;
mod node;

use crate::kernel::testnet::{Namespace, output};
use agent::{Agent, KILLED};
use node::{Kernel, Left, isolated};

/// A step: its name, and whether a record, the link, rules and a route are there when the agent dies after it. Two moments race with other tasks.
type Step = (&'static str, [Option<bool>; 4]);

const fn left(bits: u8) -> [Option<bool>; 4] {
    [
        Some(bits & 8 != 0),
        Some(bits & 4 != 0),
        Some(bits & 2 != 0),
        Some(bits & 1 != 0),
    ]
}

const ADD: &[Step] = &[
    ("add: its turn", left(0b0000)),
    ("add: pod asked for", left(0b0000)),
    ("add: pod known", left(0b0000)),
    ("add: addresses taken", left(0b0000)),
    ("add: record written aside", left(0b0000)),
    ("add: recorded", left(0b1000)),
    ("link: pair made", left(0b1100)),
    ("link: sysctls set", left(0b1100)),
    ("link: node's side made", left(0b1100)),
    ("add: link made", left(0b1100)),
    ("add: engine told", [Some(true), Some(true), None, None]),
    ("add: planned", [Some(true), Some(true), None, None]),
    ("kernel: policy written", left(0b1110)),
    ("kernel: routes written", left(0b1111)),
    ("add: applied", left(0b1111)),
    ("add: wired", left(0b1111)),
];

const DEL: &[Step] = &[
    ("del: its turn", left(0b1111)),
    ("del: engine told", [Some(true), Some(true), None, None]),
    ("del: planned", [Some(true), Some(true), None, None]),
    ("kernel: policy written", left(0b1101)),
    ("kernel: routes written", left(0b1100)),
    ("del: applied", left(0b1100)),
    ("del: link gone", left(0b1000)),
    ("del: record gone", left(0b0000)),
    ("del: addresses free", left(0b0000)),
];

/// An ADD that is refused after its record was written, while it undoes itself.
const UNDO: &[Step] = &[
    ("del: engine told", left(0b1000)),
    ("del: planned", left(0b1000)),
    ("del: applied", left(0b1000)),
    ("del: link gone", left(0b1000)),
    ("del: record gone", left(0b0000)),
    ("del: addresses free", left(0b0000)),
];

/// What happens once there is an agent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The verb again, and a DEL after an ADD.
    Again,
    /// DEL.
    Del,
    /// No verb ever: the pod's namespace is gone.
    Nothing,
}

const NEXT: [Next; 3] = [Next::Again, Next::Del, Next::Nothing];

#[test]
fn add_cut_off_at_every_step() {
    isolated(|node| async move {
        let mut agent = Agent::start(&node).await;
        for step in ADD {
            for next in NEXT {
                let pod = Namespace::new();
                let before = node.kernel();
                agent = cut_off(&node, agent, step, &pod, "add").await;
                agent = settle(&node, agent, pod, next, "add", &before, step.0).await;
            }
        }
    });
}

#[test]
fn del_cut_off_at_every_step() {
    isolated(|node| async move {
        let mut agent = Agent::start(&node).await;
        for step in DEL {
            for next in NEXT {
                let pod = Namespace::new();
                let before = node.kernel();
                agent.add("c1", &pod).await.expect("ADD");
                agent = cut_off(&node, agent, step, &pod, "del").await;
                agent = settle(&node, agent, pod, next, "del", &before, step.0).await;
            }
        }
    });
}

#[test]
fn the_undo_of_a_refused_add_cut_off_at_every_step() {
    isolated(|node| async move {
        let mut agent = Agent::start(&node).await;
        for step in UNDO {
            for next in NEXT {
                let pod = Namespace::new();
                pod.ip("link add eth0 type veth peer name other");
                let before = node.kernel();
                agent = cut_off(&node, agent, step, &pod, "add").await;
                let foreign = pod.ip("link show eth0");
                assert!(foreign.contains("eth0"), "it is not ours to delete");
                // Without the foreign link the next ADD succeeds.
                pod.ip("link del eth0");
                agent = settle(&node, agent, pod, next, "add", &before, step.0).await;
            }
        }
    });
}

/// Kills the agent at `step` of the verb, and looks at what is left.
async fn cut_off(
    node: &node::Node,
    mut agent: Agent,
    (point, expected): &Step,
    pod: &Namespace,
    verb: &str,
) -> Agent {
    node.arm(point);
    let answer = agent.verb(verb, "c1", pod).await;
    assert_eq!(
        agent.end(),
        KILLED,
        "{verb} never came by {point:?}: {answer:?}"
    );
    assert!(
        answer.is_err(),
        "{point}: the runtime got an answer: {answer:?}"
    );
    node.disarm();
    let seen = node.left("c1");
    for (i, what) in Left::NAMES.iter().enumerate() {
        if let Some(expected) = expected[i] {
            assert_eq!(seen.0[i], expected, "{point}: is there a {what}? {seen:?}");
        }
    }
    agent
}

/// Starts an agent again, lets it get the next verb or none, and compares everything with before.
async fn settle(
    node: &node::Node,
    dead: Agent,
    pod: Namespace,
    next: Next,
    verb: &str,
    before: &Kernel,
    point: &str,
) -> Agent {
    drop(dead);
    let case = format!("{verb} killed at `{point}`, then {next:?}");
    let pod = if next == Next::Nothing {
        drop(pod);
        None
    } else {
        Some(pod)
    };
    let agent = Agent::start(node).await;
    // Another pod gets other addresses, whatever state the first is in.
    let neighbour = Namespace::new();
    let others = agent
        .add("c2", &neighbour)
        .await
        .unwrap_or_else(|e| panic!("{case}: {e}"));
    if let Some(pod) = &pod {
        node.whole_or_nothing("c1", &case);
        if next == Next::Again {
            let again = agent
                .verb(verb, "c1", pod)
                .await
                .unwrap_or_else(|e| panic!("{case}: {e}"));
            assert!(
                again.iter().all(|a| !others.contains(a)),
                "{case}: {again:?} twice"
            );
            assert_eq!(again.len(), if verb == "add" { 2 } else { 0 }, "{case}");
        }
        if next == Next::Again && verb == "add" {
            assert!(
                node.left("c1").0.iter().all(|part| *part),
                "{case}: {:?}",
                node.left("c1")
            );
            let (ok, text) = pod.run("ip -o addr show dev eth0");
            assert!(ok && text.contains("10.244.0."), "{case}: {text}");
        }
        if next == Next::Del || verb == "add" {
            agent
                .verb("del", "c1", pod)
                .await
                .unwrap_or_else(|e| panic!("{case}: {e}"));
        }
    }
    agent
        .verb("del", "c2", &neighbour)
        .await
        .unwrap_or_else(|e| panic!("{case}: {e}"));
    node.wait(&format!("{case}: everything as before"), || {
        let now = node.kernel();
        (now != *before).then(|| now.difference(before))
    });
    agent.wait_for_no_address(&case).await;
    agent
}

/// A step that has no point, or a point that no test knows, is a step that nobody has cut off.
#[test]
fn every_step_has_a_point_and_every_point_a_test() {
    let sources = [
        include_str!("../cni/add.rs"),
        include_str!("../cni/del.rs"),
        include_str!("../cni/records.rs"),
        include_str!("../kernel/link.rs"),
        include_str!("../kernel/link/wire.rs"),
        include_str!("../actuate.rs"),
    ];
    let points = sources
        .iter()
        .flat_map(|s| s.split("fault::point(\"").skip(1));
    let points: std::collections::BTreeSet<&str> =
        points.filter_map(|rest| rest.split('"').next()).collect();
    let tested = [ADD, DEL, UNDO].concat();
    assert_eq!(points, tested.iter().map(|step| step.0).collect());
    for source in &sources[..2] {
        for function in source.split("async fn ").skip(1) {
            // A step is what waits; between the last one and the answer nothing is done.
            let function = function.replace(".await_", "");
            let steps: Vec<&str> = function.split(".await").collect();
            for between in steps.iter().skip(1).rev().skip(1) {
                assert!(
                    between.contains("fault::point("),
                    "no point after this step: {between}"
                );
            }
        }
    }
}

/// That the comparison sees what it is to see.
#[test]
fn a_leak_is_seen() {
    isolated(|node| async move {
        let agent = Agent::start(&node).await;
        let (pod, before) = (Namespace::new(), node.kernel());
        agent.add("c1", &pod).await.expect("ADD");
        let difference = node.kernel().difference(&before);
        for part in [
            "attachments",
            "link",
            "-4 route",
            "-6 route",
            "neigh",
            "nft",
        ] {
            assert!(
                difference.contains(part),
                "{part} is not compared: {difference}"
            );
        }
        let (ok, _) = output("nft list table inet margay");
        assert!(ok);
    });
}
