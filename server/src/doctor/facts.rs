//! The facts that the doctor judges: those that any superuser can ask of a server ([`Facts`]), and those that only the
//! library knows ([`Library`]).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use dsql_iam_core::directory::LoadError;
use dsql_iam_core::{BadCluster, Cluster, Identities, KeyCounts, count_keys};
use serde::Deserialize;
use time::UtcDateTime;

use crate::hba;

/// Asks a server for [`Facts`]: one row with one column of JSON. A superuser has to ask, with nothing but
/// `pg_catalog` in the search path: operators are looked up there, and others could have made one that fits.
pub const FACTS_QUERY: &str = include_str!("facts.sql");

/// The facts that any session of a superuser can learn.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// the server's major version
    pub major: u32,
    /// `shared_preload_libraries`, as it counts
    pub preload: String,
    /// the same, as it will count after a restart; `None` if no file sets it
    pub preload_in_file: Option<String>,
    /// whether the library is loaded
    pub is_loaded: bool,
    /// whether the extension's control file is where the server looks for it
    pub is_installed: bool,
    /// the database that was asked
    pub database: String,
    /// the extension's version in this database, if it was created there
    pub extension: Option<String>,
    /// whose the schema `sys` is, if there is one
    pub schema_owner: Option<String>,
    /// the data directory
    pub data_directory: PathBuf,
    /// `hba_file`
    pub hba_file: PathBuf,
    /// the lines of that file as they are now
    pub hba_lines: Vec<HbaLine>,
    /// `ssl` and `dsql_iam.*`, those that exist
    pub settings: HashMap<String, Option<String>>,
    /// the server's clock, in seconds since 1970
    pub now: f64,
    /// when the server wrote its last checkpoint, by the same clock
    pub checkpoint: f64,
    /// the roles that may log in
    pub roles: Vec<Role>,
    /// the roles of `dsql_iam.exempt_roles` that do not exist
    pub unknown_exempt_roles: Vec<String>,
    /// the role `admin`, if there is one
    pub admin: Option<Admin>,
}

/// A line of an hba file.
#[derive(Debug, Clone, Deserialize)]
pub struct HbaLine {
    /// the file that it stands in, from PostgreSQL 16 on
    pub file: Option<PathBuf>,
    /// its number
    pub number: u32,
    /// `local`, `host`, …
    pub kind: Option<String>,
    /// the databases it is for
    pub databases: Option<Vec<String>>,
    /// the roles it is for
    pub roles: Option<Vec<String>>,
    /// the addresses it is for
    pub address: Option<String>,
    /// how they log in
    pub method: Option<String>,
    /// `name=value` behind the method
    #[serde(default)]
    pub options: Option<Vec<String>>,
    /// why the server cannot read it
    pub error: Option<String>,
}

/// A role that may log in.
#[derive(Debug, Clone, Deserialize)]
pub struct Role {
    /// its name
    pub name: String,
    /// SUPERUSER
    pub is_superuser: bool,
    /// REPLICATION
    pub may_replicate: bool,
    /// whether it has a password
    pub has_password: bool,
}

/// The role `admin`.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    /// LOGIN
    pub can_log_in: bool,
    /// SUPERUSER
    pub is_superuser: bool,
    /// CREATEROLE
    pub makes_roles: bool,
    /// the roles that are direct members of it, as SQL has their names
    pub members: Vec<String>,
    /// whether it has a password
    pub has_password: bool,
    /// the settings that it has by `ALTER ROLE`, but for `createrole_self_grant`
    pub settings: Vec<String>,
    /// CONNECTION LIMIT, -1 for none
    pub connections: i32,
    /// whether it may connect to the database `postgres`
    pub may_connect: bool,
    /// whether it may `SET ROLE` to the roles that it makes
    pub uses_its_roles: bool,
}

