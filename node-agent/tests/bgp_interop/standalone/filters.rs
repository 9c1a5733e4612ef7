//! Filters of the file in effect at a real router and in the kernel, both ways and in both families, changed by SIGHUP while the session
//! stays up; and `bgp why` about them.

use super::*;

/// Nothing but BIRD as a peer.
fn file(peer: &str, filters: &str) -> String {
    format!(
        "name = \"one\"\nrouter-id = \"10.99.0.2\"\nas = {OUR_AS}\n
        [[peer]]\naddress = \"10.99.0.1\"\nremote-as = 65001\ndescription = \"bird\"\nconnect-retry-seconds = 1\nimport = \"all\"\nexport = \"own\"\n{peer}
        [[route]]\nprefix = \"{}\"\n[[route]]\nprefix = \"{}\"\n{filters}",
        OUR_ROUTES[0], OUR_ROUTES[1]
    )
}

/// Refuses their IPv4 route, marks all of ours, and takes our IPv6 route away.
const FILTERS: &str = "
[[filter]]
name = \"in\"
[[filter.rule]]
name = \"not that one\"
match.prefixes = [{ prefix = \"198.51.100.0/22\", le = 24 }]
match.as-path.regex = \"^65001$\"
match.peer = { interfaces = [\"up*\"], type = \"external\" }
action = \"reject\"

[[filter]]
name = \"out\"
[[filter.rule]]
set.communities.add = [\"65000:7\", \"65000:1:2\"]
set.prepend.times = 2
action = \"continue\"
[[filter.rule]]
match.communities.any-of = [\"65000:7\"]
match.prefixes = [{ prefix = \"fd00:10:244::/48\", ge = 48 }]
action = \"reject\"
";

#[test]
fn filters_of_the_file_take_effect_both_ways() {
    margayctl();
    let bird = Bird::start(OUR_AS.0);
    let net = bird.net();
    let speaker = Speaker::start(&net.ours, &net.folder, "one", &file("", ""));
    speaker.established("bird");
    everything_goes(&bird, &speaker);

    let peer = "import-filters = [\"in\"]\nexport-filters = [\"out\"]\n";
    reread(&speaker, &file(peer, FILTERS));
    let ([theirs_v4, theirs_v6], [ours_v4, ours_v6]) = (THEIR_ROUTES, OUR_ROUTES);
    until(
        &format!("{} out of the kernel\n{}", theirs_v4.0, speaker.log()),
        || speaker.kernel(theirs_v4.0).is_none().then_some(()),
    );
    assert!(speaker.kernel(theirs_v6.0).is_some());
    until(&format!("{ours_v6} withdrawn at BIRD"), || {
        bird.route(ours_v6).is_none().then_some(())
    });
    until(&format!("{ours_v4} marked at BIRD"), || {
        let route = bird.route(ours_v4)?;
        let path = "4200000010 4200000010 4200000010";
        let marks = ["(65000,7)", "(65000, 1, 2)", path];
        marks.iter().all(|mark| route.contains(mark)).then_some(())
    });
    why(&speaker);

    // A file with a wrong filter changes nothing.
    reread_in_vain(
        &speaker,
        &file(peer, &FILTERS.replace("65000:7", "65536:7")),
    );
    assert!(bird.route(ours_v6).is_none() && speaker.kernel(theirs_v4.0).is_none());

    reread(&speaker, &file("", FILTERS));
    everything_goes(&bird, &speaker);
    until("the marks are gone at BIRD", || {
        (!bird.route(ours_v4)?.contains("(65000,7)")).then_some(())
    });
    let details = speaker.json(&["bgp", "peer", "bird"]);
    let sessions = &details["nodes"][0]["peers"][0]["establishedCount"];
    assert_eq!(sessions, 1, "a filter ended the session: {}", speaker.log());
}

fn everything_goes(bird: &Bird, speaker: &Speaker<'_>) {
    for (prefix, _) in THEIR_ROUTES {
        until(&format!("{prefix} in the kernel"), || {
            speaker.kernel(prefix)
        });
    }
    for prefix in OUR_ROUTES {
        until(&format!("{prefix} at BIRD"), || bird.route(prefix));
    }
}

fn reread(speaker: &Speaker<'_>, file: &str) {
    speaker.write(file);
    speaker.signal(Signal::SIGHUP);
}

fn reread_in_vain(speaker: &Speaker<'_>, file: &str) {
    reread(speaker, file);
    until(
        "the log names the filter, the rule, the field and the value",
        || {
            let log = speaker.log();
            let said = "filter \\\"out\\\": rule 1: set.communities.add is `65536:7`";
            (log.contains(said) || log.contains(&said.replace('\\', ""))).then_some(())
        },
    );
}

/// Which rule decided, in both directions, by the peer's name.
fn why(speaker: &Speaker<'_>) {
    let of = |prefix: &str| {
        let reply = speaker.json(&["bgp", "why", prefix, "--peer", "bird"]);
        reply["nodes"][0].clone()
    };
    let theirs = of(THEIR_ROUTES[0].0);
    let import = &theirs["paths"][0]["import"];
    assert_eq!(
        (&import["accepted"], &import["decided"]),
        (
            &false.into(),
            &"rejected by rule 1 (not that one) of filter in".into()
        ),
        "{theirs}"
    );
    let ours = of(OUR_ROUTES[1]);
    let export = &ours["peers"][0]["export"];
    assert_eq!(
        export["decided"], "rejected by rule 2 of filter out",
        "{ours}"
    );
    assert_eq!(export["steps"].as_array().unwrap().len(), 2, "{ours}");
    let told = of(OUR_ROUTES[0]);
    assert_eq!(told["peers"][0]["reason"], "told", "{told}");
    let nobody = speaker.ctl(&["bgp", "why", OUR_ROUTES[0], "--peer", "nobody"]);
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(said.contains("no peer nobody"), "{said}");
}
