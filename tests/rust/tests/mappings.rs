//! Logins that succeed, and the statements that decide which do.

use dsql_iam_e2e::Server;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Rows of the query's one column.
async fn texts(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.expect("the query failed");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The ARNs that are mapped to `role`.
async fn mapped_arns(client: &Client, role: &str) -> Vec<String> {
    let query = format!(
        "SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = '{role}' ORDER BY arn"
    );
    texts(client, &query).await
}

/// The fields that tell one ERROR from another.
fn fields(error: &DbError) -> (&str, &SqlState, &str, Option<&str>, Option<&str>) {
    (
        error.severity(),
        error.code(),
        error.message(),
        error.detail(),
        error.hint(),
    )
}

/// The error of a statement that has to fail.
fn failure<T>(result: Result<T, tokio_postgres::Error>) -> DbError {
    let Err(error) = result else {
        panic!("the statement succeeded");
    };
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not the server's: {error}"));
    error.clone()
}

/// An opaque refusal: IAM said yes, the database no.
async fn assert_not_mapped(server: &Server, role: &str) {
    let token = server.custom_request("example").await.token().await;
    let error = failure(server.login(role, token).connect().await);
    assert_eq!(error.severity(), "FATAL");
    assert_eq!(error.code().code(), "28000");
    assert_eq!(
        error.message(),
        "unable to accept connection, access denied"
    );
    assert_eq!(error.hint(), None);
}

/// Logs in with the profile `example` and asks the server who that is.
async fn assert_logs_in(server: &Server, role: &str) -> Client {
    let token = server.custom_request("example").await.token().await;
    let client = server.login(role, token).connect().await;
    let client = client.expect("a mapped role was refused");
    let session_arn = format!(
        "arn:aws:sts::{}:assumed-role/example/local",
        server.account()
    );
    let who = "SELECT current_user::text UNION ALL SELECT session_user::text \
               UNION ALL SELECT sys.iam_session_user()";
    assert_eq!(texts(&client, who).await, [role, role, &session_arn]);
    client
}

#[tokio::test]
async fn admin_logs_in() {
    let server = Server::from_environment();
    let client = server.admin().await;
    let who = "SELECT current_user::text UNION ALL SELECT current_database()::text \
               UNION ALL SELECT sys.iam_session_user()";
    let arn = format!("arn:aws:iam::{}:user/dba", server.account());
    assert_eq!(texts(&client, who).await, ["admin", "postgres", &arn]);
}

#[tokio::test]
async fn a_token_for_the_clusters_own_name_is_good_more_than_once() {
    let server = Server::from_environment();
    let mut request = server.admin_request("admin").await;
    request.hostname = server.endpoint.clone();
    let token = request.token().await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let client = server.login("admin", &token).connect().await;
        let client = client.expect("admin was refused");
        sessions.push(texts(&client, "SELECT sys.current_session_id()").await);
    }
    assert_ne!(sessions[0], sessions[1]);
}

#[tokio::test]
async fn a_role_logs_in_between_grant_and_revoke() {
    let server = Server::from_environment();
    let admin = server.admin().await;
    let role = server.role().await;
    let arn = server.example_arn();
    assert_not_mapped(&server, &role.name).await;

    let grant = format!("AWS IAM GRANT {} TO '{arn}'", role.name);
    let messages = admin.simple_query(&grant).await.expect("GRANT failed");
    assert!(
        matches!(messages[..], [SimpleQueryMessage::CommandComplete(0)]),
        "{messages:?}"
    );
    assert_eq!(mapped_arns(&admin, &role.name).await, [arn.as_str()]);
    let session = assert_logs_in(&server, &role.name).await;

    let revoke = format!("AWS IAM REVOKE {} FROM '{arn}'", role.name);
    let messages = admin.simple_query(&revoke).await.expect("REVOKE failed");
    assert!(
        matches!(messages[..], [SimpleQueryMessage::CommandComplete(0)]),
        "{messages:?}"
    );
    assert!(mapped_arns(&admin, &role.name).await.is_empty());
    assert_not_mapped(&server, &role.name).await;
    // An open connection stays.
    assert_eq!(texts(&session, "SELECT 'open'").await, ["open"]);
}

