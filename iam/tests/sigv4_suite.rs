//! Signature Version 4 against figures that AWS published.
//!
//! The figures are those of the query-string cases (`v4/*/query-*`) of the signing test suite in
//! <https://github.com/awslabs/aws-c-auth> at 495329c2433034bd8fd53fc6ba9e0202d3fac876
//! (`tests/aws-signing-test-suite`), rewritten into one table: `data/sigv4_suite.json`.

use dsql_iam_core::format_amz_date;
use dsql_iam_core::sigv4::{ALGORITHM, CanonicalRequest, CredentialScope, payload_hash, signature};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Cases that come out differently here, each with the reason why that is right.
const DIVERGENCES: &[(&str, &str)] = &[];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    timestamp: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    /// The session token is sent, but added after signing.
    #[serde(default)]
    omit_session_token: bool,
    region: String,
    service: String,
    expiration: u32,
    normalize: bool,
    sign_body: bool,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: String,
    signature: String,
}

impl Case {
    fn calculated(&self) -> String {
        let signed_at = UtcDateTime::parse(&self.timestamp, &Rfc3339).unwrap();
        let date = format_amz_date(signed_at);
        let scope = CredentialScope::new(&date[..8], &self.region, &self.service);
        let credential = format!(
            "{}/{}/{}/{}/aws4_request",
            self.access_key_id, scope.date, scope.region, scope.service
        );
        let expires = self.expiration.to_string();
        let names = self.headers.iter().map(|(name, _)| name.to_lowercase());
        let names: Vec<String> = names.collect::<BTreeSet<_>>().into_iter().collect();
        let names = names.join(";");
        let mut query = pairs(&self.query);
        query.extend([
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &date),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", &names),
        ]);
        if let Some(token) = self.session_token.as_deref()
            && !self.omit_session_token
        {
            query.push(("X-Amz-Security-Token", token));
        }
        let signed_body = if self.sign_body { &*self.body } else { "" };
        let request = CanonicalRequest {
            method: &self.method,
            path: &self.path,
            normalize_path: self.normalize,
            query,
            headers: pairs(&self.headers),
            payload_hash: &payload_hash(signed_body.as_bytes()),
        };
        signature(&request.text(), signed_at, &scope, &self.secret_access_key)
    }
}

fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
    list.iter().map(|(n, v)| (&**n, &**v)).collect()
}

#[test]
fn every_case_has_the_published_signature() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("data/sigv4_suite.json")).unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|case| &*case.name).collect();
    assert_eq!((cases.len(), names.len()), (38, 38));
    let mut divergences: BTreeMap<&str, &str> = DIVERGENCES.iter().copied().collect();
    let mut faults = Vec::new();
    for case in &cases {
        let calculated = case.calculated();
        match (
            calculated == case.signature,
            divergences.remove(&*case.name),
        ) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => faults.push(format!("{}: {calculated}", case.name)),
            (true, Some(reason)) => {
                faults.push(format!("{}: agrees, although {reason}", case.name));
            }
        }
    }
    for name in divergences.keys() {
        faults.push(format!("{name}: listed, but there is no such case"));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
