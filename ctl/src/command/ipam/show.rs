//! `margayctl ipam show`.

use crate::cluster::Cluster;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use crate::text;
use anyhow::anyhow;
use clap::Args;
use ipnetwork::IpNetwork;
use kube::Api;
use kube::api::ListParams;
use margay_ipam::Pool;
use margay_proto::crd::{Allocation, IPBlock, IPPool};
use serde::{Serialize, Serializer};

/// Shows capacity and use of every pool, or the blocks that nodes claimed
///
/// Owners publish what they use within moments, so a pod that just started may not be counted yet.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl ipam show
  margayctl ipam show --blocks
  margayctl ipam show --node n1
  margayctl ipam show --blocks -o json | jq -r '.blocks[].allocations[] | select(.address == \"10.244.0.7\")'")]
pub(crate) struct Command {
    /// Only this node's blocks; implies --blocks
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// List blocks, with their nodes and, for programs, the addresses in use
    #[arg(long)]
    blocks: bool,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let cluster = Cluster::connect(options).await?;
        let (pools, blocks): (Api<IPPool>, Api<IPBlock>) =
            (Api::all(cluster.client()), Api::all(cluster.client()));
        let filters = [("spec.nodeName", &self.node), ("spec.pool", &self.pool)];
        let fields: Vec<String> = filters
            .iter()
            .filter_map(|(field, value)| Some(format!("{field}={}", (*value).as_ref()?)))
            .collect();
        let (pools, blocks) = tokio::try_join!(
            cluster.list("list ippools", &pools, ListParams::default()),
            cluster.list(
                "list ipblocks",
                &blocks,
                ListParams::default().fields(&fields.join(","))
            ),
        )?;
        let space = Space::of(&pools, &blocks);
        if self.node.is_some() || self.blocks {
            let report = Report::of(
                options.output,
                &Blocks {
                    blocks: &space.blocks,
                },
                || block_table(&space.blocks),
            )?;
            return Ok(report.note_if_empty("no blocks claimed"));
        }
        let pools: Vec<PoolUse> = space
            .pools
            .into_iter()
            .filter(|pool| self.pool.as_ref().is_none_or(|name| *name == pool.name))
            .collect();
        if let (true, Some(name)) = (pools.is_empty(), &self.pool) {
            return Err(anyhow!(
                "ippool/{name} not found: see `margayctl pool list`"
            ));
        }
        let report = Report::of(options.output, &Pools { pools: &pools }, || {
            pool_table(&pools)
        })?;
        Ok(
            report
                .note_if_empty("no pools: make one with `margayctl pool create NAME --cidr CIDR`"),
        )
    }
}

#[derive(Serialize)]
struct Pools<'a> {
    pools: &'a [PoolUse],
}

#[derive(Serialize)]
struct Blocks<'a> {
    blocks: &'a [BlockUse],
}

