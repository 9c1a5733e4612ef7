//! Sessions to routes and routes to sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::heard::{Heard, Told, bounded};
use super::{Event, Speaker};
use crate::config::PeerConfig;
use crate::family::{Asn, Families, Family, PerFamily};
use crate::policy::{Facing, RouteSource};
use crate::rib::export::ExportKey;
use crate::rib::group::Group;
use crate::rib::import::Importer;
use crate::rib::{PeerId, Source};
use crate::wire::{Announcement, Attributes, Kind, Notification, Update};
use ipnetwork::IpNetwork;

impl Speaker {
    pub(super) fn peer_up(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some(negotiated) = peer.negotiated() else {
            return;
        };
        let address = peer.config.address;
        self.table.meet(
            id,
            address,
            negotiated.context.external,
            negotiated.remote.router_id,
        );
        self.io.tell(Event::PeerUp { peer: address });
        self.resume_stale(id);
        self.join_group(id, &[], self.deferral.is_none());
        self.check_deferral();
    }

    pub(super) fn peer_down(
        &mut self,
        id: PeerId,
        keep: Families,
        restart_time: Duration,
        reason: String,
    ) {
        self.leave_group(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.refreshing = PerFamily::default();
            let stale = !keep.is_empty() && !restart_time.is_zero();
            peer.stale = stale.then_some((keep, self.now + restart_time));
            self.io.tell(Event::PeerDown {
                peer: peer.config.address,
                reason,
                stale,
            });
            if stale {
                peer.restarted_at = Some(self.now);
                self.table.mark_stale(id, keep);
            } else {
                self.table.withdraw_where(Source::Peer(id), |_, _| true);
            }
        }
        self.check_deferral();
    }

    pub(super) fn update(&mut self, id: PeerId, update: Update) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        for fault in &update.faults {
            peer.counters.faults += 1;
            peer.last_fault = Some((fault.to_string(), self.now));
            self.io.tell(Event::RouteFault {
                peer: peer.config.address,
                fault: fault.to_string(),
            });
        }
        // What is withdrawn and announced by one UPDATE is announced (RFC 4271 §4.3).
        let peer = peer.config.address;
        for nlri in update.withdrawn {
            if self.ear.is_open() {
                let (prefix, change) = (nlri.prefix, Told::Withdrawn);
                self.ear.note(Heard {
                    peer,
                    prefix,
                    change,
                });
            }
            self.table.withdraw(Source::Peer(id), nlri);
        }
        for announcement in update.announced {
            self.announce(id, update.attributes.clone(), announcement);
        }
        self.check_limits(id);
        if let Some(family) = update.end_of_rib {
            self.end_of_rib(id, family);
        }
    }

    fn announce(&mut self, id: PeerId, attributes: Attributes, announcement: Announcement) {
        let attributes = Attributes {
            next_hop: Some(announcement.next_hop),
            ..attributes
        };
        let received = self.table.interner.intern(attributes);
        let Some(importer) = self
            .peers
            .get(&id)
            .and_then(|peer| importer(&self.config, peer))
        else {
            return;
        };
        for nlri in announcement.prefixes {
            let imported = importer.import(&nlri.prefix, &received, &mut self.table.interner);
            if self.ear.is_open() {
                self.ear.note(Heard {
                    peer: importer.config.address,
                    prefix: nlri.prefix,
                    change: Told::Announced {
                        attributes: bounded(&received),
                        refused: imported.as_ref().err().map(ToString::to_string),
                    },
                });
            }
            self.table
                .announce(Source::Peer(id), nlri, Arc::clone(&received), imported);
        }
    }

    /// RFC 4486 §4: more prefixes than allowed end the session, which then stays down.
    fn check_limits(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(received) = self.table.neighbour(id).map(|neighbour| neighbour.received) else {
            return;
        };
        let over = |family: &Family| {
            peer.config.maximum_prefixes[*family].filter(|limit| received[*family] > *limit)
        };
        let Some((family, limit)) = Family::ALL
            .iter()
            .find_map(|family| Some((*family, over(family)?)))
        else {
            return;
        };
        if peer.established().is_none() {
            return;
        }
        let reason = format!("peer announced more than {limit} {family} prefixes");
        peer.held_down = Some(reason.clone());
        self.io.tell(Event::MaximumPrefixes {
            peer: peer.config.address,
            family,
            limit,
        });
        self.stop(
            id,
            Some(&Notification::maximum_prefixes(family, limit)),
            &reason,
            self.now,
        );
    }

    /// Judges all routes of a peer again after its import policy changed; no session is needed for it.
    pub(super) fn reimport(&mut self, id: PeerId) {
        if let Some(importer) = self
            .peers
            .get(&id)
            .and_then(|peer| importer(&self.config, peer))
        {
            self.table.reimport(id, |prefix, received, interner| {
                importer.import(prefix, received, interner)
            });
        }
    }

    /// Puts an established peer where its export belongs. `told`: prefixes that it knows from another group.
    pub(super) fn join_group(&mut self, id: PeerId, told: &[IpNetwork], end_of_rib: bool) {
        let Some(key) = self.export_key(id) else {
            return;
        };
        self.decide_dirty();
        let found = self
            .groups
            .iter()
            .find(|(_, group)| group.key == key)
            .map(|(number, _)| *number);
        let number = found.unwrap_or_else(|| self.new_group(key));
        if let Some(group) = self.groups.get_mut(&number) {
            group.join(id, end_of_rib, told);
            self.member_of.insert(id, number);
            self.pump = true;
        }
    }

    fn new_group(&mut self, key: ExportKey) -> u32 {
        let mut group = Group::new(key);
        let mut prefixes: Vec<_> = self.table.routes().map(|(prefix, _)| *prefix).collect();
        prefixes.sort_unstable();
        for prefix in prefixes {
            export(&mut self.table, &mut group, prefix, &self.originated);
        }
        self.next_group += 1;
        self.groups.insert(self.next_group, group);
        self.next_group
    }

    /// Returns what the peer may have been told.
    pub(super) fn leave_group(&mut self, id: PeerId) -> Vec<IpNetwork> {
        let Some(number) = self.member_of.remove(&id) else {
            return Vec::new();
        };
        let Some(group) = self.groups.get_mut(&number) else {
            return Vec::new();
        };
        let told = group.leave(id);
        if group.is_empty() {
            self.groups.remove(&number);
        }
        told
    }

    /// The configuration may have moved the peer to another group.
    pub(super) fn regroup(&mut self, id: PeerId) {
        let Some(number) = self.member_of.get(&id) else {
            return;
        };
        let current = self.groups.get(number).map(|group| &group.key);
        if current != self.export_key(id).as_ref() {
            let owed = self.groups.get(number).and_then(|group| group.owed(id));
            let told = self.leave_group(id);
            self.join_group(id, &told, false);
            self.owe(id, owed);
        }
    }

    fn export_key(&self, id: PeerId) -> Option<ExportKey> {
        let peer = self.peers.get(&id)?;
        let negotiated = peer.negotiated()?;
        Some(ExportKey {
            external: negotiated.context.external,
            local_as: peer.local_as(self.config.local_as),
            encoding: negotiated.encoding,
            families: negotiated.context.families,
            next_hops: peer.local_addresses(),
            next_hop_self: peer.config.next_hop_self,
            policy: peer.config.export.facing(&facing(
                &peer.config,
                negotiated.remote.asn,
                negotiated.context.external,
            )),
        })
    }

    /// Thinks everything through and fills the output queue as far as the windows allow.
    pub(super) fn flush(&mut self) {
        if self.table.next_hops.take_changed() {
            self.io.tell(Event::NextHopsChanged);
        }
        self.decide_dirty();
        let tell = self.deferral.is_none() && !self.learned.is_empty();
        if tell && !std::mem::replace(&mut self.learned_told, true) {
            self.io.tell(Event::LearnedChanged);
        }
        if std::mem::take(&mut self.pump) {
            self.send_routes();
        }
    }

    /// Decides what has changed; while best path waits for the peers, our own routes only, which depend on nobody. Peers drop what
    /// was not told again when a session ends a second time (RFC 4724 §4.2), so these must not wait.
    pub(super) fn decide_dirty(&mut self) {
        let (deferring, own) = (self.deferral.is_some(), &self.originated);
        let due = self
            .table
            .take_dirty(|prefix| !deferring || own.contains_key(prefix));
        for prefix in due {
            if self.table.decide(prefix) {
                self.learned.insert(prefix);
            }
            for group in self.groups.values_mut() {
                export(&mut self.table, group, prefix, &self.originated);
            }
            self.pump = true;
        }
    }

    fn send_routes(&mut self) {
        for (id, number) in &self.member_of {
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            let (mut sent, mut octets) = (Sent::default(), 0);
            if let Some(session) = peer.established_mut() {
                while session.has_room()
                    && let Some(bytes) = group.next_octets(*id)
                {
                    sent.count(&bytes);
                    octets += bytes.len() as u64;
                    self.io.send(session, bytes, self.now);
                }
            }
            peer.counters.messages_sent += sent.messages;
            peer.counters.updates_sent += sent.updates;
            peer.counters.octets_sent += octets;
        }
    }
}

