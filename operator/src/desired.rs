//! Installation → objects. Pure: what is applied is decided here, by server-side apply of exactly the fields named here, so that fields which
//! users add to a pool or the BGPConfiguration stay theirs.

mod agent;
#[cfg(test)]
mod rights;

pub(crate) use agent::MAX_UNAVAILABLE;
use margay_proto::crd::{Installation, InstallationPool};
use margay_proto::names;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The whole object as applied, `apiVersion`, `kind` and `metadata` included.
    pub(crate) object: Value,
}

/// Kinds that the operator applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    IPPool,
    BGPConfiguration,
    ServiceAccount,
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
    DaemonSet,
}

impl Kind {
    /// Group, version, kind and plural.
    pub(crate) const fn resource(self) -> (&'static str, &'static str, &'static str, &'static str) {
        const RBAC: &str = "rbac.authorization.k8s.io";
        match self {
            Self::IPPool => (names::GROUP, "v1alpha1", "IPPool", "ippools"),
            Self::BGPConfiguration => (
                names::GROUP,
                "v1alpha1",
                "BGPConfiguration",
                "bgpconfigurations",
            ),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ClusterRole => (RBAC, "v1", "ClusterRole", "clusterroles"),
            Self::ClusterRoleBinding => (RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
            Self::Role => (RBAC, "v1", "Role", "roles"),
            Self::RoleBinding => (RBAC, "v1", "RoleBinding", "rolebindings"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
        }
    }

    /// Whether its objects live in the operator's namespace.
    pub(crate) const fn is_namespaced(self) -> bool {
        matches!(
            self,
            Self::ServiceAccount | Self::Role | Self::RoleBinding | Self::DaemonSet
        )
    }

    /// Whether its objects go with the Installation. Addresses and routing intent never do: pods that run keep both.
    const fn is_owned(self) -> bool {
        !matches!(self, Self::IPPool | Self::BGPConfiguration)
    }
}

/// Everything the Installation asks for, in the order in which it is applied: intent and rights before the agents that need them.
///
/// # Errors
/// [`InvalidField`], for what the schema cannot check.
pub(crate) fn desired(
    installation: &Installation,
    namespace: &str,
) -> Result<Vec<Desired>, InvalidField> {
    let endpoint = installation
        .spec
        .kubernetes_service_endpoint
        .as_deref()
        .map(parse_endpoint)
        .transpose()?;
    check_log(&installation.spec.log)?;
    let build = Build {
        installation,
        namespace,
    };
    let mut objects = vec![build.bgp_configuration()];
    objects.extend(installation.spec.pools.iter().map(|pool| build.pool(pool)));
    objects.extend([
        build.object(Kind::ServiceAccount, names::AGENT_APP, json!({})),
        build.object(
            Kind::ClusterRole,
            names::AGENT_APP,
            json!({ "rules": agent::cluster_rules() }),
        ),
        build.object(
            Kind::ClusterRoleBinding,
            names::AGENT_APP,
            build.binding("ClusterRole"),
        ),
        build.object(
            Kind::Role,
            names::AGENT_APP,
            json!({ "rules": agent::namespace_rules() }),
        ),
        build.object(Kind::RoleBinding, names::AGENT_APP, build.binding("Role")),
        build.object(
            Kind::DaemonSet,
            names::AGENT_APP,
            json!({ "spec": agent::daemon_set(&installation.spec, endpoint) }),
        ),
    ]);
    Ok(objects)
}

struct Build<'a> {
    installation: &'a Installation,
    namespace: &'a str,
}

impl Build<'_> {
    /// `content` with type and metadata.
    fn object(&self, kind: Kind, name: &str, mut content: Value) -> Desired {
        let (group, version, word, _) = kind.resource();
        content["apiVersion"] = if group.is_empty() {
            json!(version)
        } else {
            json!(format!("{group}/{version}"))
        };
        content["kind"] = json!(word);
        let mut metadata = json!({ "name": name });
        if kind.is_namespaced() {
            metadata["namespace"] = json!(self.namespace);
        }
        if kind.is_owned() {
            metadata["labels"] = agent::labels();
            metadata["ownerReferences"] = self.owner();
        }
        content["metadata"] = metadata;
        Desired {
            kind,
            name: name.to_owned(),
            object: content,
        }
    }

    fn owner(&self) -> Value {
        // Without blockOwnerDeletion, which would need rights to the Installation's finalizers.
        json!([{
            "apiVersion": format!("{}/v1alpha1", names::GROUP),
            "kind": "Installation",
            "name": self.installation.metadata.name,
            "uid": self.installation.metadata.uid,
            "controller": true,
        }])
    }

    fn bgp_configuration(&self) -> Desired {
        let spec = &self.installation.spec;
        let content = json!({ "spec": { "asNumber": spec.as_number, "mesh": spec.mesh } });
        self.object(Kind::BGPConfiguration, "default", content)
    }

    fn pool(&self, pool: &InstallationPool) -> Desired {
        let mut spec = json!({ "cidr": pool.cidr, "natOutgoing": pool.nat_outgoing });
        // What is left out stays the user's to set in the pool itself.
        for (field, value) in [
            ("blockSize", json!(pool.block_size)),
            ("nodeSelector", json!(pool.node_selector)),
            ("namespaceSelector", json!(pool.namespace_selector)),
            ("priority", json!(pool.priority)),
            ("reserveEdges", json!(pool.reserve_edges)),
            ("disabled", json!(pool.disabled)),
        ] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        self.object(Kind::IPPool, &pool.name, json!({ "spec": spec }))
    }

