//! The real binary: against an agent's socket, without a cluster, and used wrongly.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, also in its helpers"
)]

mod scripted;

use margay_proto::rpc::agent::agent_server::AgentServer;
use scripted::Scripted;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Serves at a socket of the test's own until the runtime is dropped.
fn serve(test: &str) -> (PathBuf, tokio::runtime::Runtime) {
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ctl-{test}.sock"));
    let _ = std::fs::remove_file(&socket);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inside = runtime.enter();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(AgentServer::new(Scripted));
    runtime.spawn(server.serve_with_incoming(incoming));
    drop(inside);
    (socket, runtime)
}

/// Runs it in an environment without a cluster.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_margayctl"));
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn an_agent_is_asked_through_its_socket() {
    let (socket, _serving) = serve("asked");
    let socket = socket.to_str().unwrap();
    let peers = run(&["bgp", "peers", "--socket", socket]);
    assert_eq!(peers.status.code(), Some(0), "{}", stderr(&peers));
    let golden = "\
NODE   PEER   ADDRESS      AS      STATE         SINCE   RECEIVED   ADVERTISED   REASON
n1     tor1   172.31.1.1   65101   Established   0s      0          0            -
";
    assert_eq!(stdout(&peers), golden);
    let version = run(&["--socket", socket, "version", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(json["nodes"][0]["node"], "n1");
    let route = run(&[
        "bgp",
        "routes",
        "--socket",
        socket,
        "-o",
        "yaml",
        "10.244.0.7",
    ]);
    assert!(
        stdout(&route).contains("prefix: \"10.244.0.7\"\n"),
        "{}",
        stdout(&route)
    );
    let none = run(&["bgp", "routes", "--socket", socket, "192.0.2.1"]);
    assert_eq!(
        (none.status.code(), stdout(&none), stderr(&none)),
        (Some(0), "", "no route for 192.0.2.1\n")
    );
}

#[test]
fn one_peer_is_shown_whole_and_reset() {
    let (socket, _serving) = serve("peer");
    let ask = |arguments: &[&str]| {
        run(&[&["--socket", socket.to_str().unwrap(), "bgp"], arguments].concat())
    };
    let peer = ask(&["peer", "tor1"]);
    let begin = "n1: peer 172.31.1.1 BGPPeer/tor1\n  state          Established for 1m1s";
    assert!(stdout(&peer).starts_with(begin), "{}", stdout(&peer));
    let json = ask(&["peer", "tor1", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["nodes"][0]["peers"][0]["uptimeSeconds"], 61);
    let nobody = ask(&["peer", "tor9"]);
    let golden = "error: no peer tor9: `margayctl bgp peers` lists them by name and address\n";
    assert_eq!((nobody.status.code(), stderr(&nobody)), (Some(1), golden));
    for (arguments, done) in [
        (&["reset", "tor1"][..], "hard"),
        (&["reset", "tor1", "--soft"], "soft"),
    ] {
        let golden =
            format!("NODE   PEER   ADDRESS      DONE\nn1     tor1   172.31.1.1   {done}\n");
        assert_eq!(stdout(&ask(arguments)), golden);
    }
    let nowhere = run(&["bgp", "reset", "tor1"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(
        stderr(&nowhere).contains("--all-nodes"),
        "{}",
        stderr(&nowhere)
    );
}

#[test]
fn views_of_the_table_are_asked_for() {
    let (socket, _serving) = serve("views");
    for (arguments, from) in [
        (&[][..], "VIEW_ALL"),
        (&["--best"], "VIEW_BEST"),
        (&["--in", "tor1"], "VIEW_IN tor1"),
        (&["--out", "172.31.1.1"], "VIEW_OUT 172.31.1.1"),
    ] {
        let ask = [
            "--socket",
            socket.to_str().unwrap(),
            "bgp",
            "routes",
            "10.0.0.0/8",
        ];
        let routes = run(&[&ask, arguments].concat());
        assert!(
            stdout(&routes).contains(from),
            "{}{}",
            stdout(&routes),
            stderr(&routes)
        );
    }
    let both = run(&["bgp", "routes", "--in", "a", "--out", "b"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn watching_begins_with_the_table_and_ends_with_its_reader() {
    let (socket, _serving) = serve("watch");
    let mut child = Command::new(env!("CARGO_BIN_EXE_margayctl"))
        .args([
            "bgp",
            "peers",
            "--watch",
            "--socket",
            socket.to_str().unwrap(),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with("NODE   PEER"));
    assert!(lines.next().unwrap().unwrap().starts_with("n1     tor1"));
    child.kill().unwrap();
    child.wait().unwrap();
    let json = run(&[
        "bgp",
        "peers",
        "--watch",
        "-o",
        "json",
        "--socket",
        socket.to_str().unwrap(),
    ]);
    assert_eq!(json.status.code(), Some(2));
}

#[test]
fn a_monitor_prints_a_line_an_event_and_ends_with_its_reader() {
    let (socket, _serving) = serve("monitor");
    let first = |more: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_margayctl"))
            .args(["bgp", "monitor", "--socket", socket.to_str().unwrap()])
            .args(more)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        let lines = std::io::BufRead::lines(output).take(2 - more.len() / 2);
        let lines: Vec<_> = lines.map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    let table = first(&[]);
    assert!(table[0].starts_with("TIME "), "{table:?}");
    assert!(
        table[1].starts_with("1970-01-01T00:00:00.000Z n1           established 172.31.1.1"),
        "{table:?}"
    );
    let json = first(&["-o", "json"]);
    assert!(
        json[0].starts_with("{\"node\":\"n1\",\"atMilliseconds\":0,\"event\":\"established\""),
        "{json:?}"
    );
    let socket = ["--socket", socket.to_str().unwrap()];
    let nobody = run(&[&["bgp", "monitor", "--peer", "nobody"][..], &socket].concat());
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr(&nobody).contains("no peer nobody"),
        "{}",
        stderr(&nobody)
    );
    let yaml = run(&[&["bgp", "monitor", "-o", "yaml"][..], &socket].concat());
    assert_eq!(yaml.status.code(), Some(2));
}

#[test]
fn a_route_is_explained_through_the_socket() {
    let (socket, _serving) = serve("why");
    let socket = socket.to_str().unwrap();
    let arguments = ["bgp", "why", "10.244.0.0/26", "--peer", "172.31.1.1"];
    let why = run(&[&arguments[..], &["--socket", socket]].concat());
    assert_eq!(why.status.code(), Some(0), "{}", stderr(&why));
    let golden = "\
NODE   PREFIX          WAY   PEER         RESULT     WHY
n1     10.244.0.0/26   to    172.31.1.1   not told   there is no session with the peer
";
    assert_eq!(stdout(&why), golden);
    let wrong = run(&["bgp", "why", "10.244.0.0/26", "--peer", ""]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("--peer"), "{}", stderr(&wrong));
}

#[test]
fn a_doctor_that_finds_an_error_exits_with_1() {
    let (socket, _serving) = serve("doctor");
    let socket = socket.to_str().unwrap();
    let doctor = run(&["doctor", "--socket", socket]);
    assert_eq!(doctor.status.code(), Some(1));
    let golden = "\
SEVERITY   NODE   OBJECT     WHAT                         REMEDY
error      n1     bgp-port   port 179 is in use by bird   mend it
1 ok, 0 warnings, 1 error
";
    assert_eq!(stdout(&doctor), golden);
    let yaml = run(&["doctor", "--socket", socket, "-o", "yaml"]);
    assert!(
        stdout(&yaml).contains("severity: error"),
        "{}",
        stdout(&yaml)
    );
}

#[test]
fn a_long_table_arrives_whole() {
    let (socket, _serving) = serve("long");
    let routes = run(&["bgp", "routes", "--socket", socket.to_str().unwrap()]);
    assert_eq!(
        stdout(&routes).lines().count(),
        60_001,
        "{}",
        stderr(&routes)
    );
}

#[test]
fn an_agent_that_is_away_is_an_error() {
    let output = run(&["bgp", "peers", "--socket", "/nonexistent/agent.sock"]);
    let golden =
        "error: agent socket /nonexistent/agent.sock: No such file or directory (os error 2)\n";
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), golden));
}

#[test]
fn without_a_cluster_the_error_says_how_to_name_one() {
    let output = run(&["pool", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: no cluster: "),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).ends_with("give --kubeconfig or set KUBECONFIG\n"),
        "{}",
        stderr(&output)
    );
    let version = run(&["version"]);
    assert_eq!(version.status.code(), Some(1));
    assert!(
        stdout(&version).contains("margayctl"),
        "{}",
        stdout(&version)
    );
    assert_eq!(run(&["version", "--client"]).status.code(), Some(0));
}

#[test]
fn an_api_server_that_is_away_is_named() {
    let kubeconfig = Path::new(env!("CARGO_TARGET_TMPDIR")).join("away.kubeconfig");
    // Port 9 (discard) of the loopback: nothing listens.
    let text = "{apiVersion: v1, kind: Config, current-context: a, users: [{name: a, user: {}}],
        clusters: [{name: a, cluster: {server: \"http://127.0.0.1:9\"}}],
        contexts: [{name: a, context: {cluster: a, user: a}}]}";
    std::fs::write(&kubeconfig, text).unwrap();
    let kubeconfig = kubeconfig.to_str().unwrap();
    for arguments in [
        &["pool", "list"][..],
        &["ipam", "show"],
        &["bgp", "peers"],
        &["pool", "delete", "x"],
    ] {
        let output = run(&[arguments, &["--kubeconfig", kubeconfig]].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("the API server http://127.0.0.1:9/ cannot be reached: "),
            "{text}"
        );
        assert!(text.contains("refused"), "{text}");
    }
    let output = run(&["pool", "list", "--kubeconfig", kubeconfig, "--context", "b"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("context"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_2_and_says_what_is_meant() {
    for (arguments, hint) in [
        (
            &["pool", "create", "p", "--cidr", "10.0.3.0/16"][..],
            "did you mean 10.0.0.0/16?",
        ),
        (
            &[
                "pool",
                "create",
                "p",
                "--cidr",
                "10.0.0.0/16",
                "--block-size",
                "12",
            ],
            "spec.blockSize",
        ),
        (
            &[
                "pool",
                "create",
                "p",
                "--cidr",
                "10.0.0.0/16",
                "--node-selector",
                "rack",
            ],
            "is not key=value",
        ),
        (&["pool", "list", "--socket", "/x"], "--socket /x"),
        (
            &["bgp", "peers", "--socket", "/nonexistent", "--node", "n1"],
            "exclude each other",
        ),
        (
            &["version", "--client", "--node", "n1"],
            "cannot be used with",
        ),
        (&["nope"], "unrecognized subcommand"),
    ] {
        let output = run(arguments);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(
            stderr(&output).contains(hint),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let link = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-margay");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_margayctl"), &link).unwrap();
    let help = Command::new(link)
        .args(["pool", "create", "--help"])
        .output()
        .unwrap();
    assert!(
        stdout(&help).contains("Usage: kubectl margay pool create"),
        "{}",
        stdout(&help)
    );
    assert!(stdout(&help).contains("Examples:"));
}
