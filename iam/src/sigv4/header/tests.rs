use super::*;
use crate::documents;
use crate::identity::Identities;
use crate::request_context::ConnectionFacts;
use crate::sigv4::CredentialScope;
use serde_json::json;
use time::macros::utc_datetime;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BODY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";
const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:00);

fn identities() -> Identities {
    let account = json!({"UserDetailList": [{"UserName": "alice", "UserId": "AIDAALICE",
        "Arn": "arn:aws:iam::012345678912:user/alice"}]});
    let key = json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIDEXAMPLE",
        "Status": "Active", "SecretAccessKey": SECRET}});
    let parsed = [account, key].map(|document| {
        let document = documents::parse(&document.to_string());
        (
            "a document",
            document.unwrap_or_else(|fault| panic!("{fault}")),
        )
    });
    documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

fn environment(identities: &Identities) -> StsEnvironment<'_> {
    StsEnvironment {
        now: NOW,
        identities,
        stored: None,
        region: "us-east-1",
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: false,
        },
    }
}

/// The headers that are sent, with an authorization made from `signed`.
fn sent(more: &[(&str, &str)], signed: &[&str], date: &str) -> Vec<(String, String)> {
    let mut headers = vec![
        ("Host".to_owned(), "127.0.0.1:1".to_owned()),
        ("X-Amz-Date".to_owned(), date.to_owned()),
    ];
    let more = more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    headers.extend(more);
    let canonical = CanonicalRequest {
        method: "POST",
        path: "/",
        normalize_path: true,
        query: Vec::new(),
        headers: headers
            .iter()
            .filter(|(name, _)| signed.contains(&name.to_lowercase().as_str()))
            .map(|(name, value)| (&**name, &**value))
            .collect(),
        payload_hash: &payload_hash(BODY),
    };
    let scope = CredentialScope::new(&date[..8], "us-east-1", "sts");
    let at = parse_amz_date(date).unwrap();
    let signature = signature(&canonical.text(), at, &scope, SECRET);
    let (day, names) = (&date[..8], signed.join(";"));
    headers.push((
        "Authorization".to_owned(),
        format!(
            "{ALGORITHM} Credential=AKIDEXAMPLE/{day}/us-east-1/sts/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        ),
    ));
    headers
}

fn judge(headers: &[(String, String)], body: &[u8]) -> Result<String, Code> {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let received = ReceivedRequest {
        method: "POST",
        path: "/",
        headers: &headers,
        body,
    };
    let identities = identities();
    let signed = SignedRequest::parse(received).map_err(|refusal| refusal.code)?;
    let caller = signed.caller("sts", &environment(&identities));
    caller
        .map(|caller| caller.arn().to_owned())
        .map_err(|refusal| refusal.code)
}

const DATE: &str = "20260101T120000Z";
const PLAIN: &[&str] = &["host", "x-amz-date"];

#[test]
fn the_signer_is_known_by_the_signature() {
    let arn = Ok("arn:aws:iam::012345678912:user/alice".to_owned());
    assert_eq!(judge(&sent(&[], PLAIN, DATE), BODY), arn);
    let hash = payload_hash(BODY);
    let more = [("Content-Type", "a/b"), ("X-Amz-Content-Sha256", &*hash)];
    let signed = ["content-type", "host", "x-amz-content-sha256", "x-amz-date"];
    assert_eq!(judge(&sent(&more, &signed, DATE), BODY), arn);
}

#[test]
fn five_minutes_in_either_direction() {
    for (date, is_accepted) in [
        ("20260101T115500Z", true),
        ("20260101T115459Z", false),
        ("20260101T120500Z", true),
        ("20260101T120501Z", false),
    ] {
        let expected = is_accepted.then_some(()).ok_or(Code::SignatureDoesNotMatch);
        let judged = judge(&sent(&[], PLAIN, date), BODY).map(|_| ());
        assert_eq!(judged, expected, "{date}");
    }
}

#[test]
fn whatever_is_changed_is_refused() {
    let headers = sent(
        &[("Content-Type", "a/b")],
        &["content-type", "host", "x-amz-date"],
        DATE,
    );
    let text = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(
        judge(&headers, b"Action=AssumeRole"),
        Err(Code::SignatureDoesNotMatch)
    );
    let with = |name: &str, value: &str| {
        let mut changed = headers.clone();
        changed
            .iter_mut()
            .find(|(known, _)| known == name)
            .unwrap()
            .1 = value.to_owned();
        judge(&changed, BODY)
    };
    let authorization = text("Authorization");
    let at = authorization.len() - 1;
    let last = if authorization.ends_with('0') {
        "1"
    } else {
        "0"
    };
    for (name, value, code) in [
        ("Host", "elsewhere", Code::SignatureDoesNotMatch),
        ("Content-Type", "a/c", Code::SignatureDoesNotMatch),
        (
            "X-Amz-Date",
            "20260101T120001Z",
            Code::SignatureDoesNotMatch,
        ),
        (
            "X-Amz-Date",
            "20260102T120000Z",
            Code::SignatureDoesNotMatch,
        ),
        ("X-Amz-Date", "now", Code::IncompleteSignature),
        (
            "Authorization",
            &format!("{}{last}", &authorization[..at]),
            Code::SignatureDoesNotMatch,
        ),
        (
            "Authorization",
            &authorization[..at],
            Code::SignatureDoesNotMatch,
        ),
        (
            "Authorization",
            &authorization.replace("/sts/", "/dsql/"),
            Code::SignatureDoesNotMatch,
        ),
        (
            "Authorization",
            &authorization.replace("aws4_request", "aws5"),
            Code::SignatureDoesNotMatch,
        ),
        (
            "Authorization",
            &authorization.replace("AKID", "AKIX"),
            Code::InvalidClientTokenId,
        ),
        (
            "Authorization",
            &authorization.replace("us-east-1", "us-east-2"),
            Code::SignatureDoesNotMatch,
        ),
        (
            "Authorization",
            &authorization.replace("/us-east-1", ""),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &authorization.replace("content-type;", ""),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &authorization.replace("host;", ""),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &authorization.replace("host", "Host"),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &authorization.replace("host", "host;host"),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &authorization.replace("HMAC-SHA256", "ECDSA"),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            &format!("{authorization}, Signature=0"),
            Code::IncompleteSignature,
        ),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 ",
            Code::IncompleteSignature,
        ),
    ] {
        assert_eq!(with(name, value), Err(code), "{name}: {value}");
    }
}

