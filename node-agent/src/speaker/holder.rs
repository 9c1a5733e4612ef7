//! Who listens on a port, so that a person is told a name and not only "address in use".

use std::fs;

/// Process that listens on TCP `port`, if it can be seen from the agent's PID namespace.
pub(super) fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let inode = tables
        .iter()
        .find_map(|table| listening_inode(&fs::read_to_string(table).ok()?, port))?;
    let link = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holder = pids.into_iter().find(|pid| has_descriptor(*pid, &link))?;
    let name = fs::read_to_string(format!("/proc/{holder}/comm"))
        .unwrap_or_else(|_| "a process".to_owned());
    Some(format!("{} (pid {holder})", name.trim()))
}

fn has_descriptor(pid: u32, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == link)
    })
}

/// The socket inode of the line of `/proc/net/tcp` that listens on `port` (proc(5)).
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let (_, local_port) = local.rsplit_once(':')?;
        (state == LISTEN && u16::from_str_radix(local_port, 16) == Ok(port)).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_line_of_the_port_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:00B3 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
            \x20  1: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
            \x20  2: garbage\n";
        assert_eq!(listening_inode(table, 179), Some(4711));
        assert_eq!(listening_inode(table, 180), None);
        assert_eq!(listening_inode("", 179), None);
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_port(listener.local_addr().unwrap().port()).unwrap();
        assert!(
            holder.contains(&format!("(pid {})", std::process::id())),
            "{holder}"
        );
    }
}
