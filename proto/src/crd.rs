//! The custom resources, `margay.dev/v1alpha1`, one kind a file. All are cluster-scoped.
//!
//! Schemas are additive and tolerant: every field that is not the object's identity has a default, so that an older agent reads a newer object.
//! The CEL rules here are the first gate; code that acts on an object still parses it into types that cannot be wrong.

#![allow(
    clippy::duplicated_attributes,
    unreachable_pub,
    reason = "each printed column repeats its type, and KubeSchema repeats the struct inside a private scope"
)]

pub mod bfd;
pub mod bgp_configuration;
pub mod bgp_filter;
pub mod bgp_node;
pub mod bgp_peer;
pub mod condition;
mod given;
pub mod installation;
pub mod ip_block;
pub mod ip_pool;
pub mod node_config;
pub mod node_state;
mod selector;

pub use bfd::BFD;
pub use bgp_configuration::{BGPConfiguration, BGPConfigurationSpec, Mesh};
pub use bgp_filter::{
    BGPFilter, BGPFilterSpec, FilterAction, FilterCommunities, FilterCommunityChange, FilterMatch,
    FilterNextHop, FilterPath, FilterPeer, FilterPeerType, FilterPrefix, FilterPrepend, FilterRule,
    FilterSet, FilterSource,
};
pub use bgp_node::{BGPNode, BGPNodeSpec};
pub use bgp_peer::{Authentication, BGPPeer, BGPPeerSpec, Method, RemoteAs, SecretKey};
pub use condition::Condition;
pub use installation::{Installation, InstallationPool, InstallationSpec, InstallationStatus};
pub use ip_block::{Allocation, IPBlock, IPBlockSpec, block_name};
pub use ip_pool::{IPPool, IPPoolSpec, IPPoolStatus};
pub use node_config::{AddressChoice, Listen, NodeAddresses, NodeConfig, NodeConfigSpec};
pub use node_state::{NodeState, NodeStateSpec, NodeStateStatus, SessionState};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Every definition, in the order in which they are installed.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        Installation::crd(),
        IPPool::crd(),
        IPBlock::crd(),
        BGPConfiguration::crd(),
        BGPPeer::crd(),
        BGPFilter::crd(),
        BGPNode::crd(),
        NodeConfig::crd(),
        NodeState::crd(),
    ]
}

/// The definitions as one YAML stream, as `manifests/crds.yaml` holds it.
///
/// Number formats other than int32 and int64 are left out: API servers from 1.34 warn about them, and minimum and maximum say the same.
///
/// # Errors
/// None in practice; the serialiser's signature has one.
pub fn definitions_yaml() -> Result<String, String> {
    let mut yaml =
        String::from("# Generated from proto/src/crd by `make manifests`. Do not edit.\n");
    for definition in definitions() {
        let mut value = serde_json::to_value(&definition).map_err(|e| e.to_string())?;
        strip_formats(&mut value);
        given::expand(&mut value);
        yaml.push_str("---\n");
        yaml.push_str(&serde_saphyr::to_string(&value).map_err(|e| e.to_string())?);
    }
    Ok(yaml)
}

fn strip_formats(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if matches!(map.get("format"), Some(serde_json::Value::String(f)) if f.starts_with("uint"))
            {
                map.remove("format");
            }
            map.values_mut().for_each(strip_formats);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// A number that fits the definition and not the type makes the whole kind unreadable for agents and operator.
    #[test]
    fn every_integer_of_a_spec_is_bounded() {
        fn unbounded(at: &str, schema: &Value, found: &mut Vec<String>) {
            if schema["type"] == "integer"
                && (schema.get("maximum").is_none() || schema.get("minimum").is_none())
            {
                found.push(at.to_owned());
            }
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                unbounded(&format!("{at}.{name}"), inner, found);
            }
            for inner in [&schema["items"], &schema["additionalProperties"]] {
                if inner.is_object() {
                    unbounded(&format!("{at}[]"), inner, found);
                }
            }
        }
        let mut found = Vec::new();
        for definition in super::definitions() {
            let value = serde_json::to_value(&definition).unwrap();
            let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let kind = value["spec"]["names"]["kind"].as_str().unwrap();
            unbounded(kind, &schema["properties"]["spec"], &mut found);
        }
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn manifests_hold_the_generated_definitions() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds.yaml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let generated = super::definitions_yaml().unwrap();
        assert!(
            committed == generated,
            "manifests/crds.yaml differs from the types: run `make manifests` and commit the result"
        );
    }
}
