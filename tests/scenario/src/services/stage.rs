//! What the scenario sets up: two pods on two nodes, and a Service of each kind for them.

use crate::{
    cluster::Cluster,
    sockets::{http_get, udp_ask, within},
};
use anyhow::{Context, Result};
use margay_lab::{Lab, Seen, wait_until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

pub(super) const NAMESPACE: &str = "services";
/// What serves on a host port of n1: x1.
pub(super) const HOST_PORT: u16 = 18080;
/// A path that answers at all does so in milliseconds; this leaves room for a busy machine and one lost SYN.
const ANSWERS: Duration = Duration::from_secs(3);
/// After this a path counts as closed.
const CLOSED: Duration = Duration::from_millis(400);

/// The addresses of the Service `local` as a load balancer would set them: documentation prefixes that nobody routes.
pub(super) const BALANCER: [&str; 2] = ["192.0.2.80", "2001:db8:80::80"];

/// Where a packet is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// A Service's ClusterIP and port.
    Service(&'static str, u16),
    /// A node's own address and port: NodePorts and host ports.
    Node(&'static str, u16),
    /// 127.0.0.1 of the sender; there is nothing alike in IPv6.
    Loopback(u16),
    /// The load balancer's address.
    Balancer(u16),
    /// A pod of the other apps, without a Service.
    App(&'static str, u16),
}

impl fmt::Display for To {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name, port) => write!(out, "Service {name}:{port}"),
            Self::Node(name, port) | Self::App(name, port) => write!(out, "{name}:{port}"),
            Self::Loopback(port) => write!(out, "127.0.0.1:{port}"),
            Self::Balancer(port) => write!(out, "load balancer:{port}"),
        }
    }
}

/// Who sends: a node, the outside host, or a pod.
#[derive(Debug)]
struct Client {
    net: File,
    addresses: Vec<IpAddr>,
}

/// The pods and Services, up and known to every kube-proxy.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    clients: BTreeMap<String, Client>,
    services: BTreeMap<String, Vec<IpAddr>>,
}

impl<'a> Stage<'a> {
    /// Sets it up.
    pub(super) fn set(cluster: &'a Cluster) -> Result<Self> {
        let lab = &cluster.lab;
        lab.apply(&objects())?;
        let pods = wait_until("the pods x1 and x3", Duration::from_secs(60), || ready(lab))?;
        let mut stage = Self {
            cluster,
            clients: clients(cluster, &pods)?,
            services: BTreeMap::new(),
        };
        let services = lab.kubectl_json(&["get", "services", "-n", NAMESPACE])?;
        for service in services["items"].as_array().into_iter().flatten() {
            let name = service["metadata"]["name"].as_str().unwrap_or_default();
            let found = addresses(&service["spec"]["clusterIPs"], |a| a.as_str());
            stage.services.insert(name.to_owned(), found);
        }
        stage.known()?;
        Ok(stage)
    }

    /// Every kube-proxy has rules for the last of the Services.
    fn known(&self) -> Result<()> {
        wait_until("kube-proxy on every node", Duration::from_secs(20), || {
            for node in ["n1", "n2", "n3"] {
                for name in ["one", "both", "twice"] {
                    for v4 in self.cluster.families() {
                        self.get(node, To::Service(name, 80), v4, "/hostname")?;
                    }
                }
            }
            Ok(Seen::Holds(()))
        })
    }

    /// Takes down what [`Stage::set`] made, also if only half of it is there.
    pub(super) fn strike(cluster: &Cluster) -> Result<()> {
        let delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found"];
        cluster.lab.kubectl(&delete).map(drop)
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.cluster.lab
    }

    pub(super) fn families(&self) -> Vec<bool> {
        self.cluster.families()
    }

    fn client(&self, name: &str) -> Result<&Client> {
        let found = self.clients.get(name);
        found.with_context(|| format!("nobody is called {name}"))
    }

    /// The network namespace of a node, the outside host or a pod.
    pub(super) fn net(&self, name: &str) -> Result<&File> {
        Ok(&self.client(name)?.net)
    }

