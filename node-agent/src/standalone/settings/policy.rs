//! What of a peer's routes is used, and what it is told: filters, and what holds where none of their rules decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use margay_bgp::{Otherwise, Rule};
use margay_proto::crd::BGPFilterSpec;

use super::Faults;
use super::peer::{Own, Whose};
use crate::filters::{Filters, Spelling, Unusable, Way};
use crate::standalone::file::{Export, Filter, Import};

/// The file's filters; what is wrong with one is said once, whoever names it.
pub(super) fn filters(tables: &[Filter], faults: &mut Faults) -> Filters {
    let mut specs: BTreeMap<&str, BGPFilterSpec> = BTreeMap::new();
    for table in tables {
        if specs.insert(&table.name, table.spec()).is_some() {
            faults.add(format!(
                "filter {:?} is there twice; give one of the two another name",
                table.name
            ));
        }
    }
    let filters = Filters::of(
        specs.iter().map(|(name, spec)| (*name, spec)),
        Spelling::File,
    );
    filters.faults().for_each(|fault| faults.add(fault));
    filters
}

/// How rules that name no sources are meant towards a peer.
pub(super) fn exports(given: Option<Export>) -> Way {
    match given {
        Some(Export::Own) | None => Way::Export,
        Some(Export::All | Export::None) => Way::Transit,
    }
}

impl Whose<'_> {
    /// Nothing is implied (RFC 8212): who forgets it is told, instead of finding no routes.
    pub(super) fn import(&mut self, given: Option<Import>) -> Otherwise {
        match given {
            Some(Import::All) => Otherwise::Accept,
            Some(Import::None) => Otherwise::Reject,
            None => {
                self.add(
                    "import is missing (RFC 8212); say \"all\" or \"none\", here or in [defaults]",
                );
                Otherwise::Reject
            }
        }
    }

    pub(super) fn export(&mut self, given: Option<Export>) -> Otherwise {
        match given {
            Some(Export::All) => Otherwise::Accept,
            Some(Export::Own) => Otherwise::AcceptOwn,
            Some(Export::None) => Otherwise::Reject,
            None => {
                self.add(
                    "export is missing (RFC 8212); say \"own\", \"all\" or \"none\", here or in [defaults]",
                );
                Otherwise::Reject
            }
        }
    }

    pub(super) fn rules(
        &mut self,
        own: Own<'_>,
        way: Way,
        names: Option<Vec<String>>,
    ) -> Arc<[Arc<Rule>]> {
        let field = match way {
            Way::Import => "import-filters",
            Way::Export | Way::Transit => "export-filters",
        };
        match own.filters.rules(way, &names.unwrap_or_default()) {
            Ok(rules) => rules.into(),
            Err(Unusable::Missing(name)) => {
                self.add(&format!(
                    "{field} names {name:?}, and there is no such [[filter]]; add it or take the name out"
                ));
                Arc::default()
            }
            Err(Unusable::Refused(_, why)) => {
                // Once for the filter, not for each peer that names it.
                if !self.faults.0.contains(&why) {
                    self.faults.add(why);
                }
                Arc::default()
            }
        }
    }
}
