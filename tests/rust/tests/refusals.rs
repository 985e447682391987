//! Every refusal that AWS's signer can bring about, field by field.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use dsql_iam_e2e::{Login, Server, TestDocuments};
use regex_lite::Regex;
use serde_json::Value;
use tokio_postgres::error::{DbError, Severity};

const INVALID_SECURITY_TOKEN: &str = "The security token included in the request is invalid.";
const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature \
                               you provided. Check your AWS Secret Access Key and signing method. \
                               Consult the service documentation for details.";

/// IAM says no, or was not asked.
const BY_IAM: &str = "08006";
/// IAM says yes, the database no.
const BY_DATABASE: &str = "28000";

/// The refusal of `login`, with all that each refusal has.
async fn refusal(login: &Login<'_>) -> DbError {
    let Err(error) = login.connect().await else {
        panic!("{} was let in", login.user);
    };
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not the server's: {error}"))
        .clone();
    assert_eq!(error.severity(), "FATAL");
    assert_eq!(error.parsed_severity(), Some(Severity::Fatal));
    let detail = error.detail().expect("there is no DETAIL");
    let session_id = Regex::new(r"^Session Id: [a-z2-7]{26}$").unwrap();
    assert!(session_id.is_match(detail), "{detail}");
    error
}

async fn assert_refused(login: &Login<'_>, code: &str, hint: Option<&str>) {
    let error = refusal(login).await;
    assert_eq!(error.code().code(), code);
    assert_eq!(
        error.message(),
        "unable to accept connection, access denied"
    );
    assert_eq!(error.hint(), hint);
}

/// `credentials` with another part.
fn changed(
    credentials: &Credentials,
    access_key: Option<&str>,
    secret: Option<&str>,
    session_token: Option<&str>,
) -> Credentials {
    Credentials::new(
        access_key.unwrap_or(credentials.access_key_id()),
        secret.unwrap_or(credentials.secret_access_key()),
        session_token
            .or(credentials.session_token())
            .map(str::to_owned),
        None,
        "test",
    )
}

/// A text as long as `text`, and another.
fn reversed(text: &str) -> String {
    let reversed: String = text.chars().rev().collect();
    assert_ne!(reversed, text);
    reversed
}

#[tokio::test]
async fn an_unknown_access_key() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.credentials = changed(
        &request.credentials,
        Some("AKIAIOSFODNN7EXAMPLE"),
        None,
        None,
    );
    let login = server.login("admin", request.token().await);
    assert_refused(&login, BY_IAM, Some(INVALID_SECURITY_TOKEN)).await;
}

#[tokio::test]
async fn a_wrong_session_token() {
    let server = Server::from_environment();
    let request = server.custom_request("example").await;
    let role = server.role().await;

    let mut other = request.clone();
    let token = request.credentials.session_token();
    let token = reversed(token.expect("the profile has a session token"));
    other.credentials = changed(&request.credentials, None, None, Some(&token));
    let login = server.login(&role.name, other.token().await);
    assert_refused(&login, BY_IAM, Some(INVALID_SECURITY_TOKEN)).await;

    let mut without = request.clone();
    without.credentials = Credentials::new(
        request.credentials.access_key_id(),
        request.credentials.secret_access_key(),
        None,
        None,
        "test",
    );
    let login = server.login(&role.name, without.token().await);
    assert_refused(&login, BY_IAM, Some(INVALID_SECURITY_TOKEN)).await;

    let mut superfluous = server.admin_request("admin").await;
    superfluous.credentials = changed(&superfluous.credentials, None, None, Some(&token));
    let login = server.login("admin", superfluous.token().await);
    assert_refused(&login, BY_IAM, Some(INVALID_SECURITY_TOKEN)).await;
}

