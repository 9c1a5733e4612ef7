use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const ID: ConnectionId = ConnectionId(7);

/// A carried connection: the speaker's ends, and the peer's socket.
async fn connection() -> (Outbox, mpsc::Receiver<Event>, TcpStream, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (sender, events) = mpsc::channel(4);
    let (outbox, inbox) = outbox(Protection::default());
    let task = tokio::spawn(carry(ID, accepted.unwrap().0, inbox, sender));
    (outbox, events, peer.unwrap(), task)
}

async fn closed(events: &mut mpsc::Receiver<Event>) -> String {
    while let Some(event) = events.recv().await {
        if let Event::Closed { reason, .. } = event {
            return reason;
        }
    }
    panic!("no Closed");
}

#[tokio::test]
async fn octets_go_both_ways_and_are_accounted() {
    let (outbox, mut events, mut peer, _task) = connection().await;
    outbox.send(Arc::from(&b"open"[..]));
    let mut buffer = [0; 4];
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"open");
    assert!(matches!(
        events.recv().await,
        Some(Event::Written { octets: 4, .. })
    ));
    peer.write_all(b"keepalive").await.unwrap();
    assert!(
        matches!(events.recv().await, Some(Event::Received { bytes, .. }) if &bytes[..] == b"keepalive")
    );
}

#[tokio::test]
async fn the_last_octets_arrive_before_the_connection_closes() {
    let (outbox, events, mut peer, task) = connection().await;
    // The peer still sends when we close: closing a socket with unread octets would reset it and lose ours.
    peer.write_all(&[0; 4096]).await.unwrap();
    outbox.send(Arc::from(&b"notification"[..]));
    drop(outbox);
    drop(events);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"notification");
    drop(peer);
    task.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_neither_reads_nor_closes_is_left_after_the_linger() {
    let (outbox, mut events, peer, task) = connection().await;
    let block = Arc::<[u8]>::from(vec![0; 64 * 1024]);
    for _ in 0..256 {
        outbox.send(Arc::clone(&block));
    }
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let start = std::time::Instant::now();
    drop(outbox);
    task.await.unwrap();
    assert!(start.elapsed() >= LINGER && start.elapsed() < LINGER * 3);
    drain.await.unwrap();
    drop(peer);
}

#[tokio::test]
async fn the_end_of_the_peer_is_reported_with_its_reason() {
    let (_outbox, mut events, peer, _task) = connection().await;
    drop(peer);
    assert_eq!(closed(&mut events).await, "closed by the peer");

    let (_outbox, mut events, peer, _task) = connection().await;
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    assert!(closed(&mut events).await.contains("reset by peer"));
}

#[tokio::test]
async fn reading_stops_while_the_speaker_is_behind() {
    let (_outbox, events, mut peer, _task) = connection().await;
    let block = vec![0; 1 << 20];
    // Nobody takes events: the queue, the buffer and the sockets fill up, then the peer has to wait.
    let flood = async {
        for _ in 0..64 {
            peer.write_all(&block).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), flood)
            .await
            .is_err()
    );
    assert_eq!(events.len(), events.max_capacity());
}

#[tokio::test]
async fn a_failed_dial_says_why() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (sender, mut events) = mpsc::channel(4);
    let (_outbox, inbox) = outbox(Protection::default());
    let request = Dial {
        connection: ID,
        peer: free.ip(),
        remote: free,
        source: None,
        protection: Protection::default(),
    };
    dial(request, None, inbox, sender).await;
    let Some(Event::ConnectFailed { reason, .. }) = events.recv().await else {
        panic!("no ConnectFailed")
    };
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_dial_waits_until_the_earlier_connection_has_said_everything() {
    let (outbox, _events, mut peer, _task) = connection().await;
    outbox.send(Arc::from(&b"notification"[..]));
    let earlier = outbox.close();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let remote = listener.local_addr().unwrap();
    let request = Dial {
        connection: ID,
        peer: remote.ip(),
        remote,
        source: None,
        protection: Protection::default(),
    };
    let (sender, mut events) = mpsc::channel(4);
    let (_outbox, inbox) = super::outbox(Protection::default());
    tokio::spawn(dial(request, Some(earlier), inbox, sender));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), listener.accept())
            .await
            .is_err()
    );

    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"notification");
    drop(peer);
    listener.accept().await.unwrap();
    assert!(matches!(events.recv().await, Some(Event::Connected { .. })));
}
