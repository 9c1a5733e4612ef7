//! The filters that a BGPPeer names, joined into what its sessions use and tell.

use crate::filters::{Filters, Spelling, Unusable, Way};
use margay_bgp::{Otherwise, Policy, Rule};
use margay_proto::crd::{BGPFilter, BGPPeerSpec};
use std::{collections::BTreeMap, sync::Arc};

/// Every BGPFilter there is.
pub(super) fn compiled(objects: &BTreeMap<String, BGPFilter>) -> Filters {
    let filters = objects.iter().map(|(name, f)| (name.as_str(), &f.spec));
    Filters::of(filters, Spelling::Object)
}

/// What a peer's filters come to.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    pub(super) import: Policy,
    pub(super) export: Policy,
}

impl Default for Policies {
    /// Whatever a peer announces is used; it is told what the node itself originates and nothing it learned: a node is never transit.
    fn default() -> Self {
        Self {
            import: Policy::accept_all(),
            export: Policy::own_only(),
        }
    }
}

impl Policies {
    /// The policies of a peer that the object `name` describes.
    pub(super) fn of(filters: &Filters, name: &str, spec: &BGPPeerSpec) -> Result<Self, String> {
        let rules = |way, field, names: &[String]| {
            filters
                .rules(way, names)
                .map_err(|why| fault(name, field, &why))
        };
        let default = Self::default();
        let import = rules(Way::Import, "importFilters", &spec.import_filters)?;
        let export = rules(Way::Export, "exportFilters", &spec.export_filters)?;
        Ok(Self {
            import: policy(import, default.import.otherwise),
            export: policy(export, default.export.otherwise),
        })
    }
}

fn fault(peer: &str, field: &str, why: &Unusable) -> String {
    match why {
        Unusable::Missing(name) => format!(
            "{peer}: spec.{field} names `{name}`, and there is no such BGPFilter; create it or take the name out; the session is held down"
        ),
        Unusable::Refused(name, why) => format!(
            "{peer}: spec.{field} names `{name}`, which is refused: {why}; the session is held down"
        ),
    }
}

fn policy(rules: Vec<Arc<Rule>>, otherwise: Otherwise) -> Policy {
    Policy {
        rules: rules.into(),
        otherwise,
    }
}