#[tokio::test]
async fn an_expired_token() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_732_493_730);
    let error = refusal(&server.login("admin", request.token().await)).await;
    assert_eq!(error.code().code(), BY_IAM);
    assert_eq!(
        error.message(),
        "unable to accept connection, access denied"
    );
    let hint = error.hint().expect("there is no HINT");
    let sentence = Regex::new(
        r"^Signature expired: 20241125T001530Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)$",
    );
    assert!(sentence.unwrap().is_match(hint), "{hint}");
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_asked() {
    let server = Server::from_environment();
    // The default of 15 minutes, and a few seconds to spare on either side.
    for (age, is_good) in [(880, true), (902, false)] {
        let mut request = server.admin_request("admin").await;
        request.signed_at = SystemTime::now() - Duration::from_secs(age);
        let login = server.login("admin", request.token().await);
        if is_good {
            login.connect().await.expect("a young token was refused");
        } else {
            let error = refusal(&login).await;
            let hint = error.hint().expect("there is no HINT");
            assert!(hint.starts_with("Signature expired: "), "{hint}");
        }
    }
}

#[tokio::test]
async fn a_token_from_the_future() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.signed_at = SystemTime::now() + Duration::from_secs(3600);
    let error = refusal(&server.login("admin", request.token().await)).await;
    assert_eq!(error.code().code(), BY_IAM);
    let hint = error.hint().expect("there is no HINT");
    let sentence = Regex::new(
        r"^Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)$",
    );
    assert!(sentence.unwrap().is_match(hint), "{hint}");
}

#[tokio::test]
async fn the_action_of_the_other_kind_of_role() {
    let server = Server::from_environment();
    let token = server.custom_request("admin").await.token().await;
    let hint = "Wrong user to action mapping. user: admin, action: DbConnect";
    assert_refused(&server.login("admin", token), BY_IAM, Some(hint)).await;

    let role = server.role().await;
    let token = server.admin_request("example").await.token().await;
    let hint = format!(
        "Wrong user to action mapping. user: {}, action: DbConnectAdmin",
        role.name
    );
    assert_refused(&server.login(&role.name, token), BY_IAM, Some(&hint)).await;
}

#[tokio::test]
async fn no_policy_allows_it() {
    let server = Server::from_environment();
    let account = server.account();
    let hint = |principal: &str, action: &str| {
        format!(
            "User: {principal} is not authorized to perform: dsql:{action} on resource: {} because \
             no identity-based policy allows the dsql:{action} action",
            server.cluster_arn
        )
    };
    let session = format!("arn:aws:sts::{account}:assumed-role/example/local");
    for (profile, principal) in [
        ("denied", format!("arn:aws:iam::{account}:user/visitor")),
        ("example", session),
    ] {
        let token = server.admin_request(profile).await.token().await;
        let hint = hint(&principal, "DbConnectAdmin");
        assert_refused(&server.login("admin", token), BY_IAM, Some(&hint)).await;
    }

    let role = server.role().await;
    let token = server.custom_request("denied").await.token().await;
    let hint = hint(&format!("arn:aws:iam::{account}:user/visitor"), "DbConnect");
    assert_refused(&server.login(&role.name, token), BY_IAM, Some(&hint)).await;
}

#[tokio::test]
async fn what_documents_bring_about() {
    let server = Server::from_environment();
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../refusals.json");
    let table = fs::read_to_string(table).expect("there is no table");
    let table: Value = serde_json::from_str(&table).expect("the table is no JSON");
    let mut documents = TestDocuments::default();
    for (name, document) in table["documents"].as_object().expect("no documents") {
        let put = documents.put(&server, name, &document.to_string());
        put.expect("a document could not be put in its place");
    }

    let refusals = table["refusals"].as_array().expect("no refusals");
    assert!(!refusals.is_empty());
    for case in refusals {
        println!("{}", case["case"]);
        let document = &table["documents"][text(&case["key"])];
        let key = document.get("AccessKey");
        let key = key.unwrap_or_else(|| &document["Credentials"]);
        let mut request = server.custom_request("example").await;
        request.credentials = Credentials::new(
            text(&key["AccessKeyId"]),
            text(&key["SecretAccessKey"]),
            key.get("SessionToken").map(|token| text(token).to_owned()),
            None,
            "test",
        );
        let login = server.login("nobody", request.token().await);
        // While another process reads the documents, those that were there before decide.
        let start = Instant::now();
        while refusal(&login).await.hint() == Some(INVALID_SECURITY_TOKEN) {
            let waited = start.elapsed();
            assert!(waited.as_secs() < 20, "the documents are not in force");
        }
        let hint = text(&case["hint"]).replace("CLUSTER_ARN", &server.cluster_arn);
        assert_refused(&login, BY_IAM, Some(&hint)).await;
    }
}

