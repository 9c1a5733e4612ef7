//! `margayctl pool delete`.

use crate::cluster::Cluster;
use crate::options::Options;
use crate::report::Report;
use crate::text::plural;
use anyhow::anyhow;
use clap::Args;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};
use margay_proto::crd::{IPBlock, IPPool};
use std::collections::BTreeSet;

/// Deletes a pool that has no address in use
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl pool delete old --dry-run
  kubectl patch ippool old --type merge -p '{\"spec\":{\"disabled\":true}}'   # no new addresses from now on
  margayctl pool delete old")]
pub(crate) struct Command {
    /// Name of the IPPool
    name: String,
    /// Check only, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let name = &self.name;
        let cluster = Cluster::connect(options).await?;
        let pools: Api<IPPool> = Api::all(cluster.client());
        let Some(pool) = cluster
            .find(&format!("get ippool/{name}"), pools.get(name))
            .await?
        else {
            return Ok(Report::line(format!(
                "ippool/{name} not found, nothing to do"
            )));
        };
        let blocks: Api<IPBlock> = Api::all(cluster.client());
        let of_pool = ListParams::default().fields(&format!("spec.pool={name}"));
        let blocks = cluster.list("list ipblocks", &blocks, of_pool).await?;
        if let Some(refusal) = refusal(&pool, &blocks) {
            return Err(anyhow!(refusal));
        }
        // One that was deleted and made anew meanwhile is another pool.
        let same = Preconditions {
            uid: pool.metadata.uid.clone(),
            ..Preconditions::default()
        };
        let params = DeleteParams {
            dry_run: self.dry_run,
            preconditions: Some(same),
            ..DeleteParams::default()
        };
        let gone = cluster
            .find(
                &format!("delete ippool/{name}"),
                pools.delete(name, &params),
            )
            .await?
            .is_none();
        if gone {
            return Ok(Report::line(format!(
                "ippool/{name} not found, nothing to do"
            )));
        }
        let suffix = if self.dry_run { " (dry run)" } else { "" };
        Report::object(
            options.output,
            &pool,
            &format!("ippool/{name} deleted{suffix}"),
        )
    }
}

/// Why the pool has to stay: a pod keeps its address, and nobody would know which pool's rules hold for it.
fn refusal(pool: &IPPool, blocks: &[IPBlock]) -> Option<String> {
    let in_use: Vec<&IPBlock> = blocks
        .iter()
        .filter(|block| !block.spec.allocations.is_empty())
        .collect();
    if in_use.is_empty() {
        return None;
    }
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let addresses = in_use
        .iter()
        .map(|block| block.spec.allocations.len())
        .sum();
    let nodes: BTreeSet<&str> = in_use
        .iter()
        .map(|block| block.spec.node_name.as_str())
        .collect();
    let disable = if pool.spec.disabled {
        String::new()
    } else {
        format!(
            "stop new ones with: kubectl patch ippool {name} --type merge -p '{{\"spec\":{{\"disabled\":true}}}}'\n"
        )
    };
    Some(format!(
        "ippool/{name} has {} in use in {} on {}\n{disable}see whose they are with: margayctl ipam show --pool {name} --blocks -o yaml\nrestart those pods and delete it then",
        plural(addresses, "address"),
        plural(in_use.len(), "block"),
        plural(nodes.len(), "node"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_proto::crd::{Allocation, IPBlockSpec, IPPoolSpec};

    fn block(node: &str, used: usize) -> IPBlock {
        let allocations = vec![Allocation::default(); used];
        IPBlock::new(
            "b",
            IPBlockSpec {
                node_name: node.into(),
                pool: "old".into(),
                allocations,
                ..IPBlockSpec::default()
            },
        )
    }

    #[test]
    fn a_pool_in_use_stays() {
        let mut pool = IPPool::new("old", IPPoolSpec::default());
        assert_eq!(refusal(&pool, &[]), None);
        assert_eq!(refusal(&pool, &[block("n1", 0)]), None);
        let golden = "\
ippool/old has 4 addresses in use in 3 blocks on 2 nodes
stop new ones with: kubectl patch ippool old --type merge -p '{\"spec\":{\"disabled\":true}}'
see whose they are with: margayctl ipam show --pool old --blocks -o yaml
restart those pods and delete it then";
        let blocks = [
            block("n1", 1),
            block("n1", 1),
            block("n2", 2),
            block("n3", 0),
        ];
        assert_eq!(refusal(&pool, &blocks).unwrap(), golden);
        pool.spec.disabled = true;
        let disabled = refusal(&pool, &[block("n1", 1)]).unwrap();
        assert!(
            disabled.starts_with("ippool/old has 1 address in use in 1 block on 1 node\nsee whose"),
            "{disabled}"
        );
    }
}
