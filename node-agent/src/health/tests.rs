use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn request(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn endpoints_answer_over_both_families_what_is_wrong() {
    let health = Health {
        heartbeats: Heartbeats::new(),
        gates: Gates::new(),
        outages: Outages::default(),
        metrics: Arc::default(),
    };
    let listener = socket::listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(axum::serve(listener, router(health.clone())).into_future());
    let v4 = std::net::SocketAddr::from(([127, 0, 0, 1], port));

    assert!(request(v4, "/healthz").await.starts_with("HTTP/1.1 200"));
    let _stuck = health.heartbeats.register("engine", Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let answer = request(v4, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("engine: no sign of life"), "{answer}");

    let gate = health.gates.gate("policy", "watch not in sync");
    assert!(
        request(v4, "/readyz")
            .await
            .contains("policy: watch not in sync")
    );
    gate.open();
    assert!(request(v4, "/readyz").await.starts_with("HTTP/1.1 200"));

    let answer = request(v4, "/metrics").await;
    assert!(answer.contains("application/openmetrics-text"), "{answer}");
    assert!(answer.contains("margay_build_info"), "{answer}");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let v6 = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        assert!(request(v6, "/readyz").await.starts_with("HTTP/1.1 200"));
    }
    server.abort();
}