    /// A node's, the outside host's or a pod's own address.
    pub(super) fn address(&self, name: &str, v4: bool) -> Result<IpAddr> {
        of_family(&self.client(name)?.addresses, v4).with_context(|| format!("of {name}"))
    }

    /// The ClusterIPs of a Service.
    pub(super) fn service(&self, name: &str) -> &[IpAddr] {
        self.services.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where that is in this family.
    pub(super) fn resolve(&self, to: To, v4: bool) -> Result<SocketAddr> {
        Ok(match to {
            To::Service(name, port) => {
                let address = of_family(self.service(name), v4);
                SocketAddr::new(address.with_context(|| format!("of Service {name}"))?, port)
            }
            To::Node(name, port) | To::App(name, port) => {
                SocketAddr::new(self.address(name, v4)?, port)
            }
            To::Loopback(port) => (Ipv4Addr::LOCALHOST, port).into(),
            To::Balancer(port) => SocketAddr::new(BALANCER[usize::from(!v4)].parse()?, port),
        })
    }

    /// What agnhost answers.
    pub(super) fn get(&self, from: &str, to: To, v4: bool, path: &str) -> Result<String> {
        let to = self.resolve(to, v4)?;
        within(self.net(from)?, || http_get(to, path, ANSWERS))
    }

    /// Which pods answer `count` new connections, and how many each.
    pub(super) fn spread(
        &self,
        from: &str,
        to: To,
        v4: bool,
        count: usize,
    ) -> Result<BTreeMap<String, usize>> {
        let to = self.resolve(to, v4)?;
        within(self.net(from)?, || {
            let mut answered = BTreeMap::new();
            for _ in 0..count {
                let name = http_get(to, "/hostname", ANSWERS)?;
                *answered.entry(name).or_default() += 1;
            }
            Ok(answered)
        })
    }

    /// Which pod answers a datagram.
    pub(super) fn udp_hostname(&self, from: &str, to: To, v4: bool) -> Result<String> {
        let to = self.resolve(to, v4)?;
        let answer = within(self.net(from)?, || udp_ask(to, b"hostname", ANSWERS))?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Whether the path is as it should be.
    pub(super) fn is(&self, from: &str, to: To, v4: bool, open: bool) -> Result<bool> {
        let to = self.resolve(to, v4)?;
        let limit = if open { ANSWERS } else { CLOSED };
        let opens = within(self.net(from)?, || {
            Ok(http_get(to, "/hostname", limit).is_ok())
        })?;
        Ok(opens == open)
    }
}

fn of_family(addresses: &[IpAddr], v4: bool) -> Result<IpAddr> {
    let found = addresses.iter().find(|a| a.is_ipv4() == v4);
    found.copied().context("there is no address of this family")
}

fn addresses(list: &Value, text: impl Fn(&Value) -> Option<&str>) -> Vec<IpAddr> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|a| text(a)?.parse().ok()).collect()
}

/// The addresses of the two pods, once they are ready.
fn ready(lab: &Lab) -> Result<Seen<BTreeMap<String, Vec<IpAddr>>>> {
    let list = lab.kubectl_json(&["get", "pods", "-n", NAMESPACE])?;
    let mut pods = BTreeMap::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        let conditions = pod["status"]["conditions"].as_array();
        let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
        if !conditions.is_some_and(|all| all.iter().any(ready)) {
            return Ok(Seen::NotYet(pod["status"].to_string()));
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let found = addresses(&pod["status"]["podIPs"], |a| a["ip"].as_str());
        pods.insert(name.to_owned(), found);
    }
    Ok(if pods.len() == 2 {
        Seen::Holds(pods)
    } else {
        Seen::NotYet(format!("{} pods", pods.len()))
    })
}

