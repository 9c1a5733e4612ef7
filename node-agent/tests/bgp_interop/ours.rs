//! Our speaker, in its own thread and namespace, with a resolver that knows the way to every next hop on the link.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnetwork::IpNetwork;
use margay_agent::health::{Heartbeats, Metrics};
use margay_agent::speaker::{self, Desired, Handle, Peers, Session};
use margay_bgp::{
    Asn, Families, LocalAddresses, Origination, PeerConfig, Policy, RemoteAs, RouteFilter,
    RouteStatus, SpeakerConfig, View,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::OUR_ROUTES;
use crate::net::{Net, Place};

pub(crate) const OUR_AS: Asn = Asn(4_200_000_010);
const ROUTER: [u8; 4] = [10, 99, 0, 1];

pub(crate) struct Ours {
    pub(crate) handle: Handle,
    desired: watch::Sender<Arc<Desired>>,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
    questions: Runtime,
}

/// The peer, and one route of each family.
pub(crate) fn desired() -> Desired {
    let peer = PeerConfig {
        description: "router".to_owned(),
        connect_retry: Duration::from_millis(200),
        local_addresses: LocalAddresses {
            v4: Some([10, 99, 0, 2].into()),
            v6: Some("fd99::2".parse().unwrap()),
        },
        source: Some([10, 99, 0, 2].into()),
        import: Policy::accept_all(),
        export: Policy::own_only(),
        ..PeerConfig::new(ROUTER.into(), RemoteAs::Number(Asn(65001)))
    };
    Desired {
        identity: Some(SpeakerConfig::new(OUR_AS, [10, 99, 0, 2].into())),
        listen_port: 179,
        listen_addresses: None,
        peers: vec![peer],
        originations: OUR_ROUTES
            .map(|prefix| Origination::new(prefix.parse().unwrap()))
            .into(),
        next_hops: [IpAddr::from(ROUTER), "fd99::1".parse().unwrap()]
            .map(|address| (address, Some(0)))
            .into(),
    }
}

/// The other end of [`desired`] as a speaker of ours, with many routes.
pub(crate) fn opposite(prefixes: impl Iterator<Item = IpNetwork>) -> Desired {
    let mut desired = desired();
    let peer = &mut desired.peers[0];
    peer.address = [10, 99, 0, 2].into();
    peer.source = Some(ROUTER.into());
    peer.remote_as = RemoteAs::Number(OUR_AS);
    peer.local_addresses = LocalAddresses {
        v4: Some(ROUTER.into()),
        v6: "fd99::1".parse().ok(),
    };
    desired.identity = Some(SpeakerConfig::new(Asn(65001), ROUTER.into()));
    desired.originations = prefixes.map(Origination::new).collect();
    desired.next_hops = [IpAddr::from([10, 99, 0, 2]), "fd99::2".parse().unwrap()]
        .map(|address| (address, Some(0)))
        .into();
    desired
}

/// The same after a restart with the routes still in the kernel.
pub(crate) fn restarting(desired: &Desired) -> Desired {
    let mut desired = desired.clone();
    let identity = desired.identity.as_mut().unwrap();
    identity.restarting = true;
    identity.forwarding_preserved = Families::BOTH;
    desired
}

impl Ours {
    pub(crate) fn start(net: &Net, desired: Desired) -> Self {
        Self::start_at(&net.ours, desired)
    }

    pub(crate) fn start_at(place: &Place, desired: Desired) -> Self {
        // Shown with a failing test; the second test of a process finds it in place.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_test_writer()
            .try_init();
        let (desired, follow) = watch::channel(Arc::new(desired));
        let heartbeat = Heartbeats::new().register("speaker", Duration::from_secs(10));
        let (driver, handle) = speaker::new(follow, Arc::new(Metrics::new()), heartbeat);
        let cancel = CancellationToken::new();
        let (place, cancelled) = (place.handle(), cancel.clone());
        let thread = std::thread::spawn(move || {
            place.enter();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(driver.run(cancelled)).unwrap();
        });
        let questions = Builder::new_current_thread().build().unwrap();
        Self {
            handle,
            desired,
            cancel,
            thread: Some(thread),
            questions,
        }
    }

    pub(crate) fn session(&self) -> Session {
        self.handle
            .sessions
            .borrow()
            .first()
            .cloned()
            .unwrap_or_else(|| Session {
                name: String::new(),
                address: ROUTER.into(),
                state: margay_bgp::State::Idle,
                reason: String::new(),
                bfd: None,
            })
    }

    pub(crate) fn peers(&self) -> Peers {
        self.questions.block_on(self.handle.peers()).unwrap()
    }

    /// Routes in use, learned and own.
    pub(crate) fn best(&self) -> Vec<RouteStatus> {
        let filter = RouteFilter {
            view: View::Best,
            lookup: None,
        };
        self.questions.block_on(self.handle.routes(filter)).unwrap()
    }

    /// Prefixes in use that are kept from before the peer's restart.
    pub(crate) fn stale_routes(&self) -> usize {
        let routes = self.best();
        routes
            .iter()
            .filter(|route| route.paths.iter().any(|path| path.stale))
            .count()
    }

    pub(crate) fn reset(&self) -> bool {
        self.questions
            .block_on(self.handle.reset(ROUTER.into()))
            .unwrap()
    }

    pub(crate) fn desire(&self, change: impl FnOnce(&mut Desired)) {
        self.desired
            .send_modify(|desired| change(Arc::make_mut(desired)));
    }

    /// A planned restart; returns what it was told.
    pub(crate) fn stop(mut self) -> Desired {
        self.end();
        Desired::clone(&self.desired.borrow())
    }

    fn end(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.end();
    }
}
