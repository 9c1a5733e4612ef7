//! The task's decisions, without its loop: what a change of a block or an answer of the API server leads to.

use super::*;
use crate::engine::Identity;
use margay_ipam::StoreError;
use margay_ipam::{AttachmentKey, Family as IpFamily, Netns};
use margay_proto::crd::{Condition, IPBlockSpec, IPPool, IPPoolSpec, IPPoolStatus};
use margay_proto::names;
use tokio::sync::oneshot;

struct Bench {
    task: Addresses,
    /// Kept open; deep enough for what one test tells.
    _engine: mpsc::Receiver<Event>,
    plans: watch::Sender<Arc<Plan>>,
    _handle: Handle,
    /// What the next pods say.
    wish: Wish,
}

fn pool(name: &str, cidr: &str, priority: i32) -> IPPool {
    let active = Condition {
        type_: "Active".to_owned(),
        status: "True".to_owned(),
        reason: "NoOverlap".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ),
    };
    let spec = IPPoolSpec {
        cidr: cidr.to_owned(),
        priority,
        ..IPPoolSpec::default()
    };
    IPPool {
        status: Some(IPPoolStatus {
            conditions: vec![active],
            ..IPPoolStatus::default()
        }),
        ..IPPool::new(name, spec)
    }
}

/// An own block as the watch brings it.
fn object(cidr: &str, uid: &str) -> IPBlock {
    let spec = IPBlockSpec {
        cidr: cidr.to_owned(),
        pool: "v4".to_owned(),
        node_name: "a".to_owned(),
        ..IPBlockSpec::default()
    };
    let mut block = IPBlock::new(&margay_proto::crd::block_name(cidr.parse().unwrap()), spec);
    block.metadata.uid = Some(uid.to_owned());
    block
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        key: AttachmentKey::new(container, "eth0"),
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        uid: "u".to_owned(),
        netns: Netns::default(),
        addresses: Vec::new(),
    }
}

/// A task that has the pool v4 and, for who asks for it, gold; and these blocks listed.
async fn bench(blocks: &[IPBlock]) -> Bench {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    let identity = Identity {
        asn: 64512,
        router_id: std::net::Ipv4Addr::LOCALHOST,
        ipv4: None,
        ipv6: None,
        listen_port: 179,
        listen_addresses: None,
        node_uid: "uid-a".to_owned(),
        mtu: None,
    };
    let plan = Plan {
        identity: Some(identity),
        pools: Some(Arc::new(vec![
            pool("v4", "10.244.0.0/16", 0),
            pool("gold", "10.9.0.0/24", -1),
        ])),
        ..Plan::default()
    };
    let (plans_sender, plans) = watch::channel(Arc::new(plan));
    let (engine, events) = mpsc::channel(64);
    let (_, watched) = mpsc::channel(1);
    let (mut task, handle, _) = Addresses::new(Start {
        node: "a".to_owned(),
        blocks: Vec::new(),
        attachments: Vec::new(),
        plans,
        watched,
        store: crate::blocks::KubeStore::new(client),
        engine,
        metrics: Arc::new(Metrics::new()),
        refused: watch::channel(Vec::new()).0,
    });
    task.pools();
    task.observe(Change::Reset(blocks.to_vec())).await;
    Bench {
        task,
        _engine: events,
        plans: plans_sender,
        _handle: handle,
        wish: Wish::default(),
    }
}

impl Bench {
    fn ask(&mut self, container: &str) -> oneshot::Receiver<Result<Attachment, NoAddress>> {
        let (reply, answer) = oneshot::channel();
        let attachment = Box::new(attachment(container));
        let wish = self.wish.clone();
        self.task.serve(Request::Allocate(attachment, wish, reply));
        answer
    }

    fn cidrs(&self) -> Vec<String> {
        let blocks = self.task.allocator.blocks();
        blocks.map(|b| b.cidr.to_string()).collect()
    }

