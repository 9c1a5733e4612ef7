mod choice;

use super::*;
use crate::pool::pool;
use crate::{Netns, QUARANTINE};
use proptest::prelude::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const DUAL: [Family; 2] = Family::ALL;

fn net(cidr: &str) -> IpNetwork {
    cidr.parse().unwrap()
}

fn block(cidr: &str, pool: &str) -> Block {
    Block {
        cidr: net(cidr),
        pool: pool.into(),
        node: "n1".into(),
    }
}

fn key(container: impl ToString) -> AttachmentKey {
    AttachmentKey::new(container.to_string(), "eth0")
}

fn request(container: impl ToString) -> Attachment {
    Attachment {
        key: key(container),
        namespace: "default".into(),
        pod: "web".into(),
        uid: "uid".into(),
        netns: Netns::default(),
        addresses: Vec::new(),
    }
}

/// A pod that says nothing.
fn plain() -> Wish {
    Wish::default()
}

/// A pod with these annotations, in a namespace of team red.
fn named(annotations: &[(&str, &str)]) -> Wish {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let pod = annotations.iter().map(owned).collect();
    let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
    Wish::of(("web", &pod), ("default", &BTreeMap::new()), labels)
}

fn allocator(pools: &[Pool], blocks: &[Block]) -> Allocator {
    let mut allocator = Allocator::new();
    allocator.set_pools(pools.to_vec(), &BTreeMap::new());
    blocks.iter().cloned().for_each(|b| allocator.add_block(b));
    allocator
}

/// Pool v4 is one /29 block with its edges in it; pool v6 one /125.
fn dual() -> Allocator {
    let pools = [pool("v4", "10.0.0.0/29", 29), pool("v6", "fd00::/120", 125)];
    allocator(
        &pools,
        &[block("10.0.0.0/29", "v4"), block("fd00::8/125", "v6")],
    )
}

