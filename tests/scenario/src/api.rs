//! Requests to the API server in milliseconds: `kubectl proxy` runs in the lab, and we speak HTTP with it over a unix socket.
//! `kubectl` itself needs a tenth of a second for each.

use anyhow::{Context, Result, bail};
use margay_lab::{Lab, Running, Seen, wait_until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(10);

/// The API server as the cluster's administrator sees it.
#[derive(Debug)]
pub(crate) struct Api {
    _proxy: Running,
    socket: PathBuf,
}

/// What a body is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    None,
    /// For POST and PUT, as the next.
    Yaml(&'a str),
    Protobuf(&'a [u8]),
    /// For PATCH: a server-side apply.
    Apply(&'a str),
    /// For PATCH: a JSON merge patch.
    Merge(&'a str),
}

impl Api {
    /// Starts the proxy; it ends with the value.
    ///
    /// # Errors
    /// If it does not serve within seconds.
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        let name = format!("margay-{}-{}.sock", lab.spec().name, std::process::id());
        let socket = std::env::temp_dir().join(name);
        // One of an earlier run with our process id.
        let _ = std::fs::remove_file(&socket);
        let argument = format!("--unix-socket={}", socket.display());
        let proxy = lab.spawn("cp", &["kubectl", "proxy", &argument])?;
        let api = Self {
            _proxy: proxy,
            socket,
        };
        wait_until("kubectl proxy serves", LIMIT, || {
            api.get("/readyz/ping").map(|_| Seen::Holds(()))
        })?;
        Ok(api)
    }

    /// An object or a list.
    ///
    /// # Errors
    /// If the API server refuses.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, Body::None)
    }

    /// Creates or changes an object by server-side apply; `manifest` is YAML or JSON.
    ///
    /// # Errors
    /// If the API server refuses.
    pub(crate) fn apply(&self, path: &str, manifest: &str) -> Result<Value> {
        let path = format!("{path}?fieldManager=scenario&force=true");
        self.call("PATCH", &path, Body::Apply(manifest))
    }

    /// Replaces an object of a collection whole, or creates it; `manifest` is YAML or JSON. Unlike an apply it leaves no field of before.
    ///
    /// # Errors
    /// If the API server refuses.
    pub(crate) fn replace(&self, collection: &str, name: &str, manifest: &str) -> Result<()> {
        let path = format!("{collection}/{name}");
        let (status, text) = self.request("PUT", &path, Body::Yaml(manifest))?;
        match status {
            404 => self
                .call("POST", collection, Body::Yaml(manifest))
                .map(drop),
            200..300 => Ok(()),
            _ => bail!("PUT {path}: {status} {}", message(&text)),
        }
    }

    /// Changes fields.
    ///
    /// # Errors
    /// If the API server refuses.
    pub(crate) fn merge(&self, path: &str, patch: &str) -> Result<Value> {
        self.call("PATCH", path, Body::Merge(patch))
    }

    /// Deletes an object or a collection; what is not there is deleted.
    ///
    /// # Errors
    /// If the API server refuses.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        let (status, text) = self.request("DELETE", path, Body::None)?;
        if status >= 300 && status != 404 {
            bail!("DELETE {path}: {status} {}", message(&text));
        }
        Ok(())
    }

    /// Any call that must succeed.
    ///
    /// # Errors
    /// If the API server refuses: with its message.
    pub(crate) fn call(&self, method: &str, path: &str, body: Body<'_>) -> Result<Value> {
        let (status, text) = self.request(method, path, body)?;
        if status >= 300 {
            bail!("{method} {path}: {status} {}", message(&text));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Status and body of the answer. HTTP/1.0 keeps both ends simple: the body ends with the connection.
    fn request(&self, method: &str, path: &str, body: Body<'_>) -> Result<(u16, String)> {
        let (kind, bytes) = match body {
            Body::None => ("application/json", &b""[..]),
            Body::Yaml(text) => ("application/yaml", text.as_bytes()),
            Body::Protobuf(bytes) => ("application/vnd.kubernetes.protobuf", bytes),
            Body::Apply(text) => ("application/apply-patch+yaml", text.as_bytes()),
            Body::Merge(text) => ("application/merge-patch+json", text.as_bytes()),
        };
        let mut stream = UnixStream::connect(&self.socket).context("kubectl proxy")?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        )?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .with_context(|| format!("{method} {path}: no HTTP in {answer:?}"))?;
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("{method} {path}: no status in {head:?}"))?;
        Ok((status, body.to_owned()))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What a `Status` object says, or all of the text.
fn message(text: &str) -> String {
    let status: Value = serde_json::from_str(text).unwrap_or_default();
    status["message"].as_str().unwrap_or(text).to_owned()
}