    async fn unavailable(&mut self, cidr: &str) {
        let error = StoreError::Unavailable("connection reset".to_owned());
        self.task
            .finish(Done::Released(Err(error), cidr.parse().unwrap()))
            .await;
        self.task.not_before = Instant::now();
    }
}

#[tokio::test]
async fn an_add_sees_the_pools_that_its_caller_knew() {
    let mut bench = bench(&[object(FIRST, "1")]).await;
    let without = Plan {
        pools: Some(Arc::default()),
        ..Plan::clone(&bench.plans.borrow())
    };
    let with = bench.plans.send_replace(Arc::new(without));
    bench.task.pools();
    bench.plans.send_replace(with);
    // The task's loop may take up the request before the plan.
    let mut answer = bench.ask("c1");
    assert!(answer.try_recv().unwrap().is_ok());
}

const FIRST: &str = "10.244.0.0/26";
const SECOND: &str = "10.244.0.64/26";

#[tokio::test]
async fn an_add_is_answered_from_memory_and_again_with_the_same() {
    let mut bench = bench(&[object(FIRST, "1")]).await;
    let first = bench.ask("c1").try_recv().unwrap().unwrap();
    assert_eq!(first.addresses.len(), 1);
    let again = bench.ask("c1").try_recv().unwrap().unwrap();
    assert_eq!(again.addresses, first.addresses);
    let other = bench.ask("c2").try_recv().unwrap().unwrap();
    assert_ne!(other.addresses, first.addresses);
}

#[tokio::test]
async fn an_add_without_a_block_waits_for_the_claim_and_one_that_gave_up_takes_nothing() {
    let mut bench = bench(&[]).await;
    let mut waiting = bench.ask("c1");
    drop(bench.ask("c2"));
    assert!(waiting.try_recv().is_err());
    let Some(Job::Claim(request)) = bench.task.next_job() else {
        panic!("a block is to be claimed");
    };
    assert_eq!(request.family, IpFamily::V4);
    let block = Block::try_from(&object(FIRST, "1")).unwrap();
    bench
        .task
        .finish(Done::Claimed(Ok(Some(block)), Vec::new()))
        .await;
    assert_eq!(waiting.try_recv().unwrap().unwrap().addresses.len(), 1);
    assert_eq!(bench.task.allocator.attachments().count(), 1);
}

#[tokio::test]
async fn a_release_is_served_while_the_api_server_hangs() {
    let mut bench = bench(&[object(FIRST, "1")]).await;
    bench.ask("c1").try_recv().unwrap().unwrap();
    bench.task.not_before = Instant::now() + Duration::from_secs(3600);
    for _ in 0..2 {
        let (reply, mut done) = oneshot::channel();
        let key = AttachmentKey::new("c1", "eth0");
        bench.task.serve(Request::Release(key, reply));
        done.try_recv().unwrap();
    }
    assert_eq!(bench.task.allocator.attachments().count(), 0);
}

#[tokio::test]
async fn the_watch_does_not_bring_back_a_block_that_was_given_back() {
    let mut bench = bench(&[object(FIRST, "1"), object(SECOND, "2")]).await;
    let Some(Job::Release(cidr)) = bench.task.next_job() else {
        panic!("two idle blocks are one too many");
    };
    assert_eq!(cidr.to_string(), SECOND);
    bench.task.finish(Done::Released(Ok(()), cidr)).await;
    assert_eq!(bench.cidrs(), [FIRST]);
    let stale = object(SECOND, "2");
    bench.task.observe(Change::Apply(stale.clone())).await;
    bench
        .task
        .observe(Change::Reset(vec![object(FIRST, "1"), stale.clone()]))
        .await;
    assert_eq!(bench.cidrs(), [FIRST], "another node may have it by now");
    // Claimed anew before the watch told of the end of the old one.
    bench.task.observe(Change::Apply(object(SECOND, "3"))).await;
    bench.task.observe(Change::Delete(stale)).await;
    assert_eq!(bench.cidrs(), [FIRST, SECOND]);
}

