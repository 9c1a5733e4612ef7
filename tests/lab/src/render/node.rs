//! containerd, kubelet and kube-proxy of a node.

use std::path::Path;

use serde_json::{Value, json};

use crate::plan::{Node, POD_CIDR_V4, POD_CIDR_V6, Plan};

/// The image of pods' sandboxes.
const PAUSE_IMAGE: &str = "lab.local/pause:1";

/// containerd's configuration (version 2, containerd 1.6).
pub(crate) fn containerd() -> String {
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox would die when runc lowers the score.
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{PAUSE_IMAGE}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"#
    )
}

/// The KubeletConfiguration: client certificates and API tokens are checked, nobody is anonymous.
pub(crate) fn kubelet(plan: &Plan, node: &Node, pki: &Path) -> Value {
    let serving = |extension: &str| pki.join(format!("{}-serving.{extension}", node.name));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": serving("crt"),
        "tlsPrivateKeyFile": serving("key"),
        "address": if plan.family.has_v4() { "0.0.0.0" } else { "::" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": plan.dns_service(),
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        // Also works where only named cgroup v1 hierarchies are mounted.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "cgroupRoot": "/",
        "failSwapOn": false,
        "evictionHard": {},
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
    })
}

/// The KubeProxyConfiguration: nftables mode.
pub(crate) fn proxy(plan: &Plan, node: &Node, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": plan.choose(POD_CIDR_V4, POD_CIDR_V6).join(","),
        // The size of the conntrack table is the machine's, not the namespace's.
        "conntrack": {"maxPerCore": 0},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Family, Spec};

    #[test]
    fn the_kubelet_lets_nobody_in_without_a_certificate_or_token() {
        let plan = Plan::new(&Spec::default()).unwrap();
        let config = kubelet(&plan, &plan.nodes[0], Path::new("/pki"));
        assert_eq!(config["authentication"]["anonymous"]["enabled"], false);
        assert_eq!(config["authorization"]["mode"], "Webhook");
        assert_eq!(config["clusterDNS"], json!(["10.96.0.10", "fd00:10:96::a"]));
    }

    #[test]
    fn kube_proxy_knows_the_pods_of_the_lab_s_families() {
        let plan = Plan::new(&Spec {
            family: Family::V6,
            ..Spec::default()
        })
        .unwrap();
        assert_eq!(
            proxy(&plan, &plan.nodes[0], Path::new("k"))["clusterCIDR"],
            "fd00:10:244::/56"
        );
    }
}
