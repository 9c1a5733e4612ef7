use super::*;

#[test]
fn every_metric_has_its_openmetrics_name() {
    let metrics = Metrics::new();
    let peer = IpAddr::from([10, 0, 0, 1]);
    metrics.bgp_peers([State::Established, State::Established]);
    metrics.bgp_session_up(peer);
    metrics.bfd_sessions([bfd::State::Up]);
    metrics.bfd_transitions(peer, 2, 1);
    metrics.bgp_routes_learned(Family::Ipv6Unicast, 3);
    metrics.cni_call("add", "ok", Duration::from_millis(3));
    metrics.policy_failed();
    metrics.kernel_applied(&Applied {
        routes_written: 4,
        nexthops_removed: 1,
        ..Applied::default()
    });
    let text = metrics.encode(None);
    for line in [
        concat!(
            "margay_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "margay_bgp_peers{state=\"Established\"} 2",
        "margay_bgp_peers{state=\"Idle\"} 0",
        "margay_bgp_session_transitions_total{peer=\"10.0.0.1\",to=\"up\"} 1",
        "margay_bfd_sessions{state=\"Up\"} 1",
        "margay_bfd_sessions{state=\"AdminDown\"} 0",
        "margay_bfd_session_transitions_total{peer=\"10.0.0.1\",to=\"down\"} 1",
        "margay_bgp_routes{family=\"ipv6\",direction=\"learned\"} 3",
        "margay_cni_calls_total{verb=\"add\",result=\"ok\"} 1",
        "margay_cni_call_duration_seconds_count{verb=\"add\"} 1",
        "margay_policy_apply_failures_total 1",
        "margay_kernel_writes_total{object=\"route\",action=\"written\"} 4",
        "margay_kernel_writes_total{object=\"nexthop\",action=\"removed\"} 1",
        "margay_kernel_failures_total 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
    metrics.bgp_peer_removed(peer);
    assert!(!metrics.encode(None).contains("10.0.0.1"));
}
