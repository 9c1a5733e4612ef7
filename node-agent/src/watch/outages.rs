//! How the watches stand, for who asks whether this agent still hears of changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// An API server that starts refuses and closes for some seconds; that is nobody's concern.
const LASTING: Duration = Duration::from_secs(20);
/// A watch tries again after 30 s at most, twice that with its jitter: one that has failed no more for longer works, though nothing
/// may have changed that it could tell.
const RECENT: Duration = Duration::from_secs(90);

/// The watches that fail. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outages {
    /// By kind. Never held across an await.
    failing: Arc<Mutex<BTreeMap<String, Failing>>>,
}

#[derive(Debug)]
struct Failing {
    first: Instant,
    last: Instant,
    refused: bool,
    error: String,
}

/// A watch that has failed for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Of what.
    pub kind: String,
    /// The API server answers and refuses (401, 403): trying again changes nothing.
    pub refused: bool,
    /// The latest error.
    pub error: String,
}

impl Outages {
    /// The watch of `kind` failed just now.
    pub fn failed(&self, kind: &str, refused: bool, error: String) {
        self.failed_at(kind, refused, error, Instant::now());
    }

    /// It told something.
    pub fn works(&self, kind: &str) {
        self.failing().remove(kind);
    }

    /// Those that have failed for longer than an API server takes to start.
    pub fn lasting(&self) -> Vec<Outage> {
        self.lasting_at(Instant::now())
    }

    /// One line for each that the API server refuses: such an agent is not ready, for what it enforces is no longer what was asked for.
    pub fn refused(&self) -> Vec<String> {
        let refused = self.lasting().into_iter().filter(|o| o.refused);
        refused
            .map(|o| format!("watch of {}: {}", o.kind, o.error))
            .collect()
    }

    fn failed_at(&self, kind: &str, refused: bool, error: String, now: Instant) {
        let mut failing = self.failing();
        let first = failing
            .get(kind)
            .filter(|f| now.duration_since(f.last) < RECENT)
            .map_or(now, |f| f.first);
        let failed = Failing {
            first,
            last: now,
            refused,
            error,
        };
        failing.insert(kind.to_owned(), failed);
    }

    fn lasting_at(&self, now: Instant) -> Vec<Outage> {
        let failing = self.failing();
        let lasting = failing.iter().filter(|(_, f)| {
            f.last.duration_since(f.first) >= LASTING && now.duration_since(f.last) < RECENT
        });
        lasting
            .map(|(kind, f)| Outage {
                kind: kind.clone(),
                refused: f.refused,
                error: f.error.clone(),
            })
            .collect()
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_fails_for_long_is_told_until_it_works() {
        let (outages, begin) = (Outages::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let told = |seconds| outages.lasting_at(after(seconds)).len();
        let fail = |seconds| outages.failed_at("Pod", true, "401".to_owned(), after(seconds));
        fail(0);
        fail(5);
        assert_eq!(told(6), 0, "an API server that starts");
        fail(25);
        assert_eq!(told(30), 1);
        assert_eq!(outages.refused(), ["watch of Pod: 401"]);
        assert_eq!(told(25 + 90), 0, "it tries no more: it works");
        fail(200);
        assert_eq!(told(201), 0, "another outage");
        fail(225);
        assert_eq!(told(226), 1);
        outages.works("Pod");
        assert_eq!(told(227), 0);
    }
}
