//! Throw-away network namespaces for tests: the kernel itself is the test double of nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a fresh network namespace, on a thread and a runtime of its own; the namespace ends with it.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        enter_new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter_new() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces: run it as root"
    );
    unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (CAP_SYS_ADMIN)");
    ip("link set lo up");
}

/// A "pod": a network namespace with a path, kept by a thread that lives until this is dropped.
pub(crate) struct Namespace {
    path: PathBuf,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, path) = mpsc::channel();
        let keeper = std::thread::spawn(move || {
            assert!(
                nix::unistd::geteuid().is_root(),
                "this test makes network namespaces: run it as root"
            );
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (CAP_SYS_ADMIN)");
            ready
                .send(PathBuf::from(format!(
                    "/proc/self/task/{}/ns/net",
                    nix::unistd::gettid()
                )))
                .unwrap();
            let _ = stopped.recv();
        });
        Self {
            path: path.recv().expect("the namespace's thread"),
            stop: Some(stop),
            keeper: Some(keeper),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a command inside; whether it succeeded, and what it printed.
    pub(crate) fn run(&self, command: &str) -> (bool, String) {
        let file = File::open(&self.path).unwrap();
        let command = command.to_owned();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            output(&command)
        });
        thread.join().unwrap()
    }

    /// Runs `ip` inside, which must succeed.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let (ok, text) = self.run(&format!("ip {arguments}"));
        assert!(ok, "ip {arguments}: {text}");
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Waits until packets to this IPv6 address are delivered, where `ip` looks. Even without duplicate address detection the kernel makes
/// the local route in a worker (`addrconf_dad_work`), after the address can be seen and bound.
pub(crate) fn until_local(ip: impl Fn(&str) -> String, address: &str) {
    let begin = Instant::now();
    while !ip("-6 route show table local").contains(&format!("local {address} ")) {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{address} has no local route"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `ip` in the calling thread's namespace, which must succeed.
pub(crate) fn ip(arguments: &str) -> String {
    let (ok, text) = output(&format!("ip {arguments}"));
    assert!(ok, "ip {arguments}: {text}");
    text
}

/// Runs a command in the calling thread's namespace.
pub(crate) fn output(command: &str) -> (bool, String) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let done = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e} (iproute2 and iputils are needed)"));
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}
