//! Single paths, to pods and services that only some topics have.

use super::{
    arena::{Arena, JUDGE_WAIT, TURN_LIMIT, TURN_WAIT},
    pods::{NAMESPACES, PODS, addresses},
};
use crate::matrix::{Fate, Matrix, Place, Protocol, Shape, Shot, inside};
use anyhow::{Context, Result, bail};
use margay_lab::{Seen, wait_until};
use std::{
    net::{IpAddr, SocketAddr},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// A path, and where its packets shall come out.
#[derive(Clone, Debug)]
pub(super) struct Path {
    from: String,
    to: SocketAddr,
    protocol: Protocol,
    /// Place, port, and the source it shall see if that matters; none: closed.
    lands: Option<(String, u16, Option<IpAddr>)>,
    shape: Shape,
}

impl Path {
    /// A path that shall be closed.
    pub(super) fn closed(from: &str, to: SocketAddr, protocol: Protocol) -> Self {
        Self {
            from: from.to_owned(),
            to,
            protocol,
            lands: None,
            shape: Shape::Plain,
        }
    }

    /// It shall be open, and come out at this port of a place.
    pub(super) fn lands(mut self, place: &str, port: u16) -> Self {
        self.lands = Some((place.to_owned(), port, None));
        self
    }

    /// It shall be open, and the place shall see this source.
    pub(super) fn lands_from(mut self, place: &str, port: u16, source: IpAddr) -> Self {
        self.lands = Some((place.to_owned(), port, Some(source)));
        self
    }

    /// Its datagrams shall have so many bytes more.
    pub(super) fn padded(mut self, bytes: usize) -> Self {
        self.shape = Shape::Padded(bytes);
        self
    }

    /// Their checksums shall be wrong.
    pub(super) fn damaged(mut self) -> Self {
        self.shape = Shape::Damaged;
        self
    }

    fn is_right(&self, matrix: &Matrix, fate: &Fate) -> bool {
        match (&self.lands, fate.arrived) {
            (None, arrived) => arrived.is_none() && !fate.answered,
            (Some(_), None) => false,
            (Some((name, port, wanted)), Some((place, source, at))) => {
                matrix.places()[place].name() == name
                    && at == *port
                    && wanted.is_none_or(|wanted| wanted == source)
                    && fate.answered
            }
        }
    }

    fn told(&self, matrix: &Matrix, fate: &Fate) -> String {
        let seen = match fate.arrived {
            None => "did not arrive".to_owned(),
            Some((place, source, port)) => {
                let (name, answer) = (
                    matrix.places()[place].name(),
                    if fate.answered { "" } else { ", no answer" },
                );
                format!("arrived at {name} port {port} from {source}{answer}")
            }
        };
        let wanted = match &self.lands {
            None => "closed".to_owned(),
            Some((name, port, None)) => format!("{name} port {port}"),
            Some((name, port, Some(source))) => format!("{name} port {port} from {source}"),
        };
        let protocol = self.protocol.name();
        format!(
            "{} -> {} {protocol} {seen}, wanted: {wanted}",
            self.from, self.to
        )
    }
}

impl Arena<'_> {
    /// A place's address.
    pub(super) fn address(&self, place: &str, v4: bool) -> Result<IpAddr> {
        let found = self.matrix.places().iter().find(|p| p.name() == place);
        let address = found.and_then(|place| place.address(v4));
        address.with_context(|| format!("there is no address of {place}"))
    }

    /// An address and a port of a place.
    pub(super) fn at(&self, place: &str, port: u16, v4: bool) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.address(place, v4)?, port))
    }

    /// The place of that name.
    pub(super) fn place(&self, name: &str) -> Result<&Place> {
        let found = self.matrix.places().iter().find(|p| p.name() == name);
        found.with_context(|| format!("there is no place {name}"))
    }

    /// Runs a tool of the machine at a place.
    pub(super) fn run(&self, place: &str, argv: &[&str]) -> Result<Output> {
        let mut command = Command::new(argv.first().context("a command has a name")?);
        command.args(&argv[1..]);
        // A child is born in the namespace of the thread that starts it.
        inside(self.place(place)?.namespace(), move || command.output())
            .with_context(|| format!("{} at {place}", argv.join(" ")))
    }

    /// Waits until all paths are as they shall be, then asks each once more.
    pub(super) fn follow(&mut self, begin: Instant, paths: &[Path]) -> Result<String> {
        // The next table of truth starts from nothing.
        self.forget();
        let started = Instant::now();
        loop {
            let wrong = self.ask_once(paths, TURN_WAIT)?;
            if wrong.is_empty() {
                break;
            }
            if started.elapsed() > TURN_LIMIT {
                bail!("{}", wrong.join("; "));
            }
        }
        let after = begin.elapsed().as_millis();
        let wrong = self.ask_once(paths, JUDGE_WAIT)?;
        if !wrong.is_empty() {
            bail!("it was right once, and then: {}", wrong.join("; "));
        }
        let open = paths.iter().filter(|path| path.lands.is_some()).count();
        let closed = paths.len() - open;
        Ok(format!(
            "{open} paths open, {closed} closed, seen after {after} ms"
        ))
    }

    /// What is wrong with which.
    fn ask_once(&mut self, paths: &[Path], limit: Duration) -> Result<Vec<String>> {
        let mut shots = Vec::new();
        for path in paths {
            let places = self.matrix.places();
            let from = places.iter().position(|place| place.name() == path.from);
            shots.push(Shot {
                from: from.with_context(|| format!("there is no place {}", path.from))?,
                to: path.to,
                protocol: path.protocol,
                shape: path.shape,
            });
        }
        let settled = |matrix: &Matrix, at: usize, fate: &Fate| paths[at].is_right(matrix, fate);
        let (pass, fates) = self.matrix.pass(&shots, limit, settled)?;
        let matrix = &self.matrix;
        let wrong: Vec<String> = (paths.iter().zip(&fates))
            .filter(|(path, fate)| !path.is_right(matrix, fate))
            .map(|(path, fate)| path.told(matrix, fate))
            .collect();
        if wrong.is_empty() {
            self.matrix
                .judge_closed(&pass, |at| paths[at].lands.is_none());
        }
        Ok(wrong)
    }

    /// Makes pods beside the nine, and serves ports in them. [`Arena::remove_extras`] takes them away.
    pub(super) fn extra(&mut self, pods: &[Extra<'_>], ports: &[u16]) -> Result<()> {
        for pod in pods {
            self.api.apply(&pod.path(), &pod.manifest())?;
        }
        for pod in pods {
            let found = self.running_pod(&pod.path())?;
            if pod.served && !pod.more.contains("hostNetwork") {
                let name = format!("{}/{}", pod.namespace, pod.name);
                let netns = self.cluster.lab.netns(&format!("pod:{name}"))?;
                let place = Place::open(&name, netns, &found, ports)?;
                self.matrix.add(place);
            }
        }
        Ok(())
    }

    /// The addresses of a pod, once it runs.
    pub(super) fn running_pod(&self, path: &str) -> Result<Vec<IpAddr>> {
        wait_until(&format!("{path} runs"), Duration::from_secs(30), || {
            let pod = self.api.get(path)?;
            let found = addresses(&pod);
            Ok(if found.is_empty() {
                Seen::NotYet(pod["status"].to_string())
            } else {
                Seen::Holds(found)
            })
        })
    }

    /// Removes what [`Arena::extra`] made, and waits until it is gone.
    pub(super) fn remove_extras(&mut self) -> Result<()> {
        self.matrix
            .truncate(PODS.len() + self.cluster.lab.nodes().len() + 1);
        for namespace in NAMESPACES {
            let pods = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=extra");
            self.api.delete(&pods)?;
            wait_until("our extra pods are gone", Duration::from_secs(30), || {
                let left = self.api.get(&pods)?["items"].as_array().map_or(0, Vec::len);
                Ok(if left == 0 {
                    Seen::Holds(())
                } else {
                    Seen::NotYet(format!("{left} left"))
                })
            })?;
        }
        // Only now: closing their sockets earlier would end the pods' connections in good order.
        let base = PODS.len() + self.cluster.lab.nodes().len() + 1;
        self.matrix.truncate(base);
        Ok(())
    }
}

/// A pod beside the nine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra<'e> {
    pub(super) namespace: &'e str,
    pub(super) name: &'e str,
    pub(super) node: &'e str,
    /// Labels in YAML, as in `role: web`.
    pub(super) labels: &'e str,
    /// Containers in YAML.
    pub(super) containers: &'e str,
    /// More of the spec in YAML, such as `hostNetwork: true`.
    pub(super) more: &'e str,
    /// Whether it becomes a place of the matrix.
    pub(super) served: bool,
}

/// A container that does nothing.
pub(super) const IDLE: &str = "[{name: idle, image: 'lab.local/pause:1', imagePullPolicy: Never}]";

impl Extra<'_> {
    pub(super) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    fn manifest(&self) -> String {
        let Self {
            namespace,
            name,
            node,
            labels,
            containers,
            more,
            ..
        } = self;
        let comma = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!(", {text}")
            }
        };
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: '{name}', namespace: '{namespace}', labels: {{extra: ''{}}}}}, \
             spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: {containers}{}}}}}",
            comma(labels),
            comma(more)
        )
    }
}
