//! The real binary against a scripted agent on a real socket, and against none.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, also in its helpers"
)]

use margay_proto::rpc::cni::cni_server::{Cni, CniServer};
use margay_proto::rpc::cni::{
    AddReply, Address, Attachment, Error, GcRequest, Interface, Reply, Request, Route,
};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::{Response, Status};

/// An agent that answers every verb with `refusal`, or does what was asked, and writes down what that was.
#[derive(Clone, Default)]
struct Agent {
    refusal: Option<Error>,
    status: Option<Status>,
    silent: bool,
    asked: Arc<Mutex<Vec<(&'static str, Request)>>>,
    collected: Arc<Mutex<Vec<Attachment>>>,
}

impl Agent {
    async fn reply(&self, verb: &'static str, request: Request) -> Result<Response<Reply>, Status> {
        self.asked.lock().unwrap().push((verb, request));
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.status.clone().map_or_else(
            || {
                Ok(Response::new(Reply {
                    error: self.refusal.clone(),
                }))
            },
            Err,
        )
    }

    /// Serves at `socket` until the returned runtime is dropped.
    fn serve(&self, socket: &Path) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inside = runtime.enter();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(CniServer::new(self.clone()));
        runtime.spawn(server.serve_with_incoming(incoming));
        drop(inside);
        runtime
    }
}

#[tonic::async_trait]
impl Cni for Agent {
    async fn add(&self, request: tonic::Request<Request>) -> Result<Response<AddReply>, Status> {
        let request = request.into_inner();
        let netns = request.netns.clone();
        let error = self.reply("ADD", request).await?.into_inner().error;
        if error.is_some() {
            return Ok(Response::new(AddReply {
                error,
                ..Default::default()
            }));
        }
        let link = |name: &str, sandbox: &str| Interface {
            name: name.into(),
            mac: "ee:ee:ee:ee:ee:ee".into(),
            mtu: 1450,
            sandbox: sandbox.into(),
        };
        let address = |address: &str, gateway: &str| Address {
            address: address.into(),
            gateway: gateway.into(),
            interface: 1,
        };
        Ok(Response::new(AddReply {
            error: None,
            interfaces: vec![link("mgy0", ""), link("eth0", &netns)],
            addresses: vec![
                address("10.244.0.7/32", "169.254.1.1"),
                address("fd00::7/128", "fe80::1"),
            ],
            routes: vec![Route {
                destination: "0.0.0.0/0".into(),
                gateway: "169.254.1.1".into(),
            }],
        }))
    }

    async fn del(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.reply("DEL", request.into_inner()).await
    }

    async fn check(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.reply("CHECK", request.into_inner()).await
    }

    async fn status(&self, request: tonic::Request<Request>) -> Result<Response<Reply>, Status> {
        self.reply("STATUS", request.into_inner()).await
    }

    async fn gc(&self, request: tonic::Request<GcRequest>) -> Result<Response<Reply>, Status> {
        let request = request.into_inner();
        *self.collected.lock().unwrap() = request.valid;
        self.reply(
            "GC",
            Request {
                config: request.config,
                ..Default::default()
            },
        )
        .await
    }
}

struct Outcome {
    exit: i32,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {:?} {:?}", self.stdout, self.stderr))
    }
}

/// Runs the plugin as a runtime does; `config` is written to it unless empty.
fn run(verb: &str, config: &str) -> Outcome {
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_margay-cni"));
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_PATH", "/opt/cni/bin");
    if matches!(verb, "ADD" | "DEL" | "CHECK") {
        command
            .env("CNI_CONTAINERID", "0123abcd")
            .env("CNI_NETNS", "/run/netns/a")
            .env("CNI_IFNAME", "eth0");
        command.env(
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;K8S_POD_UID=u-1",
        );
    }
    let mut child = command.spawn().unwrap();
    // As a runtime does: a plugin that has read enough closes its end, and its answer is what counts.
    let written = child.stdin.take().unwrap().write_all(config.as_bytes());
    if let Err(error) = written {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    }
    let output = child.wait_with_output().unwrap();
    Outcome {
        exit: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: started.elapsed(),
    }
}

