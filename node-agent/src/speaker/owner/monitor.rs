//! What the owner tells people who watch, and nobody else.

use std::net::IpAddr;

use margay_bgp::LearnedChange;

use super::Owner;
use crate::speaker::monitor::{RING, SessionChange, What};

impl Owner {
    /// Lets the speaker keep what peers tell while somebody reads, and passes it on.
    pub(super) fn tell_heard(&mut self) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let bulletin = &self.published.bulletin;
        speaker.listen(if bulletin.is_read() { RING } else { 0 });
        if !bulletin.is_read() {
            return;
        }
        let (heard, missed) = speaker.heard();
        bulletin.skip(missed);
        for heard in heard {
            bulletin.tell(What::Heard(heard));
        }
    }

    /// The ways that changes of the kernel's routes lead to, before they are taken over.
    pub(super) fn tell_ways(&self, changes: &[LearnedChange]) {
        if !self.published.bulletin.is_read() {
            return;
        }
        for change in changes {
            let old = self.learned.get(&change.prefix);
            let before = old.map(|route| route.paths.iter().map(|path| path.peer).collect());
            self.published.bulletin.tell(What::Ways {
                prefix: change.prefix,
                before: before.unwrap_or_default(),
                route: change.route.clone().map(Box::new),
            });
        }
    }

    pub(super) fn tell_session(&self, peer: IpAddr, change: SessionChange) {
        self.published.bulletin.tell(What::Session {
            peer,
            name: self.name_of(peer),
            change,
        });
    }
}
