//! Why there is no address, in words for the pod's owner.

use super::ClaimRequest;
use crate::{Family, Named, Pool};

/// Why there is no address, by what to do next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Claim a block and ask again.
    #[error("no free {} address in this node's blocks", .0.family)]
    NeedBlock(ClaimRequest),
    /// Only the user can help: no address and no block is free.
    #[error("no free {family} address: pool {} has no free block; enlarge its cidr or add a pool{}", .pools.join(" and pool "), said(.named.as_deref()))]
    Exhausted {
        /// The family that is missing.
        family: Family,
        /// Its pools for this pod, in order.
        pools: Vec<String>,
        /// Who named these pools and no others.
        named: Option<Box<Named>>,
    },
    /// No pool is active for this node, or for the namespace if one is given.
    #[error("no active pool selects this node{}; see `kubectl get ippools`", .namespace.as_ref().map(|n| format!(" and namespace {n}")).unwrap_or_default())]
    NoActivePool {
        /// Set when pools select the node, but none of them the namespace.
        namespace: Option<String>,
    },
    /// An annotation names pools of which none can serve the pod here.
    #[error("{named}: {why}")]
    Named {
        /// The annotation.
        named: Box<Named>,
        /// What is wrong with it.
        why: NotFor,
    },
}

fn said(named: Option<&Named>) -> String {
    named
        .map(|named| format!(" to the annotation ({named})"))
        .unwrap_or_default()
}

/// Why a pool does not serve a pod here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFor {
    /// The annotation names none at all.
    #[error("it names no IPPool; give names separated by commas, or remove it")]
    Nothing,
    /// There is none of this name.
    #[error("there is no IPPool {pool}; `kubectl get ippools` lists them")]
    Missing {
        /// Its name.
        pool: String,
    },
    /// It is of the other family.
    #[error("IPPool {pool} is of {family}; name it in {}", crate::wish::annotation(*.family))]
    OtherFamily {
        /// Its name.
        pool: String,
        /// Its family.
        family: Family,
    },
    /// The user switched it off.
    #[error("IPPool {pool} is disabled; set its spec.disabled to false or name another")]
    Disabled {
        /// Its name.
        pool: String,
    },
    /// The operator has not activated it.
    #[error("IPPool {pool} is not active; its condition Active says why")]
    Inactive {
        /// Its name.
        pool: String,
    },
    /// It is for other nodes.
    #[error(
        "the spec.nodeSelector of IPPool {pool} does not select this node; have the pod scheduled where it does, or name another"
    )]
    Node {
        /// Its name.
        pool: String,
    },
    /// It is for other namespaces.
    #[error(
        "the spec.namespaceSelector of IPPool {pool} does not select namespace {namespace}; name another"
    )]
    Namespace {
        /// Its name.
        pool: String,
        /// The pod's namespace.
        namespace: String,
    },
}

impl NotFor {
    /// Why nodes like this one do not claim from a pool that they do not claim from.
    pub(super) fn node(pool: &Pool) -> Self {
        let name = pool.name.clone();
        if pool.disabled {
            Self::Disabled { pool: name }
        } else if !pool.active {
            Self::Inactive { pool: name }
        } else {
            Self::Node { pool: name }
        }
    }

    /// Whether it can never be right, so that it is told even if another of the names could serve.
    pub(super) const fn is_mistake(&self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::Missing { .. } | Self::OtherFamily { .. }
        )
    }
}
