//! A node of its own for a test: network and mounts, and how it is looked at from outside.

use crate::kernel::testnet::{ip, output};
use margay_proto::names;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Files of the test; everything else is where it is on a real node.
#[derive(Debug)]
pub(super) struct Node {
    folder: PathBuf,
}

/// Runs a test on a thread of its own whose network, /run and /var/lib end with it. Processes that it starts live there as well.
pub(super) fn isolated<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces: run it as root"
        );
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("new namespaces (CAP_SYS_ADMIN)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("private mounts");
        for folder in ["/run", "/var/lib"] {
            mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
        }
        ip("link set lo up");
        ip("link add up0 mtu 1400 type veth peer name up1");
        ip("link set up1 up");
        ip("link set up0 up");
        ip("address add 172.31.0.1/24 dev up0");
        ip("address add fd31::1/64 dev up0 nodad");
        let folder = PathBuf::from("/run/test");
        for name in ["bin", "net.d"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("plugin"), "the plugin").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(Node { folder }));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Node {
    pub(super) fn armed(&self) -> PathBuf {
        self.folder.join("armed")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What the newest agent said.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub(super) fn arm(&self, point: &str) {
        let partial = self.folder.join("arming");
        std::fs::write(&partial, point).unwrap();
        std::fs::rename(partial, self.armed()).unwrap();
    }

    pub(super) fn disarm(&self) {
        std::fs::remove_file(self.armed()).unwrap();
    }

    /// All that an agent writes on a node and a pod could leave behind.
    pub(super) fn kernel(&self) -> Kernel {
        let look = |command: &&str| ((*command).to_owned(), words(&output(command).1));
        let commands = [
            "ls /run/margay/attachments",
            "ip -br link",
            "ip -4 route",
            "ip -6 route",
            "ip neigh show nud permanent",
            "nft -s list table inet margay",
        ];
        Kernel(commands.iter().map(look).collect())
    }

    /// What of a container's attachment is there.
    pub(super) fn left(&self, container: &str) -> Left {
        let link = names::link_name(container, "eth0");
        let has = |command: &str, what: &str| output(command).1.contains(what);
        Left([
            has("ls /run/margay/attachments", &format!("{link}.json")),
            has("ip -br link", &link),
            has("nft list table inet margay", &link),
            has("ip -4 route show proto 83", &link) || has("ip -6 route show proto 83", &link),
        ])
    }

    /// An agent that found a record makes it whole at its start; without one there is nothing.
    pub(super) fn whole_or_nothing(&self, container: &str, case: &str) {
        self.wait(&format!("{case}: whole or nothing"), || {
            let left = self.left(container);
            left.0
                .iter()
                .any(|part| *part != left.0[0])
                .then(|| format!("{left:?}"))
        });
    }

    /// Looks until nothing is wrong any more.
    pub(super) fn wait(&self, what: &str, mut wrong: impl FnMut() -> Option<String>) {
        let begin = Instant::now();
        while let Some(wrong) = wrong() {
            let late = begin.elapsed() > Duration::from_secs(10);
            assert!(!late, "{what}: {wrong}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Which parts of an attachment are there.
#[derive(Debug)]
pub(super) struct Left(pub(super) [bool; 4]);

impl Left {
    pub(super) const NAMES: [&'static str; 4] = ["record", "link", "rule", "route"];
}

/// What each command shows, in words: sets and lists have no order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel(BTreeMap<String, Vec<String>>);

impl Kernel {
    pub(super) fn difference(&self, before: &Self) -> String {
        let mut text = String::new();
        for (command, words) in &self.0 {
            let old = &before.0[command];
            let new: Vec<&String> = words.iter().filter(|w| !old.contains(w)).collect();
            let gone: Vec<&String> = old.iter().filter(|w| !words.contains(w)).collect();
            if words != old {
                text += &format!(
                    "{command}: {} words, {} before; new {new:?}, gone {gone:?}\n",
                    words.len(),
                    old.len()
                );
            }
        }
        text
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text
        .split([' ', ',', '\n', '\t'])
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    words.sort();
    words
}
