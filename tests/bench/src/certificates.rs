//! Test certificates: a root, an intermediate and a server certificate. RSA 2048, as on AWS.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::error::{Error, Result};

/// Configuration of the TLS server and its clients.
pub(crate) struct Certificates {
    /// Configuration of the server.
    pub(crate) server: Arc<ServerConfig>,
    /// File with the root certificate, for clients.
    pub(crate) root: PathBuf,
}

impl Certificates {
    /// Creates a certificate chain and writes the root to `root`.
    pub(crate) fn make(root: PathBuf) -> Result<Self> {
        let root_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let root_parameters = authority("bench root")?;
        let root_certificate = root_parameters.self_signed(&root_key)?;
        let root_issuer = Issuer::new(root_parameters, root_key);

        let middle_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let middle_parameters = authority("bench intermediate")?;
        let middle_certificate = middle_parameters.signed_by(&middle_key, &root_issuer)?;
        let middle_issuer = Issuer::new(middle_parameters, middle_key);

        let leaf_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let mut leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_certificate = leaf.signed_by(&leaf_key, &middle_issuer)?;

        fs::write(&root, root_certificate.pem()).map_err(Error::file(&root))?;
        let chain = vec![leaf_certificate.der().clone(), middle_certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { server: Arc::new(server), root })
    }
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}
