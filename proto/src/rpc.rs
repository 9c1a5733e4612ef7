//! The gRPC services, generated from `proto/*.proto`.

/// Plugin to agent: the CNI verbs.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod cni {
    tonic::include_proto!("margay.cni.v1");
}

/// `margayctl` to agent: live state of a node.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod agent {
    tonic::include_proto!("margay.agent.v1");
}
