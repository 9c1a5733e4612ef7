//! Clusters of other shapes: other families, AS numbers, runtimes, fabrics. Each runs the demo's checks, and shows that it is the shape it claims to be.

mod proof;
mod uplinks;

use crate::{
    Scenario, cluster::Cluster, connectivity, kill, peering::Peering, policy, report::Report,
    routing, services,
};
use anyhow::Result;
use margay_lab::{Family, Lab, NodeAs, Proxy, Runtime, Spec};

/// A cluster of another shape.
struct Shape {
    name: &'static str,
    what: &'static str,
    /// Names its lab; shapes that follow each other and differ in their objects only share one.
    lab: &'static str,
    /// Makes the standard lab one of this shape.
    spec: fn(Spec) -> Spec,
    peering: Peering,
    /// What only this shape has.
    proof: fn(&Cluster, &mut Report) -> Result<()>,
    /// The demo's checks that it runs.
    checks: &'static [Scenario],
}

const DEMO: &[Scenario] = &[
    ("connectivity", "who reaches whom", connectivity::prove),
    ("routing", "routers and kernels", routing::prove),
    ("services", "ClusterIP and names", services::prove),
    ("policy", "what policies cut and open", policy::prove),
    ("kill", "an agent killed loses nothing", kill::prove),
];

/// The demo's, and all that another mode of kube-proxy can change.
const PROXY: &[Scenario] = &[
    ("connectivity", "who reaches whom", connectivity::prove),
    ("routing", "routers and kernels", routing::prove),
    ("services", "ClusterIP and names", services::prove),
    (
        "services-whole",
        "all kinds of Services and host ports",
        services::whole,
    ),
    ("policy", "what policies cut and open", policy::prove),
    ("kill", "an agent killed loses nothing", kill::prove),
];

/// What another way to peer can change.
const ROUTES: &[Scenario] = &[
    ("connectivity", "who reaches whom", connectivity::prove),
    ("routing", "routers and kernels", routing::prove),
    ("kill", "an agent killed loses nothing", kill::prove),
];

const SHAPES: &[Shape] = &[
    Shape {
        name: "shape-v6",
        what: "IPv6 only",
        lab: "v6",
        spec: |spec| Spec {
            family: Family::V6,
            ..spec
        },
        peering: Peering::Racks,
        proof: proof::v6,
        checks: DEMO,
    },
    Shape {
        name: "shape-v4",
        what: "IPv4 only, IPv6 turned off in the kernel",
        lab: "v4",
        spec: |spec| Spec {
            family: Family::V4,
            ..spec
        },
        peering: Peering::Racks,
        proof: proof::v4,
        checks: DEMO,
    },
    Shape {
        name: "shape-five",
        what: "5 nodes in 3 racks, kube-proxy in iptables mode, containerd 2",
        lab: "five",
        spec: |spec| Spec {
            nodes: 5,
            racks: 3,
            proxy: Proxy::Iptables,
            runtime: Runtime::Containerd2,
            ..spec
        },
        peering: Peering::Racks,
        proof: proof::five,
        checks: PROXY,
    },
    Shape {
        name: "shape-one-as",
        what: "the same AS in every rack (allowOwnAS), pools inside the fabric's own range",
        lab: "one-as",
        spec: one_as,
        peering: Peering::OneAs,
        proof: proof::one_as,
        checks: DEMO,
    },
    Shape {
        name: "shape-mesh",
        what: "one iBGP mesh across the racks, next hops two hops away",
        lab: "one-as",
        spec: one_as,
        peering: Peering::Mesh,
        proof: proof::mesh,
        checks: ROUTES,
    },
    Shape {
        name: "shape-uplinks",
        what: "two uplinks a node to two ToRs, the node's address on its loopback, ECMP",
        lab: "uplinks",
        spec: |spec| Spec { uplinks: 2, ..spec },
        peering: Peering::Uplinks,
        proof: uplinks::prove,
        checks: DEMO,
    },
];

fn one_as(spec: Spec) -> Spec {
    Spec {
        node_as: NodeAs::One,
        pods_in_fabric: true,
        ..spec
    }
}

/// Whether there is a shape of that name.
pub(crate) fn is_one(name: &str) -> bool {
    SHAPES.iter().any(|shape| shape.name == name)
}

/// Prints them.
pub(crate) fn list() {
    SHAPES
        .iter()
        .for_each(|shape| println!("{:14} {}", shape.name, shape.what));
}

/// Proves the shapes that are wanted, each lab taken down before the next one starts.
pub(crate) fn run(wanted: impl Fn(&str) -> bool, lab: &str, keep: bool, report: &mut Report) {
    let wanted: Vec<&Shape> = SHAPES.iter().filter(|shape| wanted(shape.name)).collect();
    for shapes in wanted.chunk_by(|one, next| one.lab == next.lab) {
        let name = format!("{lab}-{}", shapes[0].lab);
        if let Err(error) = on_one_lab(shapes, &name, report) {
            report.fail("the shape", &error);
        }
        if !keep && let Err(error) = Lab::down(&name) {
            report.fail(&format!("taking lab {name} down"), &error);
        }
    }
}

fn on_one_lab(shapes: &[&Shape], name: &str, report: &mut Report) -> Result<()> {
    let Some((first, others)) = shapes.split_first() else {
        return Ok(());
    };
    report.title(first.name, first.what);
    let spec = Spec {
        name: name.to_owned(),
        ..Spec::default()
    };
    let cluster = Cluster::of((first.spec)(spec), first.peering, report)?;
    prove(first, &cluster, report);
    for shape in others {
        report.title(shape.name, shape.what);
        shape.peering.replace(&cluster.lab)?;
        prove(shape, &cluster, report);
    }
    Ok(())
}

fn prove(shape: &Shape, cluster: &Cluster, report: &mut Report) {
    let own = ("shape", shape.what, shape.proof);
    for (name, what, prove) in std::iter::once(&own).chain(shape.checks) {
        report.title(&format!("{} {name}", shape.name), what);
        if let Err(error) = prove(cluster, report) {
            report.fail(name, &error);
        }
    }
}
