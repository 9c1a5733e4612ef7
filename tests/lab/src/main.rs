//! `lab`: real Kubernetes clusters in network namespaces, from the command line.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use margay_lab::{Family, Lab, NodeAs, Proxy, Report, Runtime, Spec, Tor};

/// Real Kubernetes clusters in network namespaces.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// The lab; several can be up side by side.
    #[arg(long, global = true, default_value = "margay")]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a lab, or leave it as it is when it is up already.
    Up {
        /// How many nodes: n1, n2, …
        #[arg(long, default_value_t = 3)]
        nodes: u16,
        /// How many racks, each behind a ToR: tor1, tor2, …
        #[arg(long, default_value_t = 2)]
        racks: u16,
        /// The IP families of nodes, services and routers.
        #[arg(long, value_enum, default_value = "dual")]
        family: Family,
        /// The daemons of the ToRs, by rack; repeated when there are more racks.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "bird,frr")]
        tor: Vec<Tor>,
        /// The AS numbers of nodes, as the ToRs expect them: one for each rack, or one for all.
        #[arg(long, value_enum, default_value = "rack")]
        node_as: NodeAs,
        /// kube-proxy's mode.
        #[arg(long, value_enum, default_value = "nftables")]
        proxy: Proxy,
        /// The machine's containerd 1.6, or containerd 2 from its Go module.
        #[arg(long, value_enum, default_value = "containerd1")]
        runtime: Runtime,
        /// Let pods' addresses be part of the fabric's own range.
        #[arg(long)]
        pods_in_fabric: bool,
        /// Uplinks of each node; two lead to two ToRs, and the node's address is on its loopback.
        #[arg(long, default_value_t = 1)]
        uplinks: u16,
        /// More OCI archives to import on every node.
        #[arg(long, num_args = 1..)]
        image_archive: Vec<PathBuf>,
    },
    /// End a lab and remove everything of it, also when it is half gone.
    Down,
    /// Say what runs; the exit code is 1 unless all does.
    Status,
    /// Run a command in a place: a node, a ToR, spine, outside, cp, mgmt.
    Exec {
        /// n1, tor1, spine, outside, cp, …
        place: String,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run kubectl as the cluster's administrator.
    Kubectl {
        /// kubectl's arguments, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Print the path of the administrator's kubeconfig; it works inside the lab's places.
    Kubeconfig,
    /// Print logs; without a place, list them.
    Logs {
        /// n1, tor1, cp, …
        place: Option<String>,
        /// kubelet, bird, kube-apiserver, …; all of the place without it.
        process: Option<String>,
        /// Go on printing what is added.
        #[arg(short, long)]
        follow: bool,
    },
    /// Cut a node's power and give it back: everything on it ends at once, its network and `/run` are made anew.
    Reboot {
        /// n1, n2, …
        node: String,
    },
    /// Import OCI archives on every node of a running lab.
    Load {
        /// The archives.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Signal the processes of a name in a place, hostNetwork pods included; process ids are the machine's.
    Kill {
        /// n1, tor1, cp, …
        place: String,
        /// The process's name.
        process: String,
        /// KILL, TERM, STOP, CONT, …
        #[arg(long, default_value = "KILL")]
        signal: String,
    },
    /// Kill one of the lab's own processes and start it again.
    Restart {
        /// n1, tor1, cp, …
        place: String,
        /// kubelet, bird, kube-apiserver, … as `lab status` names it.
        process: String,
    },
    /// Send numbered UDP pings and count the answers; the exit code is 1 if one is lost.
    Ping {
        /// A place, or pod:NAMESPACE/NAME.
        #[arg(long)]
        from: String,
        /// ADDRESS:PORT of an echo server, or of agnhost netexec's UDP port.
        #[arg(long)]
        to: SocketAddr,
        /// Datagrams a second.
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// Seconds.
        #[arg(long, default_value = "5", value_parser = seconds)]
        duration: Duration,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Answer numbered pings until killed.
    EchoServer {
        /// A place, or pod:NAMESPACE/NAME.
        #[arg(long)]
        at: String,
        /// ADDRESS:PORT.
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.name, arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up {
            nodes,
            racks,
            family,
            tor,
            node_as,
            proxy,
            runtime,
            pods_in_fabric,
            uplinks,
            image_archive,
        } => {
            let spec = Spec {
                name: name.into(),
                nodes,
                racks,
                family,
                tors: tor,
                node_as,
                proxy,
                runtime,
                pods_in_fabric,
                uplinks,
                image_archives: image_archive,
            };
            let lab = Lab::up(&spec)?;
            print(&format!(
                "lab {} is up; its kubeconfig: {}\n",
                lab.spec().name,
                lab.kubeconfig().display()
            ))?;
        }
        Verb::Down => down(name)?,
        Verb::Status => return status(name),
        Verb::Exec { place, command } => {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            return become_command(Lab::open(name)?.command(&place, &command)?);
        }
        Verb::Kubectl { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            return become_command(Lab::open(name)?.kubectl_command(&arguments)?);
        }
        Verb::Kubeconfig => print(&format!("{}\n", Lab::open(name)?.kubeconfig().display()))?,
        Verb::Logs {
            place,
            process,
            follow,
        } => return logs(&Lab::open(name)?, place, process, follow),
        Verb::Reboot { node } => Lab::open(name)?.reboot(&node)?,
        Verb::Load { files } => Lab::open(name)?.load_images(&files)?,
        Verb::Kill {
            place,
            process,
            signal,
        } => kill(&Lab::open(name)?, &place, &process, &signal)?,
        Verb::Restart { place, process } => Lab::open(name)?.restart(&place, &process)?,
        Verb::Ping {
            from,
            to,
            rate,
            duration,
            json,
        } => {
            return ping(Lab::open(name)?.ping(&from, to, rate, duration)?, json);
        }
        Verb::EchoServer { at, listen } => {
            let _echo = Lab::open(name)?.echo(&at, listen)?;
            loop {
                std::thread::park();
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ping(report: Report, json: bool) -> Result<ExitCode> {
    let text = match json {
        true => serde_json::to_string(&report)?,
        false => format!(
            "sent {}, lost {}, duplicated {}, largest gap {} ms",
            report.sent, report.lost, report.duplicated, report.largest_gap_ms
        ),
    };
    print(&format!("{text}\n"))?;
    Ok(ExitCode::from(u8::from(report.lost > 0)))
}

fn down(name: &str) -> Result<()> {
    let message = if Lab::down(name)? {
        "is down"
    } else {
        "was not up"
    };
    print(&format!("lab {name} {message}\n"))
}

fn status(name: &str) -> Result<ExitCode> {
    let lab = Lab::open(name)?;
    let status = lab.status()?;
    let mut text = String::new();
    for process in &status.processes {
        let state = if process.running { "running" } else { "ENDED" };
        text += &format!(
            "{:<8} {:<24} {:>6} {state}\n",
            process.place, process.name, process.pid
        );
    }
    print(&text)?;
    let nodes = lab.kubectl(&["--request-timeout=5s", "get", "nodes", "-o", "wide"]);
    print(&nodes.unwrap_or_else(|error| format!("{error:#}\n")))?;
    let others: Vec<String> = Lab::names()?
        .into_iter()
        .filter(|other| other != name)
        .collect();
    if !others.is_empty() {
        print(&format!("other labs: {}\n", others.join(", ")))?;
    }
    Ok(if status.is_healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn logs(
    lab: &Lab,
    place: Option<String>,
    process: Option<String>,
    follow: bool,
) -> Result<ExitCode> {
    let Some(place) = place else {
        let list: String = lab
            .logs()?
            .iter()
            .map(|path| format!("{}\n", path.display()))
            .collect();
        print(&list)?;
        return Ok(ExitCode::SUCCESS);
    };
    let paths = match process {
        Some(process) => vec![lab.log_path(&place, &process)],
        None => {
            let of_place = |path: &PathBuf| {
                path.file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(&format!("{place}.")))
            };
            lab.logs()?.into_iter().filter(of_place).collect()
        }
    };
    if paths.is_empty() {
        bail!("no logs of {place}; `lab logs` lists them");
    }
    if follow {
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-F"]).args(paths);
        return become_command(tail);
    }
    for path in paths {
        let text = fs::read(&path).with_context(|| format!("no log {}", path.display()))?;
        print(&format!(
            "==> {} <==\n{}",
            path.display(),
            String::from_utf8_lossy(&text)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kill(lab: &Lab, place: &str, process: &str, signal: &str) -> Result<()> {
    let count = lab.kill(place, process, signal)?;
    if count == 0 {
        bail!("no process {process} on {place}");
    }
    print(&format!("{signal} sent to {count}\n"))
}

/// Replaces this process, so that signals, terminal and exit code are the command's own.
fn become_command(mut command: Command) -> Result<ExitCode> {
    Err(command.exec())
        .with_context(|| format!("running {}", command.get_program().to_string_lossy()))
}

/// `5`, `0.5` or `5s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = number
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Standard output; a reader that has had enough is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}
