//! Reads a NetworkPolicy field by field and notes what it cannot.

use ipnetwork::IpNetwork;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Allow, Namespaces, Peer, PeerSelector, Policy, Port, Problem};
use crate::ranges::{Ranges, masked};
use crate::selector::Selector;
use crate::table::{PortRange, Protocol};

/// Marks that a part could not be read; the problem is already noted.
struct Unreadable;

pub(super) struct Reader<'a> {
    namespace: &'a str,
    metadata: &'a ObjectMeta,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(object: &'a NetworkPolicy) -> Self {
        Self {
            namespace: object.metadata.namespace.as_deref().unwrap_or_default(),
            metadata: &object.metadata,
            problems: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, spec: &NetworkPolicySpec) -> Policy {
        let subjects = match &spec.pod_selector {
            None => Ok(Selector::everything()),
            Some(selector) => self.selector(
                "spec.podSelector",
                selector,
                "until then the whole namespace is isolated",
            ),
        };
        let (ingress, egress, types_known) = self.policy_types(spec);
        let readable = subjects.is_ok() && types_known;
        let mut policy = Policy {
            subjects: subjects.unwrap_or_else(|Unreadable| Selector::everything()),
            ingress: None,
            egress: None,
        };
        if ingress {
            let rules = spec
                .ingress
                .iter()
                .flatten()
                .map(|rule| (&rule.from, &rule.ports));
            let allows = self.rules("spec.ingress", "from", rules);
            policy.ingress = Some(allows.ok().filter(|_| readable).unwrap_or_default());
        }
        if egress {
            let rules = spec
                .egress
                .iter()
                .flatten()
                .map(|rule| (&rule.to, &rule.ports));
            let allows = self.rules("spec.egress", "to", rules);
            policy.egress = Some(allows.ok().filter(|_| readable).unwrap_or_default());
        }
        policy
    }

    /// Whether it isolates ingress and egress, and whether all its types are known.
    fn policy_types(&mut self, spec: &NetworkPolicySpec) -> (bool, bool, bool) {
        let types: Vec<&str> = spec
            .policy_types
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if types.is_empty() {
            return (
                true,
                spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
                true,
            );
        }
        for (index, unknown) in types
            .iter()
            .enumerate()
            .filter(|(_, name)| !matches!(**name, "Ingress" | "Egress"))
        {
            let field = format!("spec.policyTypes[{index}]");
            self.note(
                field,
                unknown,
                "use Ingress or Egress; until then both directions are isolated",
            );
        }
        let known = types
            .iter()
            .all(|name| matches!(*name, "Ingress" | "Egress"));
        (
            types.contains(&"Ingress") || !known,
            types.contains(&"Egress") || !known,
            known,
        )
    }

    fn rules<'r>(
        &mut self,
        path: &str,
        side: &str,
        rules: impl Iterator<
            Item = (
                &'r Option<Vec<NetworkPolicyPeer>>,
                &'r Option<Vec<NetworkPolicyPort>>,
            ),
        >,
    ) -> Result<Vec<Allow>, Unreadable> {
        let mut allows = Vec::new();
        let mut readable = true;
        for (index, (peers, ports)) in rules.enumerate() {
            let peers = peers.iter().flatten().enumerate();
            let peers: Vec<_> = peers
                .map(|(at, peer)| self.peer(&format!("{path}[{index}].{side}[{at}]"), peer))
                .collect();
            let ports = ports.iter().flatten().enumerate();
            let ports: Vec<_> = ports
                .map(|(at, port)| self.port(&format!("{path}[{index}].ports[{at}]"), port))
                .collect();
            match (peers.into_iter().collect(), ports.into_iter().collect()) {
                (Ok(peers), Ok(ports)) => allows.push(Allow { peers, ports }),
                _ => readable = false,
            }
        }
        if readable {
            Ok(allows)
        } else {
            Err(Unreadable)
        }
    }

    fn peer(&mut self, path: &str, peer: &NetworkPolicyPeer) -> Result<Peer, Unreadable> {
        let NetworkPolicyPeer {
            ip_block,
            namespace_selector,
            pod_selector,
        } = peer;
        if let Some(block) = ip_block {
            if namespace_selector.is_some() || pod_selector.is_some() {
                return self.refuse(
                    path.to_owned(),
                    "ipBlock and a selector",
                    "give either ipBlock or selectors",
                );
            }
            return self.block(path, block).map(Peer::Block);
        }
        if namespace_selector.is_none() && pod_selector.is_none() {
            return self.refuse(
                path.to_owned(),
                "",
                "give ipBlock, namespaceSelector or podSelector",
            );
        }
        let namespaces = match namespace_selector {
            None => Namespaces::Named(self.namespace.to_owned()),
            Some(selector) => Namespaces::Selected(self.selector(
                &format!("{path}.namespaceSelector"),
                selector,
                CLOSED,
            )?),
        };
        let pods = match pod_selector {
            None => Selector::everything(),
            Some(selector) => self.selector(&format!("{path}.podSelector"), selector, CLOSED)?,
        };
        Ok(Peer::Pods(PeerSelector { namespaces, pods }))
    }

    fn block(&mut self, path: &str, block: &IPBlock) -> Result<Ranges, Unreadable> {
        let cidr = self.cidr(format!("{path}.ipBlock.cidr"), &block.cidr)?;
        let mut except = Vec::new();
        for (index, text) in block.except.iter().flatten().enumerate() {
            let field = format!("{path}.ipBlock.except[{index}]");
            let hole = self.cidr(field.clone(), text)?;
            if hole.prefix() < cidr.prefix() || !cidr.contains(hole.ip()) {
                return self.refuse(field, text, "give a network inside cidr");
            }
            except.push(hole);
        }
        Ok(Ranges::block(cidr, &except))
    }

    fn cidr(&mut self, field: String, text: &str) -> Result<IpNetwork, Unreadable> {
        let has_length = text.split_once('/').is_some_and(|(_, length)| {
            !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit())
        });
        match text.parse::<IpNetwork>() {
            Ok(network) if has_length => match written_as_v6(network) {
                Some(remedy) => self.refuse(field, text, &remedy),
                None => Ok(masked(network)),
            },
            _ => self.refuse(
                field,
                text,
                "write it as address/length without leading zeros, as in 192.0.2.0/24 or 2001:db8::/32",
            ),
        }
    }

    fn port(&mut self, path: &str, port: &NetworkPolicyPort) -> Result<Port, Unreadable> {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => {
                return self.refuse(format!("{path}.protocol"), other, "use TCP, UDP or SCTP");
            }
        };
        match (&port.port, port.end_port) {
            (None, None) => Ok(Port::Any(protocol)),
            (Some(IntOrString::Int(first)), end) => {
                let first = self.number(format!("{path}.port"), *first)?;
                let last =
                    end.map_or(Ok(first), |end| self.number(format!("{path}.endPort"), end))?;
                if last < first {
                    return self.refuse(
                        format!("{path}.endPort"),
                        &last.to_string(),
                        "give a number not below port",
                    );
                }
                Ok(Port::Numbers(protocol, PortRange { first, last }))
            }
            (Some(IntOrString::String(name)), None) if !name.is_empty() => {
                Ok(Port::Named(protocol, name.clone()))
            }
            (Some(IntOrString::String(name)), None) => {
                self.refuse(format!("{path}.port"), name, "give a number or a name")
            }
            (_, Some(end)) => self.refuse(
                format!("{path}.endPort"),
                &end.to_string(),
                "give endPort only with a numeric port",
            ),
        }
    }

    fn number(&mut self, field: String, number: i32) -> Result<u16, Unreadable> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => self.refuse(field, &number.to_string(), "give a number from 1 to 65535"),
        }
    }

    fn selector(
        &mut self,
        path: &str,
        selector: &LabelSelector,
        meanwhile: &str,
    ) -> Result<Selector, Unreadable> {
        Selector::try_from(selector).map_err(|invalid| {
            let remedy = format!("{}; {meanwhile}", invalid.remedy);
            self.note(format!("{path}.{}", invalid.field), &invalid.value, &remedy);
            Unreadable
        })
    }

    fn refuse<T>(&mut self, field: String, value: &str, remedy: &str) -> Result<T, Unreadable> {
        self.note(field, value, &format!("{remedy}; {CLOSED}"));
        Err(Unreadable)
    }

    fn note(&mut self, field: String, value: &str, remedy: &str) {
        self.problems.push(Problem {
            namespace: self.namespace.to_owned(),
            policy: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            generation: self.metadata.generation.unwrap_or_default(),
            field,
            value: value.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

/// What to write instead of an IPv4 network in IPv6 form, which no packet is in; none for any other network.
fn written_as_v6(network: IpNetwork) -> Option<String> {
    let IpNetwork::V6(network) = network else {
        return None;
    };
    let address = network.ip().to_ipv4_mapped()?;
    Some(match network.prefix().checked_sub(96) {
        Some(length) => format!("write it as {address}/{length}"),
        None => "write it as an IPv4 network".to_owned(),
    })
}

const CLOSED: &str = "until then this policy allows nothing in this direction";
