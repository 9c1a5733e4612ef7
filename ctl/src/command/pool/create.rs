//! `margayctl pool create`.

use crate::cluster::Cluster;
use crate::invalid::{self, Usage};
use crate::options::Options;
use crate::report::Report;
use anyhow::anyhow;
use clap::Args;
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{ListParams, PostParams};
use margay_ipam::{Pool, overlaps};
use margay_proto::crd::{IPPool, IPPoolSpec};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Creates a pool; done again with the same arguments it changes nothing
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl pool create pods --cidr 10.244.0.0/16 --nat-outgoing
  margayctl pool create pods-v6 --cidr fd00:10:244::/56
  margayctl pool create rack1 --cidr 10.1.0.0/20 --block-size 27 --node-selector topology.margay.dev/rack=rack1
  margayctl pool create gold --cidr 10.9.0.0/24 --namespace-selector team=gold --priority 10 --reserve-edges false
  margayctl pool create pods --cidr 10.244.0.0/16 --dry-run -o yaml")]
pub(crate) struct Command {
    /// Name of the IPPool
    name: String,
    /// Its addresses, in CIDR notation without host bits
    #[arg(long, value_name = "CIDR", value_parser = invalid::network)]
    cidr: IpNetwork,
    /// Prefix length of the blocks that nodes claim: 20-32 for IPv4 (26 when left out), 116-128 for IPv6 (122); never changes later
    #[arg(long, value_name = "LENGTH")]
    block_size: Option<u8>,
    /// Translate the source of connections that leave pools and nodes to the node's address
    #[arg(long)]
    nat_outgoing: bool,
    /// Hand out nothing from it yet
    #[arg(long)]
    disabled: bool,
    /// Only nodes with these labels claim from it
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = selector)]
    node_selector: Option<LabelSelector>,
    /// Only pods of namespaces with these labels get its addresses, and get them before those of other pools
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = selector)]
    namespace_selector: Option<LabelSelector>,
    /// Of several pools for a pod the one with the highest number goes first
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i32,
    /// Whether its first and last address are never used; true for IPv4 and false for IPv6 when left out
    #[arg(long, value_name = "true|false")]
    reserve_edges: Option<bool>,
    /// Have the API server check the pool, and store nothing
    #[arg(long)]
    dry_run: bool,
}

fn selector(text: &str) -> Result<LabelSelector, String> {
    let labels: BTreeMap<String, String> = invalid::labels(text)?;
    Ok(LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    })
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let wanted = self.wanted()?;
        let cluster = Cluster::connect(options).await?;
        let api: Api<IPPool> = Api::all(cluster.client());
        let doing = format!("create ippool/{}", self.name);
        let mut others = cluster
            .list("list ippools", &api, ListParams::default())
            .await?;
        others
            .iter_mut()
            .for_each(|pool| pool.metadata.managed_fields = None);
        let existing = others
            .iter()
            .find(|pool| pool.metadata.name.as_ref() == Some(&self.name));
        let suffix = if self.dry_run { " (dry run)" } else { "" };
        if let Some(existing) = existing {
            compare(existing, &wanted).map_err(|difference| anyhow!(difference))?;
            return Report::object(
                options.output,
                existing,
                &format!("ippool/{} unchanged{suffix}", self.name),
            );
        }
        let params = PostParams {
            dry_run: self.dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        let mut created = cluster.call(&doing, api.create(&params, &wanted)).await?;
        created.metadata.managed_fields = None;
        let report = Report::object(
            options.output,
            &created,
            &format!("ippool/{} created{suffix}", self.name),
        )?;
        let warnings = warnings(self.cidr, &others);
        Ok(warnings.into_iter().fold(report, Report::note))
    }

    /// The object, checked by the rules that agents and operator read it with.
    fn wanted(&self) -> Result<IPPool, Usage> {
        let spec = IPPoolSpec {
            cidr: self.cidr.to_string(),
            block_size: self.block_size,
            node_selector: self.node_selector.clone(),
            namespace_selector: self.namespace_selector.clone(),
            priority: self.priority,
            reserve_edges: self.reserve_edges,
            disabled: self.disabled,
            nat_outgoing: self.nat_outgoing,
        };
        let pool = IPPool::new(&self.name, spec);
        match Pool::try_from(&pool) {
            Ok(_) => Ok(pool),
            Err(invalid) => Err(Usage(format!("ippool/{}: {invalid}", self.name))),
        }
    }
}