#[tokio::test]
async fn a_block_whose_deletion_was_not_answered_gives_no_address_until_that_is_known() {
    let mut bench = bench(&[object(FIRST, "1"), object(SECOND, "2")]).await;
    assert!(matches!(bench.task.next_job(), Some(Job::Release(_))));
    bench.unavailable(SECOND).await;
    let again = bench.task.next_job();
    assert!(
        matches!(again, Some(Job::Release(c)) if c.to_string() == SECOND),
        "{again:?}"
    );
    let first: IpNetwork = FIRST.parse().unwrap();
    let mut waiting = Vec::new();
    for n in 0..70 {
        let mut answer = bench.ask(&format!("c{n}"));
        match answer.try_recv() {
            Ok(held) => assert!(first.contains(held.unwrap().addresses[0])),
            Err(_) => waiting.push(answer),
        }
    }
    assert_eq!(waiting.len(), 7, "63 fit, the edge of the pool is nobody's");
    // The watch says that it took effect: whatever has the name next is not to be deleted.
    bench
        .task
        .observe(Change::Delete(object(SECOND, "2")))
        .await;
    bench.task.observe(Change::Apply(object(SECOND, "3"))).await;
    bench.unavailable("10.244.7.0/26").await;
    assert_eq!(bench.task.doubtful, None);
    let served = waiting.iter_mut().filter_map(|w| w.try_recv().ok());
    assert_eq!(served.count(), 7);
}

#[tokio::test]
async fn a_refused_deletion_leaves_the_block_in_use() {
    let mut bench = bench(&[object(FIRST, "1"), object(SECOND, "2")]).await;
    let Some(Job::Release(cidr)) = bench.task.next_job() else {
        panic!("two idle blocks are one too many");
    };
    let conflict = StoreError::Conflict("10-244-0-64-26".to_owned());
    bench.task.finish(Done::Released(Err(conflict), cidr)).await;
    bench.task.not_before = Instant::now();
    assert!(
        matches!(bench.task.next_job(), Some(Job::Release(c)) if c == cidr),
        "as idle as before"
    );
}

#[tokio::test]
async fn a_block_deleted_under_its_pods_is_claimed_back_first() {
    let mut bench = bench(&[object(FIRST, "1")]).await;
    let held = bench.ask("c1").try_recv().unwrap().unwrap();
    bench.task.observe(Change::Delete(object(FIRST, "1"))).await;
    let Some(Job::Reclaim(block)) = bench.task.next_job() else {
        panic!("its pods live");
    };
    bench.task.finish(Done::Reclaimed(Ok(true), block)).await;
    let again = bench.ask("c1").try_recv().unwrap().unwrap();
    assert_eq!(again.addresses, held.addresses);
    let other = bench.ask("c2").try_recv().unwrap().unwrap();
    assert_ne!(other.addresses, held.addresses);
}

#[tokio::test]
async fn a_block_that_only_one_pod_wants_is_claimed_when_it_asks_and_not_for_one_that_gave_up() {
    let mut bench = bench(&[object(FIRST, "1")]).await;
    assert!(!matches!(bench.task.next_job(), Some(Job::Claim(_))));
    let pod = [(names::IPV4_POOLS.to_owned(), "gold".to_owned())].into();
    let namespace = BTreeMap::new();
    bench.wish = Wish::of(("web", &pod), ("default", &namespace), namespace.clone());
    drop(bench.ask("c1"));
    assert!(!matches!(bench.task.next_job(), Some(Job::Claim(_))));
    let mut waiting = bench.ask("c2");
    let Some(Job::Claim(request)) = bench.task.next_job() else {
        panic!("a block of gold is to be claimed");
    };
    let names: Vec<&str> = request.pools.iter().map(|p| &p.name[..]).collect();
    assert_eq!(names, ["gold"]);
    bench
        .task
        .finish(Done::Claimed(Ok(None), vec!["gold".to_owned()]))
        .await;
    let refusal = waiting.try_recv().unwrap().unwrap_err().to_string();
    assert!(refusal.contains("pool gold has no free block"), "{refusal}");
}
