//! What Kubernetes says should happen to a packet, read directly from the API objects.
//!
//! Written against the documentation of `networking.k8s.io/v1` and nothing else of this crate: it parses selectors,
//! networks and ports by its own means, slowly and plainly, so that an error of the compiler is not repeated here. Where the
//! documentation is silent it follows the decisions that this project states:
//! - a direction of a policy in which anything is invalid allows nothing; an invalid `podSelector` selects all pods;
//! - a pod always reaches itself; a pod on its node's network is neither subject nor selected peer;
//! - an address belongs to the latest pod that has it and has not ended; one that is being deleted yields to one that is not;
//! - an egress rule's named port means a pod that serves it, also behind an `ipBlock`;
//! - a namespace that is not there is matched by no `namespaceSelector`;
//! - an IPv4 network in IPv6 form (`::ffff:192.0.2.0/120`) is invalid.

mod networks;
mod validity;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use margay_proto::slim::{Namespace, Pod};

use networks::network_has;
use validity::{is_valid, selector_is_valid};

/// All that decides about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Every pod.
    pub pods: &'a [Pod],
    /// Every namespace.
    pub namespaces: &'a [Namespace],
    /// Every policy.
    pub policies: &'a [NetworkPolicy],
}

/// The first packet of a flow, after any service was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port; meaningless unless the protocol is TCP, UDP or SCTP.
    pub port: u16,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It passes.
    Allow,
    /// These policies of the pod (namespace and name of the pod) isolate it this way and none allows the flow.
    Deny {
        /// Whether the sender's egress or the receiver's ingress denies.
        at: Side,
        /// Namespace and name of the isolated pod.
        pod: (String, String),
        /// Names of the policies that isolate it.
        policies: Vec<String>,
    },
}

/// At which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ingress of the receiver.
    Ingress,
    /// Egress of the sender.
    Egress,
}

type Labels = BTreeMap<String, String>;

impl Cluster<'_> {
    /// The fate of a flow between any two addresses.
    pub fn judge(&self, flow: &Flow) -> Judgement {
        match self.egress(flow) {
            Judgement::Allow => self.ingress(flow),
            denied => denied,
        }
    }

    /// What the sender's policies say, if the sender is a pod.
    pub fn egress(&self, flow: &Flow) -> Judgement {
        self.judge_at(Side::Egress, flow)
    }

    /// What the receiver's policies say, if the receiver is a pod.
    pub fn ingress(&self, flow: &Flow) -> Judgement {
        self.judge_at(Side::Ingress, flow)
    }

    fn judge_at(&self, at: Side, flow: &Flow) -> Judgement {
        let (subject, peer) = match at {
            Side::Ingress => (flow.destination, flow.source),
            Side::Egress => (flow.source, flow.destination),
        };
        let Some(pod) = self.pod_at(subject) else {
            return Judgement::Allow;
        };
        if self
            .pod_at(peer)
            .is_some_and(|other| std::ptr::eq(pod, other))
        {
            return Judgement::Allow;
        }
        let isolating: Vec<_> = self
            .policies
            .iter()
            .filter(|policy| isolates(policy, pod, at))
            .collect();
        if isolating.is_empty()
            || isolating
                .iter()
                .any(|policy| self.allows(policy, at, pod, flow, peer))
        {
            return Judgement::Allow;
        }
        Judgement::Deny {
            at,
            pod: (
                namespace_of(pod).to_owned(),
                pod.metadata.name.clone().unwrap_or_default(),
            ),
            policies: isolating
                .iter()
                .filter_map(|policy| policy.metadata.name.clone())
                .collect(),
        }
    }

    /// The pod that an address belongs to.
    pub fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        let has = |pod: &&Pod| {
            pod.status
                .pod_ips
                .iter()
                .any(|its| its.ip.parse::<IpAddr>() == Ok(address))
        };
        let alive = |pod: &&Pod| {
            !matches!(
                pod.status.phase.as_deref(),
                Some("Succeeded") | Some("Failed")
            )
        };
        let own = self
            .pods
            .iter()
            .filter(has)
            .filter(alive)
            .filter(|pod| !pod.spec.host_network);
        own.max_by(|one, two| {
            let rank = |pod: &Pod| {
                (
                    pod.metadata.deletion_timestamp.is_none(),
                    pod.metadata.creation_timestamp.clone(),
                    pod.metadata.uid.clone(),
                )
            };
            rank(one).cmp(&rank(two))
        })
    }

    fn allows(
        &self,
        policy: &NetworkPolicy,
        at: Side,
        pod: &Pod,
        flow: &Flow,
        peer: IpAddr,
    ) -> bool {
        if !is_valid(policy, at) {
            return false;
        }
        let home = policy.metadata.namespace.as_deref().unwrap_or_default();
        let target = match at {
            Side::Ingress => Some(pod),
            Side::Egress => self.pod_at(flow.destination),
        };
        rules(policy, at).into_iter().any(|(peers, ports)| {
            let peer_fits = peers.is_empty()
                || peers
                    .iter()
                    .any(|wanted| self.peer_fits(wanted, home, peer));
            let port_fits =
                ports.is_empty() || ports.iter().any(|wanted| port_fits(wanted, flow, target));
            peer_fits && port_fits
        })
    }

    fn peer_fits(&self, wanted: &NetworkPolicyPeer, home: &str, address: IpAddr) -> bool {
        if let Some(block) = &wanted.ip_block {
            let excepted = block
                .except
                .iter()
                .flatten()
                .any(|hole| network_has(hole, address));
            return network_has(&block.cidr, address) && !excepted;
        }
        let Some(pod) = self.pod_at(address) else {
            return false;
        };
        let namespace_fits = match &wanted.namespace_selector {
            None => namespace_of(pod) == home,
            Some(selector) => self.namespaces.iter().any(|namespace| {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                namespace.metadata.name.as_deref() == Some(namespace_of(pod))
                    && selected(selector, &labels)
            }),
        };
        let pod_fits = wanted
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selected(selector, &labels_of(pod)));
        namespace_fits && pod_fits
    }
}

