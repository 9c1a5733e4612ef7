//! What is there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::table::{Base, Chain, ChainName, Digest, Set, SetName, Table, VerdictMap};

/// What the kernel holds, as far as a reader without memory can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Sets; the notes are not compared.
    pub sets: BTreeMap<SetName, Set>,
    /// Verdict maps.
    pub maps: BTreeMap<SetName, VerdictMap>,
    /// Chains.
    pub chains: BTreeMap<ChainName, ObservedChain>,
    /// Something is there that this agent has no type for (another key type, an object, a flowtable): make the table anew.
    pub alien: bool,
}

/// A chain of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedChain {
    /// Written by this process.
    Known(Arc<Chain>),
    /// Read back.
    Read {
        /// How it is attached.
        base: Option<Base>,
        /// The digest that each rule carries as its userdata, in order; none for a rule that carries none.
        rules: Vec<Option<Digest>>,
    },
}

impl From<&Table> for Observed {
    fn from(table: &Table) -> Self {
        let known = |(name, chain): (&ChainName, &Arc<Chain>)| {
            (name.clone(), ObservedChain::Known(chain.clone()))
        };
        Self {
            sets: table.sets.clone(),
            maps: table.maps.clone(),
            chains: table.chains.iter().map(known).collect(),
            alien: false,
        }
    }
}

impl ObservedChain {
    pub(super) fn base(&self) -> Option<Base> {
        match self {
            Self::Known(chain) => chain.base,
            Self::Read { base, .. } => *base,
        }
    }

    pub(super) fn has_rules_of(&self, wanted: &Arc<Chain>) -> bool {
        match self {
            Self::Known(chain) => Arc::ptr_eq(chain, wanted) || chain.rules == wanted.rules,
            Self::Read { rules, .. } => {
                rules.len() == wanted.rules.len()
                    && rules
                        .iter()
                        .zip(&wanted.rules)
                        .all(|(read, rule)| *read == Some(rule.digest()))
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Known(chain) => chain.rules.is_empty(),
            Self::Read { rules, .. } => rules.is_empty(),
        }
    }
}
