//! The classes of the local pods: compiled when something about a pod or its policies changed, counted because pods share them.

use std::sync::Arc;

use super::{Endpoint, Index};
use crate::compile::{Class, Compiled, compile};
use crate::policy::Direction;
use crate::table::ChainName;

/// The classes of an endpoint whose pod is known; none: open.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) ingress: Option<ChainName>,
    pub(super) egress: Option<ChainName>,
}

#[derive(Debug)]
pub(super) struct Counted {
    pub(super) class: Arc<Class>,
    users: usize,
}

impl Index {
    pub(super) fn recompile(&mut self) {
        for link in std::mem::take(&mut self.stale) {
            let attached = self
                .endpoints
                .get(&link)
                .and_then(|endpoint| self.compile(endpoint));
            // The new classes are taken before the old ones are let go, so that what they share stays.
            let attached = attached.map(|[ingress, egress]| Attached {
                ingress: self.hold(ingress),
                egress: self.hold(egress),
            });
            let before = match attached {
                Some(attached) => self.attached.insert(link, attached),
                None => self.attached.remove(&link),
            };
            if let Some(Attached { ingress, egress }) = before {
                ingress
                    .iter()
                    .chain(&egress)
                    .for_each(|class| self.release(class));
            }
        }
    }

    /// What the policies of its pod make of both directions; none when the pod is not known.
    fn compile(&self, endpoint: &Endpoint) -> Option<[Compiled; 2]> {
        let record = self.record(endpoint)?;
        let policies = self.policies.selecting(&endpoint.namespace, &record.labels);
        Some([Direction::Ingress, Direction::Egress].map(|direction| {
            let mut allows = policies
                .iter()
                .filter_map(|policy| policy.allows(direction))
                .peekable();
            match allows.peek() {
                None => Compiled::Open,
                Some(_) => compile(direction, allows, &|protocol, name| {
                    record.numbers(protocol, name)
                }),
            }
        }))
    }

    fn hold(&mut self, compiled: Compiled) -> Option<ChainName> {
        let Compiled::Class(class) = compiled else {
            return None;
        };
        let name = class.entry.clone();
        if let Some(counted) = self.classes.get_mut(&name) {
            counted.users += 1;
            return Some(name);
        }
        for group in &class.groups {
            self.groups.hold(group, &self.pods, &self.namespaces);
        }
        self.classes.insert(
            name.clone(),
            Counted {
                class: Arc::new(class),
                users: 1,
            },
        );
        Some(name)
    }

    fn release(&mut self, name: &ChainName) {
        let Some(counted) = self.classes.get_mut(name) else {
            return;
        };
        counted.users -= 1;
        if counted.users == 0
            && let Some(Counted { class, .. }) = self.classes.remove(name)
        {
            class
                .groups
                .iter()
                .for_each(|group| self.groups.release(group));
        }
    }
}