fn export(
    table: &mut crate::rib::table::Table,
    group: &mut Group,
    prefix: IpNetwork,
    originated: &HashMap<IpNetwork, RouteSource>,
) {
    let best = table.best(&prefix);
    let source = best.map_or(Source::Local, |best| best.source);
    let kind = originated.get(&prefix).copied().unwrap_or_default();
    let attributes = best.and_then(|best| group.key.export(&prefix, &best, kind).ok());
    let attributes = attributes.map(|attributes| table.interner.intern(attributes));
    group.set(prefix, attributes, source);
}

/// What conditions about the peer are asked of.
pub(super) fn facing(config: &PeerConfig, remote_as: Asn, external: bool) -> Facing<'_> {
    Facing {
        peer: config.address,
        link: config.link.as_deref(),
        remote_as,
        external,
    }
}

pub(super) fn importer<'a>(
    config: &crate::config::SpeakerConfig,
    peer: &'a super::peer::Peer,
) -> Option<Importer<'a>> {
    let known = peer.last_known?;
    Some(Importer {
        config: &peer.config,
        policy: peer
            .config
            .import
            .facing(&facing(&peer.config, known.remote_as, known.external)),
        local_as: peer.local_as(config.local_as),
        speaker_as: config.local_as,
        router_id: config.router_id,
        remote_as: known.remote_as,
        external: known.external,
        local_addresses: known.local_addresses,
    })
}

/// What a run of whole messages adds to the counters.
#[derive(Default)]
struct Sent {
    messages: u64,
    updates: u64,
}

impl Sent {
    fn count(&mut self, mut bytes: &[u8]) {
        while let [.., high, low, kind] = bytes.get(..19).unwrap_or_default()
            && let Some(rest) = bytes.get(usize::from(u16::from_be_bytes([*high, *low])).max(1)..)
        {
            self.messages += 1;
            self.updates += u64::from(*kind == Kind::Update as u8);
            bytes = rest;
        }
    }
}
