//! The server's certificate, from a certificate authority that exists for it alone.
//!
//! The authority's key is never written: it signs one certificate and is gone, so trusting
//! `ca.pem` means trusting this one server.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::account::Account;
use crate::mirror;

/// Where systems have the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How long a certificate is valid.
const LIFE: Duration = Duration::days(365);

/// A certificate with less than this left is made anew.
const RENEW_BEFORE: Duration = Duration::days(7);

/// The files, which are all there when `prepare` has given them.
pub struct Certificates {
    /// The certificate authority's certificate, for clients.
    pub authority: PathBuf,
    /// The system's authorities and this one, for clients that know only one file; nothing if the
    /// system's are not known.
    pub bundle: Option<PathBuf>,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// Whether they were made just now.
    pub changed: bool,
}

/// Makes the certificates in `folder`, if they are not there, about to expire, or for other names.
pub fn prepare(
    folder: &Path,
    account: &Account,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Certificates> {
    fs::create_dir_all(folder)?;
    let mut files = Certificates {
        authority: folder.join("ca.pem"),
        bundle: None,
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        changed: false,
    };
    let complete = files.authority.exists() && files.key.exists();
    if complete && is_good(&files.certificate, names, now) {
        files.bundle = bundle(folder, &files.authority)?;
        return Ok(files);
    }
    let made = make(names, now).context("the server's certificate could not be made")?;
    mirror::write(&files.authority, made.authority.as_bytes(), 0o644)?;
    mirror::write(&files.key, made.key.as_bytes(), 0o600)?;
    account.own(&files.key, 0o600)?;
    mirror::write(&files.certificate, made.certificate.as_bytes(), 0o644)?;
    files.changed = true;
    files.bundle = bundle(folder, &files.authority)?;
    Ok(files)
}

/// Writes the system's authorities and the one of this server into one file.
fn bundle(folder: &Path, authority: &Path) -> Result<Option<PathBuf>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = named
        .into_iter()
        .chain(SYSTEM_AUTHORITIES.map(PathBuf::from));
    // An `env.sh` that was sourced names this very file.
    let system = known
        .filter(|path| !path.starts_with(folder))
        .find_map(|path| fs::read(path).ok());
    let Some(mut text) = system else {
        return Ok(None);
    };
    text.push(b'\n');
    text.extend(fs::read(authority)?);
    let bundle = folder.join("bundle.pem");
    mirror::write(&bundle, &text, 0o644)?;
    Ok(Some(bundle))
}

/// PEM texts.
struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn make(names: &[String], now: OffsetDateTime) -> Result<Made, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = params(Vec::new(), "dsql_iam development authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let key = KeyPair::generate()?;
    let mut server = params(names.to_vec(), "dsql_iam development server", now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;

    Ok(Made {
        authority: authority_pem,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The parameters that both certificates have in common. They start a day early, for clocks that disagree.
fn params(
    names: Vec<String>,
    common_name: &str,
    now: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = now - Duration::DAY;
    params.not_after = now + LIFE;
    Ok(params)
}

/// Whether the certificate in a file can be read, is for these names, and lasts for a while.
fn is_good(path: &Path, names: &[String], now: OffsetDateTime) -> bool {
    let found = || {
        let content = fs::read(path).ok()?;
        let (_, pem) = parse_x509_pem(&content).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let expiry = certificate.validity().not_after.to_datetime();
        let alternatives = certificate.subject_alternative_name().ok()??;
        let has = |wanted: &String| {
            let known = alternatives.value.general_names.iter();
            // Addresses are the same in all of them.
            wanted.parse::<IpAddr>().is_ok()
                || known
                    .clone()
                    .any(|name| matches!(name, GeneralName::DNSName(name) if name == wanted))
        };
        Some(names.iter().all(has) && expiry - now > RENEW_BEFORE)
    };
    found().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;

    #[test]
    fn certificates_are_kept_until_a_week_before_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let account = Account::of_this_process();
        let now = OffsetDateTime::now_utc();
        let mut cluster = Cluster::sample();
        let changed = |cluster: &Cluster, later| {
            let names = cluster.host_names(&[]);
            let files = prepare(folder.path(), &account, &names, now + later).unwrap();
            files.changed
        };
        let changed_at = |later| changed(&Cluster::sample(), later);
        assert!(changed_at(Duration::ZERO));
        assert!(!changed_at(Duration::days(357)));
        assert!(changed_at(Duration::days(359)));
        assert!(!changed_at(Duration::days(359)));
        // For another cluster's names it is another one.
        let now = Duration::days(359);
        cluster.region = "eu-west-1".into();
        assert!(changed(&cluster, now));
        assert!(!changed(&cluster, now));
        cluster.id = "zbcdefghijklmnopqrstuvwxyz".into();
        assert!(changed(&cluster, now));
    }
}
