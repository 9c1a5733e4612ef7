//! GC: ends what the runtime does not list.

use super::{refusal::Refusal, server::Server};
use margay_ipam::Attachment;
use margay_proto::rpc::cni as rpc;

impl Server {
    pub(super) async fn collect(&self, request: &rpc::GcRequest) -> Result<(), Refusal> {
        let valid = |a: &Attachment| {
            request
                .valid
                .iter()
                .any(|v| v.container_id == a.key.container_id && v.ifname == a.key.ifname)
        };
        let mut errors = Vec::new();
        for attachment in self.records.all().iter().filter(|a| !valid(a)) {
            if let Err(error) = self.detach(&attachment.key).await {
                errors.push(error.to_string());
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Io(errors.join("; ")))
        }
    }
}
