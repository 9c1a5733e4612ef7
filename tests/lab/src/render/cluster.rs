//! The control plane: arguments, kubeconfigs, audit policy, RBAC.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::pki::KUBELET_CLIENT;
use crate::plan::{Plan, SERVICE_CIDR_V4, SERVICE_CIDR_V6};

/// The API server's port on the management network.
pub(crate) const API_PORT: u16 = 6443;

/// etcd listens on loopback of the control plane's namespace only; the state is thrown away, so it never waits for a disk.
pub(crate) fn etcd_arguments(state: &Path) -> Vec<String> {
    [
        "--data-dir=DATA",
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--logger=zap",
    ]
    .map(|argument| argument.replace("DATA", &state.join("etcd").display().to_string()))
    .to_vec()
}

/// kube-apiserver's arguments.
pub(crate) fn api_server_arguments(plan: &Plan, state: &Path) -> Vec<String> {
    let pki = |file: &str| state.join("pki").join(file).display().to_string();
    let any = if plan.family.has_v6() {
        "::"
    } else {
        "0.0.0.0"
    };
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--bind-address={any}"),
        format!("--advertise-address={}", plan.api_server().primary()),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!(
            "--kubelet-client-certificate={}",
            pki("apiserver-kubelet-client.crt")
        ),
        format!(
            "--kubelet-client-key={}",
            pki("apiserver-kubelet-client.key")
        ),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!(
            "--service-cluster-ip-range={}",
            plan.choose(SERVICE_CIDR_V4, SERVICE_CIDR_V6).join(",")
        ),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!(
            "--audit-policy-file={}",
            state.join("config/audit.json").display()
        ),
        format!(
            "--audit-log-path={}",
            state.join("logs/audit.log").display()
        ),
    ]
}

/// kube-controller-manager's arguments: node addresses are the network's business, so no node IPAM.
pub(crate) fn controller_manager_arguments(state: &Path) -> Vec<String> {
    let pki = |file: &str| state.join("pki").join(file).display().to_string();
    vec![
        format!("--kubeconfig={}", state.join("config/controller-manager.kubeconfig").display()),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        "--use-service-account-credentials".into(),
        "--leader-elect=false".into(),
        "--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller".into(),
        "--allocate-node-cidrs=false".into(),
        "--bind-address=127.0.0.1".into(),
    ]
}

/// kube-scheduler's arguments.
pub(crate) fn scheduler_arguments(state: &Path) -> Vec<String> {
    vec![
        format!(
            "--kubeconfig={}",
            state.join("config/scheduler.kubeconfig").display()
        ),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
    ]
}

/// A kubeconfig whose user has the client certificate `user.crt` of the lab's CA.
pub(crate) fn kubeconfig(plan: &Plan, user: &str, pki: &Path) -> Value {
    let server = match plan.api_server().primary() {
        IpAddr::V4(address) => format!("https://{address}:{API_PORT}"),
        IpAddr::V6(address) => format!("https://[{address}]:{API_PORT}"),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": plan.name, "cluster": {"server": server, "certificate-authority": pki.join("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": pki.join(format!("{user}.crt")),
            "client-key": pki.join(format!("{user}.key")),
        }}],
        "contexts": [{"name": plan.name, "context": {"cluster": plan.name, "user": user}}],
        "current-context": plan.name,
    })
}

/// Who did what, without bodies.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}

/// Lets the API server use kubelets' API (logs, exec): by default its certificate may not.
pub(crate) fn kubelet_api_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "lab:kube-apiserver-to-kubelet"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Family, Spec};

    fn plan(family: Family) -> Plan {
        Plan::new(&Spec {
            family,
            ..Spec::default()
        })
        .unwrap()
    }

    #[test]
    fn services_have_the_lab_s_families() {
        let range = |family| {
            let arguments = api_server_arguments(&plan(family), Path::new("/s"));
            arguments
                .into_iter()
                .find_map(|a| {
                    a.strip_prefix("--service-cluster-ip-range=")
                        .map(String::from)
                })
                .unwrap()
        };
        assert_eq!(range(Family::Dual), "10.96.0.0/16,fd00:10:96::/112");
        assert_eq!(range(Family::V6), "fd00:10:96::/112");
    }

    #[test]
    fn an_ipv6_server_address_is_bracketed() {
        let config = kubeconfig(&plan(Family::V6), "admin", Path::new("/p"));
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://[fd77::10]:6443"
        );
        assert_eq!(config["users"][0]["user"]["client-key"], "/p/admin.key");
    }
}
