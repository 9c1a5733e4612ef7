use margay_bgp::Reach;

use super::*;
use crate::kernel::testnet::isolated;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn dial(remote: SocketAddr) -> Dial {
    Dial {
        connection: margay_bgp::ConnectionId(1),
        peer: remote.ip(),
        remote,
        source: None,
        protection: Protection::default(),
    }
}

fn with_password(password: &str) -> Protection {
    Protection {
        password: Some(Password(password.to_owned())),
        ..Protection::default()
    }
}

fn secured() -> Protection {
    Protection {
        reach: Reach::Secured(1),
        ..Protection::default()
    }
}

fn keys(password: &str) -> Keys {
    [V4, V6]
        .map(|ip| (ip.into(), Password(password.to_owned())))
        .into()
}

/// Both ends of a connection over loopback.
async fn pair(
    listener: &TcpListener,
    ip: IpAddr,
    protection: &Protection,
) -> (TcpStream, TcpStream, Option<Arrival>) {
    let dial = Dial {
        protection: protection.clone(),
        ..dial((ip, listener.local_addr().unwrap().port()).into())
    };
    let (ours, theirs) = tokio::join!(connect(&dial), listener.accept());
    let (theirs, arrival) = accepted(theirs.unwrap().0, ip).unwrap();
    (ours.unwrap(), theirs, arrival)
}

/// Dials, and waits until the kernel has counted it under `counter`: then it was refused for that reason and no other.
async fn refused(listener: &TcpListener, ip: IpAddr, protection: &Protection, counter: &str) {
    let before = count(counter);
    let dial = Dial {
        protection: protection.clone(),
        ..dial((ip, listener.local_addr().unwrap().port()).into())
    };
    let counted = async {
        while count(counter) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        connected = connect(&dial) => panic!("{ip} {protection:?}: {connected:?}"),
        () = counted => {}
    }
}

/// A counter of `/proc/net/netstat`.
fn count(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let value = lines.chunks(2).find_map(|pair| {
        let place = pair[0].split(' ').position(|word| word == name)?;
        pair[1].split(' ').nth(place)?.parse().ok()
    });
    value.unwrap_or_else(|| panic!("the kernel counts no {name}"))
}

async fn carries(from: &TcpStream, to: &TcpStream, octets: &[u8]) {
    from.try_write(octets).unwrap();
    arrives(to, octets).await;
}

async fn arrives(to: &TcpStream, octets: &[u8]) {
    let mut buffer = [0; 64];
    let read = async {
        loop {
            to.readable().await.unwrap();
            if let Ok(length) = to.try_read(&mut buffer) {
                return length;
            }
        }
    };
    let length = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert_eq!(&buffer[..length.unwrap()], octets);
}

#[tokio::test]
async fn conformance_115_the_dialler_speaks_from_the_source_address() {
    let listener = listen(0).unwrap();
    let remote = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let dial = Dial {
        source: Some([127, 0, 0, 9].into()),
        ..dial(remote)
    };
    let (stream, accepted_by) = tokio::join!(connect(&dial), listener.accept());
    assert!(stream.unwrap().nodelay().unwrap());
    let (incoming, from) = accepted_by.unwrap();
    assert_eq!(from.ip().to_canonical(), dial.source.unwrap());
    assert!(accepted(incoming, from.ip()).unwrap().0.nodelay().unwrap());
}

#[tokio::test]
async fn a_foreign_source_address_is_named() {
    let dial = Dial {
        source: Some([192, 0, 2, 1].into()),
        ..dial(([127, 0, 0, 1], 1).into())
    };
    assert!(
        connect(&dial)
            .await
            .unwrap_err()
            .to_string()
            .contains("source address 192.0.2.1")
    );
}

#[test]
fn conformance_110_only_the_right_key_connects_in_both_families() {
    isolated(async || {
        let listener = listen(0).unwrap();
        assert!(set_keys(&listener, &Keys::new(), &keys("right")).is_empty());
        for ip in [V4, V6] {
            let (ours, theirs, arrival) = pair(&listener, ip, &with_password("right")).await;
            assert_eq!(Arrival::lacks(arrival, &with_password("right")), None);
            carries(&ours, &theirs, b"open").await;
            refused(&listener, ip, &with_password("wrong"), "TCPMD5Failure").await;
            refused(&listener, ip, &Protection::default(), "TCPMD5NotFound").await;
        }
    });
}

