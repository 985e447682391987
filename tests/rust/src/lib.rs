//! Shared by the end-to-end tests: the server they test, tokens from AWS's signer, roles of their
//! own.
//!
//! The server is the one of `env.sh`, which `cargo xtask up` writes; `cargo xtask test --only rust`
//! starts one and runs the tests.

#![forbid(unsafe_code)]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config};
use aws_sdk_dsql::config::Region;
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime_api::client::http::http_client_fn;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The server to test.
#[derive(Clone)]
pub struct Server {
    /// The host to connect to, and to sign tokens for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The cluster's own host name.
    pub endpoint: String,
    /// The cluster's region.
    pub region: String,
    /// The cluster's ARN.
    pub cluster_arn: String,
    /// The file with the certificate authority.
    pub authority: PathBuf,
    /// The folder with the IAM documents.
    pub iam_directory: PathBuf,
    tls: MakeRustlsConnect,
}

impl Server {
    /// The server that the environment names.
    ///
    /// # Panics
    ///
    /// If a variable of `env.sh` is missing or cannot be used.
    pub fn from_environment() -> Self {
        let certificate = variable("PGSSLROOTCERT");
        // The AWS library reads these two by itself, and has defaults that no test should use.
        variable("AWS_CONFIG_FILE");
        variable("AWS_SHARED_CREDENTIALS_FILE");
        Self {
            host: variable("PGHOST"),
            port: variable("PGPORT").parse().expect("PGPORT is no port"),
            endpoint: variable("DSQL_ENDPOINT"),
            region: variable("AWS_REGION"),
            cluster_arn: variable("DSQL_CLUSTER_ARN"),
            tls: tls(&certificate),
            authority: certificate.into(),
            iam_directory: variable("DSQL_IAM_DIRECTORY").into(),
        }
    }

    /// The account of the cluster.
    pub fn account(&self) -> &str {
        let account = self.cluster_arn.split(':').nth(4);
        account.expect("DSQL_CLUSTER_ARN is no ARN")
    }

    /// The ARN of the IAM role behind the profile `example`.
    pub fn example_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/example", self.account())
    }

    /// The request to sign to connect as `admin`, with the credentials of `profile`.
    pub async fn admin_request(&self, profile: &str) -> Request {
        self.request(profile, true).await
    }

    /// The request to sign to connect as another role, with the credentials of `profile`.
    pub async fn custom_request(&self, profile: &str) -> Request {
        self.request(profile, false).await
    }

    async fn request(&self, profile: &str, is_admin: bool) -> Request {
        Request {
            credentials: credentials(profile).await,
            hostname: self.host.clone(),
            region: self.region.clone(),
            is_admin,
            signed_at: SystemTime::now(),
        }
    }

    /// A login as `user` with `password`, the way that it should be.
    pub fn login(&self, user: &str, password: impl Into<String>) -> Login<'_> {
        Login {
            server: self,
            user: user.to_owned(),
            password: password.into(),
            database: "postgres".to_owned(),
            is_encrypted: true,
        }
    }

    /// A session of `admin`.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn admin(&self) -> Client {
        let token = self.admin_request("admin").await.token().await;
        let client = self.login("admin", token).connect().await;
        client.expect("admin was refused")
    }

    /// A new role with LOGIN, which goes, with its mappings, when the result is dropped.
    pub async fn role(&self) -> TestRole {
        self.role_with("LOGIN").await
    }

    /// A new role with `attributes`, which goes, with its mappings, when the result is dropped.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn role_with(&self, attributes: &str) -> TestRole {
        let name = unique_name();
        let statement = format!("CREATE ROLE {name} {attributes}");
        let created = self.admin().await.batch_execute(&statement).await;
        created.expect("the role could not be created");
        TestRole {
            name,
            server: self.clone(),
        }
    }
}

/// IAM documents of one test.
#[derive(Default)]
pub struct TestDocuments {
    files: Vec<PathBuf>,
}

impl TestDocuments {
    /// Puts a document among the server's; it goes when the result is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn put(&mut self, server: &Server, name: &str, text: &str) -> io::Result<()> {
        let owner = fs::metadata(&server.iam_directory)?;
        // The server passes over files whose names begin with a dot.
        let unfinished = server.iam_directory.join(format!(".{name}.json"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&unfinished)?.write_all(text.as_bytes())?;
        chown(&unfinished, Some(owner.uid()), Some(owner.gid()))?;
        let file = server.iam_directory.join(format!("{name}.json"));
        fs::rename(&unfinished, &file)?;
        self.files.push(file);
        Ok(())
    }
}

