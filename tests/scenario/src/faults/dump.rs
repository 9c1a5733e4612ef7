//! What a node's kernel holds, in a form in which two moments compare: without counters, handles and numbers that the kernel chooses.

use anyhow::{Context, Result, ensure};
use margay_lab::Lab;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One shell for all, because each process in a place costs time in which a fault may heal unseen. `@` parts the answers.
const LOOKS: [(&str, &str); 9] = [
    ("IPv4 routes", "ip -j -4 route show table main"),
    ("IPv6 routes", "ip -j -6 route show table main"),
    ("nexthop objects", "ip -j nexthop show proto 83"),
    ("links and addresses", "ip -j addr"),
    ("permanent neighbours", "ip -j neigh show nud permanent"),
    ("IPv4 rules", "ip -j -4 rule"),
    ("IPv6 rules", "ip -j -6 rule"),
    (
        "forwarding",
        "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | paste -s -d ' '",
    ),
    (
        "table inet margay",
        "nft -j list table inet margay 2>/dev/null || echo '\"gone\"'",
    ),
];

/// Lines of each kind of thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dump(BTreeMap<&'static str, BTreeSet<String>>);

impl Dump {
    /// Of a node, now.
    ///
    /// # Errors
    /// When a tool of it fails.
    pub(crate) fn of(lab: &Lab, node: &str) -> Result<Self> {
        let script = LOOKS.map(|(_, command)| command).join("; echo @; ");
        let text = lab.exec(node, &["sh", "-c", &script])?;
        let answers: Vec<&str> = text.split("@\n").collect();
        ensure!(
            answers.len() == LOOKS.len(),
            "{node} gave {} answers",
            answers.len()
        );
        let objects = |index: usize| -> Result<Value> {
            let text: &str = answers[index].trim();
            if text.is_empty() {
                return Ok(json!([]));
            }
            serde_json::from_str(text)
                .with_context(|| format!("{node}: {}: {text}", LOOKS[index].0))
        };
        let nexthops = objects(2)?;
        let mut all = BTreeMap::new();
        for (index, (what, _)) in LOOKS.iter().enumerate() {
            let lines = match index {
                2 => groups(&nexthops),
                3 => links(&objects(3)?),
                7 => [answers[7].trim().to_owned()].into(),
                8 => table(objects(8)?),
                _ => lines(objects(index)?),
            };
            all.insert(*what, lines);
        }
        Ok(Self(all))
    }

    /// What is not as it was before, in words; none when all is.
    pub(crate) fn difference(&self, before: &Self) -> Option<String> {
        let mut all = Vec::new();
        for (what, lines) in &self.0 {
            let was = &before.0[what];
            all.extend(was.difference(lines).map(|l| format!("{what}: - {l}")));
            all.extend(lines.difference(was).map(|l| format!("{what}: + {l}")));
        }
        let count = all.len();
        all.truncate(6);
        (count > 0).then(|| format!("{count} differences: {}", all.join("; ")))
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Objects without what the kernel numbers or counts.
fn lines(objects: Value) -> BTreeSet<String> {
    let bare = |mut object: Value| {
        if let Some(fields) = object.as_object_mut() {
            for field in ["nhid", "expires", "used", "age", "users", "cache"] {
                fields.remove(field);
            }
        }
        object.to_string()
    };
    items(&objects).cloned().map(bare).collect()
}

/// Nexthop objects by what they lead to.
fn groups(objects: &Value) -> BTreeSet<String> {
    let hop = |object: &Value| format!("{} dev {}", object["gateway"], object["dev"]);
    let by_id: BTreeMap<u64, String> = items(objects)
        .filter_map(|o| Some((o["id"].as_u64()?, hop(o))))
        .collect();
    let line = |object: &Value| match object["group"].as_array() {
        None => hop(object),
        Some(members) => {
            let mut hops: Vec<&str> = members
                .iter()
                .filter_map(|m| by_id.get(&m["id"].as_u64()?).map(String::as_str))
                .collect();
            hops.sort_unstable();
            format!("group of {}", hops.join(", "))
        }
    };
    items(objects).map(line).collect()
}

/// A line for each link and each of its addresses.
fn links(objects: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for link in items(objects) {
        let name = &link["ifname"];
        let mut flags: Vec<&str> = items(&link["flags"]).filter_map(Value::as_str).collect();
        flags.sort_unstable();
        all.insert(format!(
            "{name} {} mtu {} {} alias {} {flags:?}",
            link["operstate"], link["mtu"], link["address"], link["ifalias"]
        ));
        for address in items(&link["addr_info"]) {
            all.insert(format!(
                "{name} {}/{} {}",
                address["local"], address["prefixlen"], address["scope"]
            ));
        }
    }
    all
}

/// The objects of the table, elements in order, rules with their place in the chain.
fn table(listed: Value) -> BTreeSet<String> {
    if listed == "gone" {
        return ["gone".to_owned()].into();
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for object in items(&listed["nftables"]).filter(|o| o.get("metainfo").is_none()) {
        let mut object = object.clone();
        bare(&mut object);
        let place = places
            .entry(object["rule"]["chain"].to_string())
            .or_default();
        *place += 1;
        let place = if object.get("rule").is_some() {
            *place
        } else {
            0
        };
        all.insert(format!("{place} {object}"));
    }
    all
}

fn bare(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in ["handle", "packets", "bytes"] {
                fields.remove(field);
            }
            for (name, field) in fields.iter_mut() {
                bare(field);
                if name == "elem"
                    && let Some(elements) = field.as_array_mut()
                {
                    elements.sort_by_key(Value::to_string);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(bare),
        _ => {}
    }
}
