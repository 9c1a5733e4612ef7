//! The API server asked as somebody else: single requests with a bearer token, so that nothing but the verb under test is needed.

use anyhow::{Context, Result, bail};
use margay_lab::Lab;
use serde_json::Value;
use std::{fs, io::Write, process::Stdio};

/// Somebody with a token.
pub(crate) struct Caller<'a> {
    lab: &'a Lab,
    server: String,
    token: String,
}

/// An answer of the API server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The words of a refusal.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl<'a> Caller<'a> {
    /// Whoever `token` is of.
    pub(crate) fn new(lab: &'a Lab, token: &str) -> Result<Self> {
        let path = "jsonpath={.clusters[0].cluster.server}";
        let server = lab.kubectl(&["config", "view", "--raw", "-o", path])?;
        Ok(Self {
            lab,
            server: server.trim().to_owned(),
            token: token.trim().to_owned(),
        })
    }

    /// One request; a body makes it one with that content type.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.server);
        // -k: the authority is the lab's own, and the token is worth nothing outside of it.
        let limit = ["curl", "-skS", "-g", "--max-time", "10"];
        let mut argv = [&limit[..], &["-X", method, "-K", "-", &url]].concat();
        argv.extend(["-w", "\n%{http_code}"]);
        let text = body.map(|(_, body)| body.to_string());
        let kind = body.map(|(kind, _)| format!("Content-Type: {kind}"));
        if let (Some(text), Some(kind)) = (&text, &kind) {
            argv.extend(["-H", kind, "--data", text]);
        }
        let mut command = self.lab.command("cp", &argv)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Not in the arguments, which every process of the machine can read.
        let header = format!("header = \"Authorization: Bearer {}\"\n", self.token);
        child
            .stdin
            .take()
            .context("stdin is piped")?
            .write_all(header.as_bytes())?;
        let output = child.wait_with_output()?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((body, code)) = answer.rsplit_once('\n').filter(|_| output.status.success())
        else {
            bail!(
                "{method} {path}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        };
        Ok(Answer {
            code: code.parse()?,
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        })
    }
}

/// The token in the agent's pod on `node`, read where the kubelet put it.
pub(crate) fn stolen_token(lab: &Lab, node: &str) -> Result<String> {
    let uid = lab.kubectl(&[
        "get",
        "pods",
        "-n",
        "margay-system",
        "-l",
        "app.kubernetes.io/name=margay-agent",
        "--field-selector",
        &format!("spec.nodeName={node},status.phase=Running"),
        "-o",
        "jsonpath={.items[0].metadata.uid}",
    ])?;
    let pattern = format!(
        "cat /var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected/kube-api-access-*/token"
    );
    let token = lab.exec(node, &["sh", "-c", &pattern])?;
    anyhow::ensure!(
        token.split('.').count() == 3,
        "no token of the agent on {node}"
    );
    Ok(token)
}

/// `docs/NAME` of the checkout.
pub(crate) fn page(name: &str) -> Result<String> {
    let path = crate::cluster::root().join("docs").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
