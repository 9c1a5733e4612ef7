//! Real packets through the real table: what a walk in memory cannot show. A client, this node, and a pod behind a pod link.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use margay_policy::table::Ifname;
use margay_policy::{Endpoint, Index};
use margay_proto::slim;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use super::*;
use crate::kernel::testnet::{Namespace, ip, until_local};

/// What each family calls the client, the node towards the client, the pod, and the pod's gateway.
const CLIENTS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const NODES: [&str; 2] = ["192.0.2.254", "2001:db8::fe"];
const PODS: [&str; 2] = ["10.0.0.1", "fd00::1"];
const GATEWAYS: [&str; 2] = ["10.0.0.254", "fd00::fe"];
const SERVICES: [&str; 2] = ["10.96.0.10", "fd96::10"];
const LENGTHS: [u8; 2] = [24, 64];

const OPEN: u16 = 8081;
const DENIED: u16 = 8082;
/// Allowed, and nobody listens.
const UNSERVED: u16 = 8083;

struct Net {
    client: Namespace,
    pod: Namespace,
    /// Owns the table as long as it lives.
    _sink: NftSink,
}

impl Net {
    /// The pod may begin nothing and takes UDP on two ports; whatever it answers is for connection tracking to know.
    fn new() -> Self {
        for knob in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{knob}"), "1").unwrap();
        }
        let (client, pod) = (Namespace::new(), Namespace::new());
        join("up0", &client, NODES, CLIENTS);
        join("mgya", &pod, GATEWAYS, PODS);
        let mut sink = NftSink::open().unwrap();
        sink.apply(&table()).unwrap();
        Self {
            client,
            pod,
            _sink: sink,
        }
    }
}

/// A veth from here into the namespace, whose default routes lead here.
fn join(link: &str, namespace: &Namespace, here: [&str; 2], there: [&str; 2]) {
    let path = reachable(namespace);
    ip(&format!(
        "link add {link} type veth peer name eth0 netns {}",
        path.display()
    ));
    for (family, length) in LENGTHS.into_iter().enumerate() {
        ip(&format!(
            "address add {}/{length} dev {link} {}",
            here[family],
            nodad(family)
        ));
        namespace.ip(&format!(
            "address add {}/{length} dev eth0 {}",
            there[family],
            nodad(family)
        ));
    }
    ip(&format!("link set {link} up"));
    namespace.ip("link set lo up");
    namespace.ip("link set eth0 up");
    until_local(ip, here[1]);
    until_local(|arguments| namespace.ip(arguments), there[1]);
    for gateway in here {
        namespace.ip(&format!("route add default via {gateway}"));
    }
}

fn nodad(family: usize) -> &'static str {
    if family == 1 { "nodad" } else { "" }
}

/// The namespace's path for other processes.
fn reachable(namespace: &Namespace) -> PathBuf {
    let path = namespace.path().to_str().unwrap();
    PathBuf::from(path.replace("self", &std::process::id().to_string()))
}

fn table() -> Table {
    let pod: slim::Pod = from_json(json!({
        "metadata": { "namespace": "x", "name": "a", "uid": "u" },
        "status": { "phase": "Running", "podIPs": [{ "ip": PODS[0] }, { "ip": PODS[1] }] },
    }));
    let ports = [OPEN, UNSERVED].map(|port| json!({ "protocol": "UDP", "port": port }));
    let policy = from_json(json!({
        "metadata": { "namespace": "x", "name": "p" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{
            "from": [{ "ipBlock": { "cidr": "192.0.2.0/24" } }, { "ipBlock": { "cidr": "2001:db8::/64" } }],
            "ports": ports,
        }] },
    }));
    let mut index = Index::new();
    index.apply_pod(&pod);
    index.apply_policy(&policy);
    index.set_endpoint(Endpoint {
        link: Ifname::try_from("mgya").unwrap(),
        namespace: "x".to_owned(),
        name: "a".to_owned(),
        uid: "u".to_owned(),
        addresses: PODS.map(address).into(),
    });
    index.table()
}

