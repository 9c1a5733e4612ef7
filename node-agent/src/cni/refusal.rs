//! Why a verb is refused, the CNI code that says so, and whether people are to be told.

use crate::addresses::NoAddress;
use margay_ipam as ipam;
use margay_proto::rpc::cni as rpc;

/// A CNI error, by what the runtime does next.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// CNI code 11: the runtime tries again.
    #[error("{0}")]
    TryAgain(String),
    /// CNI code 11: the node as a whole cannot start pods, and why.
    #[error("this node cannot start pods yet: {0}")]
    NotServing(String),
    /// CNI code 11: there is no address, or none yet.
    #[error("{0}")]
    NoAddress(NoAddress),
    /// CNI code 11: the kernel refused the pod's rules or routes.
    #[error("{0}")]
    NotProgrammed(String),
    /// CNI code 11: refused, and some of what was done for it is still there.
    #[error("{0}; and undoing it: {1}")]
    NotUndone(Box<Self>, Box<Self>),
    /// CNI code 7: the network configuration is wrong.
    #[error("{0}")]
    InvalidConfig(String),
    /// CNI code 3: the container is not what it should be.
    #[error("{0}")]
    UnknownContainer(String),
    /// CNI code 50: nothing can be added on this node now.
    #[error("{0}")]
    NotAvailable(String),
    /// CNI code 5: the node's file system or kernel refused.
    #[error("{0}")]
    Io(String),
    /// CNI code 100, ours: CHECK found a difference.
    #[error("{0}")]
    Mismatch(String),
}

impl Refusal {
    pub(super) const fn code(&self) -> u32 {
        match self {
            Self::UnknownContainer(_) => 3,
            Self::Io(_) => 5,
            Self::InvalidConfig(_) => 7,
            Self::TryAgain(_)
            | Self::NotServing(_)
            | Self::NoAddress(_)
            | Self::NotProgrammed(_)
            | Self::NotUndone(..) => 11,
            Self::NotAvailable(_) => 50,
            Self::Mismatch(_) => 100,
        }
    }

    /// The reason of the event that a pod gets; none for what passes by itself or is the runtime's fault.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::NotServing(_) => Some("NodeCannotStartPods"),
            Self::NoAddress(NoAddress::Exhausted { .. }) => Some("NoFreeAddress"),
            Self::NoAddress(NoAddress::Refused(ipam::Refusal::NeedBlock(_))) => None,
            Self::NoAddress(NoAddress::Refused(_)) => Some("NoAddressPool"),
            Self::NotProgrammed(_) | Self::Io(_) => Some("PodNetworkFailed"),
            Self::NotUndone(first, _) => first.reason(),
            _ => None,
        }
    }
}

impl From<Refusal> for rpc::Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code(),
            message: refusal.to_string(),
            details: String::new(),
        }
    }
}
