//! A pool, parsed.

use crate::address::{Family, bits, contains, host_bits, low_bits};
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use margay_proto::crd::{Condition, IPPool};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An `IPPool` that cannot be wrong: `cidr` is a network, and `block_size` fits its family and the cidr.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name of the object.
    pub name: String,
    /// Its addresses.
    pub cidr: IpNetwork,
    /// Prefix length of a block.
    pub block_size: u8,
    /// The operator found it free of overlap (condition `Active`).
    pub active: bool,
    /// The user wants no new addresses from it.
    pub disabled: bool,
    /// Connections of its pods that leave pools and nodes get the node's address.
    pub nat_outgoing: bool,
    /// Of several pools for one pod, the highest goes first.
    pub priority: i32,
    reserve_edges: bool,
    selector: Selector,
    /// The namespaces that it is for; none when it is for all.
    namespaces: Option<Selector>,
}

impl TryFrom<&IPPool> for Pool {
    type Error = InvalidPool;

    fn try_from(object: &IPPool) -> Result<Self, InvalidPool> {
        let spec = &object.spec;
        let cidr: IpNetwork = spec.cidr.parse().map_err(|_| InvalidPool {
            field: "spec.cidr",
            value: spec.cidr.clone(),
            remedy: "give a network in CIDR notation, such as 10.244.0.0/16".into(),
        })?;
        if cidr.ip() != cidr.network() {
            return Err(InvalidPool {
                field: "spec.cidr",
                value: spec.cidr.clone(),
                remedy: format!(
                    "leave out the host bits: {}/{}",
                    cidr.network(),
                    cidr.prefix()
                ),
            });
        }
        let block_size = spec.effective_block_size(cidr);
        let sizes = sizes(Family::of(cidr));
        if !sizes.contains(&block_size) || block_size < cidr.prefix() {
            let (low, high) = (cidr.prefix().max(*sizes.start()), sizes.end());
            return Err(InvalidPool {
                field: "spec.blockSize",
                value: block_size.to_string(),
                remedy: format!("give a prefix length of {low} to {high}"),
            });
        }
        let selector = parsed("spec.nodeSelector", spec.node_selector.as_ref())?;
        let namespaces = parsed("spec.namespaceSelector", spec.namespace_selector.as_ref())?;
        let conditions = object
            .status
            .as_ref()
            .map(|s| &s.conditions[..])
            .unwrap_or_default();
        Ok(Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            cidr,
            block_size,
            active: Condition::is_true(conditions, "Active"),
            disabled: spec.disabled,
            nat_outgoing: spec.nat_outgoing,
            priority: spec.priority,
            reserve_edges: spec.effective_reserve_edges(cidr),
            selector: selector.unwrap_or_default(),
            namespaces,
        })
    }
}

impl Pool {
    /// Whether a node with these labels may claim from it now: it is active, not disabled, and selects the node.
    pub fn claimable(&self, node_labels: &BTreeMap<String, String>) -> bool {
        self.active && !self.disabled && self.selects_node(node_labels)
    }

    /// Whether its `nodeSelector` names a node with these labels.
    pub fn selects_node(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.matches(labels)
    }

    /// Whether pods of a namespace with these labels may have its addresses.
    pub fn selects_namespace(&self, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.as_ref().is_none_or(|s| s.matches(labels))
    }

    /// Whether it is for pods of every namespace: only of such pools do nodes claim blocks before a pod asks.
    pub fn is_general(&self) -> bool {
        self.namespaces.is_none()
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.cidr)
    }

    /// Addresses that pods can get, without the reserved edges; one less than the truth for `::/0`.
    pub fn capacity(&self) -> u128 {
        let edges = if self.has_edges() { 2 } else { 0 };
        low_bits(host_bits(self.cidr)).saturating_add(1) - edges
    }

    /// How many blocks nodes can claim, without those that have no usable address; one less than the truth for 2^128.
    pub fn blocks(&self) -> u128 {
        let edges = if self.has_edges() && self.block_size == self.family().width() {
            2
        } else {
            0
        };
        low_bits(self.block_size - self.cidr.prefix()).saturating_add(1) - edges
    }

    /// Whether `block` is one of the blocks that nodes claim from this pool.
    pub fn has_block(&self, block: IpNetwork) -> bool {
        block.prefix() == self.block_size && contains(self.cidr, block)
    }

    /// Whether `address` is never handed out: the first or last of a pool with `reserveEdges`, which old stacks take for network and broadcast
    /// address. A pool of one or two addresses has no edges (RFC 3021).
    pub fn is_edge(&self, address: IpAddr) -> bool {
        let offset = bits(address).wrapping_sub(bits(self.cidr.network()));
        self.has_edges() && (offset == 0 || offset == low_bits(host_bits(self.cidr)))
    }

    pub(crate) fn has_edges(&self) -> bool {
        self.reserve_edges && host_bits(self.cidr) >= 2
    }
}

fn parsed(
    field: &'static str,
    selector: Option<&LabelSelector>,
) -> Result<Option<Selector>, InvalidPool> {
    let parse = |selector: &LabelSelector| Selector::try_from(selector.clone());
    selector
        .map(parse)
        .transpose()
        .map_err(|error| InvalidPool {
            field,
            value: error.to_string(),
            remedy: "use the operators In, NotIn, Exists and DoesNotExist".into(),
        })
}

fn sizes(family: Family) -> std::ops::RangeInclusive<u8> {
    match family {
        Family::V4 => 20..=32,
        Family::V6 => 116..=128,
    }
}

