//! What must be true before the node may be used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Named gates; the agent is ready when all are open. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    // Name to the reason for which it is closed. Never held across an await.
    gates: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One gate, in the hands of whoever knows whether it is open.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    gates: Gates,
}

impl Gates {
    /// No gates: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a gate that is closed for `reason`.
    pub fn gate(&self, name: &'static str, reason: impl Into<String>) -> Gate {
        let gate = Gate {
            name,
            gates: self.clone(),
        };
        gate.close(reason);
        gate
    }

    /// One line for each closed gate; empty when ready.
    pub fn closed(&self) -> Vec<String> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates
            .iter()
            .filter_map(|(name, reason)| reason.as_ref().map(|reason| format!("{name}: {reason}")))
            .collect()
    }
}

impl Gate {
    /// True now.
    pub fn open(&self) {
        self.set(None);
    }

    /// Not true (any more), and why.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.gates
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.name, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_closed_gate_is_named() {
        let gates = Gates::new();
        let routes = gates.gate("routes", "kernel not read yet");
        let policy = gates.gate("policy", "watch not in sync");
        assert_eq!(
            gates.closed(),
            ["policy: watch not in sync", "routes: kernel not read yet"]
        );
        routes.open();
        policy.open();
        assert!(gates.closed().is_empty());
        policy.close("netlink: EPERM");
        assert_eq!(gates.closed(), ["policy: netlink: EPERM"]);
    }
}
