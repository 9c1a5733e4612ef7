//! The same decision once more, with every step in words. Asked for by people, so it may take its time.

use super::{Facing, Hand, Otherwise, Policy, RouteSource, Rule, Subject, Verdict};
use crate::why::{Judgement, Step};

impl Policy {
    /// What [`Resolved::decide`](super::Resolved::decide) does, told.
    pub(crate) fn trace(
        &self,
        session: &Facing<'_>,
        subject: Subject<'_>,
        hand: &Hand,
    ) -> Judgement {
        let mut steps = Vec::new();
        let mut seen = subject.attributes.clone();
        let ipv4 = subject.prefix.is_ipv4();
        for rule in &*self.rules {
            let subject = Subject {
                attributes: &seen,
                ..subject
            };
            if let Some(miss) = miss(rule, session, &subject) {
                steps.push(step(rule, miss));
                continue;
            }
            match rule.verdict {
                Verdict::Accept => return decided(steps, rule, true),
                Verdict::Reject => return decided(steps, rule, false),
                Verdict::Continue => steps.push(step(rule, "matches and goes on".to_owned())),
            }
            for change in &rule.changes {
                change.apply(&mut seen, ipv4, hand);
            }
        }
        Judgement {
            accepted: self.otherwise.accepts(subject.source),
            decided: format!("no rule decides: {}", self.otherwise.text(subject.source)),
            steps,
        }
    }
}

fn miss(rule: &Rule, session: &Facing<'_>, subject: &Subject<'_>) -> Option<String> {
    if let Some(condition) = rule.peer_miss(session) {
        return Some(format!("is not for this peer: {condition}"));
    }
    let condition = rule.miss(subject)?;
    Some(format!("does not match: {condition}"))
}

fn step(rule: &Rule, outcome: String) -> Step {
    Step {
        rule: rule.name.to_string(),
        outcome,
    }
}

fn decided(mut steps: Vec<Step>, rule: &Rule, accepted: bool) -> Judgement {
    let (verb, word) = if accepted {
        ("accepts", "accepted")
    } else {
        ("rejects", "rejected")
    };
    steps.push(step(rule, verb.to_owned()));
    Judgement {
        accepted,
        decided: format!("{word} by {}", rule.name),
        steps,
    }
}

impl Otherwise {
    fn text(self, source: RouteSource) -> &'static str {
        match self {
            Self::Accept => "every route passes",
            Self::AcceptOwn if source == RouteSource::Learned => "what was learned is not told on",
            Self::AcceptOwn => "the node's own routes are told",
            Self::Reject => "no route passes",
        }
    }
}
