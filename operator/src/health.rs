//! `/healthz`, `/readyz` and `/metrics`.

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the tasks say about themselves.
#[derive(Default)]
pub(crate) struct Health {
    installer: Gauge,
    pools: Gauge,
    leading: Gauge,
    applies: Counter,
    failures: Counter,
    active_pools: Gauge,
    all_pools: Gauge,
}

impl Health {
    /// The installer's watches are in sync.
    pub(crate) fn installer_in_sync(&self) {
        self.installer.set(1);
    }

    /// The pool controller's watches are in sync.
    pub(crate) fn pools_in_sync(&self) {
        self.pools.set(1);
    }

    /// This replica leads, or not.
    pub(crate) fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Everything was applied but for `failures` objects.
    pub(crate) fn applied(&self, failures: usize) {
        self.applies.inc();
        self.failures.inc_by(failures as u64);
    }

    /// Pools by state.
    pub(crate) fn pools(&self, active: usize, all: usize) {
        self.active_pools
            .set(i64::try_from(active).unwrap_or(i64::MAX));
        self.all_pools.set(i64::try_from(all).unwrap_or(i64::MAX));
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("margay_operator");
        registry.register(
            "leading",
            "1 while this replica leads",
            self.leading.clone(),
        );
        registry.register(
            "applies",
            "Times that everything was applied",
            self.applies.clone(),
        );
        registry.register(
            "apply_failures",
            "Objects that could not be applied",
            self.failures.clone(),
        );
        registry.register(
            "pools_active",
            "Pools from which nodes may claim",
            self.active_pools.clone(),
        );
        registry.register("pools", "Pools", self.all_pools.clone());
        registry
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, health: Arc<Health>) -> Result<()> {
    let listener = match TcpListener::bind(listen).await {
        // A kernel without IPv6.
        Err(_) if listen.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen.port())).await
        }
        result => result,
    };
    let listener = listener.with_context(|| format!("listening on {listen}"))?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router)
        .await
        .context("serving /healthz")
}

/// A replica that waits for the lease is ready.
async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if health.installer.get() == 1 && health.pools.get() == 1 {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "watches are not in sync: is the API server reachable, and are the definitions installed?\n",
        )
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &health.registry()) {
        Ok(()) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named() {
        let health = Health::default();
        health.applied(2);
        health.leading(true);
        let mut text = String::new();
        encode(&mut text, &health.registry()).unwrap();
        assert!(
            text.contains("margay_operator_apply_failures_total 2\n"),
            "{text}"
        );
        assert!(text.contains("margay_operator_leading 1\n"), "{text}");
    }
}