    fn binding(&self, role: &str) -> Value {
        json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": names::AGENT_APP },
            "subjects": [{ "kind": "ServiceAccount", "name": names::AGENT_APP, "namespace": self.namespace }],
        })
    }
}

/// An agent whose filter is wrong would do without it.
fn check_log(text: &str) -> Result<(), InvalidField> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(drop)
        .map_err(|_| InvalidField {
            field: "spec.log",
            value: text.to_owned(),
            remedy: "give a level (error, warn, info, debug, trace), or levels of targets, such as info,margay_agent=debug",
        })
}

/// `address:port`; a name would need the resolver of a network that is not there yet.
fn parse_endpoint(text: &str) -> Result<SocketAddr, InvalidField> {
    let with_port = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 6443));
    text.parse()
        .ok()
        .or_else(with_port)
        .filter(|endpoint| endpoint.port() != 0)
        .ok_or_else(|| InvalidField {
            field: "spec.kubernetesServiceEndpoint",
            value: text.to_owned(),
            remedy: "give an IP address and a port, such as 192.0.2.10:6443 or [2001:db8::10]:6443",
        })
}

/// A field of the Installation that cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidField {
    pub(crate) field: &'static str,
    pub(crate) value: String,
    pub(crate) remedy: &'static str,
}

impl std::fmt::Display for InvalidField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "installation default: {} is `{}`: {}",
            self.field, self.value, self.remedy
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::DaemonSet;

    pub(crate) fn installation() -> Installation {
        serde_json::from_value(json!({
            "apiVersion": "margay.dev/v1alpha1", "kind": "Installation",
            "metadata": { "name": "default", "uid": "u1", "generation": 3 },
            "spec": {
                "asNumber": 64512, "mesh": "None", "log": "info,margay_agent=debug",
                "kubernetesServiceEndpoint": "[fd00::1]:6443",
                "pools": [{ "name": "pods", "cidr": "10.0.0.0/16", "natOutgoing": true }, { "name": "six", "cidr": "fd00::/56", "blockSize": 120, "priority": 0, "reserveEdges": false,
                    "nodeSelector": { "matchLabels": { "rack": "1" } }, "namespaceSelector": { "matchLabels": { "team": "red" } } }],
            },
        }))
        .unwrap()
    }

    pub(super) fn find(kind: Kind, name: &str) -> Value {
        let objects = desired(&installation(), "margay-system").unwrap();
        objects
            .into_iter()
            .find(|o| o.kind == kind && o.name == name)
            .unwrap()
            .object
    }

    #[test]
    fn the_daemon_set_is_as_recorded() {
        let rendered = find(Kind::DaemonSet, "margay-agent");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/desired/daemonset.json");
        let text = serde_json::to_string_pretty(&rendered).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(
            text == std::fs::read_to_string(path).unwrap_or_default(),
            "run with UPDATE_GOLDEN=1 and look at the difference"
        );
        // Fields that the API does not know would be dropped on the way through the typed form.
        let typed: DaemonSet = serde_json::from_value(rendered.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), rendered);
    }

    #[test]
    fn pools_hold_only_what_the_installation_says() {
        assert_eq!(
            find(Kind::IPPool, "pods")["spec"],
            json!({ "cidr": "10.0.0.0/16", "natOutgoing": true })
        );
        assert_eq!(
            find(Kind::IPPool, "six")["spec"],
            json!({ "cidr": "fd00::/56", "natOutgoing": false, "blockSize": 120, "priority": 0, "reserveEdges": false,
                "nodeSelector": { "matchLabels": { "rack": "1" } }, "namespaceSelector": { "matchLabels": { "team": "red" } } })
        );
        assert_eq!(
            find(Kind::BGPConfiguration, "default")["spec"],
            json!({ "asNumber": 64512, "mesh": "None" })
        );
    }

    #[test]
    fn addresses_and_routing_outlive_the_installation() {
        for object in desired(&installation(), "ns").unwrap() {
            let owned = object.object["metadata"]["ownerReferences"][0]["uid"] == "u1";
            assert_eq!(
                owned,
                !matches!(object.kind, Kind::IPPool | Kind::BGPConfiguration),
                "{}",
                object.name
            );
            assert_eq!(
                object.object["metadata"]["namespace"] == "ns",
                object.kind.is_namespaced()
            );
        }
    }

    #[test]
    fn a_log_filter_has_levels_and_targets() {
        for good in ["info", "info,margay_agent=debug", "margay_agent::cni=trace"] {
            assert_eq!(check_log(good), Ok(()), "{good}");
        }
        for bad in ["!!!", "info,=,x==y"] {
            let error = check_log(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("spec.log is `{bad}`")), "{error}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address() {
        assert_eq!(
            parse_endpoint("192.0.2.1:443"),
            Ok("192.0.2.1:443".parse().unwrap())
        );
        assert_eq!(
            parse_endpoint("fd00::1"),
            Ok("[fd00::1]:6443".parse().unwrap())
        );
        for wrong in ["api.example:443", "192.0.2.1:0"] {
            let error = parse_endpoint(wrong).unwrap_err().to_string();
            assert!(
                error.contains(&format!("kubernetesServiceEndpoint is `{wrong}`"))
                    && error.contains("192.0.2.10:6443"),
                "{error}"
            );
        }
    }
}
