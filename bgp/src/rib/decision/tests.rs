use super::*;

const ALL: Multipath = Multipath {
    maximum: 64,
    relax: true,
};

fn path(last: u8) -> Candidate {
    Candidate {
        usable: Ok(()),
        local: false,
        external: true,
        local_pref: 100,
        as_path_length: 2,
        origin: Origin::Igp,
        neighbour: Some(Asn(65001)),
        med: 0,
        metric: 10,
        router_id: u32::from(last),
        cluster_list_length: 0,
        peer: Some(IpAddr::from([192, 0, 2, last])),
        path_id: 0,
    }
}

#[test]
fn item_107_each_step_decides_in_its_turn() {
    type Worsen = fn(&mut Candidate);
    let steps: [(Reason, Worsen); 9] = [
        (Reason::LocalPref, |c| c.local_pref = 99),
        (Reason::AsPathLength, |c| c.as_path_length = 3),
        (Reason::Origin, |c| c.origin = Origin::Incomplete),
        (Reason::Med, |c| c.med = 1),
        (Reason::Internal, |c| c.external = false),
        (Reason::Metric, |c| c.metric = 11),
        (Reason::RouterId, |c| c.router_id = 200),
        (Reason::ClusterList, |c| c.cluster_list_length = 1),
        (Reason::PeerAddress, |c| {
            c.peer = Some(IpAddr::from([192, 0, 2, 200]))
        }),
    ];
    for (position, (reason, worsen)) in steps.into_iter().enumerate() {
        let (mut worse, better) = (path(1), path(1));
        worsen(&mut worse);
        // What comes later in the list must not matter.
        let mut better = better;
        for (_, later) in &steps[position + 1..] {
            later(&mut better);
        }
        let reasons = decide(
            &[worse, better],
            Multipath {
                maximum: 1,
                relax: true,
            },
        );
        assert_eq!(reasons, [reason, Reason::Best]);
    }
}

#[test]
fn item_107_med_counts_only_within_one_neighbour_as_and_order_never_matters() {
    let mut paths = vec![path(1), path(2), path(3), path(4), path(5)];
    (paths[0].med, paths[0].neighbour) = (10, Some(Asn(1)));
    (paths[1].med, paths[1].neighbour) = (5, Some(Asn(2)));
    (paths[2].med, paths[2].neighbour) = (1, Some(Asn(1)));
    paths[2].metric = 100;
    paths[3].external = false;
    paths[4].as_path_length = 9;
    let winner = |paths: &[Candidate]| {
        let reasons = decide(paths, ALL);
        paths[reasons
            .iter()
            .position(|reason| *reason == Reason::Best)
            .unwrap()]
        .router_id
    };
    let first = winner(&paths);
    permute(&mut paths, 0, &mut |paths| assert_eq!(winner(paths), first));
}

fn permute(paths: &mut Vec<Candidate>, from: usize, check: &mut impl FnMut(&[Candidate])) {
    if from == paths.len() {
        return check(paths);
    }
    for other in from..paths.len() {
        paths.swap(from, other);
        permute(paths, from + 1, check);
        paths.swap(from, other);
    }
}

#[test]
fn item_108_multipath_holds_what_is_equal_up_to_the_metric() {
    let mut paths = [path(1), path(2), path(3)];
    paths[2].metric = 11;
    assert_eq!(
        decide(&paths, ALL),
        [Reason::Best, Reason::Multipath, Reason::Metric]
    );
    paths[1].neighbour = Some(Asn(65002));
    assert_eq!(decide(&paths, ALL)[1], Reason::Multipath);
    assert_eq!(
        decide(
            &paths,
            Multipath {
                maximum: 64,
                relax: false
            }
        )[1],
        Reason::RouterId
    );
    assert_eq!(
        decide(
            &paths,
            Multipath {
                maximum: 1,
                relax: true
            }
        )[1],
        Reason::RouterId
    );
}

#[test]
fn own_routes_win_alone_and_unusable_paths_never() {
    let mut paths = [path(1), path(2)];
    paths[0].local = true;
    assert_eq!(decide(&paths, ALL), [Reason::Best, Reason::LocalOrigin]);
    paths[0].usable = Err(Reason::RejectedByPolicy);
    assert_eq!(
        decide(&paths, ALL),
        [Reason::RejectedByPolicy, Reason::Best]
    );
    paths[1].usable = Err(Reason::NextHopUnresolved);
    assert_eq!(
        decide(&paths, ALL),
        [Reason::RejectedByPolicy, Reason::NextHopUnresolved]
    );
}
