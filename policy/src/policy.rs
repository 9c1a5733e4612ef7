//! A NetworkPolicy, parsed once into a form that cannot be wrong.
//!
//! An object that cannot be read fails closed: a direction in which anything is invalid allows nothing (other policies still
//! add what they allow), and a policy whose `podSelector` is invalid isolates its whole namespace. The API server lets few
//! such objects through; an older one, a webhook or a newer field value may.

mod reader;

use std::fmt;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};

use crate::ranges::Ranges;
use crate::selector::Selector;
use crate::table::{PortRange, Protocol};
use reader::Reader;

/// Which way a packet goes, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

/// A field of a NetworkPolicy that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Namespace of the policy.
    pub namespace: String,
    /// Its name.
    pub policy: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec that this is about.
    pub generation: i64,
    /// Path of the field, as in `spec.ingress[0].from[1].ipBlock.cidr`.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What should, and what happens meanwhile.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            policy,
            field,
            value,
            remedy,
            ..
        } = self;
        write!(
            f,
            "networkpolicy {namespace}/{policy}: {field} {value:?}: {remedy}"
        )
    }
}

/// What one policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Pods of its namespace that it isolates.
    pub(crate) subjects: Selector,
    /// What may come in; none when it does not isolate this way.
    pub(crate) ingress: Option<Vec<Allow>>,
    /// What may go out; none when it does not isolate this way.
    pub(crate) egress: Option<Vec<Allow>>,
}

/// One rule: traffic of any of these peers on any of these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    /// Empty: any peer.
    pub(crate) peers: Vec<Peer>,
    /// Empty: any port of any protocol.
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Pods(PeerSelector),
    Block(Ranges),
}

/// Pods by namespace and label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerSelector {
    pub(crate) namespaces: Namespaces,
    pub(crate) pods: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Namespaces {
    Named(String),
    Selected(Selector),
    /// All, known or not: where a rule speaks of ports only, no namespace is asked for.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Any(Protocol),
    Numbers(Protocol, PortRange),
    /// Resolved in the destination pod.
    Named(Protocol, String),
}

impl PeerSelector {
    /// Every pod of the cluster.
    pub(crate) fn everyone() -> Self {
        Self {
            namespaces: Namespaces::Any,
            pods: Selector::everything(),
        }
    }
}

impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            Namespaces::Named(name) => write!(f, "namespace {name:?}, pods {}", self.pods),
            Namespaces::Selected(selector) => {
                write!(f, "namespaces {selector}; pods {}", self.pods)
            }
            Namespaces::Any => write!(f, "any namespace; pods {}", self.pods),
        }
    }
}

impl Policy {
    /// What the policy says, and what in it cannot be obeyed.
    pub(crate) fn parse(object: &NetworkPolicy) -> (Self, Vec<Problem>) {
        let mut reader = Reader::new(object);
        let nothing = NetworkPolicySpec::default();
        let policy = reader.read(object.spec.as_ref().unwrap_or(&nothing));
        (policy, reader.problems)
    }

    pub(crate) fn allows(&self, direction: Direction) -> Option<&[Allow]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}
