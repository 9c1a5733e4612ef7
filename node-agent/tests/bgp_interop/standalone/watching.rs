//! `bgp monitor`, `/metrics` and the log of a standalone speaker while a session with BIRD comes, is filtered and goes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

const PORT: u16 = 9179;
const WITHOUT_V4: &str = "
[[filter]]
name = \"in\"
[[filter.rule]]
match.prefixes = [{ prefix = \"0.0.0.0/0\", ge = 1 }]
action = \"reject\"
";

fn file(peer: &str, filters: &str) -> String {
    format!(
        "name = \"one\"\nrouter-id = \"10.99.0.2\"\nas = {OUR_AS}\nmetrics-port = {PORT}\n{peer}
        [[route]]\nprefix = \"{}\"\n[[route]]\nprefix = \"{}\"\n{filters}",
        OUR_ROUTES[0], OUR_ROUTES[1]
    )
}

/// A monitor that writes into a file.
struct Monitor {
    file: PathBuf,
    _process: Process,
}

impl Monitor {
    fn start(speaker: &Speaker<'_>, name: &str, more: &[&str]) -> Self {
        let file = speaker.folder.join(name);
        let socket = speaker.path("speaker.sock");
        let arguments = [&["--socket", &socket, "bgp", "monitor"], more].concat();
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let program = margayctl().display().to_string();
        Self {
            _process: speaker.place.daemon(&program, &arguments, &file),
            file,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// Waits for an event, in JSON lines.
    fn event(&self, event: &str, about: &str) -> Value {
        until(&format!("{event} {about} in\n{}", self.text()), || {
            let text = self.text();
            let events = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let mut events = events.filter(|found: &Value| found["event"] == event);
            events.find(|found| found["route"]["prefix"] == about || found["peers"][0] == about)
        })
    }
}

#[test]
fn what_happens_is_seen_by_monitor_metrics_and_log() {
    margayctl();
    let bird = Bird::start(OUR_AS.0);
    let net = bird.net();
    let speaker = Speaker::start(&net.ours, &net.folder, "one", &file("", ""));
    let table = Monitor::start(&speaker, "table", &["--sessions"]);
    until("the monitor listens", || {
        table.text().starts_with("TIME ").then_some(())
    });
    let json = Monitor::start(&speaker, "json", &["-o", "json"]);
    let v6 = Monitor::start(&speaker, "v6", &["--family", "ipv6"]);
    until("all listen", || {
        // Nothing tells that a JSON reader is there; the third asks after it.
        v6.text().starts_with("TIME ").then_some(())
    });

    let peer = "[[peer]]\naddress = \"10.99.0.1\"\nremote-as = 65001\ndescription = \"bird\"\nconnect-retry-seconds = 1\nimport = \"all\"\nexport = \"own\"\nmax-prefixes = 100\n";
    reread(&speaker, &file(peer, ""));
    let up = json.event("established", "10.99.0.1");
    assert_eq!((&up["name"], &up["node"]), (&"bird".into(), &"one".into()));
    for (prefix, next_hop) in THEIR_ROUTES {
        let heard = json.event("announced", prefix);
        assert_eq!(heard["peers"][0], "10.99.0.1", "{heard}");
        assert_eq!(heard["route"]["asPath"], "65001", "{heard}");
        let best = json.event("best", prefix);
        assert_eq!(best["route"]["nextHops"][0], next_hop, "{best}");
    }
    metrics_agree(&speaker);

    let filtered = peer.replace("import =", "import-filters = [\"in\"]\nimport =");
    reread(&speaker, &file(&filtered, WITHOUT_V4));
    json.event("unreachable", THEIR_ROUTES[0].0);
    until("the metrics tell of the refused route", || {
        let line =
            "margay_bgp_peer_prefixes{peer=\"10.99.0.1\",family=\"ipv4\",kind=\"rejected\"} 1";
        scrape(&speaker).contains(line).then_some(())
    });
    assert!(bird.established());

    reread(&speaker, &file("", ""));
    let end = json.event("ended", "10.99.0.1");
    assert_eq!(end["reason"], "peer is no longer configured", "{end}");
    json.event("unreachable", THEIR_ROUTES[1].0);
    until("its series end", || {
        (!scrape(&speaker).contains("10.99.0.1")).then_some(())
    });
    assert!(
        !json.text().contains("\"event\":\"missed\""),
        "{}",
        json.text()
    );

    let (table, v6) = (table.text(), v6.text());
    let events: Vec<_> = table.lines().skip(1).collect();
    assert!(
        events.len() == 2 && events[0].contains("established") && events[1].contains("ended"),
        "{table}"
    );
    assert!(
        v6.contains(THEIR_ROUTES[1].0) && !v6.contains(THEIR_ROUTES[0].0),
        "{v6}"
    );
    let log = speaker.log();
    for line in [
        "BGP session established peer=10.99.0.1 name=\"bird\"",
        "BGP session ended peer=10.99.0.1 name=\"\" reason=\"peer is no longer configured\" routes_kept=false",
    ] {
        assert!(log.contains(line), "{line} is missing in\n{log}");
    }
}

fn reread(speaker: &Speaker<'_>, file: &str) {
    speaker.write(file);
    speaker.signal(Signal::SIGHUP);
}

/// Of a session that is up, with everything in the kernel.
fn metrics_agree(speaker: &Speaker<'_>) {
    for (prefix, _) in THEIR_ROUTES {
        until(&format!("{prefix} in the kernel"), || {
            speaker.kernel(prefix)
        });
    }
    let peer = "peer=\"10.99.0.1\"";
    let lines = [
        format!("margay_bgp_peer_state{{{peer}}} 6"),
        format!(
            "margay_bgp_peer_configured{{{peer},name=\"bird\",remote_as=\"65001\",local_as=\"{OUR_AS}\"}} 1"
        ),
        format!("margay_bgp_session_transitions_total{{{peer},to=\"up\"}} 1"),
        format!("margay_bgp_peer_prefixes{{{peer},family=\"ipv4\",kind=\"received\"}} 1"),
        format!("margay_bgp_peer_prefixes{{{peer},family=\"ipv6\",kind=\"accepted\"}} 1"),
        format!("margay_bgp_peer_prefixes{{{peer},family=\"ipv4\",kind=\"advertised\"}} 1"),
        format!("margay_bgp_peer_prefix_limit{{{peer},family=\"ipv6\"}} 100"),
        "margay_bgp_table_prefixes{family=\"ipv4\"} 2".to_owned(),
        "margay_bgp_table_paths{family=\"ipv6\"} 2".to_owned(),
        "margay_bgp_update_groups 1".to_owned(),
        "margay_kernel_writes_total{object=\"route\",action=\"written\"} 2".to_owned(),
    ];
    until(
        &format!(
            "the metrics say\n{}\nand are\n{}",
            lines.join("\n"),
            scrape(speaker)
        ),
        || {
            let text = scrape(speaker);
            let said = |line: &String| text.lines().any(|found| found == line);
            lines.iter().all(said).then_some(())
        },
    );
    let text = scrape(speaker);
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let updates = format!("margay_bgp_peer_updates_total{{{peer},direction=\"sent\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&updates));
    assert!(
        count.is_some_and(|count| count.parse::<u64>().unwrap() >= 2),
        "{text}"
    );
}

/// `/metrics`, asked for in the speaker's namespace.
fn scrape(speaker: &Speaker<'_>) -> String {
    let place = speaker.place.handle();
    let scrape = std::thread::spawn(move || {
        place.enter();
        let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
        let request = "GET /metrics HTTP/1.0\r\nhost: node\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("200 OK"), "{head}");
        body.to_owned()
    });
    scrape.join().unwrap()
}