impl Drop for TestDocuments {
    fn drop(&mut self) {
        for file in &self.files {
            let removed = fs::remove_file(file);
            if !thread::panicking() {
                removed.expect("a document could not be removed");
            }
        }
    }
}

/// The parts of a token.
#[derive(Clone)]
pub struct Request {
    /// The signer's credentials.
    pub credentials: Credentials,
    /// The host to sign for.
    pub hostname: String,
    /// The region to sign for.
    pub region: String,
    /// `DbConnectAdmin` instead of `DbConnect`.
    pub is_admin: bool,
    /// The signer's time.
    pub signed_at: SystemTime,
}

impl Request {
    /// Signs it, good for 15 minutes.
    ///
    /// # Panics
    ///
    /// If AWS's signer cannot.
    pub async fn token(self) -> String {
        let config = Config::builder()
            .hostname(self.hostname)
            .region(Region::new(self.region))
            .credentials(self.credentials)
            .expires_in(900)
            .build();
        let generator = AuthTokenGenerator::new(config.expect("the request is incomplete"));
        let sdk = SdkConfig::builder()
            .time_source(StaticTimeSource::new(self.signed_at))
            .build();
        let token = if self.is_admin {
            generator.db_connect_admin_auth_token(&sdk).await
        } else {
            generator.db_connect_auth_token(&sdk).await
        };
        token.expect("the signer failed").to_string()
    }
}

/// One attempt to connect.
#[derive(Clone)]
pub struct Login<'s> {
    server: &'s Server,
    /// The database role.
    pub user: String,
    /// The token, or what is sent in its place.
    pub password: String,
    /// The database.
    pub database: String,
    /// With TLS.
    pub is_encrypted: bool,
}

impl Login<'_> {
    /// Connects.
    pub async fn connect(&self) -> Result<Client, Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.server.host)
            .port(self.server.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(&self.database)
            .connect_timeout(Duration::from_secs(30))
            .ssl_mode(if self.is_encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            });
        let (client, connection) = config.connect(self.server.tls.clone()).await?;
        // Ends as the client is dropped; what goes wrong meanwhile, the client's calls report.
        tokio::spawn(connection);
        Ok(client)
    }
}

/// A role of one test.
pub struct TestRole {
    /// Its name, which needs no quotes.
    pub name: String,
    server: Server,
}

impl TestRole {
    /// Drops the role and its mappings, in a session of its own.
    async fn remove(server: &Server, name: &str) -> Result<(), Error> {
        let admin = server.admin().await;
        let mappings = "SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = $1";
        for row in admin.query(mappings, &[&name]).await? {
            let arn: &str = row.get(0);
            let revoke = format!("AWS IAM REVOKE {name} FROM '{arn}'");
            admin.batch_execute(&revoke).await?;
        }
        admin.batch_execute(&format!("DROP ROLE {name}")).await
    }
}

impl Drop for TestRole {
    fn drop(&mut self) {
        // The test's own runtime cannot wait in here; a thread has its own.
        let (server, name) = (self.server.clone(), self.name.clone());
        let remover = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("tokio did not start");
            runtime.block_on(Self::remove(&server, &name))
        });
        let removed = remover.join();
        if !thread::panicking() {
            removed
                .expect("the role's removal panicked")
                .expect("the role could not be removed");
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run `cargo xtask test --only rust`, or source the env.sh of a \
             server that `cargo xtask up` started"
        )
    })
}

fn tls(certificate: &str) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(certificate);
    for certificate in certificates.expect("PGSSLROOTCERT cannot be read") {
        let certificate = certificate.expect("PGSSLROOTCERT holds no certificate");
        let added = roots.add(certificate);
        added.expect("PGSSLROOTCERT holds no usable certificate");
    }
    // Named, since there is no default provider where another crate turns on a second one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("rustls has no protocol version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// The credentials of a profile that needs no network.
async fn credentials(profile: &str) -> Credentials {
    let offline = ProviderConfig::default().with_http_client(http_client_fn(|_, _| {
        panic!("a profile of env.sh needs no network")
    }));
    let provider = ProfileFileCredentialsProvider::builder()
        .configure(&offline)
        .profile_name(profile)
        .build();
    let credentials = provider.provide_credentials().await;
    credentials.unwrap_or_else(|error| panic!("profile {profile}: {error}"))
}

/// A name that no other test and no other run has.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "rust_{:x}_{count}",
        now.expect("the clock is before 1970").as_nanos()
    )
}
