//! BGPFilters as rules of the speaker. What cannot be understood whole is refused whole: a condition that is passed over lets through what
//! was to be kept out (invariant 11).

mod rule;

use kube::ResourceExt;
use margay_bgp::{Otherwise, Policy, Rule};
use margay_proto::crd::{BGPFilter, BGPPeerSpec};
use std::{collections::BTreeMap, sync::Arc};

/// Every filter, compiled once for each way when the objects change.
#[derive(Debug, Default)]
pub(super) struct Filters(BTreeMap<String, Filter>);

#[derive(Debug)]
struct Filter {
    import: Compiled,
    export: Compiled,
}

type Compiled = Result<Vec<Arc<Rule>>, String>;

/// Which way routes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Import,
    Export,
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

impl Filters {
    pub(super) fn of(objects: &BTreeMap<String, BGPFilter>) -> Self {
        let compiled = |filter: &BGPFilter| Filter {
            import: rule::rules(&filter.name_any(), &filter.spec, Way::Import),
            export: rule::rules(&filter.name_any(), &filter.spec, Way::Export),
        };
        let filters = objects.iter().map(|(name, f)| (name.clone(), compiled(f)));
        Self(filters.collect())
    }

    /// What is wrong with filters whichever way they are used, also where no peer names them yet.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let wrong = |filter: &Filter| {
            let import = filter.import.as_ref().err()?;
            filter.export.as_ref().err().map(|_| import.clone())
        };
        self.0.values().filter_map(wrong)
    }

    /// The policies of a peer that `name` describes.
    pub(super) fn policies(&self, name: &str, spec: &BGPPeerSpec) -> Result<Policies, String> {
        let default = Policies::default();
        let import = self.join(name, Way::Import, &spec.import_filters)?;
        let export = self.join(name, Way::Export, &spec.export_filters)?;
        Ok(Policies {
            import: policy(import, default.import.otherwise),
            export: policy(export, default.export.otherwise),
        })
    }

    fn join(&self, peer: &str, way: Way, names: &[String]) -> Compiled {
        let mut rules = Vec::new();
        for name in names {
            let field = match way {
                Way::Import => "importFilters",
                Way::Export => "exportFilters",
            };
            let Some(filter) = self.0.get(name) else {
                return Err(format!(
                    "{peer}: spec.{field} names `{name}`, and there is no such BGPFilter; create it or take the name out; the session is held down"
                ));
            };
            let compiled = match way {
                Way::Import => &filter.import,
                Way::Export => &filter.export,
            };
            let compiled = compiled.as_ref().map_err(|why| {
                format!("{peer}: spec.{field} names `{name}`, which is refused: {why}; the session is held down")
            })?;
            rules.extend(compiled.iter().cloned());
        }
        Ok(rules)
    }
}

fn policy(rules: Vec<Arc<Rule>>, otherwise: Otherwise) -> Policy {
    Policy {
        rules: rules.into(),
        otherwise,
    }
}
