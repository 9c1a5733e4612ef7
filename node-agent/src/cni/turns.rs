//! One at a time for each pod link: ADD, DEL, GC, CHECK and repair of one attachment never overlap; those of different ones always may.
//!
//! A runtime that gave up on an ADD sends DEL while the agent still works on the ADD. Side by side, DEL would free an address whose link ADD is
//! about to make, and nobody would ever find that link again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;

type Link = tokio::sync::Mutex<()>;

/// Who works on which link; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Held for a look-up, never across an await. Weak, so that a link that nobody works on is forgotten.
    links: Arc<Mutex<HashMap<String, Weak<Link>>>>,
}

impl Turns {
    /// Waits, first come first served, until nobody else works on `link`; the turn ends when the guard is dropped.
    pub async fn take(&self, link: &str) -> OwnedMutexGuard<()> {
        self.of(link).lock_owned().await
    }

    fn of(&self, link: &str) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = links.get(link).and_then(Weak::upgrade) {
            return known;
        }
        links.retain(|_, turn| turn.strong_count() > 0);
        let new = Arc::<Link>::default();
        links.insert(link.to_owned(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn turns_at_one_link_come_one_after_the_other() {
        let turns = Turns::default();
        let add = turns.take("mgy1").await;
        let mut del = Box::pin(turns.take("mgy1"));
        assert!((&mut del).now_or_never().is_none(), "DEL waits for the ADD");
        let mut again = Box::pin(turns.take("mgy1"));
        assert!((&mut again).now_or_never().is_none());
        drop(add);
        assert!(
            (&mut again).now_or_never().is_none(),
            "first come first served"
        );
        let del = (&mut del).now_or_never().expect("its turn");
        drop(del);
        assert!((&mut again).now_or_never().is_some());
    }

    #[tokio::test]
    async fn other_links_need_not_wait_and_idle_ones_are_forgotten() {
        let turns = Turns::default();
        let one = turns.take("mgy1").await;
        let other = turns
            .take("mgy2")
            .now_or_never()
            .expect("nobody works on it");
        drop((one, other));
        let _third = turns.take("mgy3").await;
        assert_eq!(turns.links.lock().unwrap().len(), 1);
    }
}
