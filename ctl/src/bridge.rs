//! A way to one agent: its unix socket, or `margay-agent bridge` in its pod, whose standard input and output are that socket.
//!
//! ```text
//!  tonic ──HTTP/2──► stdin, stdout of pods/exec ──WebSocket──► API server ──► kubelet ──► margay-agent bridge ──► agent.sock
//! ```

use anyhow::anyhow;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use margay_proto::rpc::agent::agent_client::AgentClient;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tonic::transport::{Channel, Endpoint};

/// An open way to an agent.
pub(crate) struct Bridge {
    channel: Channel,
    process: Option<AttachedProcess>,
}

impl Bridge {
    /// Through a unix socket on this machine.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub(crate) async fn local(socket: &Path) -> anyhow::Result<Self> {
        let failed = |error: &tonic::transport::Error| {
            anyhow!("agent socket {}: {}", socket.display(), innermost(error))
        };
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| failed(&error))?;
        let channel = endpoint.connect().await.map_err(|error| failed(&error))?;
        Ok(Self {
            channel,
            process: None,
        })
    }

    /// Through the agent's pod.
    ///
    /// # Errors
    /// What keeps the process from starting; one that starts and fails is seen by the first call.
    pub(crate) async fn exec(pods: &Api<Pod>, pod: &str) -> kube::Result<Self> {
        let params = AttachParams::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .max_stdin_buf_size(BUFFER)
            .max_stdout_buf_size(BUFFER)
            .max_stderr_buf_size(BUFFER);
        let mut process = pods.exec(pod, BRIDGE, &params).await?;
        let mut stdio = process
            .stdout()
            .zip(process.stdin())
            .map(|(stdout, stdin)| TokioIo::new(tokio::io::join(stdout, stdin)));
        // Asked for once: a channel that loses its process has no way to make another.
        let connector = tower::service_fn(move |_| {
            let stdio = stdio.take().ok_or(std::io::ErrorKind::NotConnected);
            async move { stdio.map_err(std::io::Error::from) }
        });
        // The address is for the HTTP/2 header only.
        let channel = Endpoint::from_static("http://agent").connect_with_connector_lazy(connector);
        Ok(Self {
            channel,
            process: Some(process),
        })
    }

    /// The agent's API. A table of routes can be long.
    pub(crate) fn client(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone()).max_decoding_message_size(MAX_REPLY)
    }

    /// Why a call failed: what the bridge wrote to standard error, else what the call saw.
    pub(crate) async fn why(mut self, status: &tonic::Status) -> anyhow::Error {
        let mut written = Vec::new();
        if let Some(mut stderr) = self.process.as_mut().and_then(AttachedProcess::stderr) {
            let mut chunk = [0; 4096];
            while written.len() < chunk.len()
                && let Ok(Ok(1..)) = tokio::time::timeout(LAST_WORDS, async {
                    let read = stderr.read(&mut chunk).await;
                    written.extend_from_slice(&chunk[..*read.as_ref().unwrap_or(&0)]);
                    read
                })
                .await
            {}
        }
        let written = String::from_utf8_lossy(&written);
        match (written.trim(), std::error::Error::source(status)) {
            // A status without a cause is one that the agent sent.
            ("", None) => anyhow!("the agent refuses: {}", status.message()),
            ("", Some(cause)) => anyhow!("the agent does not answer: {}", innermost(cause)),
            (words, _) => anyhow!("{words}"),
        }
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// What is run in the agent's pod.
const BRIDGE: [&str; 2] = ["margay-agent", "bridge"];
/// Bytes in flight each way.
const BUFFER: usize = 256 * 1024;
/// Bytes of one reply: a million routes.
const MAX_REPLY: usize = 512 * 1024 * 1024;
/// Between a process's end and the last of its standard error.
const LAST_WORDS: Duration = Duration::from_millis(500);
