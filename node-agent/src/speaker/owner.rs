//! The one owner of the [`Speaker`]: inputs in, outputs out, nothing that waits.

mod monitor;
mod paths;
mod publish;
mod sessions;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use margay_bgp::{
    Config, ConnectionId, Families, Input, Output, ShutdownKind, SoftReset, Speaker, SpeakerConfig,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{self, Event, Finished, Outbox};
use super::desired::Place;
use super::handle::{Request, Session, Survey};
use super::listener::Incoming;
use super::monitor::Bulletin;
use super::socket::{Arrival, Guard, Keys};
use super::{Desired, Learned, desired};
use crate::bfd;
use crate::health::Metrics;
use paths::Paths;
use publish::Notes;

/// Connection events that may wait for the speaker; with 32 KiB each this bounds its unread input to 4 MiB.
const EVENTS: usize = 128;

/// Where results go.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) learned: watch::Sender<Arc<Learned>>,
    pub(super) next_hops: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    pub(super) sessions: watch::Sender<Arc<Vec<Session>>>,
    pub(super) bulletin: Bulletin,
    pub(super) metrics: Arc<Metrics>,
}

/// The speaker, its connections, and what was last told and published.
pub(super) struct Owner {
    /// First, so that the peers hear of a planned end by BFD before their connections close.
    paths: Paths,
    speaker: Option<Speaker>,
    desired: Arc<Desired>,
    /// Of each connection: the peer, and where to write.
    outboxes: HashMap<ConnectionId, (IpAddr, Outbox)>,
    /// The last connection of each peer that the speaker closed; it may still be saying its last words.
    closing: HashMap<IpAddr, Finished>,
    /// Dropped with everything in it: no connection outlives the owner.
    pub(super) connections: JoinSet<()>,
    /// From the present speaker's connections; each speaker has its own queue, because ids begin anew.
    pub(super) events: mpsc::Receiver<Event>,
    events_sender: mpsc::Sender<Event>,
    places: watch::Sender<Option<Place>>,
    keys: watch::Sender<Keys>,
    published: Published,
    learned: Learned,
    notes: HashMap<IpAddr, Notes>,
    changed: Changed,
}

/// What the last outputs said has changed; published when the speaker has nothing more to say.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    learned: bool,
    next_hops: bool,
    sessions: bool,
}

impl Owner {
    pub(super) fn new(
        published: Published,
        places: watch::Sender<Option<Place>>,
        keys: watch::Sender<Keys>,
        thread: bfd::Thread,
    ) -> Self {
        let (events_sender, events) = mpsc::channel(EVENTS);
        Self {
            paths: Paths::new(thread),
            speaker: None,
            desired: Arc::default(),
            outboxes: HashMap::new(),
            closing: HashMap::new(),
            connections: JoinSet::new(),
            events,
            events_sender,
            places,
            keys,
            published,
            learned: Learned::default(),
            notes: HashMap::new(),
            changed: Changed::default(),
        }
    }

    /// Tells the speaker what is new in `desired`.
    pub(super) fn apply(&mut self, desired: Arc<Desired>) {
        let now = Instant::now();
        let old = std::mem::replace(&mut self.desired, Arc::clone(&desired));
        let identity = |desired: &Desired| desired.identity.as_ref().map(desired::fixed);
        let fresh = identity(&old) != identity(&desired);
        if old.peers != desired.peers {
            self.protect();
        }
        if fresh {
            self.replace(old.identity.is_none(), now);
        }
        if let Some(speaker) = &mut self.speaker {
            if fresh || old.originations != desired.originations {
                speaker.originate(desired.originations.clone(), now);
            }
            if fresh || old.next_hops != desired.next_hops {
                speaker.set_next_hops(desired.next_hops.clone());
            }
            // Last: a session that comes up at once finds the routes there.
            if fresh || old.peers != desired.peers {
                speaker.apply(
                    Config {
                        peers: desired.peers.clone(),
                    },
                    now,
                );
                self.changed.sessions = true;
            }
        }
        self.want_paths();
        self.count_announced();
        self.forget_peers(&old);
        let place = desired.place();
        self.places.send_if_modified(|listening| {
            let moved = *listening != place;
            *listening = place;
            moved
        });
    }

    /// Protects connections as they are to be from now on, those that there are and those to come. Before the speaker learns of a new
    /// peer, so that nobody connects in its name.
    fn protect(&mut self) {
        let keys = self.desired.keys();
        self.keys.send_if_modified(|old| {
            let changed = *old != keys;
            *old = keys;
            changed
        });
        let protections = self.desired.protections();
        for (peer, outbox) in self.outboxes.values() {
            if let Some(protection) = protections.get(peer) {
                outbox.protect(protection);
            }
        }
    }

    /// Ends the old speaker's sessions and makes the new one, if there shall be one.
    fn replace(&mut self, first: bool, now: Instant) {
        if let Some(mut speaker) = self.speaker.take() {
            speaker.shutdown(ShutdownKind::Permanent, now);
            self.speaker = Some(speaker);
            self.drain();
        }
        self.outboxes.clear();
        (self.events_sender, self.events) = mpsc::channel(EVENTS);
        self.speaker = self.desired.identity.clone().map(|config| {
            let config = if first { config } else { not_restarting(config) };
            tracing::info!(local_as = %config.local_as, router_id = %config.router_id, restarting = config.restarting, "BGP speaker starts");
            Speaker::new(config, now)
        });
        self.learned = Learned::new(self.learned.generation);
        self.changed = Changed {
            learned: true,
            next_hops: true,
            sessions: true,
        };
    }

