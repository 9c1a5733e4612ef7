use super::*;
use margay_proto::slim::{Namespace, Pod};

fn identity(name: &str, uid: &str) -> PodIdentity {
    PodIdentity {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

fn wait(engine: &mut Engine, name: &str, uid: &str) -> oneshot::Receiver<KnownPod> {
    let (reply, known) = oneshot::channel();
    let identity = identity(name, uid);
    assert!(
        !engine.handle(Event::AwaitPod { identity, reply }),
        "a question changes no plan"
    );
    known
}

fn answered(known: &mut oneshot::Receiver<KnownPod>) -> Option<String> {
    known.try_recv().ok().map(|pod| pod.uid)
}

fn namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace
}

/// An engine that knows the namespace `default`.
fn ready() -> Engine {
    let mut engine = fresh();
    engine.handle(Event::Namespaces(Change::Reset(vec![namespace("default")])));
    engine
}

fn apply(engine: &mut Engine, pod: Pod) {
    engine.handle(Event::Pods(Change::Apply(pod)));
}

#[test]
fn a_known_pod_is_answered_at_once_and_an_unknown_one_when_it_comes() {
    let mut engine = ready();
    apply(&mut engine, pod("web", SELF));
    assert_eq!(
        answered(&mut wait(&mut engine, "web", "uid-web")).as_deref(),
        Some("uid-web")
    );
    let mut late = wait(&mut engine, "shop", "uid-shop");
    assert_eq!(answered(&mut late), None);
    apply(&mut engine, pod("cart", SELF));
    assert_eq!(answered(&mut late), None);
    apply(&mut engine, pod("shop", SELF));
    assert!(answered(&mut late).is_some());
    let mut listed = wait(&mut engine, "last", "uid-last");
    engine.handle(Event::Pods(Change::Reset(vec![pod("last", SELF)])));
    assert!(answered(&mut listed).is_some(), "a list tells as well");
    assert_eq!(
        answered(&mut wait(&mut engine, "web", "uid-web")),
        None,
        "and forgets"
    );
}

#[test]
fn a_runtime_that_gives_no_uid_is_told_it() {
    let mut engine = ready();
    apply(&mut engine, pod("web", SELF));
    assert_eq!(
        answered(&mut wait(&mut engine, "web", "")).as_deref(),
        Some("uid-web")
    );
}

#[test]
fn a_static_pod_answers_to_the_hash_of_its_configuration() {
    let mut engine = ready();
    let mut mirror = pod("static", SELF);
    mirror.metadata.annotations =
        Some([("kubernetes.io/config.hash".to_owned(), "5ad1".to_owned())].into());
    let mut known = wait(&mut engine, "static", "5ad1");
    apply(&mut engine, mirror);
    assert_eq!(answered(&mut known).as_deref(), Some("5ad1"));
}

#[test]
fn neither_a_pod_of_another_node_nor_of_another_uid_will_do() {
    let mut engine = ready();
    apply(&mut engine, pod("web", "b"));
    let mut elsewhere = wait(&mut engine, "web", "uid-web");
    assert_eq!(answered(&mut elsewhere), None);
    assert_eq!(answered(&mut wait(&mut engine, "web", "")), None);
    apply(&mut engine, pod("shop", SELF));
    assert_eq!(
        answered(&mut wait(&mut engine, "shop", "uid-of-its-predecessor")),
        None
    );
}

#[test]
fn a_pod_that_came_again_elsewhere_is_not_known_here_any_more() {
    let mut engine = ready();
    apply(&mut engine, pod("db-0", SELF));
    let mut again = pod("db-0", "b");
    again.metadata.uid = Some("uid-db-0-again".to_owned());
    apply(&mut engine, again);
    assert_eq!(answered(&mut wait(&mut engine, "db-0", "uid-db-0")), None);
}

#[test]
fn the_end_of_a_pod_is_not_that_of_its_successor() {
    let mut engine = ready();
    let mut again = pod("db-0", SELF);
    again.metadata.uid = Some("uid-db-0-again".to_owned());
    apply(&mut engine, again);
    engine.handle(Event::Pods(Change::Delete(pod("db-0", SELF))));
    assert!(answered(&mut wait(&mut engine, "db-0", "uid-db-0-again")).is_some());
}

#[test]
fn attach_and_detach_are_answered_with_the_first_plan_that_has_them() {
    let mut engine = ready();
    let mut state = State::cluster();
    state.attachments.clear();
    state.tell(&mut engine);
    let before = engine.plan();
    let web = attachment("c1", "web", &["10.244.0.1"]);
    let (event, mut generation) = attach(web.clone());
    assert!(engine.handle(event));
    assert_eq!(generation.try_recv().unwrap(), before.generation + 1);
    let with = engine.plan();
    assert_eq!(with.generation, before.generation + 1);
    let host = prefix("10.244.0.1/32");
    assert!(with.routes.as_ref().unwrap().contains_key(&host));
    assert_ne!(with.table, before.table);
    let (event, mut generation) = detach(&link_name(&web.key));
    assert!(engine.handle(event));
    assert_eq!(generation.try_recv().unwrap(), with.generation + 1);
    let without = engine.plan();
    assert_eq!(
        (without.routes, without.table),
        (before.routes, before.table)
    );
}

#[test]
fn policy_reaches_the_pods_it_selects_and_a_bad_one_says_so() {
    let mut state = State::cluster();
    let open = plan_of(&state);
    state.policies.push(policy("deny", "shop"));
    assert_eq!(plan_of(&state).table, open.table, "no pod here is selected");
    state.policies.push(policy("deny-web", "web"));
    assert_ne!(plan_of(&state).table, open.table);
    let bad = serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "300.0.0.0/8"}}]}]});
    let mut wrong = policy("wrong", "web");
    wrong.spec = Some(serde_json::from_value(bad).unwrap());
    state.policies.push(wrong);
    let faults = plan_of(&state).faults;
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].contains("wrong") && faults[0].contains("300.0.0.0/8"),
        "{faults:?}"
    );
}