/// A text of the table.
fn text(value: &Value) -> &str {
    value.as_str().expect("this has to be a text")
}

#[tokio::test]
async fn another_region() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.region = "eu-west-3".to_owned();
    let login = server.login("admin", request.token().await);
    let hint = "Credential should be scoped to a valid region, not 'eu-west-3'.";
    assert_refused(&login, BY_IAM, Some(hint)).await;
}

#[tokio::test]
async fn another_host() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.hostname = format!(
        "{}.dsql.{}.on.aws",
        "abcdefghijklmnopqrstuvwxyz", server.region
    );
    let login = server.login("admin", request.token().await);
    assert_refused(&login, BY_IAM, Some(WRONG_SIGNATURE)).await;
}

#[tokio::test]
async fn another_secret() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    let secret = reversed(request.credentials.secret_access_key());
    request.credentials = changed(&request.credentials, None, Some(&secret), None);
    let login = server.login("admin", request.token().await);
    assert_refused(&login, BY_IAM, Some(WRONG_SIGNATURE)).await;
}

#[tokio::test]
async fn an_ordinary_password() {
    let server = Server::from_environment();
    let hint = "Request is missing Authentication Token";
    for user in ["admin", "postgres"] {
        let login = server.login(user, "correct horse battery staple");
        assert_refused(&login, BY_IAM, Some(hint)).await;
    }
}

#[tokio::test]
async fn an_empty_password() {
    let server = Server::from_environment();
    let error = refusal(&server.login("admin", "")).await;
    assert_eq!(error.code().code(), "08P01");
    assert_eq!(error.message(), "invalid password packet size");
    assert_eq!(error.hint(), None);
}

#[tokio::test]
async fn no_tls() {
    let server = Server::from_environment();
    let token = server.admin_request("admin").await.token().await;
    let mut login = server.login("admin", token);
    login.is_encrypted = false;
    let error = refusal(&login).await;
    assert_eq!(error.code().code(), "08P01");
    assert_eq!(
        error.message(),
        "unable to accept connection, SSL is mandatory. AWS Authentication is required."
    );
    assert_eq!(error.hint(), None);
}

#[tokio::test]
async fn another_database() {
    let server = Server::from_environment();
    let token = server.admin_request("admin").await.token().await;
    let mut login = server.login("admin", token);
    // One that is there, one that is not.
    for database in ["template1", "no_such_database"] {
        login.database = database.to_owned();
        assert_refused(&login, BY_IAM, None).await;
    }
}

#[tokio::test]
async fn an_unusable_role() {
    let server = Server::from_environment();
    let group = server.role_with("NOLOGIN").await;
    let token = server.custom_request("example").await.token().await;
    for role in ["no_such_role", "postgres", &group.name] {
        let login = server.login(role, &token);
        assert_refused(&login, BY_DATABASE, None).await;
    }
}

#[tokio::test]
async fn a_role_mapped_to_others() {
    let server = Server::from_environment();
    let role = server.role().await;
    let arn = format!("arn:aws:iam::{}:user/visitor", server.account());
    let grant = format!("AWS IAM GRANT {} TO '{arn}'", role.name);
    let granted = server.admin().await.batch_execute(&grant).await;
    granted.expect("GRANT failed");
    let token = server.custom_request("example").await.token().await;
    assert_refused(&server.login(&role.name, token), BY_DATABASE, None).await;
}

#[tokio::test]
async fn each_refusal_has_its_own_session_id() {
    let server = Server::from_environment();
    let login = server.login("admin", "no token");
    let (first, second) = (refusal(&login).await, refusal(&login).await);
    assert_ne!(first.detail(), second.detail());
}
