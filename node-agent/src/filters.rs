//! Route filters as a person wrote them, made rules of the speaker: BGPFilter objects, and `[[filter]]` of a standalone speaker's file.
//!
//! What cannot be understood whole is refused whole: a condition that is passed over lets through what was to be kept out (invariant 11).

mod changes;
mod conditions;
mod place;
mod rule;

use margay_bgp::Rule;
use margay_proto::crd::BGPFilterSpec;
use std::{collections::BTreeMap, sync::Arc};

pub(crate) use place::Spelling;

/// Every filter, compiled once for each way when what they are made from changes.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, Filter>);

#[derive(Debug)]
struct Filter {
    import: Compiled,
    export: Compiled,
    transit: Compiled,
}

/// The rules, or what is wrong with the first that is.
type Compiled = Result<Vec<Arc<Rule>>, String>;

/// Which way routes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the peer.
    Import,
    /// To a peer that is told our own routes: a rule that accepts and names no sources is for these alone.
    Export,
    /// To a peer that is told what others announced as well.
    Transit,
}

/// Why a list of filters comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is no filter of this name.
    Missing(String),
    /// The one of this name is refused, because of that.
    Refused(String, String),
}

impl Filters {
    /// Filters by name; faults name fields in `spelling`.
    pub(crate) fn of<'a>(
        filters: impl IntoIterator<Item = (&'a str, &'a BGPFilterSpec)>,
        spelling: Spelling,
    ) -> Self {
        let compiled = |(name, spec): (&str, &BGPFilterSpec)| {
            let rules = |way| rule::rules(name, spec, way, spelling);
            let filter = Filter {
                import: rules(Way::Import),
                export: rules(Way::Export),
                transit: rules(Way::Transit),
            };
            (name.to_owned(), filter)
        };
        Self(filters.into_iter().map(compiled).collect())
    }

    /// What is wrong with filters whichever way they are used, also where no peer names them yet.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        let wrong = |filter: &Filter| {
            let import = filter.import.as_ref().err()?;
            filter.export.as_ref().err().map(|_| import.clone())
        };
        self.0.values().filter_map(wrong)
    }

    /// The rules of these filters, in order.
    pub(crate) fn rules(&self, way: Way, names: &[String]) -> Result<Vec<Arc<Rule>>, Unusable> {
        let mut rules = Vec::new();
        for name in names {
            let Some(filter) = self.0.get(name) else {
                return Err(Unusable::Missing(name.clone()));
            };
            let compiled = match way {
                Way::Import => &filter.import,
                Way::Export => &filter.export,
                Way::Transit => &filter.transit,
            };
            match compiled {
                Ok(compiled) => rules.extend(compiled.iter().cloned()),
                Err(why) => return Err(Unusable::Refused(name.clone(), why.clone())),
            }
        }
        Ok(rules)
    }
}
