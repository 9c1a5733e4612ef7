//! `docs/errors.md` lists every refusal: what the definitions, the errors of the crates and the doctor can say is looked up on the page.
//!
//! Whole sentences are not compared, or every comma would be a failure: of each text the longest literal part counts, by its first words.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Sources whose errors no user sees, with the reason.
const INTERNAL: &[(&str, &str)] = &[
    (
        "policy/src/table.rs",
        "a table that the compiler cannot build: a bug",
    ),
    ("policy/src/diff/apply.rs", "the same, of a difference"),
    (
        "policy/src/table/set.rs",
        "link names that the agent itself makes",
    ),
    (
        "ipam/src/store.rs",
        "what the API server said, by what to do next; conflicts are tried again",
    ),
    (
        "node-agent/src/kernel/link/mac.rs",
        "addresses that the agent itself makes",
    ),
];

/// Crates of the product; `bgp`'s reasons are words of the RFCs, listed on the page by hand.
const CRATES: &[&str] = &[
    "cni",
    "ctl",
    "ipam",
    "node-agent",
    "operator",
    "policy",
    "proto",
];

/// Words of a text that must be on the page.
const WORDS: usize = 3;

#[test]
fn every_message_of_the_definitions_is_listed() {
    let yaml = std::fs::read_to_string(root().join("manifests/crds.yaml")).unwrap();
    let messages = yaml
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- message: "));
    let absent = missing(messages.map(str::to_owned));
    assert!(
        absent.is_empty(),
        "docs/errors.md lacks\n{}",
        absent.join("\n")
    );
}

#[test]
fn every_error_of_the_crates_is_listed() {
    let mut absent = Vec::new();
    for name in CRATES {
        for file in sources(&root().join(name).join("src")) {
            let path = file.strip_prefix(root()).unwrap().display().to_string();
            if INTERNAL.iter().any(|(internal, _)| *internal == path) || path.contains("test") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let texts = quoted_after(&text, "#[error(");
            absent.extend(
                missing(texts)
                    .into_iter()
                    .map(|text| format!("{path}: {text}")),
            );
        }
    }
    assert!(
        absent.is_empty(),
        "docs/errors.md lacks\n{}",
        absent.join("\n")
    );
}

#[test]
fn every_internal_source_is_there() {
    for (path, why) in INTERNAL {
        assert!(root().join(path).exists(), "{path}: {why}");
    }
}

#[test]
fn every_check_of_the_doctor_is_listed() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let mut checks: BTreeSet<String> =
        quoted_after(&read("node-agent/src/doctor/checks.rs"), "finding(").collect();
    checks.extend(quoted_after(
        &read("ctl/src/command/doctor/compare.rs"),
        "[",
    ));
    checks.retain(|word| {
        word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.is_empty()
    });
    assert!(checks.len() > 12, "{checks:?}");
    let page = page();
    let absent: Vec<&String> = checks
        .iter()
        .filter(|c| !page.contains(&format!("| `{c}` |")))
        .collect();
    assert!(
        absent.is_empty(),
        "docs/errors.md lacks the checks {absent:?}"
    );
}

/// The texts whose words are not on the page.
fn missing(texts: impl Iterator<Item = String>) -> Vec<String> {
    let page = plain(&page());
    let absent = |text: &String| signature(text).is_some_and(|words| !page.contains(&words));
    texts.filter(absent).collect()
}

/// The first words of the longest part between placeholders; none for a text that is made of others.
fn signature(text: &str) -> Option<String> {
    let mut depth = 0;
    let literal: String = text
        .chars()
        .map(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth > 0 || c == '}' { '\n' } else { c }
        })
        .collect();
    let longest = literal.split('\n').max_by_key(|part| part.len())?;
    let plain = plain(longest);
    let words: Vec<&str> = plain
        .split(' ')
        .filter(|w| w.len() > 1)
        .take(WORDS)
        .collect();
    let whole = &plain[..plain.find(words.last()?)? + words.last()?.len()];
    (words.len() == WORDS).then(|| {
        whole
            .trim_start_matches([' ', ',', ';', ':', '.'])
            .to_owned()
    })
}

/// Without marks, in one line.
fn plain(text: &str) -> String {
    let bare: String = text
        .chars()
        .filter(|c| !matches!(c, '`' | '"' | '\\'))
        .collect();
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The string literal that follows each `mark`, if one does.
fn quoted_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(mark).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix('"')?;
        let mut escaped = false;
        let end = rest.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        })?;
        Some(rest[..end].to_owned())
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/errors.md")).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
