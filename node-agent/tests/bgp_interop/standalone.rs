//! `margay-agent speaker`, the program itself: two of them and BIRD in a row, as an administrator starts and asks them.
//!
//! ```text
//!   router: BIRD 65001 ── 10.99.0.0/24, fd99::/64 ── ours: speaker 4200000010 ── 10.98.0.0/24, fd98::/64 ── third: speaker 65002
//!   198.51.100.0/24, 2001:db8:100::/48               10.244.0.0/26, fd00:10:244::/122               203.0.113.0/24, 2001:db8:300::/48
//! ```

mod filters;
mod watching;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bird::Bird;
use crate::net::{Place, Process};
use crate::ours::OUR_AS;
use crate::router::Router;
use crate::{OUR_ROUTES, THEIR_ROUTES, until};

const THIRD_ROUTES: [&str; 2] = ["203.0.113.0/24", "2001:db8:300::/48"];
const BIRD_PEER: &str =
    "[[peer]]\naddress = \"10.99.0.1\"\nremote-as = 65001\ndescription = \"bird\"\n";
const THIRD_PEER: &str =
    "[[peer]]\naddress = \"10.98.0.3\"\nremote-as = \"external\"\ndescription = \"third\"\n";

/// One speaker with its files.
struct Speaker<'a> {
    place: &'a Place,
    folder: PathBuf,
    process: Option<Process>,
}

impl<'a> Speaker<'a> {
    fn start(place: &'a Place, folder: &Path, name: &str, file: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut speaker = Self {
            place,
            folder,
            process: None,
        };
        speaker.write(file);
        speaker.run();
        speaker
    }

    fn run(&mut self) {
        let arguments = ["speaker", "--config", &self.path("speaker.toml")].map(str::to_owned);
        let log = self.folder.join("log");
        let agent = env!("CARGO_BIN_EXE_margay-agent");
        self.process = Some(self.place.daemon(agent, &arguments, &log));
        until("the speaker answers", || {
            self.ctl(&["version"]).status.success().then_some(())
        });
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, file: &str) {
        let socket = format!("socket = {:?}\n", self.path("speaker.sock"));
        std::fs::write(self.folder.join("speaker.toml"), socket + file).unwrap();
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// Ends it as an administrator would.
    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.process.take().unwrap().ended(), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(margayctl());
        command.args(["--socket", &self.path("speaker.sock")]);
        command.args(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(&[arguments, &["-o", "json"]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What `bgp peers` says of a peer.
    fn peer(&self, name: &str) -> Option<Value> {
        let reply = self.json(&["bgp", "peers"]);
        let peers = reply["nodes"][0]["peers"].as_array()?;
        peers.iter().find(|peer| peer["name"] == name).cloned()
    }

    fn established(&self, name: &str) {
        until(&format!("session with {name}\n{}", self.log()), || {
            (self.peer(name)?["state"] == "Established").then_some(())
        });
    }

    /// The kernel's route of ours for a prefix, on one line.
    fn kernel(&self, prefix: &str) -> Option<String> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let arguments = [family, "route", "show", "exact", prefix, "proto", "83"];
        let output = self.place.command("ip").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then_some(line)
    }
}

/// The command line's program, which lies beside the agent's; built if only this package was.
fn margayctl() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_margay-agent")).with_file_name("margayctl");
    if !program.exists() {
        let profile = if program.parent().unwrap().ends_with("release") {
            "release"
        } else {
            "dev"
        };
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "-p",
                "margayctl",
                "--bin",
                "margayctl",
            ])
            .args(["--profile", profile])
            .status()
            .unwrap();
        assert!(
            built.success() && program.exists(),
            "{} cannot be built",
            program.display()
        );
    }
    program
}

/// The speaker in the middle: what it learns it passes on.
fn middle(peers: &str) -> String {
    format!(
        "name = \"middle\"\nrouter-id = \"10.99.0.2\"\nas = {OUR_AS}\n
        [defaults]\nimport = \"all\"\nexport = \"all\"\nconnect-retry-seconds = 1\n
        {peers}
        [[route]]\nprefix = \"{}\"\n[[route]]\nprefix = \"{}\"\ncommunities = [\"65000:7\"]\n",
        OUR_ROUTES[0], OUR_ROUTES[1]
    )
}

