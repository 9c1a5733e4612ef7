//! `/healthz`, `/readyz` and `/metrics` over HTTP.
//!
//! ```text
//!  engine, speaker, … ──beat()──► Heartbeats ──► /healthz   restart me: a task is stuck
//!  sinks, watches  ──open()────► Gates ──────► /readyz    I can serve: every gate is open
//!  everyone        ──inc()─────► Metrics ────► /metrics   OpenMetrics
//! ```
//! The three are separate because they have separate consequences: a kubelet restarts the agent over `/healthz`, so
//! only what a restart repairs counts there. An API server that is away is no reason; it closes a gate at most.
//!
//! The port is open on every address of the node: Prometheus scrapes the node's address, the kubelet probes 127.0.0.1.
//! Nothing here is secret and nothing changes state.

mod gates;
mod heartbeat;
mod live;
mod metrics;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

pub use gates::{Gate, Gates};
pub use heartbeat::{Heartbeat, Heartbeats};
pub use metrics::Metrics;

use crate::{speaker::socket, watch::Outages};

/// What the endpoints show.
#[derive(Clone, Debug)]
pub struct Health {
    /// Tasks that must stay alive.
    pub heartbeats: Heartbeats,
    /// What must be true before the node may be used.
    pub gates: Gates,
    /// Watches that fail; an agent that the API server refuses is not ready.
    pub outages: Outages,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Serves until `cancel`.
///
/// # Errors
/// When the port cannot be bound, or the server fails.
pub async fn serve(port: u16, health: Health, cancel: CancellationToken) -> anyhow::Result<()> {
    let listener =
        socket::listen(port).with_context(|| format!("health endpoint on port {port}"))?;
    axum::serve(listener, router(health))
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
        .context("health endpoint")
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(health)
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    verdict(health.heartbeats.stuck())
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    verdict([health.gates.closed(), health.outages.refused()].concat())
}

async fn metrics_text(State(health): State<Health>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, content_type)],
        health.metrics.text().await,
    )
}

/// `ok`, or one line for each thing that is wrong.
fn verdict(wrong: Vec<String>) -> (StatusCode, String) {
    if wrong.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n")
}

#[cfg(test)]
mod tests;