fn addresses(attachment: &Attachment) -> Vec<String> {
    attachment
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn one_address_a_family_and_the_same_again() {
    let mut a = dual();
    assert_eq!(a.families(&plain()), DUAL);
    let first = a.allocate(request(1), &plain(), S(0)).unwrap().clone();
    assert_eq!(addresses(&first), ["10.0.0.1", "fd00::8"]);
    assert_eq!(
        a.allocate(
            request(1),
            &named(&[("margay.dev/ipv6-pools", "gone")]),
            S(0)
        )
        .unwrap(),
        &first,
        "a repeated ADD"
    );
    assert_eq!(
        addresses(a.allocate(request(2), &plain(), S(0)).unwrap()),
        ["10.0.0.2", "fd00::9"]
    );
    let published = a.published(net("10.0.0.0/29"));
    assert_eq!(
        published
            .iter()
            .map(|p| p.address.as_str())
            .collect::<Vec<_>>(),
        ["10.0.0.1", "10.0.0.2"]
    );
    assert_eq!(
        (published[0].attachment.as_str(), published[0].pod.as_str()),
        ("1/eth0", "web")
    );
}

#[test]
fn all_or_nothing() {
    let pools = [pool("v4", "10.0.0.0/24", 29), pool("v6", "fd00::/120", 125)];
    let mut a = allocator(&pools, &[block("10.0.0.8/29", "v4")]);
    let Err(Refusal::NeedBlock(need)) = a.allocate(request(1), &plain(), S(0)).cloned() else {
        panic!("no IPv6 block")
    };
    assert_eq!((need.family, need.pools.len()), (Family::V6, 1));
    assert_eq!(a.published(net("10.0.0.8/29")), []);
    assert_eq!(a.free(&vec![&a.pools["v4"]], None), 8);
}

#[test]
fn refusals_name_the_pools() {
    let text = |r: Result<&Attachment, Refusal>| r.unwrap_err().to_string();
    assert_eq!(
        text(Allocator::new().allocate(request(1), &plain(), S(0))),
        "no active pool selects this node; see `kubectl get ippools`"
    );
    let mut a = allocator(&[pool("v4", "10.0.0.0/30", 30)], &[]);
    a.set_exhausted(["v4".to_owned()], S(0));
    assert!(text(a.allocate(request(1), &plain(), S(9))).contains("pool v4 has no free block"));
    assert!(matches!(
        a.allocate(request(1), &plain(), S(10)),
        Err(Refusal::NeedBlock(_))
    ));
}

#[test]
fn a_freed_address_rests_unless_nothing_else_is_left() {
    let mut a = allocator(
        &[pool("v4", "10.0.0.0/30", 30)],
        &[block("10.0.0.0/30", "v4")],
    );
    a.allocate(request(1), &plain(), S(0)).unwrap();
    a.allocate(request(2), &plain(), S(0)).unwrap();
    a.release(&key(2), S(1)).unwrap();
    a.release(&key(1), S(2)).unwrap();
    assert!(a.release(&key(1), S(2)).is_none());
    assert!(matches!(
        a.allocate(request(3), &plain(), S(3)),
        Err(Refusal::NeedBlock(_))
    ));
    a.set_exhausted(["v4".to_owned()], S(3));
    assert_eq!(
        addresses(a.allocate(request(3), &plain(), S(3)).unwrap()),
        ["10.0.0.2"],
        "rested longest"
    );
    assert_eq!(
        addresses(a.allocate(request(4), &plain(), S(2) + QUARANTINE).unwrap()),
        ["10.0.0.1"]
    );
}

#[test]
fn the_next_block_is_wanted_before_the_last_is_full() {
    let wide = pool("v4", "10.0.0.0/24", 28);
    let mut a = allocator(std::slice::from_ref(&wide), &[]);
    assert_eq!(a.wants_block(S(0)).unwrap().pools, [wide]);
    a.add_block(block("10.0.0.16/28", "v4"));
    for n in 0..14 {
        assert_eq!(a.wants_block(S(0)), None);
        a.allocate(request(n), &plain(), S(0)).unwrap();
    }
    a.allocate(request(14), &plain(), S(0)).unwrap();
    assert!(a.wants_block(S(0)).is_some());
    a.set_exhausted(["v4".to_owned()], S(0));
    assert_eq!(a.wants_block(S(1)), None);
    assert!(a.wants_block(EXHAUSTED_RETRY).is_some());
}

#[test]
fn an_inactive_pool_keeps_its_pods_and_takes_no_more() {
    let mut a = dual();
    a.allocate(request(1), &plain(), S(0)).unwrap();
    a.set_pools([pool("v6", "fd00::/120", 125)], &BTreeMap::new());
    assert_eq!(a.families(&plain()), [Family::V6]);
    assert_eq!(
        addresses(a.allocate(request(2), &plain(), S(0)).unwrap()),
        ["fd00::9"]
    );
    assert_eq!(a.published(net("10.0.0.0/29")).len(), 1);
    assert_eq!(a.surplus(S(0)), None, "a pod holds an address");
    a.release(&key(1), S(1));
    assert_eq!(
        a.surplus(S(1) + QUARANTINE),
        Some(block("10.0.0.0/29", "v4"))
    );
}

#[test]
fn surplus_blocks_go_back_from_the_top_and_one_stays() {
    let wide = pool("v4", "10.0.0.0/24", 28);
    let blocks = ["10.0.0.16/28", "10.0.0.32/28", "10.0.0.48/28"].map(|c| block(c, "v4"));
    let mut a = allocator(&[wide], &blocks);
    for left in [2, 1] {
        let spare = a.surplus(S(0)).unwrap();
        assert_eq!(spare, blocks[left]);
        assert!(a.begin_release(spare.cidr, S(0)));
        assert_ne!(a.surplus(S(0)), Some(spare.clone()));
        assert_eq!(a.remove_block(spare.cidr), []);
    }
    assert_eq!(a.surplus(S(0)), None);
    assert_eq!(a.wants_block(S(0)), None);
    a.allocate(request(1), &plain(), S(0)).unwrap();
    assert!(!a.begin_release(net("10.0.0.16/28"), S(0)));
}

#[test]
fn a_block_on_its_way_back_hands_out_nothing() {
    let mut a = dual();
    assert!(a.begin_release(net("10.0.0.0/29"), S(0)));
    assert!(matches!(
        a.allocate(request(1), &plain(), S(0)),
        Err(Refusal::NeedBlock(_))
    ));
    a.add_block(block("10.0.0.0/29", "v4"));
    assert!(
        a.allocate(request(1), &plain(), S(0)).is_err(),
        "the watch repeats it"
    );
    a.cancel_release(net("10.0.0.0/29"));
    assert!(a.allocate(request(1), &plain(), S(0)).is_ok());
}

#[test]
fn adoption_in_any_order_and_with_bad_records() {
    let held = |container: &str, address: &str| Attachment {
        addresses: vec![address.parse().unwrap()],
        ..request(container)
    };
    let mut a = Allocator::new();
    let adoption = a.adopt([
        held("1", "10.0.0.1"),
        held("2", "10.0.0.1"),
        held("1", "10.0.0.3"),
        held("3", "10.9.0.1"),
    ]);
    assert_eq!(adoption.conflicts.len(), 2);
    assert_eq!(adoption.orphans.len(), 2, "no block is known yet");
    a.set_pools([pool("v4", "10.0.0.0/29", 29)], &BTreeMap::new());
    a.add_block(block("10.0.0.0/29", "v4"));
    assert_eq!(a.orphans(), [(key("3"), "10.9.0.1".parse().unwrap())]);
    assert_eq!(
        addresses(a.allocate(request(4), &plain(), S(0)).unwrap()),
        ["10.0.0.2"]
    );
    assert_eq!(a.remove_block(net("10.0.0.0/29")), [key("1"), key("4")]);
    assert_eq!(
        a.unknown_to(&BTreeSet::from([key("4")])),
        [key("1"), key("3")]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Del(u8),
    Wait(u8),
    /// Claims what is wanted or needed, or learns that there is none.
    Claim,
    Shrink,
    Restart,
    Pools(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..40).prop_map(Step::Add),
        4 => (0u8..40).prop_map(Step::Del),
        2 => (1u8..50).prop_map(Step::Wait),
        3 => Just(Step::Claim),
        1 => Just(Step::Shrink),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Pools),
    ]
}

