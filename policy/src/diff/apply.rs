//! Applies changes to a table in memory: a model of the kernel, as strict as it is.

use std::sync::Arc;

use super::Change;
use crate::table::{
    Action, Chain, ChainName, Element, Rule, Set, SetName, Table, Verdict, VerdictMap,
};

/// A change that does not fit the state it is applied to; the kernel would refuse it as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}: {subject}")]
pub struct Misfit {
    /// What is wrong.
    pub problem: &'static str,
    /// With which set, map, chain or element.
    pub subject: String,
}

fn misfit<T>(problem: &'static str, subject: impl ToString) -> Result<T, Misfit> {
    Err(Misfit {
        problem,
        subject: subject.to_string(),
    })
}

impl Table {
    /// Applies one change as strictly as the kernel does.
    ///
    /// # Errors
    /// What is to be added exists, what is changed or deleted does not, or something still refers to what is deleted.
    pub fn apply(&mut self, change: &Change) -> Result<(), Misfit> {
        match change {
            Change::RecreateTable => *self = Self::default(),
            Change::AddSet {
                name,
                key,
                interval,
                note,
            } => {
                self.free(name)?;
                let set = Set {
                    key: *key,
                    interval: *interval,
                    note: note.clone(),
                    elements: Arc::default(),
                };
                self.sets.insert(name.clone(), set);
            }
            Change::AddMap { name, key } => {
                self.free(name)?;
                self.maps.insert(name.clone(), VerdictMap::new(*key));
            }
            Change::AddElements { set, elements } => self.add_elements(set, elements)?,
            Change::DeleteElements { set, elements } => self.delete_elements(set, elements)?,
            Change::AddVerdicts { map, elements } => self.add_verdicts(map, elements)?,
            Change::DeleteVerdicts { map, keys } => self.delete_verdicts(map, keys)?,
            Change::AddChain { name, base } => {
                if self.chains.contains_key(name) {
                    return misfit("the chain exists", name);
                }
                self.add_chain(
                    name.clone(),
                    Chain {
                        base: *base,
                        rules: Vec::new(),
                    },
                );
            }
            Change::FlushChain(name) => self.chain_mut(name)?.rules.clear(),
            Change::AddRules { chain, rules } => self.add_rules(chain, rules)?,
            Change::DeleteMap(name) => {
                self.unreferenced_set(name)?;
                if self.maps.remove(name).is_none() {
                    return misfit("no such map", name);
                }
            }
            Change::DeleteChain(name) => self.delete_chain(name)?,
            Change::DeleteSet(name) => {
                self.unreferenced_set(name)?;
                if self.sets.remove(name).is_none() {
                    return misfit("no such set", name);
                }
            }
        }
        Ok(())
    }

    fn free(&self, name: &SetName) -> Result<(), Misfit> {
        if self.sets.contains_key(name) || self.maps.contains_key(name) {
            return misfit("the set or map exists", name);
        }
        Ok(())
    }

    fn add_elements(&mut self, name: &SetName, elements: &[Element]) -> Result<(), Misfit> {
        let Some(set) = self.sets.get_mut(name) else {
            return misfit("no such set", name);
        };
        let (key, interval) = (set.key, set.interval);
        let held = Arc::make_mut(&mut set.elements);
        for element in elements {
            if element.key_type() != key || element.is_range() != interval {
                return misfit("element of another type", element);
            }
            if !held.insert(*element) {
                return misfit("the element exists", element);
            }
        }
        Ok(())
    }

    fn delete_elements(&mut self, name: &SetName, elements: &[Element]) -> Result<(), Misfit> {
        let Some(set) = self.sets.get_mut(name) else {
            return misfit("no such set", name);
        };
        let held = Arc::make_mut(&mut set.elements);
        match elements.iter().find(|element| !held.remove(element)) {
            Some(missing) => misfit("no such element", missing),
            None => Ok(()),
        }
    }

    fn add_verdicts(
        &mut self,
        name: &SetName,
        elements: &[(Element, Verdict)],
    ) -> Result<(), Misfit> {
        for (_, verdict) in elements {
            self.reachable(verdict)?;
        }
        let Some(map) = self.maps.get_mut(name) else {
            return misfit("no such map", name);
        };
        for (element, verdict) in elements {
            if element.key_type() != map.key || element.is_range() {
                return misfit("key of another type", element);
            }
            if map.elements.insert(*element, verdict.clone()).is_some() {
                return misfit("the key exists", element);
            }
        }
        Ok(())
    }

    fn delete_verdicts(&mut self, name: &SetName, keys: &[Element]) -> Result<(), Misfit> {
        let Some(map) = self.maps.get_mut(name) else {
            return misfit("no such map", name);
        };
        match keys.iter().find(|key| map.elements.remove(key).is_none()) {
            Some(missing) => misfit("no such key", missing),
            None => Ok(()),
        }
    }

    fn chain_mut(&mut self, name: &ChainName) -> Result<&mut Chain, Misfit> {
        match self.chains.get_mut(name) {
            Some(chain) => Ok(Arc::make_mut(chain)),
            None => misfit("no such chain", name),
        }
    }

    fn add_rules(&mut self, name: &ChainName, rules: &[Rule]) -> Result<(), Misfit> {
        for rule in rules {
            if let Some(set) = rule
                .sets()
                .find(|set| !self.sets.contains_key(*set) && !self.maps.contains_key(*set))
            {
                return misfit("no such set or map", set);
            }
            for action in &rule.actions {
                if let Action::Verdict(verdict) = action {
                    self.reachable(verdict)?;
                }
            }
        }
        let chain = self.chain_mut(name)?;
        if !chain.rules.is_empty() {
            return misfit("the chain has rules", name);
        }
        chain.rules = rules.to_vec();
        Ok(())
    }

    fn reachable(&self, verdict: &Verdict) -> Result<(), Misfit> {
        match verdict.target() {
            Some(chain) if !self.chains.contains_key(chain) => misfit("no such chain", chain),
            _ => Ok(()),
        }
    }

    fn unreferenced_set(&self, name: &SetName) -> Result<(), Misfit> {
        let used = |chain: &Arc<Chain>| {
            chain
                .rules
                .iter()
                .flat_map(Rule::sets)
                .any(|set| set == name)
        };
        if self.chains.values().any(used) {
            return misfit("a rule refers to the set or map", name);
        }
        Ok(())
    }

    fn delete_chain(&mut self, name: &ChainName) -> Result<(), Misfit> {
        let by_rule = |chain: &Arc<Chain>| {
            chain
                .rules
                .iter()
                .filter_map(Rule::target)
                .any(|target| target == name)
        };
        let by_map = |map: &VerdictMap| {
            map.elements
                .values()
                .filter_map(Verdict::target)
                .any(|target| target == name)
        };
        if self.chains.values().any(by_rule) || self.maps.values().any(by_map) {
            return misfit("something leads to the chain", name);
        }
        match self.chains.remove(name) {
            Some(chain) if chain.rules.is_empty() => Ok(()),
            Some(_) => misfit("the chain has rules", name),
            None => misfit("no such chain", name),
        }
    }
}
