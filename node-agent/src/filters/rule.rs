//! One rule, from what a person wrote to what the speaker asks.

use super::changes::set_changes;
use super::conditions::{peer_conditions, route_conditions};
use super::place::{Place, Spelling};
use super::{Compiled, Way};
use margay_bgp::{Condition, RouteSource, Rule, RuleName, Verdict};
use margay_proto::crd::{BGPFilterSpec, FilterAction, FilterRule};
use std::sync::Arc;

pub(super) fn rules(name: &str, spec: &BGPFilterSpec, way: Way, spelling: Spelling) -> Compiled {
    let at = Place::of_filter(name, spelling);
    at.knows(&spec.unknown)?;
    let filter: Arc<str> = name.into();
    let compile = |(index, rule): (usize, &FilterRule)| {
        let name = RuleName {
            filter: Arc::clone(&filter),
            number: index + 1,
            name: rule.name.as_deref().unwrap_or_default().into(),
        };
        compile(&at.rule(index), name, rule, way).map(Arc::new)
    };
    spec.rules.iter().enumerate().map(compile).collect()
}

fn compile(at: &Place, name: RuleName, rule: &FilterRule, way: Way) -> Result<Rule, String> {
    at.knows(&rule.unknown)?;
    let verdict = match rule.action {
        FilterAction::Accept => Verdict::Accept,
        FilterAction::Reject => Verdict::Reject,
        FilterAction::Continue => Verdict::Continue,
        FilterAction::Unknown => return Err(at.newer("action")),
    };
    let (mut peers, mut conditions, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(matches) = &rule.matches {
        let at = at.inside("match");
        if let Some(peer) = &matches.peer {
            peers = peer_conditions(&at.inside("peer"), peer)?;
        }
        conditions = route_conditions(&at, matches)?;
    }
    let names_sources = conditions.iter().any(|c| matches!(c, Condition::Source(_)));
    if way == Way::Export && verdict == Verdict::Accept && !names_sources {
        // Nobody becomes transit by a rule that was written to mark the node's own routes.
        conditions.push(Condition::Source(RouteSource::OWN.to_vec()));
    }
    if let Some(set) = &rule.set {
        if verdict == Verdict::Reject {
            return Err(at.refuse(
                "action",
                "Reject",
                "a rejected route is not changed; leave set out, or accept or continue",
            ));
        }
        changes = set_changes(&at.inside("set"), set, way)?;
    }
    Ok(Rule {
        name,
        peers,
        conditions,
        changes,
        verdict,
    })
}
