//! containerd, kubelet and kube-proxy of a node.

use std::path::Path;

use serde_json::{Value, json};

use crate::plan::{Node, Plan, Runtime};

/// The image of pods' sandboxes.
const PAUSE_IMAGE: &str = "lab.local/pause:1";

/// Where the kubelet looks for pods that no API server gave it.
pub(crate) const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// containerd's configuration.
pub(crate) fn containerd(runtime: Runtime) -> String {
    match runtime {
        Runtime::Containerd1 => containerd1(),
        Runtime::Containerd2 => containerd2(),
    }
}

/// Configuration version 3, containerd 2.
fn containerd2() -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
"#
    )
}

/// Configuration version 2, containerd 1.6.
fn containerd1() -> String {
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
        "staticPodPath": STATIC_PODS,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
    })
}

/// The KubeProxyConfiguration.
pub(crate) fn proxy(plan: &Plan, node: &Node, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": plan.proxy.as_str(),
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": plan.pods().join(","),
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
    fn each_containerd_has_its_own_configuration_version() {
        for (runtime, version) in [(Runtime::Containerd1, 2), (Runtime::Containerd2, 3)] {
            let text = containerd(runtime);
            assert!(text.starts_with(&format!("version = {version}\n")));
            assert!(text.contains("restrict_oom_score_adj = true"));
            assert!(text.contains(PAUSE_IMAGE));
        }
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
