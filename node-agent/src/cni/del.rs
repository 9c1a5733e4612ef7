//! DEL: rules and routes, link, flows, record, address. GC and the sweep end attachments in the same way.

use super::{
    link_name,
    refusal::Refusal,
    server::{APPLY_WAIT, Server, ending},
};
use crate::{engine::Event, fault, kernel::link};
use margay_ipam::AttachmentKey;
use margay_proto::names;
use tokio::sync::oneshot;

impl Server {
    pub(super) async fn detach(&self, key: &AttachmentKey) -> Result<(), Refusal> {
        let _turn = self.turns.take(&link_name(key)).await;
        fault::point("del: its turn");
        self.detach_in_turn(key).await
    }

    /// Rules and routes first, then the link: without rules it drops whatever still comes, and no route is left to a link that is gone.
    ///
    /// The record goes last but for the address: until it is gone, whoever comes after a failure half-way finds what is left to do.
    pub(super) async fn detach_in_turn(&self, key: &AttachmentKey) -> Result<(), Refusal> {
        let name = link_name(key);
        let (reply, generation) = oneshot::channel();
        let link = name.clone();
        self.tell(Event::Detach { link, reply }).await?;
        fault::point("del: engine told");
        let generation = generation.await.map_err(|_| ending())?;
        fault::point("del: planned");
        // The address may be given to another pod only after the rules that name it are gone.
        self.applied(generation, APPLY_WAIT).await?;
        fault::point("del: applied");
        link::delete(&name)
            .await
            .map_err(|e| Refusal::Io(e.to_string()))?;
        fault::point("del: link gone");
        self.forget_flows(&name).await;
        self.records.remove(key).map_err(|e| {
            Refusal::Io(format!("attachment record in {}: {e}", names::ATTACHMENTS))
        })?;
        fault::point("del: record gone");
        let released = self.addresses.release(key.clone()).await;
        fault::point("del: addresses free");
        released.map_err(|e| Refusal::TryAgain(e.to_string()))
    }

    /// Nothing is left of a pod, nor of the flows it had. ADD does the same for the next owner and insists; here a failure keeps no pod
    /// from ending.
    async fn forget_flows(&self, link: &str) {
        let Some(attachment) = self.records.of_link(link) else {
            return;
        };
        if let Err(error) = self.flows.forget(attachment.addresses).await {
            tracing::warn!(%error, link, "flows of a pod that is gone stay in conntrack until they expire");
        }
    }
}
