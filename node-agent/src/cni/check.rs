//! CHECK: what the runtime was told and what the kernel has, against the record.

use super::{
    link_name, previous,
    refusal::Refusal,
    server::{Server, key},
};
use crate::kernel::link;
use margay_proto::rpc::cni as rpc;

impl Server {
    pub(super) async fn compare(&self, request: &rpc::Request) -> Result<(), Refusal> {
        let name = link_name(&key(request));
        let _turn = self.turns.take(&name).await;
        let Some(attachment) = self.records.of_link(&name) else {
            return Err(Refusal::UnknownContainer(format!(
                "container {} has no attachment {} on this node",
                request.container_id, request.ifname
            )));
        };
        previous::agrees(&request.config, &attachment)?;
        let Some(wanted) = self.as_made(&attachment).await else {
            return Err(Refusal::TryAgain(
                "this node's MTU is not known yet".to_owned(),
            ));
        };
        link::check(&wanted)
            .await
            .map_err(|e| Refusal::Mismatch(e.to_string()))?;
        Ok(())
    }
}