/// The facts that only the library knows, inside the server.
pub struct Library {
    /// the library's own version
    pub version: &'static str,
    /// whether the parser takes an `AWS IAM GRANT` now
    pub understands_syntax: bool,
    /// the cluster, with those linked with it, or which setting is wrong
    pub cluster: Result<Cluster, BadCluster>,
    /// the hba file that the server would have without the library, if the library brings its own
    pub users_hba: Option<UsersHba>,
    /// the user that the server runs as
    pub user: ServerUser,
    /// the IAM directory
    pub directory: PathBuf,
    /// whether it is in the data directory, of which a base backup is a copy
    pub is_in_data_directory: bool,
    /// whose it is, and its permission bits; or what the system said
    pub directory_access: io::Result<Access>,
    /// how many users, roles and access keys its documents hold, or why they cannot be loaded
    pub identities: Result<Counts, LoadError>,
    /// whose the document is that cannot be loaded, if the server can see that
    pub faulty_document: Option<Access>,
    /// what there is to encrypt with, where `ssl` is on
    pub tls: Option<Tls>,
    /// the audit file, if there is one, and why a login cannot write into it, if so
    pub audit_file: Option<(PathBuf, io::Result<()>)>,
    /// when the newest document was written, in seconds since 1970
    pub newest_document: Option<f64>,
}

/// A user of the system.
pub struct ServerUser {
    /// the system's number for it
    pub id: u32,
    /// its name; where it has none, the number
    pub name: String,
}

impl ServerUser {
    /// The commands that give the server's user access to a path: `chown` only if it is somebody else's, whom
    /// `chmod` alone would leave with all of it.
    pub(super) fn given(&self, path: &Path, now: Option<Access>, mode: &str) -> String {
        let path = path.display();
        match now {
            Some(now) if now.owner != self.id => {
                format!("chown {} {path} && chmod {mode} {path}", self.name)
            }
            _ => format!("chmod {mode} {path}"),
        }
    }
}

/// The user's own hba file: lines for the library's to take in, and for people to change.
pub struct UsersHba {
    /// the file
    pub file: PathBuf,
    /// how many lines the library writes before a copy of it
    pub lines_before: u32,
}

/// The server's certificate and its key.
pub struct Tls {
    /// `ssl_cert_file`
    pub certificate: TlsFile,
    /// `ssl_key_file`
    pub key: TlsFile,
    /// whether PostgreSQL loads the two, and all else that its settings for TLS name; `None` if that was not
    /// tried, since the key has a passphrase
    pub is_loaded: Option<bool>,
}

/// A file that a setting names.
pub struct TlsFile {
    /// the file
    pub path: PathBuf,
    /// who can get at it, or what the system said
    pub access: io::Result<Access>,
    /// what the system said to the server's user reading it, if that did not work
    pub unreadable: Option<io::Error>,
}

/// The owner and the mode of a file or folder.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// the number of the user whose it is
    pub owner: u32,
    /// the permission bits
    pub mode: u32,
}

/// How many identities there are.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// users
    pub users: usize,
    /// roles
    pub roles: usize,
    /// access keys, by what they are good for
    pub keys: KeyCounts,
}

impl Counts {
    /// Counts what documents brought, as of `now`, for a cluster of `account` if that is known.
    pub fn of(identities: &Identities, account: Option<&str>, now: UtcDateTime) -> Self {
        let counts = identities.counts();
        Self {
            users: counts.users,
            roles: counts.roles,
            keys: count_keys(identities, account, now),
        }
    }
}

impl Facts {
    /// A setting's value; empty if there is none.
    pub(super) fn setting(&self, name: &str) -> &str {
        let value = self.settings.get(name).and_then(Option::as_deref);
        value.unwrap_or_default()
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.setting(name) == "on"
    }

    pub(super) fn has_our_hba_file(&self) -> bool {
        self.hba_file == self.data_directory.join(hba::FILE)
    }
}

impl Facts {
    /// The names of roles that may log in, as far as a line has room for them.
    pub(super) fn names_of(&self, is_meant: impl Fn(&Role) -> bool) -> String {
        const SHOWN: usize = 10;
        let mut names: Vec<&str> = self
            .roles
            .iter()
            .filter(|role| is_meant(role))
            .map(|role| &*role.name)
            .collect();
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        let names = names.join(", ");
        match more {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}
