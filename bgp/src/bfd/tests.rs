//! Two ends, a wire between them and a clock that is moved by hand; the numbers in names are those of the conformance list.

mod checks;
mod properties;
mod states;
mod timers;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A packet on the wire, as it was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    by: usize,
    packet: Packet,
}

/// Two ends of one session.
struct Pair {
    now: Instant,
    begin: Instant,
    ends: [Sessions; 2],
    /// Whether what this end sends arrives.
    carries: [bool; 2],
    sent: Vec<Sent>,
    changes: [Vec<Transition>; 2],
    ttl: u8,
}

fn address(end: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, end as u8 + 1])
}

fn config(end: usize, parameters: Parameters) -> SessionConfig {
    SessionConfig {
        peer: address(1 - end),
        source: Some(address(end)),
        parameters,
    }
}

fn parameters(milliseconds: u64, multiplier: u8) -> Parameters {
    let interval = Duration::from_millis(milliseconds);
    Parameters {
        min_tx: interval,
        min_rx: interval,
        multiplier,
        path: Path::SingleHop,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a time to begin at; it is moved by hand from here on"
)]
fn some_time() -> Instant {
    Instant::now()
}

impl Pair {
    fn new(parameters: [Parameters; 2]) -> Self {
        Self::seeded(parameters, 7)
    }

    fn seeded(parameters: [Parameters; 2], seed: u64) -> Self {
        let now = some_time();
        let mut pair = Self {
            now,
            begin: now,
            ends: [Sessions::new(seed), Sessions::new(!seed)],
            carries: [true; 2],
            sent: Vec::new(),
            changes: [Vec::new(), Vec::new()],
            ttl: 255,
        };
        for (end, parameters) in parameters.into_iter().enumerate() {
            pair.configure(end, parameters);
        }
        pair
    }

    fn up(parameters: [Parameters; 2]) -> Self {
        let mut pair = Self::new(parameters);
        pair.advance(SECOND * 4);
        assert_eq!(pair.states(), [State::Up; 2]);
        pair.forget();
        pair
    }

    fn configure(&mut self, end: usize, parameters: Parameters) {
        self.ends[end].apply(vec![config(end, parameters)], self.now);
        self.settle();
    }

    /// Begins to look anew.
    fn forget(&mut self) {
        self.begin = self.now;
        self.sent.clear();
        self.changes = [Vec::new(), Vec::new()];
    }

    /// Moves the clock from deadline to deadline.
    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.ends.iter().filter_map(Sessions::poll_timeout).min() {
            if due > end {
                break;
            }
            assert!(due >= self.now || self.now >= self.begin, "time goes on");
            self.now = self.now.max(due);
            for sessions in &mut self.ends {
                sessions.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some((by, output)) =
            (0..2).find_map(|end| Some((end, self.ends[end].poll_output()?)))
        {
            match output {
                Output::Send { peer, octets, .. } => self.send(by, peer, octets),
                Output::Changed(transition) => self.changes[by].push(transition),
                Output::Forgotten { .. } => {}
            }
        }
    }

    fn send(&mut self, by: usize, to: IpAddr, octets: [u8; Packet::LENGTH]) {
        assert_eq!(to, address(1 - by));
        let packet = Packet::decode(&octets).expect("we send what is well formed");
        assert!(!(packet.poll && packet.is_final), "RFC 5880 §6.8.7");
        let at = self.now;
        self.sent.push(Sent { at, by, packet });
        assert!(self.sent.len() < 100_000, "a storm of packets");
        if self.carries[by] {
            let _ = self.inject(1 - by, &octets);
        }
    }

    /// Octets reach an end from the other one's address.
    fn inject(&mut self, end: usize, octets: &[u8]) -> Result<(), Discard> {
        let arrival = Arrival {
            source: address(1 - end),
            ttl: Some(self.ttl),
            path: Path::SingleHop,
            octets,
        };
        self.ends[end].receive(&arrival, self.now)
    }

    fn status(&self, end: usize) -> SessionStatus {
        self.ends[end].statuses(self.now).remove(0)
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.status(end).state)
    }

    /// Pauses between the packets of one end.
    fn pauses(&self, by: usize) -> Vec<Duration> {
        let times: Vec<_> = self
            .sent
            .iter()
            .filter(|sent| sent.by == by && !sent.packet.is_final)
            .map(|sent| sent.at)
            .collect();
        times.windows(2).map(|two| two[1] - two[0]).collect()
    }
}
