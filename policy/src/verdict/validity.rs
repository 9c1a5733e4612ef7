//! What can be obeyed, by the letter of the API's documentation.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::networks::{network, same_network};
use super::{Side, rules};

pub(super) fn is_valid(policy: &NetworkPolicy, at: Side) -> bool {
    let Some(spec) = &policy.spec else {
        return true;
    };
    let types = spec.policy_types.clone().unwrap_or_default();
    types
        .iter()
        .all(|name| name == "Ingress" || name == "Egress")
        && spec.pod_selector.as_ref().is_none_or(selector_is_valid)
        && rules(policy, at).iter().all(|(peers, ports)| {
            peers.iter().all(peer_is_valid) && ports.iter().all(port_is_valid)
        })
}

fn peer_is_valid(peer: &NetworkPolicyPeer) -> bool {
    let selectors = [&peer.namespace_selector, &peer.pod_selector];
    let given = selectors
        .iter()
        .filter(|selector| selector.is_some())
        .count();
    match &peer.ip_block {
        Some(block) => {
            let inside = |hole: &String| match (network(&block.cidr), network(hole)) {
                (Some((cidr, length)), Some((address, hole_length))) => {
                    hole_length >= length && same_network(cidr, address, length)
                }
                _ => false,
            };
            given == 0
                && network(&block.cidr).is_some()
                && block.except.iter().flatten().all(inside)
        }
        None => given > 0 && selectors.into_iter().flatten().all(selector_is_valid),
    }
}

fn port_is_valid(port: &NetworkPolicyPort) -> bool {
    let protocol_known = matches!(
        port.protocol.as_deref(),
        None | Some("TCP" | "UDP" | "SCTP")
    );
    let numbers_fit = match (&port.port, port.end_port) {
        (None, end) => end.is_none(),
        (Some(IntOrString::Int(first)), None) => (1..=65535).contains(first),
        (Some(IntOrString::Int(first)), Some(last)) => {
            *first >= 1 && *first <= last && last <= 65535
        }
        (Some(IntOrString::String(name)), end) => !name.is_empty() && end.is_none(),
    };
    protocol_known && numbers_fit
}

pub(super) fn selector_is_valid(selector: &LabelSelector) -> bool {
    selector
        .match_expressions
        .iter()
        .flatten()
        .all(|requirement| {
            let count = requirement.values.as_ref().map_or(0, Vec::len);
            let operator_fits = match requirement.operator.as_str() {
                "In" | "NotIn" => count > 0,
                "Exists" | "DoesNotExist" => count == 0,
                _ => false,
            };
            operator_fits && !requirement.key.is_empty()
        })
}