/// An agent in small: it follows the drawing at the head of the module.
struct Node {
    allocator: Allocator,
    pools: Vec<Pool>,
    now: Duration,
}

impl Node {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Add(n) => {
                let before: Vec<_> = self.allocator.attachments().cloned().collect();
                match self.allocator.allocate(request(n), &plain(), self.now) {
                    Ok(attachment) => assert!(!attachment.addresses.is_empty()),
                    Err(_) => assert_eq!(
                        self.allocator.attachments().cloned().collect::<Vec<_>>(),
                        before
                    ),
                }
            }
            Step::Del(n) => drop(self.allocator.release(&key(n), self.now)),
            Step::Wait(seconds) => self.now += S(u64::from(*seconds)),
            Step::Claim => {
                while let Some(request) = self.allocator.wants_block(self.now) {
                    let taken: Vec<_> = self.allocator.blocks().map(|b| b.cidr).collect();
                    let found = request
                        .pools
                        .iter()
                        .find_map(|p| Some((p, crate::candidates(p, &taken, "n1").next()?)));
                    match found {
                        Some((pool, cidr)) => self
                            .allocator
                            .add_block(block(&cidr.to_string(), &pool.name)),
                        None => self
                            .allocator
                            .set_exhausted(request.pools.iter().map(|p| p.name.clone()), self.now),
                    }
                }
            }
            Step::Shrink => {
                while let Some(spare) = self.allocator.surplus(self.now) {
                    assert!(self.allocator.begin_release(spare.cidr, self.now));
                    assert_eq!(self.allocator.remove_block(spare.cidr), []);
                }
            }
            Step::Restart => {
                let mut fresh = allocator(&[], &[]);
                let adoption =
                    fresh.adopt(self.allocator.attachments().cloned().collect::<Vec<_>>());
                assert_eq!(adoption.conflicts, []);
                self.allocator
                    .blocks()
                    .cloned()
                    .for_each(|b| fresh.add_block(b));
                fresh.pools.clone_from(&self.allocator.pools);
                self.allocator = fresh;
            }
            Step::Pools(both) => {
                let pools = if *both {
                    self.pools.clone()
                } else {
                    self.pools[..1].to_vec()
                };
                self.allocator.set_pools(pools, &BTreeMap::new());
            }
        }
        self.check();
    }

    fn check(&self) {
        let held: Vec<IpAddr> = self
            .allocator
            .attachments()
            .flat_map(|a| a.addresses.clone())
            .collect();
        assert_eq!(
            held.iter().collect::<BTreeSet<_>>().len(),
            held.len(),
            "no address twice"
        );
        assert_eq!(self.allocator.orphans(), []);
        assert!(
            held.iter()
                .all(|a| !self.pools.iter().any(|p| p.is_edge(*a)))
        );
        let published: usize = self
            .allocator
            .blocks()
            .map(|b| self.allocator.published(b.cidr).len())
            .sum();
        assert_eq!(published, held.len(), "none lost");
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_books(steps in proptest::collection::vec(step(), 0..120)) {
        let pools = vec![pool("v4", "10.0.0.0/27", 29), pool("v6", "fd00::/120", 126)];
        let mut node = Node { allocator: allocator(&pools, &[]), pools: pools.clone(), now: S(0) };
        steps.iter().for_each(|step| node.run(step));

        // ADD and DEL of everything, and a rest, leave nothing behind: every usable address can be had again.
        for n in 0..40 {
            node.run(&Step::Del(n));
        }
        node.now += QUARANTINE + EXHAUSTED_RETRY;
        node.run(&Step::Pools(true));
        node.run(&Step::Shrink);
        prop_assert!(node.allocator.blocks().count() <= 2 + 2);
        for n in 0..30u8 {
            node.run(&Step::Claim);
            prop_assert!(node.allocator.allocate(request(n), &plain(), node.now).is_ok(), "address {} of 30", n);
        }
        node.run(&Step::Claim);
        prop_assert!(node.allocator.allocate(request(99), &plain(), node.now).is_err());
    }
}
