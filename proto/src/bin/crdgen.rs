//! Prints the custom resource definitions; `make manifests` writes them to `manifests/crds.yaml`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = margay_proto::crd::definitions_yaml()?;
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