/// A socket path of the test's own, free to bind.
fn socket(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.sock"));
    let _ = std::fs::remove_file(&path);
    path
}

fn config(version: &str, socket: &Path) -> String {
    json!({"cniVersion": version, "name": "margay", "type": "margay", "socket": socket}).to_string()
}

fn with(config: &str, key: &str, value: Value) -> String {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config[key] = value;
    config.to_string()
}

#[test]
fn add_prints_the_result_in_the_version_asked_for() {
    let (agent, socket) = (Agent::default(), socket("add"));
    let _serving = agent.serve(&socket);
    let outcome = run("ADD", &config("1.1.0", &socket));
    assert_eq!(
        (outcome.exit, outcome.stderr.as_str()),
        (0, ""),
        "{}",
        outcome.stdout
    );
    let newest = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "mgy0", "mac": "ee:ee:ee:ee:ee:ee", "mtu": 1450},
            {"name": "eth0", "mac": "ee:ee:ee:ee:ee:ee", "mtu": 1450, "sandbox": "/run/netns/a"}
        ],
        "ips": [
            {"interface": 1, "address": "10.244.0.7/32", "gateway": "169.254.1.1"},
            {"interface": 1, "address": "fd00::7/128", "gateway": "fe80::1"}
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]
    });
    assert_eq!(outcome.json(), newest);
    let oldest = run("ADD", &config("0.3.1", &socket)).json();
    assert_eq!(oldest["cniVersion"], "0.3.1");
    assert_eq!(
        oldest["ips"][1],
        json!({"version": "6", "interface": 1, "address": "fd00::7/128", "gateway": "fe80::1"})
    );
    let asked = agent.asked.lock().unwrap();
    let (verb, request) = &asked[0];
    assert_eq!(
        (
            *verb,
            request.container_id.as_str(),
            request.ifname.as_str()
        ),
        ("ADD", "0123abcd", "eth0")
    );
    assert_eq!(
        (
            request.pod_namespace.as_str(),
            request.pod_name.as_str(),
            request.pod_uid.as_str()
        ),
        ("ns", "web-0", "u-1")
    );
    assert_eq!(request.config, config("1.1.0", &socket));
}

#[test]
fn the_other_verbs_print_nothing() {
    let (agent, socket) = (Agent::default(), socket("verbs"));
    let _serving = agent.serve(&socket);
    let config = config("1.1.0", &socket);
    let gc = with(
        &config,
        "cni.dev/valid-attachments",
        json!([{"containerID": "a", "ifname": "eth0"}]),
    );
    for (verb, config) in [
        ("DEL", &config),
        ("DEL", &config),
        ("CHECK", &config),
        ("STATUS", &config),
        ("GC", &gc),
    ] {
        let outcome = run(verb, config);
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (0, ""), "{verb}");
    }
    let verbs: Vec<&str> = agent
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(verb, _)| *verb)
        .collect();
    assert_eq!(verbs, ["DEL", "DEL", "CHECK", "STATUS", "GC"]);
    assert_eq!(
        *agent.collected.lock().unwrap(),
        [Attachment {
            container_id: "a".into(),
            ifname: "eth0".into()
        }]
    );
}

#[test]
fn the_agent_s_refusal_is_printed_as_it_is() {
    let refusal = Error {
        code: 11,
        message: "no pool has a free address".into(),
        details: "create another".into(),
    };
    let (agent, socket) = (
        Agent {
            refusal: Some(refusal),
            ..Agent::default()
        },
        socket("refusal"),
    );
    let _serving = agent.serve(&socket);
    for verb in ["ADD", "DEL", "CHECK"] {
        let outcome = run(verb, &config("1.0.0", &socket));
        let expected = json!({"cniVersion": "1.0.0", "code": 11, "msg": "no pool has a free address", "details": "create another"});
        assert_eq!((outcome.exit, outcome.json()), (1, expected), "{verb}");
    }
}

