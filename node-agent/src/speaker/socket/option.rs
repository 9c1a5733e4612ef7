//! Socket options that no crate has. The one module of the agent with `unsafe` in it: two system calls.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnetwork::IpNetwork;
use libc::c_int;
use margay_bgp::{Password, Reach};
use socket2::{Domain, Socket};

/// Longest TCP MD5 key that the kernel takes (`TCP_MD5SIG_MAXKEYLEN`, linux/tcp.h).
const MAXIMUM_KEY: usize = 80;
/// Longest SYN with its IP header: 60 octets of IPv4 or 40 of IPv6, and 60 of TCP.
const SYN: usize = 128;

/// Sets the TCP MD5 key (RFC 2385) for what comes from and goes to `peers`, or takes it away. On a listening socket it holds for
/// connections to come, on a connected one from the next segment on.
///
/// # Errors
/// The kernel's: `ENOMEM` when `net.core.optmem_max` allows no more keys.
pub(super) fn set_md5_key(
    socket: &Socket,
    peers: IpNetwork,
    password: Option<&Password>,
) -> io::Result<()> {
    let key = password.map_or(&[][..], |password| password.0.as_bytes());
    if key.len() > MAXIMUM_KEY {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let host = peers.prefix() == if peers.is_ipv4() { 32 } else { 128 };
    let option = if host {
        libc::TCP_MD5SIG
    } else {
        libc::TCP_MD5SIG_EXT
    };
    let request = md5_request(socket.domain()?, peers, !host, key);
    match set(socket, libc::IPPROTO_TCP, option, &request) {
        // There was none to take away.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && key.is_empty() => Ok(()),
        done => done,
    }
}

/// Sets the TTL of what is sent to `remote`, and the least of what is taken from it (RFC 5082).
///
/// # Errors
/// The kernel's.
pub(super) fn set_reach(socket: &Socket, remote: IpAddr, reach: Reach) -> io::Result<()> {
    let (level, ttl, least) = match remote.to_canonical() {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MINTTL),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_UNICAST_HOPS,
            libc::IPV6_MINHOPCOUNT,
        ),
    };
    // -1 is the system's own.
    set_number(socket, level, ttl, reach.ttl().map_or(-1, c_int::from))?;
    set_number(
        socket,
        level,
        least,
        reach.least_ttl().map_or(0, c_int::from),
    )
}

/// Makes a listening socket answer with TTL 255, which peers that want RFC 5082 demand of the very first packet, and keep the SYN of
/// each connection.
///
/// # Errors
/// The kernel's.
pub(super) fn prepare_listener(socket: &Socket) -> io::Result<()> {
    const HIGHEST: c_int = 255;
    set_number(socket, libc::IPPROTO_IP, libc::IP_TTL, HIGHEST)?;
    if socket.domain()? == Domain::IPV6 {
        set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, HIGHEST)?;
    }
    set_number(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1)
}

/// The SYN that an accepted connection began with, from its IP header on; empty if the kernel did not keep it. To be had once.
///
/// # Errors
/// The kernel's.
pub(super) fn saved_syn(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut syn = vec![0; SYN];
    let length = get(socket, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, &mut syn)?;
    syn.truncate(length);
    Ok(syn)
}

/// `struct tcp_md5sig` (linux/tcp.h): address, flags, prefix length, key length, interface index, key.
fn md5_request(domain: Domain, peers: IpNetwork, is_prefix: bool, key: &[u8]) -> Vec<u8> {
    const ADDRESS: usize = 128;
    const PREFIX: u8 = 1;
    let mut request = Vec::with_capacity(ADDRESS + 8 + MAXIMUM_KEY);
    match (domain, peers.ip()) {
        (Domain::IPV6, address) => {
            // A socket of both families knows IPv4 peers by mapped addresses.
            let address = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            request.extend((libc::AF_INET6 as u16).to_ne_bytes());
            request.extend([0; 6]);
            request.extend(address.octets());
        }
        (_, address) => {
            request.extend((libc::AF_INET as u16).to_ne_bytes());
            request.extend([0; 2]);
            match address {
                IpAddr::V4(v4) => request.extend(v4.octets()),
                IpAddr::V6(v6) => request.extend(v6.octets()),
            }
        }
    }
    request.resize(ADDRESS, 0);
    request.extend([u8::from(is_prefix) * PREFIX, peers.prefix()]);
    request.extend((key.len() as u16).to_ne_bytes());
    request.extend([0; 4]);
    request.extend(key);
    request.resize(ADDRESS + 8 + MAXIMUM_KEY, 0);
    request
}

fn set_number(socket: &Socket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set(socket, level, option, &value.to_ne_bytes())
}

#[expect(unsafe_code, reason = "no crate sets these options")]
fn set(socket: &Socket, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many octets as the slice has, and the borrow keeps the descriptor open.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(unsafe_code, reason = "no crate reads these options")]
fn get(socket: &Socket, level: c_int, option: c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets, which is how many the slice has, and says in it how many.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok((length as usize).min(value.len()))
    } else {
        Err(io::Error::last_os_error())
    }
}
