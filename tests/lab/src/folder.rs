//! Where things are: the checkout, what it has built, and the state folder of a lab.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout this program was built from; `MARGAY_ROOT` names another.
pub fn checkout() -> PathBuf {
    if let Some(root) = std::env::var_os("MARGAY_ROOT") {
        return root.into();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this crate is two folders below the root")
        .to_owned()
}

/// The state folder of one lab: `target/lab/NAME`.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn of(lab: &str) -> Self {
        let root = checkout();
        let path = root.join("target/lab").join(lab);
        Self { root, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn config(&self, file: &str) -> PathBuf {
        self.path.join("config").join(file)
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.config(&format!("{user}.kubeconfig"))
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("processes")
    }

    pub(crate) fn log(&self, place: &str, process: &str) -> PathBuf {
        self.path
            .join("logs")
            .join(format!("{place}.{process}.log"))
    }

    pub(crate) fn nodes(&self) -> PathBuf {
        self.path.join("nodes")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.nodes().join(name)
    }

    /// Beside the folder, because the folder comes and goes under the lock.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// The script that builds Kubernetes and the lab's images.
    pub(crate) fn build_script(&self) -> PathBuf {
        self.root.join("tests/kubernetes/build.sh")
    }

    /// The script that builds containerd 2.
    pub(crate) fn containerd_script(&self) -> PathBuf {
        self.root.join("tests/kubernetes/containerd/build.sh")
    }

    /// Where containerd 2, its shim and its client are.
    pub(crate) fn containerd2(&self) -> PathBuf {
        self.root.join("target/kubernetes/containerd2")
    }

    /// Where the Kubernetes binaries are.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.root.join("target/kubernetes/bin")
    }

    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.binaries().join(name)
    }

    /// The archives of the images that every lab has.
    pub(crate) fn images(&self) -> [PathBuf; 3] {
        ["pause", "agnhost", "coredns"]
            .map(|name| self.root.join(format!("target/lab/images/{name}.tar")))
    }

    /// Makes the folders that files are written to.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in ["config", "processes", "logs", "nodes"] {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        Ok(())
    }
}
