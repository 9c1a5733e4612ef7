//! Sockets inside a network namespace, without a process each: for checks that ask many times.

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// Runs `work` on a thread inside the network namespace; what it opens stays there.
pub(crate) fn within<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let thread = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
        work()
    };
    thread::scope(|scope| scope.spawn(thread).join())
        .map_err(|_| anyhow!("the thread in the namespace panicked"))?
}

/// What `GET path` answers within `limit`, on a connection of its own.
pub(crate) fn http_get(to: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&to, limit).with_context(|| to.to_string())?;
    let left = deadline.saturating_duration_since(Instant::now());
    stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("the answer of {to}"))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("{to} answered no HTTP: {answer}");
    };
    ensure!(head.contains(" 200 "), "{to}{path} answered {head}");
    Ok(body.trim().to_owned())
}

/// A socket that sends to and hears from this address only.
pub(crate) fn udp(to: SocketAddr, limit: Duration) -> Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(limit))?;
    Ok(socket)
}

/// What one datagram is answered with.
pub(crate) fn udp_ask(to: SocketAddr, message: &[u8], limit: Duration) -> Result<Vec<u8>> {
    let socket = udp(to, limit)?;
    socket.send(message)?;
    let mut answer = vec![0; 2048];
    let length = socket
        .recv(&mut answer)
        .with_context(|| format!("the answer of {to}"))?;
    answer.truncate(length);
    Ok(answer)
}
