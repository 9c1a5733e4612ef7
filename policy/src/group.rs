//! Groups: what selectors and named ports stand for, as sets that many classes share.

use crate::policy::{Namespaces, PeerSelector};
use crate::table::{Digest, Family, KeyType, Protocol, Set, SetName};

/// Pods, or services of pods, whose addresses are a pair of sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Group {
    /// Addresses of the selected pods.
    Pods(PeerSelector),
    /// Address, protocol and number of the named port of the selected pods.
    Service(PeerSelector, Protocol, String),
}

impl Group {
    pub(crate) fn selector(&self) -> &PeerSelector {
        match self {
            Self::Pods(selector) | Self::Service(selector, ..) => selector,
        }
    }

    /// The namespace it is confined to, if it is confined to one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match &self.selector().namespaces {
            Namespaces::Named(name) => Some(name),
            Namespaces::Selected(_) | Namespaces::Any => None,
        }
    }

    /// What it stands for.
    pub(crate) fn note(&self) -> String {
        match self {
            Self::Pods(selector) => selector.to_string(),
            Self::Service(selector, protocol, name) => {
                format!("{selector}; {protocol} port {name:?}")
            }
        }
    }

    pub(crate) fn set_name(&self, family: Family) -> SetName {
        let kind = match self {
            Self::Pods(_) => 'p',
            Self::Service(..) => 'n',
        };
        SetName::new(format!(
            "{kind}{}_{}",
            digit(family),
            short_hash(&self.note())
        ))
    }

    /// The set, still empty.
    pub(crate) fn set(&self, family: Family) -> Set {
        let key = match (self, family) {
            (Self::Pods(_), Family::V4) => KeyType::Ipv4,
            (Self::Pods(_), Family::V6) => KeyType::Ipv6,
            (Self::Service(..), Family::V4) => KeyType::Ipv4ProtoPort,
            (Self::Service(..), Family::V6) => KeyType::Ipv6ProtoPort,
        };
        Set::hash(key).noted(&self.note())
    }
}

pub(crate) fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// Eighty bits of SHA-256 in hexadecimal: nobody finds a second text for the name of another namespace's set.
pub(crate) fn short_hash(text: &str) -> String {
    let mut hash = Digest::of_text(text).to_string();
    hash.truncate(20);
    hash
}
