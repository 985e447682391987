//! Rust's clients, unmodified: each logs in as `admin` and as a custom role, makes the mapping through
//! its own connection, and shows what it makes of a refusal. Both show each field of an error.

use std::time::Duration;

use dsql_iam_e2e::{Request, Server};
use regex_lite::Regex;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio_postgres::error::DbError;

const CLIENTS: [Client; 2] = [Client::TokioPostgres, Client::Sqlx];

#[derive(Clone, Copy, Debug)]
enum Client {
    TokioPostgres,
    Sqlx,
}

/// The server's fields of an error.
#[derive(Debug, PartialEq)]
struct Failure {
    severity: String,
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

enum Session {
    TokioPostgres(tokio_postgres::Client),
    Sqlx(PgConnection),
}

impl From<&DbError> for Failure {
    fn from(error: &DbError) -> Self {
        Self {
            severity: error.severity().to_owned(),
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let error = error.as_db_error();
        error.expect("not the server's error").into()
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(error) = error else {
            panic!("not the server's error: {error}");
        };
        let error = error.downcast::<PgDatabaseError>();
        Self {
            severity: format!("{:?}", error.severity()).to_uppercase(),
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl Client {
    /// Logs in as `user` with the token that `request` makes.
    async fn connect(
        self,
        server: &Server,
        user: &str,
        request: Request,
    ) -> Result<Session, Failure> {
        let token = request.token().await;
        Ok(match self {
            Self::TokioPostgres => {
                Session::TokioPostgres(server.login(user, token).connect().await?)
            }
            Self::Sqlx => {
                let options = PgConnectOptions::new_without_pgpass()
                    .host(&server.host)
                    .port(server.port)
                    .username(user)
                    .password(&token)
                    .database("postgres")
                    .ssl_mode(PgSslMode::VerifyFull)
                    .ssl_root_cert(&server.authority);
                Session::Sqlx(options.connect().await?)
            }
        })
    }

    async fn admin(self, server: &Server) -> Session {
        let request = server.admin_request("admin").await;
        let session = self.connect(server, "admin", request).await;
        session.expect("admin was refused")
    }

    /// The refusal of a login, with all that each refusal has; the code and the HINT are returned.
    async fn refusal(
        self,
        server: &Server,
        user: &str,
        request: Request,
    ) -> (String, Option<String>) {
        let Err(error) = self.connect(server, user, request).await else {
            panic!("{self:?} was let in as {user}");
        };
        assert_eq!(error.severity, "FATAL");
        assert_eq!(error.message, "unable to accept connection, access denied");
        let detail = error.detail.expect("there is no DETAIL");
        let session_id = Regex::new(r"^Session Id: [a-z2-7]{26}$").unwrap();
        assert!(session_id.is_match(&detail), "{detail}");
        (error.code, error.hint)
    }
}

impl Session {
    /// Runs a statement in the simple protocol.
    async fn simply(&mut self, statement: &str) -> Result<(), Failure> {
        match self {
            Self::TokioPostgres(client) => client.batch_execute(statement).await?,
            Self::Sqlx(connection) => {
                let statement = sqlx::raw_sql(AssertSqlSafe(statement));
                statement.execute(connection).await?;
            }
        }
        Ok(())
    }

    /// Prepares and runs a statement in the extended protocol.
    async fn prepared(&mut self, statement: &str) -> Result<(), Failure> {
        match self {
            Self::TokioPostgres(client) => {
                client.execute(statement, &[]).await?;
            }
            Self::Sqlx(connection) => {
                let statement = sqlx::query(AssertSqlSafe(statement));
                statement.execute(connection).await?;
            }
        }
        Ok(())
    }

    /// Its role, and the principal behind it.
    async fn who_am_i(&mut self) -> (String, String) {
        let query = "SELECT current_user::text, sys.iam_session_user()";
        match self {
            Self::TokioPostgres(client) => {
                let row = client.query_one(query, &[]).await.expect("query failed");
                (row.get(0), row.get(1))
            }
            Self::Sqlx(connection) => {
                let row = sqlx::query_as(query).fetch_one(connection).await;
                row.expect("query failed")
            }
        }
    }

    async fn end(self) {
        if let Self::Sqlx(connection) = self {
            connection.close().await.expect("no orderly end");
        }
    }
}

#[tokio::test]
async fn both_logins_and_the_mapping() {
    let server = Server::from_environment();
    let account = server.account();
    for client in CLIENTS {
        let role = server.role().await;
        let grant = format!("AWS IAM GRANT {} TO '{}'", role.name, server.example_arn());
        let revoke = format!(
            "AWS IAM REVOKE {} FROM '{}'",
            role.name,
            server.example_arn()
        );

        let mut admin = client.admin(&server).await;
        let dba = format!("arn:aws:iam::{account}:user/dba");
        assert_eq!(admin.who_am_i().await, ("admin".to_owned(), dba));
        admin.simply(&grant).await.expect("GRANT failed");
        admin.simply(&revoke).await.expect("REVOKE failed");
        admin.prepared(&grant).await.expect("prepared GRANT failed");
        let error = admin.prepared(&grant).await.expect_err("a second GRANT");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("ERROR", "42710")
        );
        let message = format!(
            "IAM role {} is already granted to role {}",
            server.example_arn(),
            role.name
        );
        assert_eq!(error.message, message);

        let request = server.custom_request("example").await;
        let custom = client.connect(&server, &role.name, request.clone()).await;
        let mut custom = custom.expect("a mapped role was refused");
        let session = format!("arn:aws:sts::{account}:assumed-role/example/local");
        assert_eq!(custom.who_am_i().await, (role.name.clone(), session));
        custom.end().await;

        admin
            .prepared(&revoke)
            .await
            .expect("prepared REVOKE failed");
        admin.end().await;
        let refusal = client.refusal(&server, &role.name, request).await;
        assert_eq!(refusal, ("28000".to_owned(), None));
    }
}

#[tokio::test]
async fn an_expired_token() {
    let server = Server::from_environment();
    let sentence = Regex::new(
        r"^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)$",
    );
    let sentence = sentence.unwrap();
    for client in CLIENTS {
        let mut request = server.admin_request("admin").await;
        request.signed_at -= Duration::from_secs(3600);
        let (code, hint) = client.refusal(&server, "admin", request).await;
        let hint = hint.expect("there is no HINT");
        assert_eq!(code, "08006");
        assert!(sentence.is_match(&hint), "{hint}");
    }
}

#[tokio::test]
async fn the_action_of_the_other_kind_of_role() {
    let server = Server::from_environment();
    for client in CLIENTS {
        let request = server.custom_request("admin").await;
        let refusal = client.refusal(&server, "admin", request).await;
        let hint = "Wrong user to action mapping. user: admin, action: DbConnect";
        assert_eq!(refusal, ("08006".to_owned(), Some(hint.to_owned())));

        let role = server.role().await;
        let grant = format!("AWS IAM GRANT {} TO '{}'", role.name, server.example_arn());
        let mut admin = client.admin(&server).await;
        admin.simply(&grant).await.expect("GRANT failed");
        admin.end().await;
        let request = server.admin_request("example").await;
        let refusal = client.refusal(&server, &role.name, request).await;
        let hint = format!(
            "Wrong user to action mapping. user: {}, action: DbConnectAdmin",
            role.name
        );
        assert_eq!(refusal, ("08006".to_owned(), Some(hint)));
    }
}

#[tokio::test]
async fn no_policy() {
    let server = Server::from_environment();
    for client in CLIENTS {
        let role = server.role().await;
        let request = server.custom_request("denied").await;
        let refusal = client.refusal(&server, &role.name, request).await;
        let hint = format!(
            "User: arn:aws:iam::{}:user/visitor is not authorized to perform: dsql:DbConnect on \
             resource: {} because no identity-based policy allows the dsql:DbConnect action",
            server.account(),
            server.cluster_arn
        );
        assert_eq!(refusal, ("08006".to_owned(), Some(hint)));
    }
}