#[test]
fn an_agent_that_breaks_off_is_try_again_and_one_that_misbehaves_is_not() {
    for (status, add, of_status) in [
        (Status::unavailable("shutting down"), 11, 50),
        (Status::unimplemented("?"), 999, 50),
    ] {
        let socket = socket(&format!("status-{add}"));
        let _serving = Agent {
            status: Some(status),
            ..Agent::default()
        }
        .serve(&socket);
        assert_eq!(run("ADD", &config("1.1.0", &socket)).json()["code"], add);
        assert_eq!(
            run("STATUS", &config("1.1.0", &socket)).json()["code"],
            of_status
        );
    }
}

#[test]
fn an_agent_that_is_away_is_try_again_within_five_seconds() {
    let socket = socket("away");
    let verbs = [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("STATUS", 50)];
    std::thread::scope(|scope| {
        for (verb, code) in verbs {
            let socket = &socket;
            scope.spawn(move || {
                let outcome = run(verb, &config("1.1.0", socket));
                assert!(
                    outcome.took < Duration::from_secs(5),
                    "{verb} took {:?}",
                    outcome.took
                );
                let error = outcome.json();
                assert_eq!((outcome.exit, &error["code"]), (1, &json!(code)), "{verb}");
                let message = error["msg"].as_str().unwrap();
                assert!(
                    message.starts_with("the Margay agent on this node is not running ("),
                    "{message}"
                );
                assert!(message.contains("No such file or directory"), "{message}");
                assert!(
                    error["details"]
                        .as_str()
                        .unwrap()
                        .contains("kubectl -n margay-system get pods")
                );
            });
        }
    });
}

#[test]
fn an_agent_that_is_silent_is_try_again_within_five_seconds() {
    let (agent, socket) = (
        Agent {
            silent: true,
            ..Agent::default()
        },
        socket("silent"),
    );
    let _serving = agent.serve(&socket);
    let outcome = run("ADD", &config("1.1.0", &socket));
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    assert_eq!(outcome.json()["code"], 11);
    assert_eq!(
        outcome.json()["msg"],
        "the Margay agent on this node does not answer"
    );
}

#[test]
fn an_agent_that_comes_back_in_time_is_not_noticed() {
    let (agent, socket) = (Agent::default(), socket("restart"));
    // A socket file whose process is gone refuses connections.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    std::thread::scope(|scope| {
        let call = scope.spawn(|| run("DEL", &config("1.1.0", &socket)));
        std::thread::sleep(Duration::from_millis(500));
        std::fs::remove_file(&socket).unwrap();
        let _serving = agent.serve(&socket);
        let outcome = call.join().unwrap();
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (0, ""));
        assert!(outcome.took >= Duration::from_millis(500));
    });
}

#[test]
fn version_needs_no_agent() {
    let versions = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    let outcome = run("VERSION", r#"{"cniVersion":"1.0.0"}"#);
    assert_eq!(
        (outcome.exit, outcome.json()),
        (
            0,
            json!({"cniVersion": "1.0.0", "supportedVersions": versions})
        )
    );
    assert_eq!(run("VERSION", "").json()["supportedVersions"], versions);
}

#[test]
fn bad_input_is_refused_before_the_agent_is_asked() {
    let away = socket("bad-input");
    let good = config("1.1.0", &away);
    let previous = with(&good, "prevResult", json!({"cniVersion": "1.1.0"}));
    let long = with(&good, "padding", json!("x".repeat(1 << 20)));
    for (verb, config, code) in [
        ("ADD", "{", 6),
        ("DEL", "", 6),
        ("ADD", r#"{"cniVersion":"0.2.0","name":"m"}"#, 1),
        ("ADD", r#"{"cniVersion":"1.0.0"}"#, 7),
        ("ADD", &previous, 7),
        ("ADD", &long, 7),
        ("GC", &good, 7),
        ("STATUS", &with(&good, "cniVersion", json!("1.0.0")), 1),
        ("NOPE", &good, 4),
        ("", &good, 4),
    ] {
        let outcome = run(verb, config);
        assert_eq!(
            (outcome.exit, &outcome.json()["code"]),
            (1, &json!(code)),
            "{verb} {}",
            outcome.stdout
        );
        assert!(
            outcome.took < Duration::from_secs(2),
            "{verb} {:?}",
            outcome.took
        );
    }
}