/// Whether `existing` already is what is wanted.
///
/// # Errors
/// Every field that differs with both values, and what can be done about it.
fn compare(existing: &IPPool, wanted: &IPPool) -> Result<(), String> {
    let name = existing.metadata.name.as_deref().unwrap_or_default();
    let (old, new) = (&existing.spec, &wanted.spec);
    let mut lines = Vec::new();
    let mut patch = Map::new();
    let mut change = |field: &str, old: Value, new: Value| {
        lines.push(format!("  spec.{field} is {old}, not {new}"));
        patch.insert(field.to_owned(), merge_patch(&old, new));
    };
    for (field, old, new) in changeable(old, new) {
        if old != new {
            change(field, old, new);
        }
    }
    let cidr = |spec: &IPPoolSpec| spec.cidr.parse::<IpNetwork>();
    let immutable = match (cidr(old), cidr(new)) {
        (Ok(here), Ok(there)) if here != there && grows(here, there) => {
            change("cidr", json!(old.cidr), json!(new.cidr));
            None
        }
        (Ok(here), Ok(there)) if here != there => Some(format!(
            "  spec.cidr is {here}, not {there}, and may only grow"
        )),
        (Ok(here), Ok(there))
            if old.effective_block_size(here) != new.effective_block_size(there) =>
        {
            let (here, there) = (
                old.effective_block_size(here),
                new.effective_block_size(there),
            );
            Some(format!(
                "  spec.blockSize is {here}, not {there}, and never changes"
            ))
        }
        _ => None,
    };
    let remedy = match &immutable {
        None if lines.is_empty() => return Ok(()),
        Some(_) => "create a pool under another name".to_owned(),
        None => format!(
            "change it with: kubectl patch ippool {name} --type merge -p '{}'",
            json!({ "spec": patch })
        ),
    };
    lines.extend(immutable);
    Err(format!(
        "ippool/{name} exists with another spec:\n{}\n{remedy}",
        lines.join("\n")
    ))
}

/// The fields that may change, but for the cidr: as they are and as they are wanted.
fn changeable(old: &IPPoolSpec, new: &IPPoolSpec) -> Vec<(&'static str, Value, Value)> {
    let edges = |spec: &IPPoolSpec| {
        let cidr = spec.cidr.parse::<IpNetwork>();
        cidr.map_or(spec.reserve_edges, |c| {
            Some(spec.effective_reserve_edges(c))
        })
    };
    let row = |spec: &IPPoolSpec| {
        [
            ("natOutgoing", json!(spec.nat_outgoing)),
            ("disabled", json!(spec.disabled)),
            ("nodeSelector", json!(spec.node_selector)),
            ("namespaceSelector", json!(spec.namespace_selector)),
            ("priority", json!(spec.priority)),
            ("reserveEdges", json!(edges(spec))),
        ]
    };
    let pair = |((field, old), (_, new))| (field, old, new);
    row(old).into_iter().zip(row(new)).map(pair).collect()
}

/// What turns `old` into `new` as a JSON merge patch (RFC 7396): there, keys that are left out stay, and null removes.
fn merge_patch(old: &Value, new: Value) -> Value {
    let (Value::Object(old), Value::Object(mut new)) = (old, new.clone()) else {
        return new;
    };
    for (key, was) in old {
        let will = new.remove(key).unwrap_or(Value::Null);
        new.insert(key.clone(), merge_patch(was, will));
    }
    Value::Object(new)
}

fn grows(old: IpNetwork, new: IpNetwork) -> bool {
    new.prefix() < old.prefix() && overlaps(old, new)
}

fn is_inactive(pool: &IPPool) -> bool {
    let mut conditions = pool.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|c| c.type_ == "Active" && c.status == "False")
}

/// Of two pools with common addresses only the older becomes active; better said now than found out later.
fn warnings(cidr: IpNetwork, others: &[IPPool]) -> Vec<String> {
    let overlap = |pool: &IPPool| {
        // Disabled, say: then it keeps nobody from its addresses.
        if is_inactive(pool) {
            return None;
        }
        let other: IpNetwork = pool.spec.cidr.parse().ok()?;
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        overlaps(cidr, other).then(|| {
            format!(
                "warning: {cidr} overlaps ippool/{name} ({other}): the newer pool stays inactive"
            )
        })
    };
    others.iter().filter_map(overlap).collect()
}

/// Who made the fields, in `managedFields`.
const FIELD_MANAGER: &str = "margayctl";

#[cfg(test)]
mod tests {
    use super::*;

    fn command(cidr: &str) -> Command {
        Command {
            name: "pods".into(),
            cidr: cidr.parse().unwrap(),
            block_size: None,
            nat_outgoing: false,
            disabled: false,
            node_selector: None,
            namespace_selector: None,
            priority: 0,
            reserve_edges: None,
            dry_run: false,
        }
    }

    fn pool(cidr: &str) -> IPPool {
        command(cidr).wanted().unwrap()
    }

