//! Five hundred peers that come at once, as after a reflector's restart: their kernels must not have to try again, which
//! would take one, three, seven seconds.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use margay_bgp::{Asn, PeerConfig, RemoteAs};
use socket2::{Domain, Socket, Type};

use crate::net::Net;
use crate::ours::{self, Ours};
use crate::until;

const PEERS: u32 = 500;

/// An unoptimised speaker on a busy machine needs some milliseconds a peer; what must not be there is the kernel's
/// second try, which [`OVERFLOWS`] shows whatever the speed.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// Connections that the kernel dropped because nobody fetched those before.
const OVERFLOWS: &str = "ListenOverflows";

/// All of 127.0.0.0/8 is a node's own, so a peer needs no link.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + number)
}

/// A connection begun from peer `number`; nothing is waited for.
fn dial(number: u32) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = SocketAddr::from((address(number), 0));
    socket.bind(&source.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    // In progress, or made already.
    let _ = socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, 179)).into());
    socket.set_nonblocking(false).unwrap();
    socket.into()
}

/// Waits for OPEN until then.
fn hears_open(mut stream: TcpStream, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let mut header = [0; 19];
    let timeout = left.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(timeout)).unwrap();
    stream.read_exact(&mut header).is_ok() && header[18] == 1
}

#[test]
fn item_114_five_hundred_peers_that_connect_at_once_all_hear_open() {
    let net = Net::new();
    let mut desired = ours::desired();
    let peer = |number| PeerConfig {
        passive: true,
        ..PeerConfig::new(address(number).into(), RemoteAs::Number(Asn(65001)))
    };
    desired.peers = (1..=PEERS).map(peer).collect();
    let _ours = Ours::start(&net, desired);
    let overflows = net.ours.count(OVERFLOWS);
    let place = net.ours.handle();
    let clients = std::thread::spawn(move || {
        place.enter();
        until("the speaker listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 179)).ok()
        });
        let start = Instant::now();
        let streams: Vec<_> = (1..=PEERS).map(dial).collect();
        let heard = streams
            .into_iter()
            .filter(|stream| hears_open(stream.try_clone().unwrap(), start + PATIENCE))
            .count();
        println!(
            "{heard} of {PEERS} peers heard OPEN within {:?}",
            start.elapsed()
        );
        assert_eq!(heard, PEERS as usize);
    });
    clients.join().unwrap();
    assert_eq!(
        net.ours.count(OVERFLOWS),
        overflows,
        "the queue was too short"
    );
}
