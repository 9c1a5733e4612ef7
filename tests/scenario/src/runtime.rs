//! The runtime's part by hand: sandboxes that are network namespaces, and the installed plugin called as containerd calls it.
//!
//! Hundreds of containers would measure this machine's containerd. Their pods are objects that are bound to a node, and which its kubelet never
//! starts because a volume of theirs is missing: the agent knows them, and who calls the plugin is the scenario.

use anyhow::{Context, Result, bail, ensure};
use margay_lab::Lab;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// A pod's sandbox, before and after its ADD.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) node: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    /// CNI_CONTAINERID.
    pub(crate) container: String,
}

/// What the plugin printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Exit code 0; for ADD the addresses.
    Done(Vec<IpAddr>),
    /// A CNI error.
    Refused { code: u64, text: String },
}

impl Answer {
    /// The addresses, or the refusal as an error.
    pub(crate) fn done(self) -> Result<Vec<IpAddr>> {
        match self {
            Self::Done(addresses) => Ok(addresses),
            Self::Refused { code, text } => bail!("refused with code {code}: {text}"),
        }
    }
}

impl Sandbox {
    /// A sandbox of a pod that is there; container ids are never used twice.
    pub(crate) fn of(node: &str, namespace: &str, pod: &str, uid: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
            container: format!("byhand{:08x}{number:04}", std::process::id()),
        }
    }

    /// Where its network namespace is on its node.
    pub(crate) fn netns(&self) -> String {
        format!("/run/netns/{}", self.container)
    }

    /// ADD.
    pub(crate) fn add(&self, lab: &Lab) -> Result<Answer> {
        self.call(lab, "ADD")
    }

    /// DEL, with the network namespace whether it is still there or not.
    pub(crate) fn del(&self, lab: &Lab) -> Result<()> {
        self.call(lab, "DEL")?.done().map(drop)
    }

    /// DEL until it succeeds, as the kubelet does, while its agent may be away.
    pub(crate) fn del_until_done(&self, lab: &Lab) -> Result<()> {
        let what = format!("DEL of {} on {}", self.pod, self.node);
        margay_lab::wait_until(&what, std::time::Duration::from_secs(60), || {
            self.del(lab).map(margay_lab::Seen::Holds)
        })
    }

    fn call(&self, lab: &Lab, verb: &str) -> Result<Answer> {
        let mut command = lab.command(&self.node, &["/opt/cni/bin/margay"])?;
        let mut child = command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", self.netns())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/opt/cni/bin")
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
                    self.namespace, self.pod, self.container, self.uid
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("stdin is piped")?
            .write_all(CONFIGURATION.as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(Answer::Done(addresses(&text)?));
        }
        let error: Value = serde_json::from_str(&text).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!(
                "{verb} on {}: {} without a CNI error: {text}{said}",
                self.node, output.status
            )
        })?;
        Ok(Answer::Refused {
            code: error["code"].as_u64().unwrap_or_default(),
            text: error["msg"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

const CONFIGURATION: &str = r#"{"cniVersion":"1.0.0","name":"margay","type":"margay"}"#;

fn addresses(result: &str) -> Result<Vec<IpAddr>> {
    if result.is_empty() {
        return Ok(Vec::new());
    }
    let result: Value = serde_json::from_str(result).context("the plugin's result")?;
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.map(|ip| {
        let address = ip["address"].as_str().unwrap_or_default();
        let address = address.split('/').next().unwrap_or_default();
        address.parse().with_context(|| format!("address of {ip}"))
    })
    .collect()
}

/// Makes the sandboxes' network namespaces, as the runtime does: a file with the namespace mounted over it.
pub(crate) fn make_namespaces(lab: &Lab, sandboxes: &[Sandbox]) -> Result<()> {
    on_their_nodes(lab, sandboxes, |path| {
        format!("touch {path} && unshare --net={path} true\n")
    })
}

/// Ends them, also if they are gone already.
pub(crate) fn end_namespaces(lab: &Lab, sandboxes: &[Sandbox]) -> Result<()> {
    on_their_nodes(lab, sandboxes, |path| {
        format!("if [ -e {path} ]; then umount {path}; rm {path}; fi\n")
    })
}

fn on_their_nodes(lab: &Lab, sandboxes: &[Sandbox], line: impl Fn(&str) -> String) -> Result<()> {
    let mut scripts: BTreeMap<String, String> = BTreeMap::new();
    for sandbox in sandboxes {
        let script = scripts
            .entry(sandbox.node.clone())
            .or_insert_with(|| "set -e\n".to_owned());
        script.push_str(&line(&sandbox.netns()));
    }
    let done: Vec<Result<String>> = thread::scope(|scope| {
        let run = |(node, script): (String, String)| {
            scope.spawn(move || lab.exec(&node, &["sh", "-c", &script]))
        };
        let threads: Vec<_> = scripts.into_iter().map(run).collect();
        threads.into_iter().map(joined).collect()
    });
    done.into_iter().try_for_each(|done| done.map(drop))
}

/// Does something for every sandbox at the same time; answers in their order.
pub(crate) fn all_at_once<T: Send>(
    sandboxes: &[Sandbox],
    work: impl Fn(&Sandbox) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let start = |sandbox| scope.spawn(move || work(sandbox));
        let threads: Vec<_> = sandboxes.iter().map(start).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| bail!("a thread of the scenario panicked"))
}

/// Makes pods `NAME-0`… that are bound to their nodes and never started by the kubelet, and their sandboxes' names.
pub(crate) fn bound_pods(
    lab: &Lab,
    namespace: &str,
    name: &str,
    nodes: &[String],
    count: usize,
) -> Result<Vec<Sandbox>> {
    let node = |i: usize| &nodes[i % nodes.len()];
    let mut yaml = String::new();
    for i in 0..count {
        // Writing to a String does not fail.
        let _ = writeln!(
            yaml,
            "---\n{}",
            bound_pod(namespace, &format!("{name}-{i}"), node(i))
        );
    }
    lab.kubectl_with_input(&["create", "-f", "-"], &yaml)?;
    let list = lab.kubectl_json(&["get", "pods", "-n", namespace])?;
    let items = list["items"].as_array().context("a list of pods")?;
    let uid = |pod: &str| {
        let found = items.iter().find(|item| item["metadata"]["name"] == pod);
        found.and_then(|item| item["metadata"]["uid"].as_str())
    };
    let sandboxes: Vec<Sandbox> = (0..count)
        .filter_map(|i| {
            let pod = format!("{name}-{i}");
            Some(Sandbox::of(node(i), namespace, &pod, uid(&pod)?))
        })
        .collect();
    ensure!(
        sandboxes.len() == count,
        "{} of {count} pods were made",
        sandboxes.len()
    );
    Ok(sandboxes)
}

/// The kubelet makes no sandbox before all volumes are there; this one never is.
fn bound_pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "volumes": [{"name": "never", "configMap": {"name": "never-made"}}],
            "containers": [{
                "name": "pause", "image": "lab.local/pause:1", "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "never", "mountPath": "/never"}],
            }],
        },
    })
}

/// Ends a namespace with all its pods at once.
pub(crate) fn end_pods(lab: &Lab, namespace: &str) -> Result<()> {
    lab.kubectl(&[
        "delete",
        "pods",
        "-n",
        namespace,
        "--all",
        "--force",
        "--grace-period=0",
        "--wait=false",
    ])?;
    lab.kubectl(&["delete", "namespace", namespace, "--wait", "--timeout=60s"])?;
    Ok(())
}

/// Ends every namespace of a sandbox that was made by hand, also those that a failed check left: agents notice within 30 s.
pub(crate) fn end_all_namespaces(lab: &Lab) -> Result<()> {
    let script = "for f in /run/netns/byhand*; do [ -e $f ] || continue; umount $f; rm $f; done";
    for node in lab.nodes() {
        lab.exec(&node.name, &["sh", "-c", script])?;
    }
    Ok(())
}