    /// Passes on what happened to connections.
    pub(super) fn happened(&mut self, events: impl Iterator<Item = Event>) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let now = Instant::now();
        for event in events {
            match event {
                Event::Connected { connection, local } => {
                    speaker.handle(Input::Connected { connection, local }, now)
                }
                Event::Received { connection, bytes } => speaker.handle(
                    Input::Received {
                        connection,
                        bytes: &bytes,
                    },
                    now,
                ),
                Event::Written { connection, octets } => {
                    speaker.handle(Input::Written { connection, octets }, now)
                }
                Event::ConnectFailed { connection, reason } => {
                    self.outboxes.remove(&connection);
                    speaker.handle(Input::ConnectFailed { connection, reason }, now);
                }
                Event::Closed { connection, reason } => {
                    self.outboxes.remove(&connection);
                    speaker.handle(Input::Closed { connection, reason }, now);
                }
            }
        }
    }

    /// Takes a connection that a peer opened, or closes it.
    pub(super) fn accept(&mut self, incoming: Incoming) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let Incoming {
            remote,
            local,
            stream,
            arrival,
        } = incoming;
        let peer = self.desired.peers.iter().find(|p| p.address == remote);
        let protection = peer.map(|p| p.protection.clone()).unwrap_or_default();
        let guarded = Guard::of(&stream).and_then(|guard| guard.set(&protection));
        let missing = match guarded {
            Ok(()) => Arrival::lacks(arrival, &protection),
            Err(error) => Some(error.to_string()),
        };
        if let Some(missing) = missing {
            return tracing::warn!(peer = %remote, "connection refused: {missing}");
        }
        match speaker.accept(remote, local, Instant::now()) {
            Ok(id) => {
                let (outbox, inbox) = connection::outbox(protection);
                self.outboxes.insert(id, (remote, outbox));
                self.connections.spawn(connection::carry(
                    id,
                    stream,
                    inbox,
                    self.events_sender.clone(),
                ));
            }
            Err(refusal) => tracing::debug!(peer = %remote, "connection refused: {refusal}"),
        }
    }

    /// Answers a question. Whoever asked may have left.
    pub(super) fn answer(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            Request::Peers(answer) => {
                let _ = answer.send(self.peers(now));
            }
            Request::Survey(answer) => {
                let tables = self.speaker.as_ref().map(Speaker::table_size);
                let _ = answer.send(Survey {
                    peers: self.peers(now).peers,
                    tables: tables.unwrap_or_default(),
                });
            }
            Request::Routes(filter, answer) => {
                let _ = answer.send(
                    self.speaker
                        .as_ref()
                        .map(|speaker| speaker.routes(&filter))
                        .unwrap_or_default(),
                );
            }
            Request::Why(lookup, answer) => {
                let speaker = self.speaker.as_ref();
                let _ = answer.send(speaker.and_then(|speaker| speaker.why(lookup)));
            }
            Request::Reset(peer, answer) => {
                let _ = answer.send(
                    self.speaker
                        .as_mut()
                        .is_some_and(|speaker| speaker.reset(peer, now)),
                );
            }
            Request::SoftReset(peer, answer) => {
                let done = self.speaker.as_mut();
                let done = done.map(|speaker| speaker.soft_reset(peer, now));
                let _ = answer.send(done.unwrap_or(SoftReset::UnknownPeer));
            }
        }
    }

    /// Lets the speaker work: timers, then everything it has to say, then snapshots of what changed.
    pub(super) fn turn(&mut self) {
        let now = Instant::now();
        if let Some(speaker) = &mut self.speaker
            && speaker.poll_timeout().is_some_and(|due| due <= now)
        {
            speaker.handle_timeout(now);
        }
        self.drain();
        self.tell_heard();
        self.publish();
    }

    /// When the speaker wants to be looked at again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.speaker.as_ref()?.poll_timeout()
    }

    fn drain(&mut self) {
        while let Some(output) = self.speaker.as_mut().and_then(Speaker::poll_output) {
            match output {
                Output::Connect(dial) => {
                    let (outbox, inbox) = connection::outbox(dial.protection.clone());
                    self.outboxes.insert(dial.connection, (dial.peer, outbox));
                    let earlier = self.closing.remove(&dial.peer);
                    self.connections.spawn(connection::dial(
                        dial,
                        earlier,
                        inbox,
                        self.events_sender.clone(),
                    ));
                }
                Output::Send { connection, bytes } => {
                    if let Some((_, outbox)) = self.outboxes.get(&connection) {
                        outbox.send(bytes);
                    }
                }
                Output::Close { connection } => {
                    if let Some((peer, outbox)) = self.outboxes.remove(&connection) {
                        self.closing.insert(peer, outbox.close());
                    }
                }
                Output::Event(event) => self.note(event),
            }
        }
    }
}

/// A speaker that replaces another one in the same process starts anew: nothing is left from before.
fn not_restarting(config: SpeakerConfig) -> SpeakerConfig {
    SpeakerConfig {
        restarting: false,
        forwarding_preserved: Families::NONE,
        ..config
    }
}
