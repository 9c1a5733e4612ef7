//! Which processes belong to a lab.

use std::collections::HashSet;

use super::Entry;

/// What marks a process as part of a lab. Any one mark is enough, so that a lab of which half is gone is still found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// The inodes of the lab's network namespaces, and of its pods'.
    pub(crate) nets: HashSet<u64>,
    /// The lab's state folder, as in the environment of what the lab started.
    pub(crate) folder: String,
    /// The ids of its containers, which are the names of their cgroups.
    pub(crate) containers: HashSet<String>,
    /// Mount namespaces that are not the lab's whoever is in them: the machine's and the caller's.
    pub(crate) outer_mounts: HashSet<u64>,
    /// Processes that are never part of the lab: the caller and its ancestors.
    pub(crate) spared: HashSet<i32>,
}

impl Marks {
    fn is_on(&self, entry: &Entry) -> bool {
        entry.net.is_some_and(|net| self.nets.contains(&net))
            || entry.lab.as_deref() == Some(&self.folder)
            || entry
                .cgroups
                .lines()
                .any(|line| line.split('/').any(|name| self.containers.contains(name)))
    }
}

/// The marked processes, those that share a private mount namespace with one, and the descendants of all of them.
pub(crate) fn victims(entries: &[Entry], marks: &Marks) -> Vec<Entry> {
    let marked: Vec<&Entry> = entries.iter().filter(|entry| marks.is_on(entry)).collect();
    let mounts: HashSet<u64> = marked.iter().filter_map(|entry| entry.mount).collect();
    let private: HashSet<u64> = mounts.difference(&marks.outer_mounts).copied().collect();
    let mut found: HashSet<i32> = entries
        .iter()
        .filter(|entry| {
            marks.is_on(entry) || entry.mount.is_some_and(|mount| private.contains(&mount))
        })
        .map(|entry| entry.process.pid)
        .filter(|pid| !marks.spared.contains(pid))
        .collect();
    loop {
        let children: Vec<i32> = entries
            .iter()
            .filter(|entry| found.contains(&entry.parent))
            .map(|entry| entry.process.pid)
            .filter(|pid| !found.contains(pid) && !marks.spared.contains(pid))
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    entries
        .iter()
        .filter(|entry| found.contains(&entry.process.pid))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    fn entry(pid: i32, parent: i32) -> Entry {
        Entry {
            process: Process { pid, start: 1 },
            parent,
            name: "x".into(),
            net: Some(1),
            mount: Some(1),
            lab: None,
            cgroups: "4:memory:/\n".into(),
        }
    }

    fn found(entries: &[Entry]) -> Vec<i32> {
        let marks = Marks {
            nets: HashSet::from([70]),
            folder: "/lab/a".into(),
            containers: HashSet::from(["c0ffee".into()]),
            outer_mounts: HashSet::from([1]),
            spared: HashSet::from([50]),
        };
        victims(entries, &marks)
            .iter()
            .map(|entry| entry.process.pid)
            .collect()
    }

    #[test]
    fn each_mark_is_enough() {
        let net = Entry {
            net: Some(70),
            ..entry(10, 1)
        };
        let environment = Entry {
            lab: Some("/lab/a".into()),
            ..entry(11, 1)
        };
        let cgroup = Entry {
            cgroups: "4:memory:/k8s.io/c0ffee\n".into(),
            ..entry(12, 1)
        };
        assert_eq!(
            found(&[net, environment, cgroup, entry(13, 1)]),
            [10, 11, 12]
        );
    }

    #[test]
    fn other_labs_are_left_alone() {
        let environment = Entry {
            lab: Some("/lab/ab".into()),
            ..entry(11, 1)
        };
        let cgroup = Entry {
            cgroups: "4:memory:/k8s.io/c0ffee1\n".into(),
            ..entry(12, 1)
        };
        assert!(found(&[environment, cgroup]).is_empty());
    }

    #[test]
    fn sharing_the_machine_s_mounts_is_no_mark_but_a_private_namespace_is() {
        let shell = Entry {
            net: Some(70),
            ..entry(10, 1)
        };
        let holder = Entry {
            net: Some(70),
            mount: Some(9),
            ..entry(11, 1)
        };
        let pod = Entry {
            mount: Some(9),
            ..entry(12, 1)
        };
        assert_eq!(found(&[shell, holder, pod, entry(13, 1)]), [10, 11, 12]);
    }

    #[test]
    fn descendants_go_too_but_never_the_caller() {
        let shim = Entry {
            net: Some(70),
            ..entry(10, 1)
        };
        let caller = Entry {
            net: Some(70),
            ..entry(50, 10)
        };
        assert_eq!(
            found(&[entry(12, 11), entry(11, 10), shim, caller]),
            [12, 11, 10]
        );
    }
}
