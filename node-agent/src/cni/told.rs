//! Refused ADDs as events of their pods: beside the runtime's, which says that no sandbox was made, one that says what to do.

use super::Refusal;
use crate::{
    engine::PodIdentity,
    warnings::{About, Recorder},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A pod that cannot start is tried every few seconds; people are told this often, for each reason.
const EVERY: Duration = Duration::from_secs(600);
/// More pods than fit on a node: beyond, the oldest are forgotten, and told once more.
const REMEMBERED: usize = 1024;

/// Who was told what, and when; clones share it.
#[derive(Clone, Debug)]
pub struct Told {
    recorder: Recorder,
    /// By UID and reason. Held for a look-up, never across an await.
    last: Arc<Mutex<HashMap<(String, &'static str), Instant>>>,
}

impl Told {
    /// Nobody was told anything.
    pub fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            last: Arc::default(),
        }
    }

    /// Tells the pod's people why it does not start, unless they were told a moment ago or it will pass by itself.
    pub(super) fn refused(&self, pod: &PodIdentity, refusal: &Refusal) {
        let Some(reason) = refusal.reason() else {
            return;
        };
        // Without a UID an event is nobody's: `kubectl describe` would not find it.
        if pod.uid.is_empty() || !self.is_due(&pod.uid, reason, Instant::now()) {
            return;
        }
        let about = About::pod(&pod.namespace, &pod.name, &pod.uid);
        self.recorder.warn(about, reason, refusal.to_string());
    }

    fn is_due(&self, uid: &str, reason: &'static str, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid.to_owned(), reason);
        if last.get(&key).is_some_and(|at| now - *at < EVERY) {
            return false;
        }
        last.retain(|_, at| now - *at < EVERY);
        if last.len() >= REMEMBERED
            && let Some(oldest) = last
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(key, _)| key.clone())
        {
            last.remove(&oldest);
        }
        last.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let (_, plans) = tokio::sync::watch::channel(Arc::default());
        let (_, recorder) = crate::warnings::Writer::new("a".to_owned(), client, plans);
        Told::new(recorder)
    }

    #[tokio::test]
    async fn each_pod_is_told_each_reason_now_and_then() {
        let (told, now) = (told(), Instant::now());
        assert!(told.is_due("u1", "NoFreeAddress", now));
        assert!(!told.is_due("u1", "NoFreeAddress", now + EVERY / 2));
        assert!(told.is_due("u1", "PodNetworkFailed", now));
        assert!(told.is_due("u2", "NoFreeAddress", now));
        assert!(told.is_due("u1", "NoFreeAddress", now + EVERY));
    }

    #[tokio::test]
    async fn a_flood_of_pods_is_forgotten_from_its_beginning() {
        let (told, now) = (told(), Instant::now());
        for i in 0..=REMEMBERED {
            assert!(told.is_due(
                &i.to_string(),
                "NoFreeAddress",
                now + Duration::from_millis(i as u64)
            ));
        }
        assert_eq!(told.last.lock().unwrap().len(), REMEMBERED);
        let then = now + Duration::from_secs(2);
        assert!(!told.is_due(&REMEMBERED.to_string(), "NoFreeAddress", then));
        assert!(told.is_due("0", "NoFreeAddress", then));
    }
}