fn third() -> String {
    format!(
        "name = \"third\"\nrouter-id = \"10.98.0.3\"\nas = 65002\n
        [[peer]]\naddress = \"10.98.0.2\"\nremote-as = {OUR_AS}\ndescription = \"middle\"\npassive = true\nimport = \"all\"\nexport = \"own\"\n
        [[route]]\nprefix = \"{}\"\n[[route]]\nprefix = \"{}\"\n",
        THIRD_ROUTES[0], THIRD_ROUTES[1]
    )
}

fn third_place(ours: &Place) -> Place {
    let third = Place::new();
    let namespace = third.path();
    ours.ip(&[
        "link", "add", "up1", "type", "veth", "peer", "name", "up1", "netns", &namespace,
    ]);
    for (place, host) in [(ours, 2), (&third, 3)] {
        place.ip(&["link", "set", "lo", "up"]);
        place.ip(&[
            "address",
            "add",
            &format!("10.98.0.{host}/24"),
            "dev",
            "up1",
        ]);
        place.ip(&[
            "address",
            "add",
            &format!("fd98::{host}/64"),
            "dev",
            "up1",
            "nodad",
        ]);
        place.ip(&["link", "set", "up1", "up"]);
    }
    third
}

/// Routes of both families from one end of the row to the other, in every table and in the kernels.
fn routes_go_through(bird: &Bird, middle: &Speaker<'_>, third: &Speaker<'_>) {
    for (prefix, next_hop) in THEIR_ROUTES {
        until(
            &format!("{prefix} in the middle's kernel via BIRD\n{}", middle.log()),
            || {
                middle
                    .kernel(prefix)
                    .filter(|route| route.contains(&format!("via {next_hop} ")))
            },
        );
    }
    for (prefix, next_hop) in THIRD_ROUTES.into_iter().zip(["10.98.0.3", "fd98::3"]) {
        until(
            &format!("{prefix} in the middle's kernel via the third"),
            || {
                middle
                    .kernel(prefix)
                    .filter(|route| route.contains(&format!("via {next_hop} ")))
            },
        );
        until(&format!("{prefix} at BIRD"), || bird.route(prefix));
    }
    let far = THEIR_ROUTES
        .map(|(prefix, _)| prefix)
        .into_iter()
        .chain(OUR_ROUTES);
    for (prefix, next_hop) in far.zip(["10.98.0.2", "fd98::2"].into_iter().cycle()) {
        until(
            &format!("{prefix} in the third's kernel via the middle"),
            || {
                third
                    .kernel(prefix)
                    .filter(|route| route.contains(&format!("via {next_hop} ")))
            },
        );
    }
}

#[test]
fn two_speakers_and_bird() {
    // Before any deadline runs.
    margayctl();
    let bird = Bird::start(OUR_AS.0);
    let net = bird.net();
    let place = third_place(&net.ours);
    let mut middle_speaker = Speaker::start(&net.ours, &net.folder, "middle", &middle(BIRD_PEER));
    let third_speaker = Speaker::start(&place, &net.folder, "third", &third());
    middle_speaker.established("bird");

    a_bad_file_changes_nothing(&middle_speaker);
    a_new_peer_touches_no_other(&bird, &middle_speaker);
    third_speaker.established("middle");
    routes_go_through(&bird, &middle_speaker, &third_speaker);
    the_views_agree(&bird, &middle_speaker);
    routes_go_through(&bird, &middle_speaker, &third_speaker);
    a_restart_is_not_noticed(&bird, &mut middle_speaker, &third_speaker);
    routes_go_through(&bird, &middle_speaker, &third_speaker);

    // Without `fib` the kernel has nothing of ours, and the session stays.
    let both = middle(&[BIRD_PEER, THIRD_PEER].concat());
    middle_speaker.write(&both.replace("[defaults]", "[kernel]\nfib = false\n[defaults]"));
    middle_speaker.signal(Signal::SIGHUP);
    for prefix in THIRD_ROUTES {
        until(&format!("{prefix} leaves the kernel"), || {
            middle_speaker.kernel(prefix).is_none().then_some(())
        });
    }
    middle_speaker.established("third");
}

