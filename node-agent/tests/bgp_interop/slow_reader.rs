//! Who watches and does not read is told how much was missed, and costs a bounded ring.

use std::time::Duration;

use margay_agent::speaker::Entry;
use margay_bgp::Family;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::net::Net;
use crate::ours::{self, Ours};
use crate::until;

#[test]
fn a_reader_that_sleeps_is_told_what_it_missed() {
    const PREFIXES: u32 = 50_000;
    let net = Net::new();
    let all = (0..PREFIXES).map(|i| {
        let third = i % 256;
        format!("100.{}.{third}.0/24", i / 256).parse().unwrap()
    });
    let ours = Ours::start(&net, ours::desired());
    let mut reader = ours.handle.monitor().unwrap();
    let _theirs = Ours::start_at(&net.router, ours::opposite(all));
    until("all routes learned", || {
        let learned = ours.handle.learned.borrow();
        (learned.count(Family::Ipv4Unicast) == PREFIXES as usize).then_some(())
    });

    // Each prefix is announced once and gets its ways once, and the session came up.
    let happened = u64::from(PREFIXES) * 2 + 1;
    let (mut seen, mut missed) = (0, 0);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    while seen + missed < happened {
        let next = async { timeout(Duration::from_secs(10), reader.next()).await };
        match runtime.block_on(next) {
            Ok(Some(Entry::News(_))) => seen += 1,
            Ok(Some(Entry::Missed(count))) => missed += count,
            end => panic!("{end:?} after {seen} seen and {missed} missed of {happened}"),
        }
    }
    assert!(
        seen <= 4096,
        "{seen} entries were kept for a reader that slept"
    );
}