/// Why an `IPPool` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`: {remedy}")]
pub struct InvalidPool {
    /// Path of the field in the object.
    pub field: &'static str,
    /// What it holds.
    pub value: String,
    /// What to do.
    pub remedy: String,
}

/// A pool for tests: active, for every node.
#[cfg(test)]
pub(crate) fn pool(name: &str, cidr: &str, block_size: u8) -> Pool {
    Pool {
        active: true,
        ..Pool::try_from(&object(name, cidr, Some(block_size))).unwrap()
    }
}

#[cfg(test)]
pub(crate) fn object(name: &str, cidr: &str, block_size: Option<u8>) -> IPPool {
    let spec = margay_proto::crd::IPPoolSpec {
        cidr: cidr.into(),
        block_size,
        ..Default::default()
    };
    IPPool::new(name, spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_with_the_default_sizes() {
        let v4 = Pool::try_from(&object("a", "10.0.0.0/16", None)).unwrap();
        assert_eq!(
            (v4.block_size, v4.capacity(), v4.active),
            (26, 65534, false)
        );
        assert_eq!(v4.blocks(), 1024);
        let hosts = Pool::try_from(&object("a", "10.0.0.0/24", Some(32))).unwrap();
        assert_eq!((hosts.blocks(), hosts.capacity()), (254, 254));
        let v6 = Pool::try_from(&object("a", "fd00::/56", None)).unwrap();
        assert_eq!((v6.block_size, v6.capacity()), (122, 1 << 72));
        assert_eq!(
            Pool::try_from(&object("a", "10.0.0.4/31", Some(32)))
                .unwrap()
                .capacity(),
            2
        );
    }

    #[test]
    fn refusals_name_field_and_remedy() {
        for (cidr, size, field, remedy) in [
            (
                "10.0.0.0",
                Some(33),
                "spec.blockSize",
                "give a prefix length of 32 to 32",
            ),
            ("pods", None, "spec.cidr", "give a network"),
            ("10.0.0.1/16", None, "spec.cidr", "10.0.0.0/16"),
            ("10.0.0.0/16", Some(19), "spec.blockSize", "20 to 32"),
            ("10.0.0.0/28", None, "spec.blockSize", "28 to 32"),
            ("fd00::/64", Some(64), "spec.blockSize", "116 to 128"),
        ] {
            let error = Pool::try_from(&object("a", cidr, size)).unwrap_err();
            assert_eq!(error.field, field, "{cidr}");
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn edges_are_the_pools_not_the_blocks() {
        let pool = pool("a", "10.0.0.0/24", 26);
        let edge = |a: &str| pool.is_edge(a.parse().unwrap());
        assert!(edge("10.0.0.0") && edge("10.0.0.255"));
        assert!(!edge("10.0.0.63") && !edge("10.0.0.64"));
        assert!(!super::pool("b", "10.0.0.4/31", 32).is_edge("10.0.0.4".parse().unwrap()));
        assert!(!super::pool("c", "fd00::/120", 122).is_edge("fd00::".parse().unwrap()));
    }

    #[test]
    fn edges_are_reserved_or_not_as_the_pool_says() {
        let with = |cidr: &str, reserve_edges| {
            let mut object = object("a", cidr, None);
            object.spec.reserve_edges = reserve_edges;
            Pool::try_from(&object).unwrap()
        };
        for (cidr, first, last, default, capacity) in [
            ("10.0.0.0/24", "10.0.0.0", "10.0.0.255", true, 256),
            ("fd00::/120", "fd00::", "fd00::ff", false, 256),
        ] {
            for (said, reserved) in [(None, default), (Some(true), true), (Some(false), false)] {
                let pool = with(cidr, said);
                for edge in [first, last] {
                    assert_eq!(
                        pool.is_edge(edge.parse().unwrap()),
                        reserved,
                        "{said:?} {edge}"
                    );
                }
                let usable = capacity - if reserved { 2 } else { 0 };
                assert_eq!(pool.capacity(), usable, "{said:?} {cidr}");
            }
        }
    }

    #[test]
    fn a_namespace_selector_is_for_some_namespaces_only() {
        let team = |t: &str| BTreeMap::from([("team".to_owned(), t.to_owned())]);
        let mut object = object("a", "10.0.0.0/24", None);
        assert!(
            Pool::try_from(&object)
                .unwrap()
                .selects_namespace(&team("red"))
        );
        object.spec.namespace_selector =
            Some(serde_json::from_str(r#"{"matchLabels":{"team":"red"}}"#).unwrap());
        let pool = Pool::try_from(&object).unwrap();
        assert!(!pool.is_general() && pool.selects_namespace(&team("red")));
        assert!(!pool.selects_namespace(&team("blue")));
        let wrong = r#"{"matchExpressions":[{"key":"team","operator":"Is"}]}"#;
        object.spec.namespace_selector = Some(serde_json::from_str(wrong).unwrap());
        let error = Pool::try_from(&object).unwrap_err();
        assert_eq!(error.field, "spec.namespaceSelector");
    }

    #[test]
    fn the_selector_and_both_switches_decide() {
        let rack = |r: &str| BTreeMap::from([("rack".to_owned(), r.to_owned())]);
        let mut object = object("a", "10.0.0.0/24", None);
        object.spec.node_selector =
            Some(serde_json::from_str(r#"{"matchLabels":{"rack":"1"}}"#).unwrap());
        let mut pool = Pool::try_from(&object).unwrap();
        assert!(!pool.claimable(&rack("1")));
        pool.active = true;
        assert!(pool.claimable(&rack("1")) && !pool.claimable(&rack("2")));
        pool.disabled = true;
        assert!(!pool.claimable(&rack("1")));
    }
}