#[test]
fn what_pod_and_namespace_say_about_pools_is_known_with_them() {
    let mut engine = fresh();
    let annotation = |key: &str, value: &str| Some([(key.to_owned(), value.to_owned())].into());
    let mut web = pod("web", SELF);
    web.metadata.annotations = annotation("margay.dev/ipv4-pools", "gold");
    apply(&mut engine, web);
    let mut known = wait(&mut engine, "web", "uid-web");
    assert!(known.try_recv().is_err(), "its namespace is not known yet");
    let mut default = namespace("default").label("team", "red");
    default.metadata.annotations = annotation("margay.dev/ipv6-pools", "six");
    engine.handle(Event::Namespaces(Change::Apply(default)));
    let wish = known.try_recv().unwrap().wish;
    let named = |family| wish.named(family).unwrap().pools.join(",");
    assert_eq!(
        (named(Family::V4), named(Family::V6)),
        ("gold".into(), "six".into())
    );
    assert_eq!(wish.labels["team"], "red");
    engine.handle(Event::Namespaces(Change::Delete(namespace("default"))));
    let mut gone = wait(&mut engine, "web", "uid-web");
    assert_eq!(answered(&mut gone), None);
}

#[test]
fn a_repeated_detach_is_answered_and_needs_no_plan_of_its_own() {
    let mut engine = ready();
    let pod = attachment("c1", "web", &["10.0.0.1"]);
    let link = link_name(&pod.key);
    let (event, mut generation) = attach(pod);
    assert!(engine.handle(event));
    assert_eq!(generation.try_recv(), Ok(1));
    let (event, mut during) = detach("mgyother");
    assert!(!engine.handle(event));
    assert_eq!(during.try_recv(), Ok(1), "the plan under way");
    engine.plan();
    let (event, mut after) = detach("mgyother");
    assert!(!engine.handle(event));
    assert_eq!(after.try_recv(), Ok(1), "the plan that is there");
    let (event, mut gone) = detach(&link);
    assert!(engine.handle(event));
    assert_eq!(gone.try_recv(), Ok(2), "one without it");
}
