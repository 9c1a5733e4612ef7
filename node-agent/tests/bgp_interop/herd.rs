//! Five hundred peers that come at once, as after a reflector's restart: their kernels must not have to try again, which
//! would take one, three, seven seconds.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use margay_bgp::{Asn, PeerConfig, RemoteAs};
use socket2::{Domain, Socket, Type};

use crate::net::Net;
use crate::ours::{self, Ours};
use crate::until;

const PEERS: u32 = 500;

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
    socket.into()
}

fn hears_open(stream: &TcpStream) -> bool {
    let mut header = [0; 19];
    matches!(stream.peek(&mut header), Ok(19)) && header[18] == 1
}

#[test]
fn item_114_five_hundred_peers_that_connect_at_once_hear_open_within_a_second() {
    let net = Net::new();
    let mut desired = ours::desired();
    let peer = |number| PeerConfig {
        passive: true,
        ..PeerConfig::new(address(number).into(), RemoteAs::Number(Asn(65001)))
    };
    desired.peers = (1..=PEERS).map(peer).collect();
    let _ours = Ours::start(&net, desired);
    let place = net.ours.handle();
    let clients = std::thread::spawn(move || {
        place.enter();
        until("the speaker listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 179)).ok()
        });
        let start = Instant::now();
        let streams: Vec<_> = (1..=PEERS).map(dial).collect();
        let mut waiting: Vec<_> = streams.iter().collect();
        while !waiting.is_empty() {
            waiting.retain(|stream| !hears_open(stream));
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{} of {PEERS} peers heard no OPEN",
                waiting.len()
            );
        }
        println!("{PEERS} peers heard OPEN within {:?}", start.elapsed());
    });
    clients.join().unwrap();
}
