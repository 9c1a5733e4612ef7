//! Numbered pings between places and pods.

use std::fs::File;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use crate::flood::{Echo, Pinging, Report};

impl Lab {
    /// The network namespace of a place (`n1`, `outside`) or of a running pod (`pod:NAMESPACE/NAME`).
    ///
    /// # Errors
    /// If there is no such place or pod.
    pub fn netns(&self, source: &str) -> Result<File> {
        let path = match source.strip_prefix("pod:") {
            Some(pod) => {
                let (namespace, name) =
                    pod.split_once('/').context("a pod is pod:NAMESPACE/NAME")?;
                format!("/proc/{}/ns/net", self.pod_process(namespace, name)?).into()
            }
            None => {
                self.places.holder(source)?;
                self.places.netns_path(source)
            }
        };
        File::open(&path).with_context(|| format!("the network namespace of {source}"))
    }

    /// Starts numbered pings from a place or pod; `rate` is in datagrams a second. The numbers are in the payload, `echo 0000000042`.
    ///
    /// # Errors
    /// If there is no such place or pod.
    pub fn start_ping(&self, from: &str, to: SocketAddr, rate: u32) -> Result<Pinging> {
        Pinging::start(self.netns(from)?, to, rate)
    }

    /// As [`Lab::start_ping`] for a time.
    ///
    /// # Errors
    /// If there is no such place or pod. Lost pings are no error.
    pub fn ping(
        &self,
        from: &str,
        to: SocketAddr,
        rate: u32,
        duration: Duration,
    ) -> Result<Report> {
        let pinging = self.start_ping(from, to, rate)?;
        thread::sleep(duration);
        pinging.stop()
    }

    /// Answers numbered pings in a place or pod, until the result is dropped.
    ///
    /// # Errors
    /// If there is no such place or pod, or the port is taken.
    pub fn echo(&self, at: &str, listen: SocketAddr) -> Result<Echo> {
        Echo::start(self.netns(at)?, listen)
    }

    /// A process of a running container of the pod, its sandbox included.
    fn pod_process(&self, namespace: &str, name: &str) -> Result<i32> {
        let node = self.kubectl(&[
            "get",
            "pod",
            "-n",
            namespace,
            name,
            "-o",
            "jsonpath={.spec.nodeName}",
        ])?;
        let filter = format!(
            "labels.\"io.kubernetes.pod.namespace\"=={namespace},labels.\"io.kubernetes.pod.name\"=={name}"
        );
        let containers = self.exec(
            &node,
            &["ctr", "-n", "k8s.io", "containers", "ls", "-q", &filter],
        )?;
        let tasks = self.exec(&node, &["ctr", "-n", "k8s.io", "tasks", "ls"])?;
        running_process(&containers, &tasks)
            .with_context(|| format!("pod {namespace}/{name} does not run on {node}"))
    }
}

/// Of `ctr tasks ls` (columns TASK, PID, STATUS), the process of the first container that runs.
fn running_process(containers: &str, tasks: &str) -> Option<i32> {
    let tasks = tasks
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut running = tasks.filter(|columns| columns.get(2) == Some(&"RUNNING"));
    let task = running.find(|columns| {
        containers
            .lines()
            .any(|container| columns.first() == Some(&container.trim()))
    })?;
    task.get(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_container_that_runs() {
        let tasks = "TASK    PID     STATUS\nold  11  STOPPED\nother 12 RUNNING\nnew 13 RUNNING\n";
        assert_eq!(running_process("old\nnew\n", tasks), Some(13));
        assert_eq!(running_process("old\n", tasks), None);
    }
}