fn from_json<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A socket in that namespace; it waits for at most five seconds.
fn socket(namespace: &Namespace, at: &str, port: u16) -> UdpSocket {
    let file = File::open(namespace.path()).unwrap();
    let local = SocketAddr::new(address(at), port);
    let thread = std::thread::spawn(move || {
        setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
        UdpSocket::bind(local).unwrap()
    });
    let socket = thread.join().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// Nothing has come: what was sent later on the same way has.
fn silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let nothing = socket.recv(&mut [0; 16]);
    socket.set_nonblocking(false).unwrap();
    nothing.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn case_80_fragments_are_judged_by_the_port_of_the_whole() {
    isolated(|| async {
        let net = Net::new();
        for family in 0..2 {
            let client = socket(&net.client, CLIENTS[family], 0);
            let open = socket(&net.pod, PODS[family], OPEN);
            let denied = socket(&net.pod, PODS[family], DENIED);
            // Three fragments each; only the first has a port in it.
            let datagram = [7; 4000];
            for port in [DENIED, OPEN] {
                let to = SocketAddr::new(address(PODS[family]), port);
                assert_eq!(client.send_to(&datagram, to).unwrap(), datagram.len());
            }
            let (length, from) = open.recv_from(&mut [0; 8000]).unwrap();
            assert_eq!(length, datagram.len());
            assert!(silent(&denied), "family {family}");
            // The answer is in fragments as well, from a pod that may begin nothing.
            open.send_to(&datagram, from).unwrap();
            assert_eq!(client.recv(&mut [0; 8000]).unwrap(), datagram.len());
        }
    });
}

#[test]
fn case_80_errors_about_an_allowed_flow_come_back() {
    isolated(|| async {
        let net = Net::new();
        for family in 0..2 {
            let client = socket(&net.client, CLIENTS[family], 0);
            client.connect((address(PODS[family]), UNSERVED)).unwrap();
            client.send(b"?").unwrap();
            let refused = client.recv(&mut [0; 16]).unwrap_err();
            assert_eq!(
                refused.kind(),
                ErrorKind::ConnectionRefused,
                "family {family}"
            );
            // An echo is a flow of its own, which nothing allows.
            let ping = format!("ping -n -c 1 -W 1 {}", PODS[family]);
            assert!(!net.client.run(&ping).0);
        }
        assert!(
            net.pod.run(&format!("ping -n -c 1 -W 5 {}", PODS[0])).0,
            "its own address always"
        );
    });
}

#[test]
fn case_79_a_pod_that_may_nothing_reaches_itself_through_a_service() {
    isolated(|| async {
        let net = Net::new();
        for family in 0..2 {
            let (word, pod, service) = (["ip", "ip6"][family], PODS[family], SERVICES[family]);
            let target = [format!("{pod}:{OPEN}"), format!("[{pod}]:{OPEN}")][family].clone();
            // What kube-proxy makes of a Service and of a flow that comes back to its sender.
            nft(&format!("add table {word} service"));
            nft(&format!(
                "add chain {word} service to {{ type nat hook prerouting priority dstnat; }}"
            ));
            nft(&format!(
                "add rule {word} service to {word} daddr {service} udp dport 80 dnat to {target}"
            ));
            nft(&format!(
                "add chain {word} service from {{ type nat hook postrouting priority srcnat; }}"
            ));
            nft(&format!(
                "add rule {word} service from {word} saddr {pod} {word} daddr {pod} masquerade"
            ));
            let (client, server) = (socket(&net.pod, pod, 0), socket(&net.pod, pod, OPEN));
            client.send_to(b"?", (address(service), 80)).unwrap();
            let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
            server.send_to(b"!", from).unwrap();
            let (_, answered) = client.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(answered, SocketAddr::new(address(service), 80));
        }
    });
}
