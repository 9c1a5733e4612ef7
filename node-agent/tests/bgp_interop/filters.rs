//! Rules of ours in effect at a real router: both ways, both families, changed while the session stays up.

use margay_bgp::{
    Change, CommunityChange, Condition, Otherwise, PathPattern, Policy, PrefixRange, RouteSource,
    Rule, State, Verdict,
};

use crate::ours::Ours;
use crate::router::Router;
use crate::{OUR_ROUTES, THEIR_ROUTES, routes_go_both_ways, until};

/// `community`: how the router shows 65000:7.
pub(crate) fn filters_both_ways(router: &impl Router, ours: &Ours, community: &str) {
    routes_go_both_ways(router, ours);
    let sessions = established_count(ours);
    imports(ours);
    exports(router, ours, community);
    routes_go_both_ways(router, ours);
    assert_eq!(
        established_count(ours),
        sessions,
        "a filter ended the session"
    );
}

fn imports(ours: &Ours) {
    let from_router = Condition::Path(PathPattern::new("^65001$").unwrap());
    let prefer = rule(
        vec![from_router],
        vec![
            Change::LocalPref(300),
            Change::Communities(CommunityChange::Add(vec!["65000:5".parse().unwrap()])),
        ],
        Verdict::Accept,
    );
    import(ours, Policy::new([prefer], Otherwise::Reject));
    for (prefix, _) in THEIR_ROUTES {
        until(&format!("{prefix} preferred and marked"), || {
            let routes = ours.best();
            let route = routes.iter().find(|r| r.prefix.to_string() == prefix)?;
            let path = &route.paths[0];
            (path.local_pref == Some(300) && path.communities == ["65000:5"]).then_some(())
        });
    }
    for (prefix, _) in THEIR_ROUTES {
        let out = rule(vec![exactly(prefix)], vec![], Verdict::Reject);
        import(ours, Policy::new([out], Otherwise::Accept));
        let other = THEIR_ROUTES.map(|(other, _)| other).into_iter();
        let other = other.filter(|other| *other != prefix).collect::<Vec<_>>();
        until(&format!("only {prefix} out of use"), || {
            let learned = ours.handle.learned.borrow();
            let used = learned.iter().map(|route| route.prefix.to_string());
            (used.collect::<Vec<_>>() == other).then_some(())
        });
    }
    import(ours, Policy::accept_all());
}

fn exports(router: &impl Router, ours: &Ours, community: &str) {
    let marks = ["65000:7", "65000:1:2", "rt:65000:9"].map(|text| text.parse().unwrap());
    let mark = rule(
        vec![Condition::Source(vec![RouteSource::Static])],
        vec![
            Change::Med(50),
            Change::Prepend(None, 2),
            Change::Communities(CommunityChange::Add(marks.into())),
        ],
        Verdict::Accept,
    );
    export(ours, Policy::new([mark], Otherwise::AcceptOwn));
    for prefix in OUR_ROUTES {
        until(
            &format!("{prefix} marked and made longer at the router"),
            || {
                let route = router.route(prefix)?;
                let path = "4200000010 4200000010 4200000010";
                (route.contains(path) && route.contains(community) && route.contains("50"))
                    .then_some(())
            },
        );
    }
    for prefix in OUR_ROUTES {
        let out = rule(vec![exactly(prefix)], vec![], Verdict::Reject);
        export(ours, Policy::new([out], Otherwise::AcceptOwn));
        until(&format!("only {prefix} withdrawn"), || {
            let there = OUR_ROUTES.map(|prefix| router.route(prefix).is_some());
            (there == OUR_ROUTES.map(|other| other != prefix)).then_some(())
        });
    }
    export(ours, Policy::own_only());
}

fn rule(conditions: Vec<Condition>, changes: Vec<Change>, verdict: Verdict) -> Rule {
    Rule {
        conditions,
        changes,
        verdict,
        ..Rule::default()
    }
}

fn exactly(prefix: &str) -> Condition {
    Condition::Prefix(vec![PrefixRange::exact(prefix.parse().unwrap())])
}

fn import(ours: &Ours, policy: Policy) {
    ours.desire(|desired| desired.peers[0].import = policy);
}

fn export(ours: &Ours, policy: Policy) {
    ours.desire(|desired| desired.peers[0].export = policy);
}

fn established_count(ours: &Ours) -> u64 {
    let status = &ours.peers().peers[0].status;
    assert_eq!(status.state, State::Established);
    status.established_count
}
