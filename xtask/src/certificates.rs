//! The server's certificate, from a certificate authority that exists for it alone.
//!
//! The authority's key is never written: it signs one certificate and is gone, so trusting
//! `ca.pem` means trusting this one server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

use crate::account::Account;
use crate::mirror;

/// The names that clients may connect to.
const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "*.dsql.us-east-1.on.aws"];

/// How long a certificate is valid.
const LIFE: Duration = Duration::days(365);

/// A certificate with less than this left is made anew.
const RENEW_BEFORE: Duration = Duration::days(7);

/// The files, which are all there when `prepare` has given them.
pub struct Certificates {
    /// The certificate authority's certificate, for clients.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// Whether they were made just now.
    pub changed: bool,
}

/// Makes the certificates in `folder`, if they are not there or about to expire.
pub fn prepare(folder: &Path, account: &Account, now: OffsetDateTime) -> Result<Certificates> {
    fs::create_dir_all(folder)?;
    let mut files = Certificates {
        authority: folder.join("ca.pem"),
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        changed: false,
    };
    let complete = files.authority.exists() && files.key.exists();
    if complete && expiry(&files.certificate).is_some_and(|expiry| expiry - now > RENEW_BEFORE) {
        return Ok(files);
    }
    let made = make(now).context("the server's certificate could not be made")?;
    mirror::write(&files.authority, made.authority.as_bytes(), 0o644)?;
    mirror::write(&files.key, made.key.as_bytes(), 0o600)?;
    account.own(&files.key, 0o600)?;
    mirror::write(&files.certificate, made.certificate.as_bytes(), 0o644)?;
    files.changed = true;
    Ok(files)
}

/// PEM texts.
struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn make(now: OffsetDateTime) -> Result<Made, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = params(Vec::new(), "dsql_iam development authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let key = KeyPair::generate()?;
    let names = NAMES.map(str::to_owned).to_vec();
    let mut server = params(names, "dsql_iam development server", now)?;
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

/// What both certificates have in common. They start a day early, for clocks that disagree.
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

/// When the certificate in a file expires; nothing if there is none that can be read.
fn expiry(path: &Path) -> Option<OffsetDateTime> {
    let content = fs::read(path).ok()?;
    let (_, pem) = parse_x509_pem(&content).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.validity().not_after.to_datetime())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_kept_until_a_week_before_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let account = Account::of_this_process();
        let now = OffsetDateTime::now_utc();
        let changed_at = |later| {
            let files = prepare(folder.path(), &account, now + later).unwrap();
            files.changed
        };
        assert!(changed_at(Duration::ZERO));
        assert!(!changed_at(Duration::days(357)));
        assert!(changed_at(Duration::days(359)));
        assert!(!changed_at(Duration::days(359)));
    }
}
