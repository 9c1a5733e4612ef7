//! A block, parsed, and its name.

use ipnetwork::IpNetwork;
use margay_proto::crd::{IPBlock, block_name};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A block of addresses and who owns it. Serialisable, because an agent keeps its own blocks on disk for a start without the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Block {
    /// Its addresses, without host bits.
    pub cidr: IpNetwork,
    /// Pool from which it was claimed.
    pub pool: String,
    /// Node that owns it.
    pub node: String,
}

impl TryFrom<&IPBlock> for Block {
    type Error = InvalidBlock;

    fn try_from(object: &IPBlock) -> Result<Self, InvalidBlock> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let invalid = |why| InvalidBlock {
            name: name.to_owned(),
            why,
        };
        let cidr: IpNetwork = object
            .spec
            .cidr
            .parse()
            .map_err(|_| invalid("spec.cidr is not a network"))?;
        if block_name(cidr) != name {
            return Err(invalid("its name is not canonical for spec.cidr"));
        }
        if crate::address::host_bits(cidr) > MAX_HOST_BITS {
            return Err(invalid("spec.cidr holds more than 4096 addresses"));
        }
        Ok(Self {
            cidr: IpNetwork::new(cidr.network(), cidr.prefix())
                .map_err(|_| invalid("spec.cidr is not a network"))?,
            pool: object.spec.pool.clone(),
            node: object.spec.node_name.clone(),
        })
    }
}

/// The largest block is a /20 or /116.
const MAX_HOST_BITS: u8 = 12;

/// The cidr of which `name` is the canonical name ([`block_name`]), so that a listing of metadata says which blocks are taken.
///
/// # Examples
/// ```
/// # use margay_ipam::cidr_of_name;
/// assert_eq!(cidr_of_name("10-0-0-64-26"), Some("10.0.0.64/26".parse().unwrap()));
/// assert_eq!(cidr_of_name("10-0-0-65-26"), None);
/// ```
pub fn cidr_of_name(name: &str) -> Option<IpNetwork> {
    let (address, prefix) = name.rsplit_once('-')?;
    let separator = if address.matches('-').count() == 3 {
        "."
    } else {
        ":"
    };
    let address: IpAddr = address.replace('-', separator).parse().ok()?;
    let cidr = IpNetwork::new(address, prefix.parse().ok()?).ok()?;
    // The way back refuses host bits, short groups and leading zeros at once.
    (cidr.ip() == cidr.network() && block_name(cidr) == name).then_some(cidr)
}

/// An `IPBlock` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {name}: {why}")]
pub struct InvalidBlock {
    /// Name of the object.
    pub name: String,
    /// What is wrong.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_not_canonical_mean_nothing() {
        for name in [
            "",
            "-",
            "10-0-0-0",
            "10-0-0-0-33",
            "010-0-0-0-26",
            "fd00-0-0-0-0-0-0-0-122",
            "10-0-0-1-26",
            "a-b-c-d-26",
        ] {
            assert_eq!(cidr_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn an_object_under_a_wrong_name_is_refused() {
        let spec = margay_proto::crd::IPBlockSpec {
            cidr: "10.0.0.0/26".into(),
            ..Default::default()
        };
        assert!(Block::try_from(&IPBlock::new("10-0-0-0-26", spec.clone())).is_ok());
        assert!(Block::try_from(&IPBlock::new("10-0-0-64-26", spec)).is_err());
    }

    proptest! {
        #[test]
        fn names_and_networks_are_inverse(address: IpAddr, length in 0u8..=128) {
            let width = if address.is_ipv4() { 32 } else { 128 };
            let cidr = IpNetwork::new(address, length % (width + 1)).unwrap();
            let cidr = IpNetwork::new(cidr.network(), cidr.prefix()).unwrap();
            prop_assert_eq!(cidr_of_name(&block_name(cidr)), Some(cidr));
        }

        #[test]
        fn any_text_is_survived(name: String) {
            let _ = cidr_of_name(&name);
        }
    }
}
