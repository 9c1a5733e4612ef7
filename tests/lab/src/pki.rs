//! The lab's own certificate authority and the certificates it signs.
//!
//! One CA signs serving and client certificates alike, as kubeadm does; who a client is stands in its subject.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::plan::Plan;

/// A subject that the CA signs a certificate for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The file's stem: `NAME.crt`, `NAME.key`.
    pub(crate) file: String,
    /// The user, to Kubernetes.
    pub(crate) common_name: String,
    /// The group, to Kubernetes.
    pub(crate) organization: Option<&'static str>,
    /// Names it serves; none for a client.
    pub(crate) dns_names: Vec<String>,
    /// Addresses it serves; none for a client.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Subject {
    fn client(file: &str, common_name: &str, organization: Option<&'static str>) -> Self {
        Self {
            file: file.into(),
            common_name: common_name.into(),
            organization,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    fn is_server(&self) -> bool {
        !(self.dns_names.is_empty() && self.addresses.is_empty())
    }
}

/// The user that the API server is to kubelets.
pub(crate) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Every certificate of a lab.
pub(crate) fn subjects(plan: &Plan) -> Vec<Subject> {
    let mut subjects = vec![
        api_server(plan),
        Subject::client("apiserver-kubelet-client", KUBELET_CLIENT, None),
        Subject::client("controller-manager", "system:kube-controller-manager", None),
        Subject::client("scheduler", "system:kube-scheduler", None),
        Subject::client("proxy", "system:kube-proxy", None),
        Subject::client("admin", "lab-admin", Some("system:masters")),
    ];
    for node in &plan.nodes {
        let user = format!("system:node:{}", node.name);
        subjects.push(Subject::client(&node.name, &user, Some("system:nodes")));
        subjects.push(Subject {
            file: format!("{}-serving", node.name),
            common_name: user,
            organization: Some("system:nodes"),
            dns_names: vec![node.name.clone()],
            addresses: node.fabric.iter().collect(),
        });
    }
    subjects
}

fn api_server(plan: &Plan) -> Subject {
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let cluster_addresses: Vec<IpAddr> = plan
        .choose("10.96.0.1", "fd00:10:96::1")
        .into_iter()
        .chain(["127.0.0.1", "::1"])
        .map(|address| address.parse().expect("a literal address"))
        .collect();
    Subject {
        file: "apiserver".into(),
        common_name: "kube-apiserver".into(),
        organization: None,
        dns_names: service
            .into_iter()
            .chain(["localhost"])
            .map(String::from)
            .collect(),
        addresses: plan
            .api_server()
            .iter()
            .chain(plan.control_plane().iter())
            .chain(cluster_addresses)
            .collect(),
    }
}

/// Writes the CA, all certificates and the key pair that signs service account tokens into `folder`.
pub(crate) fn write(plan: &Plan, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let ca = authority()?;
    write_file(&folder.join("ca.crt"), &ca.certificate)?;
    for subject in subjects(plan) {
        let key = KeyPair::generate()?;
        let certificate = parameters(&subject)?.signed_by(&key, &ca.issuer)?;
        write_file(
            &folder.join(format!("{}.crt", subject.file)),
            &certificate.pem(),
        )?;
        write_file(
            &folder.join(format!("{}.key", subject.file)),
            &key.serialize_pem(),
        )?;
    }
    let tokens = KeyPair::generate()?;
    write_file(&folder.join("sa.key"), &tokens.serialize_pem())?;
    write_file(&folder.join("sa.pub"), &tokens.public_key_pem())
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Result<Authority> {
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "margay-lab-ca");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.pem();
    Ok(Authority {
        certificate,
        issuer: Issuer::new(parameters, key),
    })
}

fn parameters(subject: &Subject) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(subject.dns_names.clone())?;
    parameters
        .subject_alt_names
        .extend(subject.addresses.iter().copied().map(SanType::IpAddress));
    parameters
        .distinguished_name
        .push(DnType::CommonName, &subject.common_name);
    if let Some(organization) = subject.organization {
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if subject.is_server() {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    }
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

/// Keys are readable by root only.
fn write_file(path: &PathBuf, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Family, Spec};

    fn plan(family: Family) -> Plan {
        Plan::new(&Spec {
            family,
            ..Spec::default()
        })
        .unwrap()
    }

    #[test]
    fn the_api_server_is_known_by_its_service_addresses() {
        let serving = |family| subjects(&plan(family)).remove(0).addresses;
        let v4: IpAddr = "10.96.0.1".parse().unwrap();
        let v6: IpAddr = "fd00:10:96::1".parse().unwrap();
        assert!(serving(Family::Dual).contains(&v4) && serving(Family::Dual).contains(&v6));
        assert!(!serving(Family::V6).contains(&v4));
    }

    #[test]
    fn every_node_has_a_client_and_a_serving_certificate() {
        let subjects = subjects(&plan(Family::Dual));
        let named = |file: &str| {
            subjects
                .iter()
                .find(|subject| subject.file == file)
                .unwrap()
        };
        assert_eq!(named("n3").common_name, "system:node:n3");
        assert_eq!(named("n3").organization, Some("system:nodes"));
        assert!(!named("n3").is_server());
        assert_eq!(named("n3-serving").addresses.len(), 2);
    }
}
