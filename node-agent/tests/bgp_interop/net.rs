//! Two namespaces and a veth between them. They live as long as their descriptors: nothing is left of a killed test.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub(crate) struct Net {
    pub(crate) ours: Place,
    pub(crate) router: Place,
    /// For sockets and configuration; removed at the end.
    pub(crate) folder: PathBuf,
}

pub(crate) struct Place(File);

/// A process that ends with its test.
pub(crate) struct Process(Child);

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Net {
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces: run it as root"
        );
        for (program, package) in [
            ("ip", "iproute2"),
            ("nsenter", "util-linux"),
            ("setpriv", "util-linux"),
        ] {
            require(program, package);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("margay-bgp-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let net = Self {
            ours: Place::new(),
            router: Place::new(),
            folder,
        };
        let namespace = net.router.path();
        net.ours.ip(&[
            "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", &namespace,
        ]);
        for (place, host) in [(&net.ours, 2), (&net.router, 1)] {
            place.ip(&["link", "set", "lo", "up"]);
            place.ip(&[
                "address",
                "add",
                &format!("10.99.0.{host}/24"),
                "dev",
                "up0",
            ]);
            place.ip(&[
                "address",
                "add",
                &format!("fd99::{host}/64"),
                "dev",
                "up0",
                "nodad",
            ]);
            place.ip(&["link", "set", "up0", "up"]);
        }
        net
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let thread = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(thread.join().unwrap())
    }

    /// For programs that open it by name.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Moves the calling thread here.
    pub(crate) fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }

    pub(crate) fn handle(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args([
            "setpriv",
            "--pdeathsig",
            "KILL",
            program,
        ]);
        command
    }

    pub(crate) fn ip(&self, arguments: &[&str]) {
        self.output("ip", arguments);
    }

    /// What a program that has to succeed says here.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How often the kernel here has counted `name` in `/proc/net/netstat`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let output = self.command("cat").arg("/proc/net/netstat").output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let value = lines.chunks(2).find_map(|pair| {
            let place = pair[0].split(' ').position(|word| word == name)?;
            pair[1].split(' ').nth(place)?.parse().ok()
        });
        value.unwrap_or_else(|| panic!("the kernel counts no {name}"))
    }

    /// Starts a daemon that logs into `log`.
    pub(crate) fn daemon(
        &self,
        program: &str,
        arguments: &[String],
        log: &std::path::Path,
    ) -> Process {
        let log = File::create(log).unwrap();
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Process(command.spawn().unwrap())
    }
}

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end; whether it ended well.
    pub(crate) fn ended(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn require(program: &str, package: &str) {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/lib/frr"];
    let found = folders
        .iter()
        .any(|folder| std::path::Path::new(folder).join(program).exists());
    assert!(
        found,
        "this test needs `{program}`: apt-get install {package}"
    );
}
