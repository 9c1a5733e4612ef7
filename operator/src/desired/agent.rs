//! The agent's DaemonSet and rights.

use margay_proto::crd::InstallationSpec;
use margay_proto::names;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Agents that a roll-out restarts at a time.
pub(crate) const MAX_UNAVAILABLE: i32 = 1;

/// Labels of everything that belongs to the agent.
pub(super) fn labels() -> Value {
    json!({ "app.kubernetes.io/name": names::AGENT_APP, "app.kubernetes.io/part-of": "margay" })
}

/// What an agent may do in the whole cluster: exactly the table in `docs/rbac.md`, which a test compares with this. That it does so only to
/// its own node's objects is kept by the admission policy in `manifests/admission.yaml`.
pub(super) fn cluster_rules() -> Value {
    const WATCH: [&str; 2] = ["list", "watch"];
    json!([
        { "apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": WATCH },
        // NetworkUnavailable.
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
        { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": WATCH },
        { "apiGroups": [names::GROUP], "resources": ["ippools", "bgpconfigurations", "bgppeers", "bgpfilters", "nodeconfigs"], "verbs": WATCH },
        // Claims are creates, publications are replaced with the version that was read, and a fresh read settles a lost answer.
        { "apiGroups": [names::GROUP], "resources": ["ipblocks"], "verbs": ["get", "list", "watch", "create", "update", "delete"] },
        // Applied, which creates what is not there.
        { "apiGroups": [names::GROUP], "resources": ["bgpnodes"], "verbs": ["list", "watch", "create", "patch"] },
        { "apiGroups": [names::GROUP], "resources": ["nodestates"], "verbs": ["create", "patch"] },
        { "apiGroups": [names::GROUP], "resources": ["nodestates/status"], "verbs": ["patch"] },
        { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ])
}

/// What it may do in its namespace: read the passwords of BGP sessions.
pub(super) fn namespace_rules() -> Value {
    json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] }])
}

/// `spec` of the DaemonSet.
pub(super) fn daemon_set(spec: &InstallationSpec, endpoint: Option<SocketAddr>) -> Value {
    let selector = json!({ "app.kubernetes.io/name": names::AGENT_APP });
    json!({
        "selector": { "matchLabels": selector },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": MAX_UNAVAILABLE } },
        "template": {
            "metadata": { "labels": labels() },
            "spec": {
                "serviceAccountName": names::AGENT_APP,
                "hostNetwork": true,
                "dnsPolicy": "Default",
                "priorityClassName": "system-node-critical",
                "terminationGracePeriodSeconds": 5,
                "nodeSelector": { "kubernetes.io/os": "linux" },
                "tolerations": [{ "operator": "Exists" }],
                "containers": [container(spec, endpoint)],
                "volumes": mounts().map(|m| json!({
                    "name": m.name, "hostPath": { "path": m.host, "type": "DirectoryOrCreate" },
                })).collect::<Vec<_>>(),
            },
        },
    })
}

fn container(spec: &InstallationSpec, endpoint: Option<SocketAddr>) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut env = vec![
        field("NODE_NAME", "spec.nodeName"),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        json!({ "name": "MARGAY_LOG", "value": spec.log }),
    ];
    if let Some(endpoint) = endpoint {
        env.push(json!({ "name": "KUBERNETES_SERVICE_HOST", "value": endpoint.ip().to_string() }));
        env.push(
            json!({ "name": "KUBERNETES_SERVICE_PORT", "value": endpoint.port().to_string() }),
        );
    }
    // On loopback: a probe then says nothing about the node's addresses, which the agent may be about to change.
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "host": "127.0.0.1", "path": path, "port": "health" },
            "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures,
        })
    };
    json!({
        "name": "agent",
        "image": spec.effective_image(),
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["/usr/bin/margay-agent", "run"],
        "env": env,
        "ports": [{ "name": "health", "containerPort": names::AGENT_HEALTH_PORT }],
        // The operator shows the last line in the Installation's conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "livenessProbe": probe("/healthz", 10, 6),
        "readinessProbe": probe("/readyz", 2, 2),
        "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
        // Writes under /proc/sys/net and entering the namespaces of pods need it; files of the image are still read-only.
        "securityContext": { "privileged": true, "readOnlyRootFilesystem": true },
        "volumeMounts": mounts().flat_map(|m| m.in_container()).collect::<Vec<_>>(),
    })
}

struct Mount {
    name: &'static str,
    host: &'static str,
    /// Paths in the container.
    at: &'static [&'static str],
    /// Mounts made on the host later appear in the container.
    propagates: bool,
}

impl Mount {
    fn in_container(&self) -> Vec<Value> {
        let mount = |path: &&str| {
            let mut mount = json!({ "name": self.name, "mountPath": path });
            if self.propagates {
                mount["mountPropagation"] = json!("HostToContainer");
            }
            mount
        };
        self.at.iter().map(mount).collect()
    }
}

fn mounts() -> impl Iterator<Item = Mount> {
    const fn plain(name: &'static str, host: &'static str, at: &'static [&'static str]) -> Mount {
        Mount {
            name,
            host,
            at,
            propagates: false,
        }
    }
    [
        plain("run", "/run/margay", &["/run/margay"]),
        plain("state", names::STATE, &[names::STATE]),
        plain("cni-config", "/etc/cni/net.d", &["/etc/cni/net.d"]),
        plain("cni-bin", names::CNI_BIN, &[names::CNI_BIN]),
        // Runtimes name it either way, and the image has no symbolic link.
        Mount {
            name: "netns",
            host: "/run/netns",
            at: &["/run/netns", "/var/run/netns"],
            propagates: true,
        },
    ]
    .into_iter()
}
