//! `margayctl pool list`.

use crate::cluster::Cluster;
use crate::options::Options;
use crate::report::{List, Report};
use crate::table::{Column, Table, column, wide};
use crate::text;
use clap::Args;
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use margay_proto::crd::{Condition, IPPool};

/// Lists the pools and whether they are active
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl pool list
  margayctl pool list -o wide
  margayctl pool list -o yaml > pools.yaml")]
pub(crate) struct Command {}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let cluster = Cluster::connect(options).await?;
        let api: Api<IPPool> = Api::all(cluster.client());
        let mut pools = cluster
            .list("list ippools", &api, ListParams::default())
            .await?;
        // Which client wrote which field is of no use to a reader, and refused when the output is applied.
        pools
            .iter_mut()
            .for_each(|pool| pool.metadata.managed_fields = None);
        let report = Report::of(options.output, &List::new(&pools), || table(&pools))?;
        Ok(
            report
                .note_if_empty("no pools: make one with `margayctl pool create NAME --cidr CIDR`"),
        )
    }
}

const COLUMNS: &[Column] = &[
    column("NAME"),
    column("CIDR"),
    column("BLOCK"),
    column("NAT"),
    column("ACTIVE"),
    column("REASON"),
    column("USED"),
    column("CAPACITY"),
    wide("BLOCKS"),
    wide("NODES"),
    wide("NAMESPACES"),
    wide("PRIORITY"),
    wide("EDGES"),
    wide("MESSAGE"),
];

fn table(pools: &[IPPool]) -> Table {
    Table::new(COLUMNS, pools.iter().map(row).collect())
}

fn row(pool: &IPPool) -> Vec<String> {
    let spec = &pool.spec;
    let status = pool.status.clone().unwrap_or_default();
    let active = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Active");
    // What an active pool lacks is what its reader wants to know.
    let exhausted = |c: &&Condition| c.type_ == "Exhausted" && c.status == "True";
    let telling = status.conditions.iter().find(exhausted);
    let telling = telling.filter(|_| Condition::is_true(&status.conditions, "Active"));
    let of = |part: fn(&Condition) -> &String| {
        telling
            .or(active)
            .map(|condition| part(condition).clone())
            .unwrap_or_default()
    };
    let cidr = spec.cidr.parse::<IpNetwork>().ok();
    let edges = cidr.map(|c| spec.effective_reserve_edges(c));
    let edges = edges.map(|reserved| if reserved { "reserved" } else { "used" });
    let block = cidr.map(|cidr| format!("/{}", spec.effective_block_size(cidr)));
    vec![
        pool.metadata.name.clone().unwrap_or_default(),
        spec.cidr.clone(),
        block.unwrap_or_default(),
        if spec.nat_outgoing { "yes" } else { "no" }.to_owned(),
        active.map(|c| c.status.clone()).unwrap_or_default(),
        of(|condition| &condition.reason),
        status.allocated.to_string(),
        status
            .capacity
            .parse()
            .map_or_else(|_| status.capacity.clone(), text::count),
        status.blocks.to_string(),
        selected(spec.node_selector.as_ref()),
        selected(spec.namespace_selector.as_ref()),
        spec.priority.to_string(),
        edges.unwrap_or_default().to_owned(),
        of(|condition| &condition.message),
    ]
}

fn selected(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector.cloned() else {
        return "all".to_owned();
    };
    Selector::try_from(selector)
        .map_or_else(|error| error.to_string(), |selector| selector.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;
    use serde_json::json;

    fn pools() -> Vec<IPPool> {
        let pool = |name: &str, spec: serde_json::Value, status: serde_json::Value| {
            let object = json!({"apiVersion": "margay.dev/v1alpha1", "kind": "IPPool", "metadata": {"name": name}, "spec": spec, "status": status});
            serde_json::from_value(object).unwrap()
        };
        let active = |status: &str, reason: &str, message: &str| json!([{"type": "Active", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        vec![
            pool(
                "pods",
                json!({"cidr": "10.244.0.0/16", "natOutgoing": true}),
                json!({"conditions": active("True", "Active", ""), "blocks": 3, "allocated": 17, "capacity": "65534"}),
            ),
            pool(
                "pods-v6",
                json!({"cidr": "fd00:10:244::/56", "blockSize": 120, "nodeSelector": {"matchLabels": {"rack": "r1"}}}),
                json!({"conditions": active("False", "Overlap", "overlaps ippool/old"), "capacity": "4722366482869645213696"}),
            ),
        ]
    }

    #[test]
    fn table_is_golden() {
        let golden = "\
NAME      CIDR               BLOCK   NAT   ACTIVE   REASON    USED   CAPACITY
pods      10.244.0.0/16      /26     yes   True     Active    17     65534
pods-v6   fd00:10:244::/56   /120    no    False    Overlap   0      4.7e21
";
        assert_eq!(table(&pools()).render(Format::Table), golden);
        let wide = table(&pools()).render(Format::Wide);
        assert!(
            wide.contains("BLOCKS   NODES     NAMESPACES   PRIORITY   EDGES      MESSAGE\n"),
            "{wide}"
        );
        assert!(
            wide.ends_with(
                "4.7e21     0        rack=r1   all          0          used       overlaps ippool/old\n"
            ),
            "{wide}"
        );
    }

    #[test]
    fn a_full_pool_says_so() {
        let mut full = pools().remove(0);
        let status = full.status.as_mut().unwrap();
        let condition = json!({"type": "Exhausted", "status": "True", "reason": "NoFreeAddress", "message": "enlarge it", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        status
            .conditions
            .push(serde_json::from_value(condition).unwrap());
        let row = row(&full);
        assert_eq!(
            (
                row[4].as_str(),
                row[5].as_str(),
                row.last().unwrap().as_str()
            ),
            ("True", "NoFreeAddress", "enlarge it")
        );
    }

    #[test]
    fn a_new_pool_has_no_status() {
        let mut pools = pools();
        pools[0].status = None;
        let golden = "NAME   CIDR            BLOCK   NAT   ACTIVE   REASON   USED   CAPACITY\npods   10.244.0.0/16   /26     yes   -        -        0      -\n";
        assert_eq!(table(&pools[..1]).render(Format::Table), golden);
    }

    #[test]
    fn yaml_can_be_applied() {
        let report = Report::of(Format::Yaml, &List::new(&pools()), || table(&[])).unwrap();
        assert!(report.output.starts_with("apiVersion: v1\nkind: List\nitems:\n- apiVersion: margay.dev/v1alpha1\n  kind: IPPool\n"), "{}", report.output);
    }
}