fn isolates(policy: &NetworkPolicy, pod: &Pod, at: Side) -> bool {
    let default = NetworkPolicySpec::default();
    let spec = policy.spec.as_ref().unwrap_or(&default);
    if policy.metadata.namespace.as_deref().unwrap_or_default() != namespace_of(pod)
        || !directions(spec).contains(&at)
    {
        return false;
    }
    match &spec.pod_selector {
        None => true,
        Some(selector) => !selector_is_valid(selector) || selected(selector, &labels_of(pod)),
    }
}

fn directions(spec: &NetworkPolicySpec) -> Vec<Side> {
    let types = spec.policy_types.clone().unwrap_or_default();
    if types.is_empty() {
        let has_egress = !spec.egress.clone().unwrap_or_default().is_empty();
        return if has_egress {
            vec![Side::Ingress, Side::Egress]
        } else {
            vec![Side::Ingress]
        };
    }
    if types
        .iter()
        .any(|name| name != "Ingress" && name != "Egress")
    {
        return vec![Side::Ingress, Side::Egress];
    }
    let side = |name: &String| {
        if name == "Ingress" {
            Side::Ingress
        } else {
            Side::Egress
        }
    };
    types.iter().map(side).collect()
}

type PeersAndPorts = (Vec<NetworkPolicyPeer>, Vec<NetworkPolicyPort>);

fn rules(policy: &NetworkPolicy, at: Side) -> Vec<PeersAndPorts> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    match at {
        Side::Ingress => spec
            .ingress
            .iter()
            .flatten()
            .map(|rule| {
                (
                    rule.from.clone().unwrap_or_default(),
                    rule.ports.clone().unwrap_or_default(),
                )
            })
            .collect(),
        Side::Egress => spec
            .egress
            .iter()
            .flatten()
            .map(|rule| {
                (
                    rule.to.clone().unwrap_or_default(),
                    rule.ports.clone().unwrap_or_default(),
                )
            })
            .collect(),
    }
}

fn port_fits(wanted: &NetworkPolicyPort, flow: &Flow, target: Option<&Pod>) -> bool {
    let name = wanted.protocol.as_deref().unwrap_or("TCP");
    if protocol_number(name) != Some(flow.protocol) {
        return false;
    }
    match &wanted.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=wanted.end_port.unwrap_or(*first)).contains(&i32::from(flow.port))
        }
        Some(IntOrString::String(port)) => target.is_some_and(|pod| {
            let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
            containers
                .flat_map(|container| &container.ports)
                .any(|served| {
                    served.name.as_ref() == Some(port)
                        && served.protocol.as_deref().unwrap_or("TCP") == name
                        && served.container_port == i32::from(flow.port)
                })
        }),
    }
}

fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(6),
        "UDP" => Some(17),
        "SCTP" => Some(132),
        _ => None,
    }
}

fn selected(selector: &LabelSelector, labels: &Labels) -> bool {
    let by_label = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let by_expression = selector
        .match_expressions
        .iter()
        .flatten()
        .all(|requirement| {
            let value = labels.get(&requirement.key);
            let among = value.is_some_and(|value| {
                requirement
                    .values
                    .iter()
                    .flatten()
                    .any(|wanted| wanted == value)
            });
            match requirement.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        });
    by_label && by_expression
}

fn namespace_of(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn labels_of(pod: &Pod) -> Labels {
    pod.metadata.labels.clone().unwrap_or_default()
}