fn a_bad_file_changes_nothing(speaker: &Speaker<'_>) {
    let before = speaker.peer("bird").unwrap();
    speaker.write(&middle(
        "[[peer]]\naddress = \"10.98.0.3\"\nremote-as = 0\n",
    ));
    speaker.signal(Signal::SIGHUP);
    until("the log says what is wrong", || {
        let log = speaker.log();
        (log.contains("what is running stays as it is")
            && log.contains("peer 10.98.0.3: remote-as 0"))
        .then_some(())
    });
    let after = speaker.peer("bird").unwrap();
    assert_eq!(after["state"], "Established");
    assert!(after["sinceSeconds"].as_u64() >= before["sinceSeconds"].as_u64());
    assert_eq!(speaker.peer("third"), None);
}

fn a_new_peer_touches_no_other(bird: &Bird, speaker: &Speaker<'_>) {
    // BIRD counts from when the session came up, and shows a time that is off by a millisecond now and then. A new session takes a
    // second, by its connect delay.
    let since = |text: String| {
        let line = text.lines().find(|line| line.starts_with("margay"));
        let time = line.unwrap().split_whitespace().nth(4).unwrap();
        let parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
        parts.fold(0.0, |sum, part| sum * 60.0 + part)
    };
    let before = since(bird.birdc("show protocols margay"));
    speaker.write(&middle(&[BIRD_PEER, THIRD_PEER].concat()));
    speaker.signal(Signal::SIGHUP);
    speaker.established("third");
    let after = since(bird.birdc("show protocols margay"));
    assert!((after - before).abs() < 0.5, "{before} -> {after}");
    assert!(
        !speaker.log().contains("BGP session ended"),
        "{}",
        speaker.log()
    );
}