#[test]
fn what_changes_the_meaning_has_to_be_signed_and_there_once() {
    let refused = Err(Code::IncompleteSignature);
    for name in ["Content-Type", "X-Amz-Security-Token", "X-Amz-Anything"] {
        assert_eq!(
            judge(&sent(&[(name, "a")], PLAIN, DATE), BODY),
            refused,
            "{name}"
        );
    }
    for name in ["Host", "X-Amz-Date", "Authorization"] {
        let mut twice = sent(&[], PLAIN, DATE);
        twice.push((name.to_owned(), "a".to_owned()));
        assert_eq!(judge(&twice, BODY), refused, "{name}");
    }
    let signed = ["host", "x-amz-content-sha256", "x-amz-date"];
    let unsigned_body = [("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")];
    assert_eq!(judge(&sent(&unsigned_body, &signed, DATE), BODY), refused);
    let none = Err(Code::MissingAuthenticationToken);
    assert_eq!(judge(&sent(&[], PLAIN, DATE)[..2], BODY), none);
    // A user's key has no session token.
    let signed = ["host", "x-amz-date", "x-amz-security-token"];
    let token = [("X-Amz-Security-Token", "a")];
    let unknown = Err(Code::InvalidClientTokenId);
    assert_eq!(judge(&sent(&token, &signed, DATE), BODY), unknown);
}