    #[test]
    fn sizes_that_cannot_be_are_wrong_usage() {
        let wanted = |cidr, size| {
            Command {
                block_size: Some(size),
                ..command(cidr)
            }
            .wanted()
        };
        assert!(wanted("10.244.0.0/16", 26).is_ok());
        assert!(wanted("fd00::/56", 122).is_ok());
        for (cidr, size) in [
            ("10.244.0.0/16", 12),
            ("10.244.0.0/24", 22),
            ("fd00::/56", 64),
            ("10.0.0.0/8", 122),
        ] {
            let message = wanted(cidr, size).unwrap_err().0;
            assert!(
                message.starts_with(&format!("ippool/pods: spec.blockSize is `{size}`: ")),
                "{message}"
            );
        }
    }

    #[test]
    fn the_same_again_is_unchanged() {
        let mut existing = pool("10.244.0.0/16");
        assert_eq!(compare(&existing, &pool("10.244.0.0/16")), Ok(()));
        existing.spec.block_size = Some(26);
        assert_eq!(compare(&existing, &pool("10.244.0.0/16")), Ok(()));
        let spelled = pool("fd00:10:244::/56");
        existing.spec = IPPoolSpec {
            cidr: "FD00:0010:244:0::/56".into(),
            ..IPPoolSpec::default()
        };
        assert_eq!(compare(&existing, &spelled), Ok(()));
    }

    #[test]
    fn what_never_changes_needs_another_name() {
        let smaller = Command {
            block_size: Some(27),
            ..command("10.244.0.0/16")
        }
        .wanted()
        .unwrap();
        let golden = "ippool/pods exists with another spec:\n  spec.blockSize is 26, not 27, and never changes\ncreate a pool under another name";
        assert_eq!(
            compare(&pool("10.244.0.0/16"), &smaller).unwrap_err(),
            golden
        );
        let moved = compare(&pool("10.244.0.0/16"), &pool("10.245.0.0/16")).unwrap_err();
        assert!(
            moved.contains("spec.cidr is 10.244.0.0/16, not 10.245.0.0/16, and may only grow"),
            "{moved}"
        );
    }

    #[test]
    fn what_may_change_comes_with_the_command() {
        let wanted = Command {
            nat_outgoing: true,
            ..command("10.244.0.0/15")
        }
        .wanted()
        .unwrap();
        let golden = "\
ippool/pods exists with another spec:
  spec.natOutgoing is false, not true
  spec.cidr is \"10.244.0.0/16\", not \"10.244.0.0/15\"
change it with: kubectl patch ippool pods --type merge -p '{\"spec\":{\"cidr\":\"10.244.0.0/15\",\"natOutgoing\":true}}'";
        assert_eq!(
            compare(&pool("10.244.0.0/16"), &wanted).unwrap_err(),
            golden
        );
    }

    #[test]
    fn what_decides_the_order_may_change() {
        let wanted = Command {
            priority: -3,
            namespace_selector: Some(selector("team=gold").unwrap()),
            reserve_edges: Some(true),
            ..command("10.244.0.0/16")
        };
        let mut wanted = wanted.wanted().unwrap();
        let golden = "\
ippool/pods exists with another spec:
  spec.namespaceSelector is null, not {\"matchLabels\":{\"team\":\"gold\"}}
  spec.priority is 0, not -3
change it with: kubectl patch ippool pods --type merge -p '{\"spec\":{\"namespaceSelector\":{\"matchLabels\":{\"team\":\"gold\"}},\"priority\":-3}}'";
        let here = pool("10.244.0.0/16");
        assert_eq!(compare(&here, &wanted).unwrap_err(), golden);
        wanted.spec = IPPoolSpec {
            reserve_edges: Some(false),
            ..here.spec.clone()
        };
        let edges = compare(&here, &wanted).unwrap_err();
        assert!(
            edges.contains("spec.reserveEdges is true, not false"),
            "{edges}"
        );
    }

    #[test]
    fn a_selector_is_replaced_not_merged() {
        let selecting = |text: &str| {
            Command {
                node_selector: Some(selector(text).unwrap()),
                ..command("10.244.0.0/16")
            }
            .wanted()
            .unwrap()
        };
        let remedy = compare(&selecting("rack=r1,zone=z"), &selecting("rack=r2")).unwrap_err();
        let patch = r#"{"spec":{"nodeSelector":{"matchLabels":{"rack":"r2","zone":null}}}}"#;
        assert!(remedy.ends_with(&format!("-p '{patch}'")), "{remedy}");
    }

    #[test]
    fn overlaps_are_said() {
        let others = [pool("10.244.0.0/16"), pool("fd00::/56")];
        let golden = "warning: 10.244.128.0/17 overlaps ippool/pods (10.244.0.0/16): the newer pool stays inactive";
        assert_eq!(
            warnings("10.244.128.0/17".parse().unwrap(), &others),
            [golden]
        );
        assert!(warnings("10.245.0.0/16".parse().unwrap(), &others).is_empty());
    }
}