/// What `margayctl` shows of the session with BIRD, and what it does to it.
fn the_views_agree(bird: &Bird, speaker: &Speaker<'_>) {
    let peer = speaker.json(&["bgp", "peer", "bird"]);
    let peer = &peer["nodes"][0]["peers"][0];
    assert_eq!(peer["routerId"], "10.99.0.1", "{peer}");
    assert_eq!(peer["localAddress"], "10.99.0.2");
    for family in 0..2 {
        let counts = &peer["families"][family];
        // BIRD announces one route of each family and learns ours and the third's.
        assert_eq!(
            (&counts["received"], &counts["rejected"]),
            (&1.into(), &0.into()),
            "{peer}"
        );
        assert_eq!(counts["agreed"], true);
    }
    let prefixes = |arguments: &[&str]| {
        let reply = speaker.json(&[&["bgp", "routes"], arguments].concat());
        let routes = reply["nodes"][0]["routes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let prefixes = routes
            .iter()
            .map(|route| route["prefix"].as_str().unwrap().to_owned());
        prefixes.collect::<Vec<_>>()
    };
    assert_eq!(
        prefixes(&["--in", "10.99.0.1"]),
        THEIR_ROUTES.map(|(prefix, _)| prefix)
    );
    let told = prefixes(&["--out", "bird"]);
    for prefix in OUR_ROUTES.into_iter().chain(THIRD_ROUTES) {
        assert!(
            told.iter().any(|one| one == prefix),
            "{told:?} lacks {prefix}"
        );
        assert!(bird.route(prefix).is_some());
    }
    assert_eq!(prefixes(&["--best", THIRD_ROUTES[0]]), [THIRD_ROUTES[0]]);

    // BIRD answers the ROUTE-REFRESH of each family, in the same session.
    let updates = |name: &str| {
        let peer = speaker.json(&["bgp", "peer", "bird"]);
        peer["nodes"][0]["peers"][0]["counters"][name]
            .as_u64()
            .unwrap()
    };
    let before = (updates("updatesReceived"), updates("updatesSent"));
    let done = speaker.json(&["bgp", "reset", "bird", "--soft"]);
    assert_eq!(
        done["nodes"][0]["peers"][0]["done"],
        "routes asked for and told again"
    );
    until("both sides have told their routes again", || {
        let now = (updates("updatesReceived"), updates("updatesSent"));
        (now.0 >= before.0 + 2 && now.1 >= before.1 + 2).then_some(())
    });
    let peer = speaker.json(&["bgp", "peer", "bird"]);
    assert_eq!(peer["nodes"][0]["peers"][0]["establishedCount"], 1);

    assert!(speaker.ctl(&["bgp", "reset", "bird"]).status.success());
    until("the session has started anew", || {
        let peer = speaker.json(&["bgp", "peer", "bird"]);
        let peer = &peer["nodes"][0]["peers"][0];
        let said = peer["lastSent"]["text"]
            .as_str()?
            .contains("administrative reset");
        (said && peer["establishedCount"] == 2).then_some(())
    });
    for prefix in OUR_ROUTES.into_iter().chain(THIRD_ROUTES) {
        until(&format!("{prefix} at BIRD again"), || bird.route(prefix));
    }
    for (prefix, _) in THEIR_ROUTES {
        until(&format!("{prefix} in the kernel again"), || {
            speaker.kernel(prefix)
        });
    }
}

/// SIGTERM and a new start: neither neighbour loses a route, neither kernel.
fn a_restart_is_not_noticed(bird: &Bird, speaker: &mut Speaker<'_>, third: &Speaker<'_>) {
    let all_there = |speaker: &Speaker<'_>| {
        for prefix in OUR_ROUTES.into_iter().chain(THIRD_ROUTES) {
            assert!(bird.route(prefix).is_some(), "{prefix} is gone at BIRD");
        }
        for prefix in OUR_ROUTES
            .into_iter()
            .chain(THEIR_ROUTES.map(|(prefix, _)| prefix))
        {
            assert!(
                third.kernel(prefix).is_some(),
                "{prefix} is gone at the third"
            );
        }
        for prefix in THIRD_ROUTES
            .into_iter()
            .chain(THEIR_ROUTES.map(|(prefix, _)| prefix))
        {
            assert!(
                speaker.kernel(prefix).is_some(),
                "{prefix} is gone in the middle"
            );
        }
    };
    all_there(speaker);
    speaker.stop();
    until("BIRD and the third have noticed", || {
        let third_sees = third.peer("middle")?["state"] != "Established";
        (third_sees && !bird.established()).then_some(())
    });
    all_there(speaker);
    speaker.run();
    until(
        "both sessions are back, with every route kept throughout",
        || {
            all_there(speaker);
            let up = speaker.peer("third")?["state"] == "Established";
            (up && bird.established()).then_some(())
        },
    );
    for prefix in OUR_ROUTES.into_iter().chain(THIRD_ROUTES) {
        until(&format!("{prefix} is fresh again at BIRD"), || {
            all_there(speaker);
            bird.route(prefix).filter(|route| !bird.is_stale(route))
        });
    }
}

#[test]
fn a_file_with_faults_is_refused_with_all_of_them() {
    let folder = std::env::temp_dir().join(format!("margay-speaker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("speaker.toml");
    std::fs::write(&file, "router-id = \"0.0.0.0\"\nas = 0\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_margay-agent"));
        agent
            .args(["speaker", "--config"])
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap()
    };
    for arguments in [&["--check"][..], &[]] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for piece in [
            &file.display().to_string(),
            "as 0 is not",
            "router-id 0.0.0.0",
        ] {
            assert!(said.contains(piece), "{said} lacks {piece}");
        }
    }
    std::fs::write(&file, "router-id = \"192.0.2.1\"\nas = 65000\n").unwrap();
    assert!(run(&["--check"]).status.success());
    std::fs::remove_dir_all(&folder).unwrap();
}
