//! A pod's interface and the addresses it holds: what the agent records on disk before it answers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the runtime calls an attachment: CNI_CONTAINERID and CNI_IFNAME.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentKey {
    /// CNI_CONTAINERID.
    pub container_id: String,
    /// CNI_IFNAME.
    pub ifname: String,
}

impl AttachmentKey {
    /// The key of `container_id` and `ifname`.
    pub fn new(container_id: impl Into<String>, ifname: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            ifname: ifname.into(),
        }
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

/// A pod's network namespace. Paths and inodes are used again, so the three together say whether it is still the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netns {
    /// CNI_NETNS, as the host sees it.
    pub path: PathBuf,
    /// `st_dev` of the file at `path`.
    pub device: u64,
    /// `st_ino` of the file at `path`.
    pub inode: u64,
}

/// An attachment. Ask for one with `addresses` empty; [`crate::Allocator::allocate`] fills them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Container and interface.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Where its interface lives.
    pub netns: Netns,
    /// Addresses it holds, at most one a family, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_flat_json() {
        let attachment = Attachment {
            key: AttachmentKey::new("c1", "eth0"),
            namespace: "default".into(),
            pod: "web".into(),
            uid: "u".into(),
            netns: Netns {
                path: "/run/netns/x".into(),
                device: 4,
                inode: 5,
            },
            addresses: vec!["10.0.0.1".parse().unwrap()],
        };
        let json = serde_json::to_value(&attachment).unwrap();
        assert_eq!(json["containerId"], "c1");
        assert_eq!(json["addresses"][0], "10.0.0.1");
        assert_eq!(
            serde_json::from_value::<Attachment>(json).unwrap(),
            attachment
        );
    }
}
