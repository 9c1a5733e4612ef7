//! The order of what verbs do. What they do to the kernel, the lab shows.

use super::*;
use crate::{blocks::KubeStore, engine::KnownPod, health::Heartbeats};
use std::path::PathBuf;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

struct Bench {
    server: Server,
    engine: mpsc::Receiver<Event>,
    folder: PathBuf,
    serving: watch::Sender<Option<String>>,
    _applied: watch::Sender<Applied>,
    _plans: watch::Sender<Arc<Plan>>,
    _cancel: tokio_util::sync::DropGuard,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Only litter.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server that serves; the test is its engine.
fn bench(name: &str) -> Bench {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let folder = std::env::temp_dir().join(format!("margay-server-{name}-{}", std::process::id()));
    let (engine_sender, engine) = mpsc::channel(64);
    let (plans_sender, plans) = watch::channel(Arc::default());
    let (serving_sender, serving) = watch::channel(None);
    let (applied_sender, applied) = watch::channel(Applied::default());
    let metrics = Arc::new(Metrics::new());
    let (_, watched) = mpsc::channel(1);
    let client = kube::Client::try_from(config).unwrap();
    let (_, recorder) = crate::warnings::Writer::new("a".to_owned(), client.clone(), plans.clone());
    let (blocks, _) = mpsc::channel(1);
    let (task, addresses, _) = addresses::Addresses::new(addresses::Start {
        node: "a".to_owned(),
        blocks: Vec::new(),
        attachments: Vec::new(),
        plans: plans.clone(),
        watched,
        store: KubeStore::new(client),
        engine: blocks,
        metrics: metrics.clone(),
        refused: watch::channel(Vec::new()).0,
    });
    let cancel = CancellationToken::new();
    let heartbeat = Heartbeats::new().register("addresses", Duration::from_secs(30));
    tokio::spawn(task.run(heartbeat, cancel.clone()));
    let server = Server {
        engine: engine_sender,
        addresses,
        applied,
        plans,
        serving,
        records: Records::open(&folder).unwrap(),
        metrics,
        flows: Flows::start(),
        turns: Turns::default(),
        told: Told::new(recorder),
    };
    Bench {
        server,
        engine,
        folder,
        serving: serving_sender,
        _applied: applied_sender,
        _plans: plans_sender,
        _cancel: cancel.drop_guard(),
    }
}

fn request() -> rpc::Request {
    rpc::Request {
        container_id: "c1".to_owned(),
        ifname: "eth0".to_owned(),
        netns: "/nonexistent/netns".to_owned(),
        pod_namespace: "default".to_owned(),
        pod_name: "web".to_owned(),
        pod_uid: "uid-web".to_owned(),
        ..rpc::Request::default()
    }
}

type Verb<T> = tokio::task::JoinHandle<Result<T, Refusal>>;

impl Bench {
    fn add(&self) -> Verb<rpc::AddReply> {
        let server = self.server.clone();
        tokio::spawn(async move { server.add_pod(&request()).await })
    }

    fn del(&self) -> Verb<()> {
        let server = self.server.clone();
        tokio::spawn(async move { server.detach(&key(&request())).await })
    }

    async fn asked_for_the_pod(&mut self) -> oneshot::Sender<KnownPod> {
        match self.engine.recv().await {
            Some(Event::AwaitPod { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Whether a verb told the engine something once every task had its turns.
    async fn is_quiet(&mut self) -> bool {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.engine.try_recv().is_err()
    }
}

#[tokio::test]
async fn del_waits_for_the_add_that_it_ends() {
    let mut bench = bench("del-add");
    let add = bench.add();
    let known = bench.asked_for_the_pod().await;
    let del = bench.del();
    assert!(
        bench.is_quiet().await,
        "what DEL finds now is not all that ADD will make"
    );
    known.send(KnownPod::default()).unwrap();
    let refusal = add.await.unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::UnknownContainer(_)), "{refusal}");
    let Some(Event::Detach { reply, link }) = bench.engine.recv().await else {
        panic!("DEL goes on");
    };
    assert_eq!(link, link_name(&key(&request())));
    reply.send(0).unwrap();
    del.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_repeated_add_waits_for_the_first() {
    let mut bench = bench("add-add");
    let first = bench.add();
    let known = bench.asked_for_the_pod().await;
    let second = bench.add();
    assert!(bench.is_quiet().await);
    drop(known);
    assert!(matches!(first.await.unwrap(), Err(Refusal::TryAgain(_))));
    drop(bench.asked_for_the_pod().await);
    assert!(matches!(second.await.unwrap(), Err(Refusal::TryAgain(_))));
}

#[tokio::test]
async fn a_node_that_cannot_start_pods_says_why_and_still_serves_del() {
    let mut bench = bench("not-serving");
    bench
        .serving
        .send_replace(Some("waiting for the API server to list Pod".to_owned()));
    let refusal = bench.add().await.unwrap().unwrap_err();
    assert_eq!(refusal.code(), 11);
    assert!(
        refusal
            .to_string()
            .contains("waiting for the API server to list Pod")
    );
    let del = bench.del();
    let Some(Event::Detach { reply, .. }) = bench.engine.recv().await else {
        panic!("DEL needs no API server");
    };
    reply.send(0).unwrap();
    del.await.unwrap().unwrap();
}
