use super::*;
use crate::pool::pool;
use crate::{Family, MemStore};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Futures over a MemStore never wait.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory answers at once"),
    }
}

fn node(name: &str) -> Claimant {
    Claimant {
        node: name.into(),
        uid: format!("uid-of-{name}"),
    }
}

fn request(pools: &[Pool]) -> ClaimRequest {
    ClaimRequest {
        family: Family::V4,
        pools: pools.to_vec(),
    }
}

fn allocation(address: &str) -> Allocation {
    Allocation {
        address: address.into(),
        ..Default::default()
    }
}

#[test]
fn nodes_share_a_pool_until_it_is_empty() {
    let store = MemStore::new();
    let pools = [pool("a", "10.0.0.0/24", 26), pool("b", "10.0.1.0/26", 26)];
    let claimed: Vec<_> = ["n1", "n2", "n3", "n4", "n5"]
        .map(|n| {
            now(claim(&store, &node(n), &request(&pools)))
                .unwrap()
                .unwrap()
        })
        .to_vec();
    assert_eq!(store.blocks().len(), 5);
    assert_eq!(
        (claimed[4].pool.as_str(), claimed[4].cidr.to_string()),
        ("b", "10.0.1.0/26".into())
    );
    assert_eq!(now(claim(&store, &node("n6"), &request(&pools))), Ok(None));
}

#[test]
fn a_fault_at_any_call_never_makes_two_owners_and_a_repeat_succeeds() {
    let unavailable = || StoreError::Unavailable("away".into());
    for call in 0..4 {
        let store = MemStore::new();
        let pools = [pool("a", "10.0.0.0/25", 26)];
        store.fail_at(call, unavailable());
        let repeat = || (0..2).find_map(|_| now(claim(&store, &node("n1"), &request(&pools))).ok());
        let block = repeat().flatten().unwrap();
        assert_eq!(block.node, "n1");
        assert_eq!(store.blocks().len(), 1);
    }
}

#[test]
fn a_claim_whose_answer_was_lost_is_ours() {
    let store = MemStore::new();
    let cidr = "10.0.0.64/26".parse().unwrap();
    store.lose_reply_at(0);
    assert!(now(claim_exactly(&store, &node("n1"), "a", cidr)).is_err());
    let again = now(claim_exactly(&store, &node("n1"), "a", cidr)).unwrap();
    assert!(matches!(again, Outcome::Done(block) if block.node == "n1"));
    assert_eq!(
        now(claim_exactly(&store, &node("n2"), "a", cidr)),
        Ok(Outcome::Lost)
    );
}

#[test]
fn a_create_that_comes_second_goes_on_to_the_next_block() {
    let store = MemStore::new();
    let pools = [pool("a", "10.0.0.0/25", 26)];
    // The listing is empty, and the first create finds that another node was faster.
    store.fail_at(1, StoreError::AlreadyExists("x".into()));
    assert!(
        now(claim(&store, &node("n1"), &request(&pools)))
            .unwrap()
            .is_some()
    );
    assert_eq!(store.blocks().len(), 1);
}

#[test]
fn publishing_writes_changes_only_and_restamps() {
    let store = MemStore::new();
    let cidr = "10.0.0.0/26".parse().unwrap();
    now(claim_exactly(&store, &node("n1"), "a", cidr)).unwrap();
    let held = [allocation("10.0.0.1")];
    assert_eq!(
        now(publish(&store, &node("n1"), cidr, &held)),
        Ok(Outcome::Done(()))
    );
    let (calls, version) = (
        store.calls(),
        store.blocks()[0].metadata.resource_version.clone(),
    );
    assert_eq!(
        now(publish(&store, &node("n1"), cidr, &held)),
        Ok(Outcome::Done(()))
    );
    assert_eq!(
        (store.calls(), &store.blocks()[0].metadata.resource_version),
        (calls + 1, &version),
        "read, not written"
    );
    let anew = Claimant {
        uid: "second life".into(),
        ..node("n1")
    };
    assert_eq!(
        now(publish(&store, &anew, cidr, &held)),
        Ok(Outcome::Done(()))
    );
    assert_eq!(store.blocks()[0].spec.node_uid, "second life");
    assert_eq!(
        now(publish(&store, &node("n2"), cidr, &[])),
        Ok(Outcome::Lost)
    );
}

#[test]
fn conflicts_are_read_again_and_end() {
    let store = MemStore::new();
    let cidr = "10.0.0.0/26".parse().unwrap();
    now(claim_exactly(&store, &node("n1"), "a", cidr)).unwrap();
    let conflict = || StoreError::Conflict("10-0-0-0-26".into());
    store.fail_at(1, conflict());
    assert_eq!(
        now(publish(
            &store,
            &node("n1"),
            cidr,
            &[allocation("10.0.0.1")]
        )),
        Ok(Outcome::Done(()))
    );
    (0..PUBLISH_TRIES).for_each(|n| store.fail_at(2 * n + 1, conflict()));
    assert_eq!(
        now(publish(&store, &node("n1"), cidr, &[])),
        Err(conflict())
    );
}

#[test]
fn releasing_twice_is_releasing() {
    let store = MemStore::new();
    let cidr = "10.0.0.0/26".parse().unwrap();
    now(claim_exactly(&store, &node("n1"), "a", cidr)).unwrap();
    assert_eq!(now(release(&store, &node("n2"), cidr)), Ok(()));
    assert_eq!(store.blocks().len(), 1, "another node's block stays");
    store.lose_reply_at(1);
    assert!(now(release(&store, &node("n1"), cidr)).is_err());
    assert_eq!(now(release(&store, &node("n1"), cidr)), Ok(()));
    assert!(store.blocks().is_empty());
}
