//! Data that crosses a process boundary; no behaviour beyond parsing and naming.
//!
//! ```text
//!  runtime ──CNI JSON (cni)──► plugin ──gRPC (rpc::cni)──► agent ◄──gRPC (rpc::agent)── margayctl
//!                                                            │
//!                              API server ◄──CRDs (crd)──────┴──slim Pods, Namespaces, Nodes (slim)
//! ```
//!
//! The plugin builds this crate with `client` alone, so that it stays small; `crd` brings the Kubernetes types.

pub mod cni;
#[cfg(feature = "crd")]
pub mod crd;
pub mod names;
#[cfg(feature = "rpc")]
pub mod rpc;
#[cfg(feature = "crd")]
pub mod slim;
