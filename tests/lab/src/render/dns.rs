//! The cluster's name service: CoreDNS as a Deployment behind the `kube-dns` Service.

use serde_json::{Value, json};

use crate::plan::Plan;

const IMAGE: &str = "lab.local/coredns:1.15.0";

const COREFILE: &str = ".:53 {
    errors
    health {
        lameduck 1s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    cache 5
    loadbalance
    reload
}
";

/// Every object, in the order in which it should be created.
pub(crate) fn manifest(plan: &Plan) -> Vec<Value> {
    let mut objects = access();
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("coredns"),
        "data": {"Corefile": COREFILE},
    }));
    objects.push(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("coredns"),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}}, "spec": pod()},
        },
    }));
    objects.push(service(plan));
    objects
}

/// It may read what it answers from, and nothing else.
fn access() -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io";
    let verbs = json!(["list", "watch"]);
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("coredns")}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "lab:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": verbs},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "lab:coredns"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "lab:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
        }),
    ]
}

fn pod() -> Value {
    json!({
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "containers": [{
            "name": "coredns",
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "args": ["-conf", "/etc/coredns/Corefile"],
            "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}],
            "ports": [
                {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            ],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            },
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
            "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30},
        }],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    })
}

fn service(plan: &Plan) -> Value {
    let addresses = plan.dns_service();
    let policy = if addresses.len() == 2 {
        "RequireDualStack"
    } else {
        "SingleStack"
    };
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata("kube-dns"),
        "spec": {
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilies": plan.choose("IPv4", "IPv6"),
            "ipFamilyPolicy": policy,
            "selector": {"k8s-app": "kube-dns"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    })
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Family, Spec};

    #[test]
    fn the_service_has_the_addresses_that_kubelets_hand_out() {
        for family in [Family::V4, Family::V6, Family::Dual] {
            let plan = Plan::new(&Spec {
                family,
                ..Spec::default()
            })
            .unwrap();
            let service = manifest(&plan).pop().unwrap();
            assert_eq!(service["spec"]["clusterIPs"], json!(plan.dns_service()));
            assert_eq!(
                service["spec"]["ipFamilies"].as_array().unwrap().len(),
                plan.dns_service().len()
            );
        }
    }

    #[test]
    fn it_may_not_write() {
        let plan = Plan::new(&Spec::default()).unwrap();
        let role = manifest(&plan)
            .into_iter()
            .find(|object| object["kind"] == "ClusterRole")
            .unwrap();
        for rule in role["rules"].as_array().unwrap() {
            assert_eq!(rule["verbs"], json!(["list", "watch"]));
        }
    }
}
