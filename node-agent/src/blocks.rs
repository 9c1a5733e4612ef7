//! The API server as the allocator's store of blocks.

use ipnetwork::IpNetwork;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};
use margay_ipam::{Store, StoreError, cidr_of_name};
use margay_proto::{crd::IPBlock, names};

/// `IPBlock`s by the API. Every write is a compare-and-swap.
#[derive(Clone, Debug)]
pub struct KubeStore {
    api: Api<IPBlock>,
}

impl KubeStore {
    /// Through `client`.
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(names::AGENT_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

impl Store for KubeStore {
    async fn create_block(&self, block: IPBlock) -> Result<IPBlock, StoreError> {
        self.api
            .create(&params(), &block)
            .await
            .map_err(|e| translated(e, &block.name_any()))
    }

    async fn block(&self, name: &str) -> Result<Option<IPBlock>, StoreError> {
        self.api
            .get_opt(name)
            .await
            .map_err(|e| translated(e, name))
    }

    async fn list_blocks(&self) -> Result<Vec<IpNetwork>, StoreError> {
        let all = self
            .api
            .list_metadata(&ListParams::default())
            .await
            .map_err(|e| translated(e, "list"))?;
        Ok(all
            .items
            .iter()
            .filter_map(|b| cidr_of_name(&b.name_any()))
            .collect())
    }

    async fn publish(&self, block: IPBlock) -> Result<IPBlock, StoreError> {
        let name = block.name_any();
        self.api
            .replace(&name, &params(), &block)
            .await
            .map_err(|e| translated(e, &name))
    }

    async fn delete_block(&self, block: &IPBlock) -> Result<(), StoreError> {
        let preconditions = Preconditions {
            uid: block.uid(),
            resource_version: block.resource_version(),
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        self.api
            .delete(&block.name_any(), &params)
            .await
            .map(drop)
            .map_err(|e| translated(e, &block.name_any()))
    }
}

fn translated(error: kube::Error, name: &str) -> StoreError {
    let kube::Error::Api(status) = &error else {
        return StoreError::Unavailable(error.to_string());
    };
    match (status.code, status.reason.as_str()) {
        (409, "AlreadyExists") => StoreError::AlreadyExists(name.to_owned()),
        (409, _) => StoreError::Conflict(name.to_owned()),
        (404, _) => StoreError::NotFound(name.to_owned()),
        (400 | 403 | 422, _) => StoreError::Refused(status.message.clone()),
        _ => StoreError::Unavailable(status.message.clone()),
    }
}
