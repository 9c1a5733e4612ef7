//! Changes as data.

use std::sync::Arc;

use crate::table::{Base, ChainName, Element, KeyType, Rule, SetName, Verdict};

/// Changes that must be applied as one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub changes: Vec<Change>,
}

/// One message, or a few of the same kind, to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Delete the table with all it holds, and add it empty.
    RecreateTable,
    /// Declare a set without elements.
    AddSet {
        /// Its name.
        name: SetName,
        /// Type of its elements.
        key: KeyType,
        /// Whether its elements are ranges.
        interval: bool,
        /// For people: what it stands for.
        note: Arc<str>,
    },
    /// Declare a verdict map without elements.
    AddMap {
        /// Its name.
        name: SetName,
        /// Type of its keys.
        key: KeyType,
    },
    /// Add elements that the set does not hold.
    AddElements {
        /// The set.
        set: SetName,
        /// What to add.
        elements: Vec<Element>,
    },
    /// Delete elements that the set holds.
    DeleteElements {
        /// The set.
        set: SetName,
        /// What to delete.
        elements: Vec<Element>,
    },
    /// Add keys that the map does not hold. Re-pointing a key is its deletion and addition in one batch.
    AddVerdicts {
        /// The map.
        map: SetName,
        /// Keys and their verdicts.
        elements: Vec<(Element, Verdict)>,
    },
    /// Delete keys that the map holds.
    DeleteVerdicts {
        /// The map.
        map: SetName,
        /// What to delete.
        keys: Vec<Element>,
    },
    /// Declare a chain without rules.
    AddChain {
        /// Its name.
        name: ChainName,
        /// Its hook, if it is a base chain.
        base: Option<Base>,
    },
    /// Delete all rules of a chain.
    FlushChain(ChainName),
    /// Append rules to a chain that has none.
    AddRules {
        /// The chain.
        chain: ChainName,
        /// The rules in order.
        rules: Vec<Rule>,
    },
    /// Delete a verdict map with its elements; no rule refers to it any more.
    DeleteMap(SetName),
    /// Delete a chain; it has no rules and nothing leads to it any more.
    DeleteChain(ChainName),
    /// Delete a set with its elements; no rule refers to it any more.
    DeleteSet(SetName),
}
