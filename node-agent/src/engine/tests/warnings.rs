use super::*;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer,
};
use margay_policy::table::{CtState, Hook, Ifname, Outcome, Packet};

/// Lets in what the API server takes for addresses and we do not.
fn bad(name: &str, app: &str, cidrs: &[&str]) -> NetworkPolicy {
    let mut policy = policy(name, app);
    policy.metadata.uid = Some(format!("uid-{name}"));
    policy.metadata.generation = Some(3);
    let peer = |cidr: &&str| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: (*cidr).to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    let rule = NetworkPolicyIngressRule {
        from: Some(cidrs.iter().map(peer).collect()),
        ports: None,
    };
    policy.spec.as_mut().unwrap().ingress = Some(vec![rule]);
    policy
}

fn with(policies: Vec<NetworkPolicy>) -> State {
    State {
        policies,
        ..State::cluster()
    }
}

/// Whether a packet from outside gets to the pod `web`.
fn reaches_web(plan: &Plan) -> bool {
    let web = link_name(&attachment("c1", "web", &[]).key);
    let packet = Packet {
        input: Some(Ifname::try_from("up0").unwrap()),
        output: Some(Ifname::try_from(web.as_str()).unwrap()),
        source: ip("10.1.2.3"),
        destination: ip("10.244.0.1"),
        protocol: 6,
        port: 80,
        icmp_type: 0,
        state: CtState::NEW,
    };
    plan.table
        .as_ref()
        .unwrap()
        .evaluate(Hook::Forward, &packet)
        == Outcome::Accept
}

#[test]
fn a_policy_that_cannot_be_read_isolates_its_pods_and_is_warned_about() {
    assert!(reaches_web(&plan_of(&with(Vec::new()))));
    let plan = plan_of(&with(vec![bad("odd", "web", &["010.0.0.0/8"])]));
    assert!(!reaches_web(&plan));
    let warnings: Vec<_> = plan.warnings.iter().collect();
    let [warning] = warnings[..] else {
        panic!("{warnings:?}")
    };
    let about = &warning.about;
    assert_eq!(
        (about.kind, about.api_version),
        ("NetworkPolicy", "networking.k8s.io/v1")
    );
    assert_eq!(
        (about.namespace.as_str(), about.name.as_str()),
        ("default", "odd")
    );
    assert_eq!((about.uid.as_str(), about.generation), ("uid-odd", 3));
    for part in [
        "networkpolicy default/odd: ",
        "spec.ingress[0].from[0].ipBlock.cidr ",
        "\"010.0.0.0/8\": ",
        "write it as ",
    ] {
        assert!(warning.message.contains(part), "{}", warning.message);
    }
}

#[test]
fn it_is_said_only_where_it_selects_a_pod_and_as_long_as_it_stands() {
    let elsewhere = with(vec![bad("odd", "db", &["010.0.0.0/8"])]);
    let plan = plan_of(&elsewhere);
    assert!(plan.warnings.is_empty() && !plan.faults.is_empty());
    let mut engine = fresh();
    with(vec![bad("odd", "web", &["010.0.0.0/8"])]).tell(&mut engine);
    assert_eq!(engine.plan().warnings.len(), 1);
    with(vec![bad("odd", "web", &["10.0.0.0/8"])]).tell(&mut engine);
    let plan = engine.plan();
    assert!(plan.warnings.is_empty() && reaches_web(&plan));
}

#[test]
fn one_policy_gets_few_events() {
    let cidrs: Vec<_> = (10..20).map(|n| format!("0{n}.0.0.0/8")).collect();
    let cidrs: Vec<_> = cidrs.iter().map(String::as_str).collect();
    let plan = plan_of(&with(vec![
        bad("odd", "web", &cidrs),
        bad("other", "web", &cidrs[..1]),
    ]));
    assert_eq!(plan.warnings.len(), 6);
    let more =
        |warning: &&crate::warnings::Warning| warning.message.ends_with("; and 5 more fields");
    assert_eq!(plan.warnings.iter().filter(more).count(), 1);
}