fn clients(
    cluster: &Cluster,
    pods: &BTreeMap<String, Vec<IpAddr>>,
) -> Result<BTreeMap<String, Client>> {
    let (lab, plan) = (&cluster.lab, cluster.lab.plan());
    let mut all: Vec<(String, String, Vec<IpAddr>)> = Vec::new();
    for node in lab.nodes() {
        let own = node.fabric.iter().collect();
        all.push((node.name.clone(), node.name.clone(), own));
    }
    let outside = plan.outside().iter().collect();
    all.push(("outside".to_owned(), "outside".to_owned(), outside));
    for name in ["a1", "a2", "b", "c"] {
        let app = cluster.app(name);
        all.push((name.to_owned(), app.place(), app.addresses.clone()));
    }
    for (name, own) in pods {
        let place = format!("pod:{NAMESPACE}/{name}");
        all.push((name.clone(), place, own.clone()));
    }
    let client = |(name, place, addresses): (String, String, Vec<IpAddr>)| {
        let net = lab.netns(&place)?;
        Ok((name, Client { net, addresses }))
    };
    all.into_iter().map(client).collect()
}

/// x1 on n1 and x3 on n3, which is in another rack. Each serves HTTP on 8080 (`web`) and 9090, UDP on 8081.
fn objects() -> String {
    let mut yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{team: services}}}}\n"
    );
    let host_port = format!("hostPort: {HOST_PORT}, ");
    for (name, node, host_port) in [("x1", "n1", host_port.as_str()), ("x3", "n3", "")] {
        // Writing to a String does not fail.
        let _ = write!(
            yaml,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: x, pod: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: lab.local/agnhost:2.56
      imagePullPolicy: Never
      args: [netexec, --http-port=8080, --udp-port=8081]
      ports:
        - {{name: web, {host_port}containerPort: 8080}}
        - {{name: udp, {host_port}containerPort: 8081, protocol: UDP}}
      readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
    - name: second
      image: lab.local/agnhost:2.56
      imagePullPolicy: Never
      args: [netexec, --http-port=9090, --udp-port=9091]
"
        );
    }
    for (name, spec) in SERVICES {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{{spec}}}\n"
        );
    }
    yaml
}

/// By name. `one` has two ports whose service port is the other's target port, so that a policy that sees the wrong one shows.
const SERVICES: [(&str, &str); 11] = [
    (
        "one",
        "type: NodePort, ipFamilyPolicy: PreferDualStack, selector: {pod: x1}, ports: [
            {name: web, port: 80, targetPort: web, nodePort: 30080}, {name: second, port: 8080, targetPort: 9090},
            {name: udp, port: 81, targetPort: 8081, nodePort: 30081, protocol: UDP}]",
    ),
    (
        "both",
        "ipFamilyPolicy: PreferDualStack, selector: {app: x}, ports: [{name: web, port: 80, targetPort: web},
            {name: echo, port: 7, targetPort: 7777, protocol: UDP}]",
    ),
    (
        "local",
        "type: LoadBalancer, externalTrafficPolicy: Local, ipFamilyPolicy: PreferDualStack, selector: {app: x},
            ports: [{port: 80, targetPort: 8080, nodePort: 30082}]",
    ),
    (
        "sticky",
        "sessionAffinity: ClientIP, ipFamilyPolicy: PreferDualStack, selector: {app: x}, ports: [{port: 80, targetPort: web}]",
    ),
    (
        "brief",
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}, ipFamilyPolicy: PreferDualStack,
            selector: {app: x}, ports: [{port: 80, targetPort: web}]",
    ),
    (
        "inside",
        "internalTrafficPolicy: Local, ipFamilyPolicy: PreferDualStack, selector: {pod: x1}, ports: [{port: 80, targetPort: web}]",
    ),
    (
        "headless",
        "clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: x}, ports: [{name: web, port: 80, targetPort: web}]",
    ),
    (
        "four",
        "ipFamilies: [IPv4], selector: {pod: x1}, ports: [{port: 80, targetPort: web}]",
    ),
    (
        "six",
        "type: NodePort, ipFamilies: [IPv6], selector: {pod: x1}, ports: [{port: 80, targetPort: web, nodePort: 30086}]",
    ),
    (
        "prefers",
        "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6], selector: {pod: x3}, ports: [{port: 80, targetPort: web}]",
    ),
    (
        "twice",
        "ipFamilyPolicy: RequireDualStack, selector: {pod: x3}, ports: [{port: 80, targetPort: web}]",
    ),
];
