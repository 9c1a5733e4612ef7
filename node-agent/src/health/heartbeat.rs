//! Tasks say that they are alive; who has not for too long is stuck.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every task that beats. Clones share the list.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    start: Instant,
    // Locked to register and to look, never by a beat and never across an await.
    tasks: Arc<Mutex<Vec<Task>>>,
}

/// One task's pulse; a task that drops it without ending the agent shows as stuck.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    start: Instant,
    last: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    limit: Duration,
    last: Arc<AtomicU64>,
}

impl Heartbeats {
    /// Nobody beats yet.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            tasks: Arc::default(),
        }
    }

    /// Adds a task that promises to beat at least every `limit`; the first interval starts now.
    pub fn register(&self, name: &'static str, limit: Duration) -> Heartbeat {
        let heartbeat = Heartbeat {
            start: self.start,
            last: Arc::default(),
        };
        heartbeat.beat();
        let task = Task {
            name,
            limit,
            last: Arc::clone(&heartbeat.last),
        };
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
        heartbeat
    }

    /// One line for each task that is overdue.
    pub fn stuck(&self) -> Vec<String> {
        self.stuck_at(self.start.elapsed())
    }

    fn stuck_at(&self, now: Duration) -> Vec<String> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().filter_map(|task| task.stuck(now)).collect()
    }
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeat {
    /// Alive now. Costs one atomic store.
    pub fn beat(&self) {
        let milliseconds = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(milliseconds, Ordering::Relaxed);
    }
}

impl Task {
    fn stuck(&self, now: Duration) -> Option<String> {
        let silent = now.saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        (silent > self.limit).then(|| {
            format!(
                "{}: no sign of life for {} s, limit {} s",
                self.name,
                silent.as_secs(),
                self.limit.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_task_is_named_and_a_beat_clears_it() {
        let heartbeats = Heartbeats::new();
        let engine = heartbeats.register("engine", Duration::from_secs(30));
        let _speaker = heartbeats.register("speaker", Duration::from_secs(3600));
        assert!(heartbeats.stuck().is_empty());
        let later = Duration::from_secs(100);
        assert_eq!(
            heartbeats.stuck_at(later),
            ["engine: no sign of life for 100 s, limit 30 s"]
        );
        engine.last.store(99_000, Ordering::Relaxed);
        assert!(heartbeats.stuck_at(later).is_empty());
    }
}
