//! The API server: how it is found, and its errors in words.

use crate::options::Options;
use anyhow::{Context, anyhow};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::ListParams;
use kube::client::UpgradeConnectionError;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use margay_proto::names::NAMESPACE;
use std::fmt::Debug;
use std::time::Duration;

/// A cluster that answers within [`PATIENCE`] or not at all.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    server: String,
}

impl Cluster {
    /// Finds the cluster as the options say; asks nothing of it yet.
    ///
    /// # Errors
    /// A kubeconfig that cannot be read, or none.
    pub(crate) async fn connect(options: &Options) -> anyhow::Result<Self> {
        let choice = KubeConfigOptions {
            context: options.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match (&options.kubeconfig, &options.context) {
            (Some(file), _) => {
                let kubeconfig = Kubeconfig::read_from(file)
                    .with_context(|| format!("--kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &choice)
                    .await
                    .with_context(|| format!("--kubeconfig {}", file.display()))?
            }
            (None, Some(context)) => Config::from_kubeconfig(&choice)
                .await
                .with_context(|| format!("--context {context}"))?,
            (None, None) => Config::infer().await.map_err(|error| {
                anyhow!(
                    "no cluster: {}; give --kubeconfig or set KUBECONFIG",
                    root_cause(&error)
                )
            })?,
        };
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| anyhow!(explain(&error, &server)))?;
        Ok(Self { client, server })
    }

    /// The client, for `Api::all` and its like.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits for `answer`; `doing` says what for, such as "list ippools".
    ///
    /// # Errors
    /// What went wrong in words, after `doing`.
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<T> {
        let answer = self.attempt(answer).await?;
        answer.map_err(|error| anyhow!("cannot {doing}: {}", explain(&error, &self.server)))
    }

    /// The same for an object that may be absent. A definition that is absent is an error, which `Api::get_opt` would hide.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub(crate) async fn find<T>(
        &self,
        doing: &str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        match self.attempt(answer).await? {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status))
                if status.code == 404 && !is_missing_definition(&status) =>
            {
                Ok(None)
            }
            Err(error) => Err(anyhow!("cannot {doing}: {}", explain(&error, &self.server))),
        }
    }

    /// All objects of a kind that `params` select, page by page.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub(crate) async fn list<K>(
        &self,
        doing: &str,
        api: &Api<K>,
        params: ListParams,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut params = params.limit(PAGE);
        let mut items = Vec::new();
        loop {
            let page = self.call(doing, api.list(&params)).await?;
            items.extend(page.items);
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(items),
            }
        }
    }

    async fn attempt<T>(
        &self,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<kube::Result<T>> {
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
            anyhow!(
                "the API server {} did not answer within {} s",
                self.server,
                PATIENCE.as_secs()
            )
        })
    }
}

/// An error of kube's in words that end with what to do.
pub(crate) fn explain(error: &kube::Error, server: &str) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => format!(
                "the API server {server} does not know you (401): log in again, or give --kubeconfig or --context"
            ),
            403 => format!("{}: ask for a role that allows it", status.message),
            404 if is_missing_definition(status) => {
                format!(
                    "the API server {server} does not have this kind of object. Is Margay installed? Its definitions are in manifests/"
                )
            }
            _ => status.message.clone(),
        },
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            match code.as_u16() {
                403 => format!(
                    "forbidden: it takes the verbs get and create on pods/exec in namespace {NAMESPACE}"
                ),
                404 => "the pod is gone: try again".to_owned(),
                _ => format!("the API server {server} answered {code}"),
            }
        }
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            format!(
                "the API server {server} cannot be reached: {}; is it the right --kubeconfig or --context?",
                root_cause(error)
            )
        }
        kube::Error::SerdeError(cause) => format!(
            "an object is not as this version knows it ({cause}): is margayctl as new as the cluster's Margay?"
        ),
        other => root_cause(other),
    }
}

/// A 404 for an object names it; one for a kind does not.
fn is_missing_definition(status: &kube::core::Status) -> bool {
    status.code == 404
        && status
            .details
            .as_ref()
            .is_none_or(|details| details.name.is_empty())
}

/// The innermost error: the outer ones say only that there is one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// For one request; kube itself would repeat a 503 for minutes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Objects a page.
const PAGE: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(code: u16, message: &str, name: &str) -> kube::Error {
        let status = json!({"code": code, "message": message, "details": {"name": name}});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn errors_say_what_to_do() {
        let explain = |error: kube::Error| explain(&error, "https://10.0.0.1:6443/");
        let forbidden =
            "ippools.margay.dev is forbidden: User \"eve\" cannot list resource \"ippools\"";
        assert_eq!(
            explain(status(403, forbidden, "")),
            format!("{forbidden}: ask for a role that allows it")
        );
        assert!(
            explain(status(
                404,
                "the server could not find the requested resource",
                ""
            ))
            .contains("Is Margay installed?")
        );
        assert_eq!(
            explain(status(404, "ippools.margay.dev \"a\" not found", "a")),
            "ippools.margay.dev \"a\" not found"
        );
        assert!(explain(status(401, "Unauthorized", "")).contains("--kubeconfig"));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(
            explain(kube::Error::Service(Box::new(refused))),
            "the API server https://10.0.0.1:6443/ cannot be reached: connection refused; is it the right --kubeconfig or --context?"
        );
        let exec = UpgradeConnectionError::ProtocolSwitch(http::StatusCode::FORBIDDEN);
        assert!(explain(kube::Error::UpgradeConnection(exec)).contains("pods/exec"));
    }
}