/// The pools and blocks of a cluster, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Space {
    pools: Vec<PoolUse>,
    blocks: Vec<BlockUse>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolUse {
    name: String,
    /// None for a pool that was deleted while nodes hold blocks of it.
    cidr: Option<String>,
    active: bool,
    /// None when the spec makes no sense.
    #[serde(serialize_with = "as_text")]
    capacity: Option<u128>,
    used: u128,
    #[serde(serialize_with = "as_text")]
    free: Option<u128>,
    blocks: usize,
    nodes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockUse {
    cidr: String,
    pool: String,
    node: String,
    #[serde(serialize_with = "as_text")]
    capacity: Option<u128>,
    used: u128,
    #[serde(serialize_with = "as_text")]
    free: Option<u128>,
    allocations: Vec<Allocation>,
}

impl Space {
    fn of(pools: &[IPPool], blocks: &[IPBlock]) -> Self {
        let parsed: Vec<Pool> = pools
            .iter()
            .filter_map(|pool| Pool::try_from(pool).ok())
            .collect();
        let mut blocks: Vec<BlockUse> = blocks
            .iter()
            .map(|block| BlockUse::of(block, &parsed))
            .collect();
        blocks.sort_by_key(|block| (block.cidr.parse::<IpNetwork>().ok(), block.node.clone()));
        let mut uses: Vec<PoolUse> = pools
            .iter()
            .map(|pool| PoolUse::of(pool, &parsed, &blocks))
            .collect();
        let known = |name: &String, uses: &[PoolUse]| uses.iter().any(|pool| pool.name == *name);
        for block in &blocks {
            if !known(&block.pool, &uses) {
                uses.push(PoolUse::deleted(&block.pool, &blocks));
            }
        }
        Self {
            pools: uses,
            blocks,
        }
    }
}

impl PoolUse {
    fn of(pool: &IPPool, parsed: &[Pool], blocks: &[BlockUse]) -> Self {
        let name = pool.metadata.name.clone().unwrap_or_default();
        let parsed = parsed.iter().find(|pool| pool.name == name);
        let mut counted = Self::deleted(&name, blocks);
        counted.cidr = Some(pool.spec.cidr.clone());
        counted.active = parsed.is_some_and(|pool| pool.active);
        counted.capacity = parsed.map(Pool::capacity);
        counted.free = counted
            .capacity
            .map(|capacity| capacity.saturating_sub(counted.used));
        counted
    }

    /// What the blocks alone tell of a pool.
    fn deleted(name: &str, blocks: &[BlockUse]) -> Self {
        let own: Vec<&BlockUse> = blocks.iter().filter(|block| block.pool == name).collect();
        let mut nodes: Vec<&str> = own.iter().map(|block| block.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Self {
            name: name.to_owned(),
            cidr: None,
            active: false,
            capacity: None,
            used: own.iter().map(|block| block.used).sum(),
            free: None,
            blocks: own.len(),
            nodes: nodes.len(),
        }
    }
}

impl BlockUse {
    fn of(block: &IPBlock, pools: &[Pool]) -> Self {
        let spec = &block.spec;
        let pool = pools.iter().find(|pool| pool.name == spec.pool);
        let capacity = spec
            .cidr
            .parse::<IpNetwork>()
            .ok()
            .map(|cidr| capacity(cidr, pool));
        let used = spec.allocations.len() as u128;
        Self {
            cidr: spec.cidr.clone(),
            pool: spec.pool.clone(),
            node: spec.node_name.clone(),
            capacity,
            used,
            free: capacity.map(|capacity| capacity.saturating_sub(used)),
            allocations: spec.allocations.clone(),
        }
    }
}

/// Addresses of a block that pods can get; the pool's first and last are not among them.
fn capacity(block: IpNetwork, pool: Option<&Pool>) -> u128 {
    let bits = if block.is_ipv4() { 32 } else { 128 };
    let all = 1_u128
        .checked_shl(u32::from(bits - block.prefix()))
        .unwrap_or(u128::MAX);
    let edge = |address| u128::from(pool.is_some_and(|pool| pool.is_edge(address)));
    let edges = if block.prefix() == bits {
        edge(block.network())
    } else {
        edge(block.network()) + edge(block.broadcast())
    };
    all - edges
}

/// JSON numbers end at 2^53; an IPv6 pool does not.
fn as_text<S: Serializer>(number: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
    number
        .map(|number| number.to_string())
        .serialize(serializer)
}

const POOLS: &[Column] = &[
    column("POOL"),
    column("CIDR"),
    column("ACTIVE"),
    column("CAPACITY"),
    column("USED"),
    column("FREE"),
    column("BLOCKS"),
    wide("NODES"),
];

fn pool_table(pools: &[PoolUse]) -> Table {
    let row = |pool: &PoolUse| {
        vec![
            pool.name.clone(),
            pool.cidr.clone().unwrap_or_else(|| "(deleted)".to_owned()),
            if pool.active { "yes" } else { "no" }.to_owned(),
            pool.capacity.map(text::count).unwrap_or_default(),
            pool.used.to_string(),
            pool.free.map(text::count).unwrap_or_default(),
            pool.blocks.to_string(),
            pool.nodes.to_string(),
        ]
    };
    Table::new(POOLS, pools.iter().map(row).collect())
}

const BLOCKS: &[Column] = &[
    column("BLOCK"),
    column("NODE"),
    column("POOL"),
    column("CAPACITY"),
    column("USED"),
    column("FREE"),
];

fn block_table(blocks: &[BlockUse]) -> Table {
    let row = |block: &BlockUse| {
        vec![
            block.cidr.clone(),
            block.node.clone(),
            block.pool.clone(),
            block.capacity.map(text::count).unwrap_or_default(),
            block.used.to_string(),
            block.free.map(text::count).unwrap_or_default(),
        ]
    };
    Table::new(BLOCKS, blocks.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;
    use margay_proto::crd::{IPBlockSpec, IPPoolSpec};

    fn pool(name: &str, cidr: &str) -> IPPool {
        IPPool::new(
            name,
            IPPoolSpec {
                cidr: cidr.into(),
                ..IPPoolSpec::default()
            },
        )
    }

    fn block(pool: &str, cidr: &str, node: &str, used: usize) -> IPBlock {
        let allocations = vec![
            Allocation {
                address: "10.244.0.7".into(),
                pod: "web".into(),
                ..Allocation::default()
            };
            used
        ];
        let spec = IPBlockSpec {
            cidr: cidr.into(),
            pool: pool.into(),
            node_name: node.into(),
            allocations,
            ..IPBlockSpec::default()
        };
        IPBlock::new("b", spec)
    }

    fn space() -> Space {
        let pools = [
            pool("pods", "10.244.0.0/16"),
            pool("pods-v6", "fd00:10:244::/56"),
            pool("odd", "10.0.0.1/8"),
        ];
        let blocks = [
            block("pods", "10.244.0.64/26", "n2", 3),
            block("pods", "10.244.0.0/26", "n1", 2),
            block("pods-v6", "fd00:10:244::40/122", "n1", 2),
            block("gone", "10.9.0.0/26", "n1", 1),
        ];
        Space::of(&pools, &blocks)
    }

    #[test]
    fn pools_are_golden() {
        let golden = "\
POOL      CIDR               ACTIVE   CAPACITY   USED   FREE     BLOCKS
pods      10.244.0.0/16      no       65534      5      65529    2
pods-v6   fd00:10:244::/56   no       4.7e21     2      4.7e21   1
odd       10.0.0.1/8         no       -          0      -        0
gone      (deleted)          no       -          1      -        1
";
        assert_eq!(pool_table(&space().pools).render(Format::Table), golden);
    }

    #[test]
    fn blocks_are_golden_and_in_order() {
        let golden = "\
BLOCK                 NODE   POOL      CAPACITY   USED   FREE
10.9.0.0/26           n1     gone      64         1      63
10.244.0.0/26         n1     pods      63         2      61
10.244.0.64/26        n2     pods      64         3      61
fd00:10:244::40/122   n1     pods-v6   64         2      62
";
        assert_eq!(block_table(&space().blocks).render(Format::Table), golden);
    }

    #[test]
    fn large_numbers_are_text_in_json() {
        let json = serde_json::to_value(&space().pools[1]).unwrap();
        assert_eq!(json["capacity"], "4722366482869645213696");
        assert_eq!(json["free"], "4722366482869645213694");
        assert_eq!(json["used"], 2);
        let json = serde_json::to_value(&space().blocks[2]).unwrap();
        assert_eq!(json["allocations"][0]["pod"], "web");
    }

    #[test]
    fn single_addresses_and_whole_families_count() {
        let capacity = |cidr: &str| capacity(cidr.parse().unwrap(), None);
        assert_eq!(capacity("10.0.0.5/32"), 1);
        assert_eq!(capacity("fd00::5/128"), 1);
        assert_eq!(capacity("::/0"), u128::MAX);
    }
}