#[tokio::test]
async fn prepared_statements_grant_and_revoke() {
    let server = Server::from_environment();
    let admin = server.admin().await;
    let role = server.role().await;
    let arn = server.example_arn();
    let prepare = async |text: String| {
        let statement = admin.prepare(&text).await.expect("it was not prepared");
        assert!(statement.params().is_empty());
        assert!(statement.columns().is_empty());
        statement
    };
    let grant = prepare(format!("AWS IAM GRANT {} TO '{arn}'", role.name)).await;
    let revoke = prepare(format!("AWS IAM REVOKE {} FROM '{arn}'", role.name)).await;
    // Preparing alone does nothing, and what is prepared runs more than once.
    assert!(mapped_arns(&admin, &role.name).await.is_empty());
    for _ in 0..2 {
        assert_eq!(admin.execute(&grant, &[]).await.expect("GRANT failed"), 0);
        assert_eq!(mapped_arns(&admin, &role.name).await, [arn.as_str()]);
        assert_logs_in(&server, &role.name).await;
        assert_eq!(admin.execute(&revoke, &[]).await.expect("REVOKE failed"), 0);
        assert!(mapped_arns(&admin, &role.name).await.is_empty());
        assert_not_mapped(&server, &role.name).await;
    }
}

#[tokio::test]
async fn a_transaction_takes_both_back() {
    let server = Server::from_environment();
    let mut admin = server.admin().await;
    let role = server.role().await;
    let arn = server.example_arn();
    let grant = format!("AWS IAM GRANT \"{}\" TO '{arn}'", role.name);

    let transaction = admin.transaction().await.expect("BEGIN failed");
    let granted = transaction.batch_execute(&grant).await;
    granted.expect("GRANT failed");
    transaction.rollback().await.expect("ROLLBACK failed");
    assert!(mapped_arns(&admin, &role.name).await.is_empty());
    assert_not_mapped(&server, &role.name).await;

    let transaction = admin.transaction().await.expect("BEGIN failed");
    let granted = transaction.execute(&grant, &[]).await;
    granted.expect("GRANT failed");
    transaction.commit().await.expect("COMMIT failed");
    assert_eq!(mapped_arns(&admin, &role.name).await, [arn.as_str()]);
    assert_logs_in(&server, &role.name).await;
}

#[tokio::test]
async fn the_arn_is_no_parameter() {
    let server = Server::from_environment();
    let admin = server.admin().await;
    let role = server.role().await;
    let grant = format!("AWS IAM GRANT {} TO $1", role.name);
    let error = failure(admin.prepare(&grant).await);
    assert_eq!(
        fields(&error),
        (
            "ERROR",
            &SqlState::SYNTAX_ERROR,
            "syntax error at or near \"$1\"",
            None,
            None
        )
    );
    // The session goes on.
    assert!(mapped_arns(&admin, &role.name).await.is_empty());
}

#[tokio::test]
async fn a_second_grant_and_a_second_revoke_fail() {
    let server = Server::from_environment();
    let admin = server.admin().await;
    let role = server.role().await;
    let arn = server.example_arn();
    let grant = format!("AWS IAM GRANT {} TO '{arn}'", role.name);
    let revoke = format!("AWS IAM REVOKE {} FROM '{arn}'", role.name);

    admin.batch_execute(&grant).await.expect("GRANT failed");
    let message = format!("IAM role {arn} is already granted to role {}", role.name);
    assert_eq!(
        fields(&failure(admin.batch_execute(&grant).await)),
        (
            "ERROR",
            &SqlState::DUPLICATE_OBJECT,
            message.as_str(),
            None,
            None
        )
    );

    let drop = format!("DROP ROLE {}", role.name);
    let error = failure(admin.batch_execute(&drop).await);
    assert_eq!(error.code(), &SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    assert_eq!(
        error.message(),
        format!(
            "role \"{}\" cannot be dropped because some objects depend on it",
            role.name
        )
    );

    admin.batch_execute(&revoke).await.expect("REVOKE failed");
    let error = failure(admin.batch_execute(&revoke).await);
    assert_eq!(error.code(), &SqlState::UNDEFINED_OBJECT);
    assert_eq!(error.message(), format!("IAM role {arn} does not exist"));
}

#[tokio::test]
async fn only_admin_grants() {
    let server = Server::from_environment();
    let admin = server.admin().await;
    let role = server.role().await;
    let arn = server.example_arn();
    let grant = format!("AWS IAM GRANT {} TO '{arn}'", role.name);
    admin.batch_execute(&grant).await.expect("GRANT failed");

    let session = assert_logs_in(&server, &role.name).await;
    let message = format!(
        "permission denied to grant IAM trust with role {}",
        role.name
    );
    for error in [
        failure(session.simple_query(&grant).await),
        failure(session.execute(&grant, &[]).await),
    ] {
        assert_eq!(
            fields(&error),
            (
                "ERROR",
                &SqlState::INSUFFICIENT_PRIVILEGE,
                message.as_str(),
                None,
                None
            )
        );
    }
}
