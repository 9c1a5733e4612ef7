//! The DaemonSet's program: the only long-running IO of a node.
//!
//! ```text
//! API server ──watch──┐                                        ┌── routes   ─► rtnetlink      (kernel, actuate)
//! BGP peers  ──bytes──┤                                        ├── links    ─► rtnetlink, netns (cni)
//! kernel     ──event──┼─► Event ─► Engine ─► Plan (snapshot) ──┼── nft      ─► nfnetlink       (kernel, actuate)
//! CNI stub   ──gRPC───┤   (data)   (sync,    (data)            ├── exports  ─► bgp::Speaker    (speaker)
//! timers     ──now────┘             no IO)                     └── status   ─► API server      (report, blocks)
//! ```
//! [`run`] wires it; [`engine`] holds every opinion; the rest is dull. [`standalone`] is the speaker and the kernel's routes without Kubernetes.
//!
//! Review notes: kill the agent at any line and ask what is left in the kernel, in /run and at the API server, and who cleans it up with no
//! memory of it. Everything of ours is recognised by [`margay_proto::names`] alone.

pub mod actuate;
pub mod addresses;
pub mod api;
pub mod bfd;
pub mod blocks;
pub mod bridge;
pub mod cni;
pub mod doctor;
pub mod engine;
mod fault;
mod files;
mod filters;
pub mod health;
pub mod kernel;
mod program;
pub mod report;
pub mod run;
pub mod speaker;
pub mod standalone;
pub mod state;
pub mod warnings;
pub mod watch;
