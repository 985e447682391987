//! The arguments of `dsql-iam setup`, and the settings that it sets.

use std::path::PathBuf;

use clap::Args;

/// The setting that names the libraries loaded at the server's start.
pub(super) const PRELOAD: &str = "shared_preload_libraries";
/// The roles that keep their passwords.
pub(super) const EXEMPT_ROLES: &str = "dsql_iam.exempt_roles";
/// The settings that setup always writes, behind `dsql_iam.`.
pub(super) const SETTINGS: [&str; 4] = ["account_id", "region", "cluster_id", "iam_directory"];

/// The settings of `--like-dsql`, where they cost nothing: isolation, time zone, `CREATE INDEX ASYNC`, and the
/// connections that programs for Aurora DSQL count on.
pub(super) const LIKE_DSQL: [(&str, &str); 5] = [
    ("default_transaction_isolation", "repeatable read"),
    ("TimeZone", "UTC"),
    ("log_timezone", "UTC"),
    ("dsql_iam.async_indexes", "on"),
    (MAX_CONNECTIONS, "1000"),
];
/// The setting of how many connections there may be.
pub(super) const MAX_CONNECTIONS: &str = "max_connections";
/// The memory in kB that a server with so many connections needs to be at ease.
pub(super) const ENOUGH_MEMORY: u64 = 1_000_000;

/// The names of what is set only where it is asked for; once set, it stays until the undo.
pub(super) fn optional_settings() -> impl Iterator<Item = &'static str> {
    std::iter::once(EXEMPT_ROLES).chain(LIKE_DSQL.map(|(name, _)| name))
}

/// The arguments of `dsql-iam setup`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam setup --data /var/lib/postgresql/15/main --account-id 012345678912 --region us-east-1
  dsql-iam setup --data /var/lib/postgresql/15/main --account-id 012345678912 --region us-east-1 --yes

The first shows what would be changed, the second does it. Neither restarts the server.
Take care that you can get in over the Unix socket: over TCP only tokens count from then on.")]
pub struct Arguments {
    /// Connection string of a superuser, to learn from the running server where its files are
    #[arg(conflicts_with = "data")]
    pub(super) connection: Option<String>,

    /// The data directory, or on Debian the folder of the cluster's postgresql.conf
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,

    /// The AWS account of the cluster [default: as it is set]
    #[arg(long, value_name = "NUMBER")]
    pub(super) account_id: Option<String>,

    /// The cluster's region [default: as it is set]
    #[arg(long, env = "AWS_REGION")]
    pub(super) region: Option<String>,

    /// The cluster's id, 26 characters [default: as it is set, else a new one]
    #[arg(long, value_name = "ID")]
    pub(super) cluster_id: Option<String>,

    /// The folder for the IAM documents [default: as it is set, else dsql_iam beside
    /// postgresql.conf or, where that is in the data directory, a folder beside that directory]
    #[arg(long, value_name = "DIR")]
    pub(super) iam_directory: Option<PathBuf>,

    /// Roles that go on logging in with their passwords, separated by commas [default: as it is set]
    #[arg(long, value_name = "ROLES")]
    pub(super) exempt_roles: Option<String>,

    /// Set what programs for Aurora DSQL expect of a server: repeatable read, UTC, 1,000 connections where
    /// memory allows, and CREATE INDEX ASYNC [default: as it is set]
    #[arg(long)]
    pub(super) like_dsql: bool,

    /// The pg_config of the server's PostgreSQL [default: found by its version]
    #[arg(long, value_name = "PATH")]
    pub(super) pg_config: Option<PathBuf>,

    /// Make the changes, rather than show them
    #[arg(long)]
    pub(super) yes: bool,

    /// Undo what setup did
    #[arg(long)]
    pub(super) undo: bool,
}
