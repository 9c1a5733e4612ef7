//! Real Kubernetes clusters in network namespaces.
//!
//! ```text
//!                       outside 203.0.113.10
//!                          │
//!   cp ────────────────  spine  AS 65000, BIRD          every box is a network namespace mgl-LAB-PLACE
//!   │ API server         │     │                         with a mount namespace of its own
//!   │                 tor1     tor2                     BIRD or FRR, AS 65101, 65102, …
//!   │                 │   │       │
//!   │       fabric0   n1  n2      n3                    172.31.RACK.0/24, fd31:RACK::/64; AS 4200000000 + rack
//!   │                 │   │       │
//!   └─── mgmt0 ───────┴───┴───────┘                     192.168.77.0/24, fd77::/64: nodes reach the API server here
//! ```
//! etcd, the API server, controllers, scheduler, containerd, kubelet, kube-proxy (nftables or iptables), CoreDNS, BIRD and FRR are the
//! real ones. What a lab does not have is a pod network: its nodes are NotReady, and CoreDNS pending, until one is installed.
//!
//! # Using it
//! `lab up`, `lab status`, `lab exec n1 -- ip route`, `lab kubectl -- get pods -A`, `lab logs n1 kubelet`, `lab down`; the
//! binaries come from `tests/kubernetes/build.sh`, which `lab up` runs. Tests use [`Lab`] and [`wait_until`].
//!
//! # Design
//! - **Decide in [`plan`] and `render`** (pure: every address, AS number and configuration file is a function of the
//!   [`Spec`]), do in `network`, `place` and `lab`.
//! - **One addressing plan.** Labs side by side differ in the names of their namespaces only; nothing leaks between them.
//!   Both ends of every link are created inside the lab, so that the machine's own network never sees an interface.
//! - **A node's host paths are its own.** `/run` is fresh; `/etc`, `/opt` and `/var` are overlays whose upper side belongs
//!   to the node, and what kubelet, containerd and agents keep is bound from `target/lab/LAB/nodes/NODE`. Whatever folder
//!   a DaemonSet mounts from there is private, also one that nobody thought of. `/sys`, the module state and process ids are
//!   the machine's: never `pkill` in a place, [`Lab::kill`] finds processes by namespace.
//! - **Sessions.** A ToR has one session per node, over IPv4 where there is IPv4, with every family of the lab; hold time
//!   9 s, graceful restart 120 s. It tells nodes what it learned by BGP, but no default route: they have a static one.
//! - **Nodes start as fresh machines**: forwarding is off, `/etc/cni/net.d` is empty, `/opt/cni/bin` has Debian's reference plugins.
//! - **Down is total.** Processes are found by namespace, environment, cgroup and descent (`process::table`), whichever is
//!   left of a lab that was killed half-way; a remembered process id counts only with its start time.

mod cgroup;
mod flood;
mod folder;
mod lab;
mod network;
mod pki;
mod place;
pub mod plan;
mod process;
mod progress;
mod render;
mod tools;
mod wait;

pub use flood::{Echo, Pinging, Report, Sink};
pub use folder::checkout;
pub use lab::{Lab, ProcessStatus, Running, Status};
pub use plan::{Family, NodeAs, Plan, Proxy, Runtime, Spec, Tor};
pub use wait::{Seen, wait_for_text, wait_until};