#[test]
fn conformance_110_a_key_has_80_octets_and_no_more() {
    isolated(async || {
        let listener = listen(0).unwrap();
        let longest = "k".repeat(80);
        assert!(set_keys(&listener, &Keys::new(), &keys(&longest)).is_empty());
        pair(&listener, V4, &with_password(&longest)).await;
        assert_eq!(
            set_keys(&listener, &Keys::new(), &keys(&"k".repeat(81))).len(),
            2
        );
        let dial = Dial {
            protection: with_password(&"k".repeat(81)),
            ..dial(([127, 0, 0, 1], 1).into())
        };
        let error = connect(&dial).await.unwrap_err().to_string();
        assert!(error.starts_with("TCP MD5 key: "), "{error}");
    });
}

#[test]
fn conformance_110_a_listener_forgets_the_key_of_a_peer_that_is_gone() {
    isolated(async || {
        let listener = listen(0).unwrap();
        let old = keys("right");
        set_keys(&listener, &Keys::new(), &old);
        let mut new = old.clone();
        new.remove(&V4.into());
        assert!(set_keys(&listener, &old, &new).is_empty());
        let (ours, theirs, arrival) = pair(&listener, V4, &Protection::default()).await;
        carries(&ours, &theirs, b"plain").await;
        assert!(Arrival::lacks(arrival, &with_password("right")).is_some());
        refused(&listener, V6, &Protection::default(), "TCPMD5NotFound").await;
        refused(&listener, V4, &with_password("right"), "TCPMD5Unexpected").await;
    });
}

#[test]
fn conformance_110_keys_by_prefix_are_for_everybody_in_it() {
    isolated(async || {
        let listener = listen(0).unwrap();
        let prefix = |text: &str| (text.parse().unwrap(), Password("right".to_owned()));
        let keys = [prefix("127.0.0.0/8"), prefix("::/64")].into();
        assert!(set_keys(&listener, &Keys::new(), &keys).is_empty());
        for ip in [V4, V6] {
            pair(&listener, ip, &with_password("right")).await;
            refused(&listener, ip, &Protection::default(), "TCPMD5NotFound").await;
        }
        assert!(set_keys(&listener, &keys, &Keys::new()).is_empty());
        pair(&listener, V6, &Protection::default()).await;
    });
}

#[test]
fn conformance_110_a_new_key_on_a_live_connection_loses_nothing() {
    isolated(async || {
        let listener = listen(0).unwrap();
        set_keys(&listener, &Keys::new(), &keys("old"));
        for ip in [V4, V6] {
            let (ours, theirs, _) = pair(&listener, ip, &with_password("old")).await;
            carries(&ours, &theirs, b"before").await;
            let dropped = count("TCPMD5Failure");
            Guard::of(&ours)
                .unwrap()
                .set(&with_password("new"))
                .unwrap();
            ours.try_write(b"between").unwrap();
            while count("TCPMD5Failure") == dropped {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Guard::of(&theirs)
                .unwrap()
                .set(&with_password("new"))
                .unwrap();
            carries(&theirs, &ours, b"after").await;
            arrives(&theirs, b"between").await;
        }
    });
}

#[test]
fn conformance_112_a_packet_that_has_come_further_is_dropped() {
    isolated(async || {
        let listener = listen(0).unwrap();
        for ip in [V4, V6] {
            let (ours, theirs, arrival) = pair(&listener, ip, &secured()).await;
            assert_eq!(Arrival::lacks(arrival, &secured()), None);
            Guard::of(&theirs).unwrap().set(&secured()).unwrap();
            carries(&ours, &theirs, b"255").await;
            carries(&theirs, &ours, b"255 back").await;

            let dropped = count("TCPMinTTLDrop");
            let far = Protection {
                reach: Reach::Within(254),
                ..Protection::default()
            };
            Guard::of(&ours).unwrap().set(&far).unwrap();
            ours.try_write(b"254").unwrap();
            while count("TCPMinTTLDrop") == dropped {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(theirs.try_read(&mut [0; 8]).is_err(), "{ip}: 254 came in");

            let (_far, _theirs, arrival) = pair(&listener, ip, &far).await;
            let text = Arrival::lacks(arrival, &secured()).unwrap();
            assert!(text.contains("TTL 254"), "{text}");
        }
    });
}

/// The very first answer of a listener has come to a peer that demands 255, and one that wants the usual TTL gets it.
#[test]
fn a_listener_answers_with_255() {
    isolated(async || {
        let listener = listen(0).unwrap();
        let (ours, theirs, _) = pair(&listener, V4, &secured()).await;
        let plain = Guard::of(&theirs).unwrap();
        plain.set(&Protection::default()).unwrap();
        assert_eq!(SockRef::from(&theirs).ttl_v4().unwrap(), 64);
        assert_eq!(SockRef::from(&ours).ttl_v4().unwrap(), 255);
    });
}
