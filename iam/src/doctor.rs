//! Whether a server is as it should be: each thing that has to be right, what was found, and the one
//! line that mends it.
//!
//! `sys.doctor()` asks it inside of a server, `dsql-iam doctor` from outside, where the library may
//! not even be loaded. What both can learn by SQL is [`Facts`], the answer to [`FACTS_QUERY`]; what
//! only the library knows is [`Library`].

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use time::UtcDateTime;

use crate::directory::LoadError;
use crate::identity::Identities;
use crate::login::{KeyCounts, count_keys};

/// How far a clock may be off before tokens are refused for it, in seconds: as at a login.
const CLOCK_SKEW: f64 = 300.0;
/// The day on which Aurora DSQL was announced, 2024-12-03, in seconds since 1970: no clock that is
/// right shows an earlier time.
const ANNOUNCED: f64 = 1_733_184_000.0;
/// The file in the data directory that the library puts in force as `hba_file`.
pub const HBA_FILE: &str = "dsql_iam_hba.conf";

/// Asks a server for [`Facts`]: one row with one column of JSON. A superuser has to ask, with nothing but
/// `pg_catalog` in the search path: operators are looked up there, and others could have made one that fits.
pub const FACTS_QUERY: &str = "\
SELECT pg_catalog.json_build_object(
    'major', pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000,
    'preload', pg_catalog.current_setting('shared_preload_libraries'),
    'preload_in_file', (SELECT setting FROM pg_catalog.pg_file_settings
        WHERE name = 'shared_preload_libraries' ORDER BY seqno DESC LIMIT 1),
    'is_loaded', EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'dsql_iam.region'),
    'is_installed', EXISTS (SELECT FROM pg_catalog.pg_available_extensions
        WHERE name = 'dsql_iam'),
    'database', pg_catalog.current_database(),
    'extension', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'dsql_iam'),
    'schema_owner', (SELECT pg_catalog.pg_get_userbyid(nspowner)
        FROM pg_catalog.pg_namespace WHERE nspname = 'sys'),
    'data_directory', pg_catalog.current_setting('data_directory'),
    'hba_file', pg_catalog.current_setting('hba_file'),
    'hba_lines', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'file', pg_catalog.json_extract_path_text(pg_catalog.row_to_json(rule), 'file_name'),
            'number', line_number, 'kind', type, 'databases', database, 'roles', user_name,
            'address', address, 'method', auth_method, 'options', options, 'error', error) ORDER BY line_number),
            '[]') FROM pg_catalog.pg_hba_file_rules AS rule),
    'settings', (SELECT coalesce(pg_catalog.json_object_agg(name, setting), '{}')
        FROM pg_catalog.pg_settings WHERE name LIKE 'dsql\\_iam.%' OR name = 'ssl'),
    'now', extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8,
    'checkpoint', (SELECT extract(epoch FROM checkpoint_time)::pg_catalog.float8
        FROM pg_catalog.pg_control_checkpoint()),
    'roles', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', rolname, 'is_superuser', rolsuper, 'may_replicate', rolreplication,
            'has_password', rolpassword IS NOT NULL) ORDER BY rolname), '[]')
        FROM pg_catalog.pg_authid WHERE rolcanlogin),
    'admin', (SELECT pg_catalog.json_build_object(
            'can_log_in', rolcanlogin, 'is_superuser', rolsuper, 'makes_roles', rolcreaterole,
            'connections', rolconnlimit, 'may_connect',
            pg_catalog.has_database_privilege(role.oid, 'postgres', 'CONNECT'), 'uses_its_roles',
            pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 160000
            OR coalesce((SELECT item LIKE '%set%' AND item LIKE '%inherit%'
                FROM (SELECT pg_catalog.split_part(item, '=', 2) AS item, setrole, setdatabase
                      FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS item
                      WHERE setrole IN (role.oid, 0::pg_catalog.oid) AND item LIKE 'createrole_self_grant=%'
                      UNION ALL
                      SELECT setting, 0::pg_catalog.oid, NULL::pg_catalog.oid FROM pg_catalog.pg_file_settings
                      WHERE name = 'createrole_self_grant' AND applied) AS found
                WHERE setdatabase IS NULL OR setdatabase IN (0::pg_catalog.oid, (SELECT oid
                    FROM pg_catalog.pg_database WHERE datname = 'postgres'))
                ORDER BY setdatabase IS NULL, setrole = 0::pg_catalog.oid,
                    setdatabase = 0::pg_catalog.oid LIMIT 1), false))
        FROM pg_catalog.pg_roles AS role WHERE rolname = 'admin'))::pg_catalog.text";

/// What any session of a superuser can learn.
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
    pub settings: std::collections::HashMap<String, Option<String>>,
    /// the server's clock, in seconds since 1970
    pub now: f64,
    /// when the server wrote its last checkpoint, by the same clock
    pub checkpoint: f64,
    /// the roles that may log in
    pub roles: Vec<Role>,
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
    /// CONNECTION LIMIT, -1 for none
    pub connections: i32,
    /// whether it may connect to the database `postgres`
    pub may_connect: bool,
    /// whether it may `SET ROLE` to the roles that it makes
    pub uses_its_roles: bool,
}

/// What only the library knows, from inside of the server.
pub struct Library {
    /// the library's own version
    pub version: &'static str,
    /// whether the parser takes an `AWS IAM GRANT` now
    pub understands_syntax: bool,
    /// the cluster's ARN, or which setting is wrong
    pub cluster: Result<String, String>,
    /// the hba file that the server would have without the library, if the library brings its own
    pub users_hba: Option<UsersHba>,
    /// the user that the server runs as
    pub user: ServerUser,
    /// the IAM directory
    pub directory: PathBuf,
    /// whose it is, and its permission bits; or what the system said
    pub directory_access: io::Result<Access>,
    /// how many users, roles and access keys its documents hold, or why they cannot be loaded
    pub identities: Result<Counts, LoadError>,
    /// whose the document is that cannot be loaded, if the server can see that
    pub faulty_document: Option<Access>,
    /// what there is to encrypt with, where `ssl` is on
    pub tls: Option<Tls>,
    /// the audit file, if there is one, and why a login cannot write into it, if so
    pub audit_file: Option<(PathBuf, Result<(), String>)>,
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
    fn given(&self, path: &Path, now: Option<Access>, mode: &str) -> String {
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

/// Who can get at a file or folder.
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
        let (users, roles, _) = identities.counts();
        Self {
            users,
            roles,
            keys: count_keys(identities, account, now),
        }
    }
}

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// as it should be
    Ok,
    /// it works, but somebody should know
    Warning,
    /// it has to be mended
    Fault,
    /// it could not be looked at
    Unknown,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that has to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// its name
    pub check: &'static str,
    /// how well it is
    pub status: Status,
    /// what was found
    pub found: String,
    /// the line that mends it, unless it is fine
    pub remedy: Option<String>,
}

fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding {
        check,
        status: Status::Ok,
        found: found.into(),
        remedy: None,
    }
}

fn bad(
    check: &'static str,
    status: Status,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        check,
        status,
        found: found.into(),
        remedy: Some(remedy.into()),
    }
}

/// Judges a server. `library` is `None` where it is not loaded.
pub fn examine(facts: &Facts, library: Option<&Library>) -> Vec<Finding> {
    let mut findings = vec![preloaded(facts, library), extension(facts, library)];
    match library {
        Some(library) => findings.extend([
            syntax(facts, library),
            hba(facts, library),
            tls(facts, Some(library)),
            cluster(library),
            iam_directory(library),
            audit_file(library),
            clock(facts, library.newest_document),
        ]),
        None => {
            let unknown = |check| {
                let found = "only the library can tell, and it is not loaded";
                bad(check, Status::Unknown, found, "first mend: library")
            };
            findings.extend(["syntax", "hba"].map(unknown));
            findings.push(tls(facts, None));
            findings.extend(["cluster", "iam_directory", "audit_file"].map(unknown));
            findings.push(clock(facts, None));
        }
    }
    findings.extend([admin(facts), other_logins(facts, library)]);
    findings
}

impl Facts {
    /// A setting's value; empty if there is none.
    fn setting(&self, name: &str) -> &str {
        let value = self.settings.get(name).and_then(Option::as_deref);
        value.unwrap_or_default()
    }

    fn is_on(&self, name: &str) -> bool {
        self.setting(name) == "on"
    }

    fn has_our_hba_file(&self) -> bool {
        self.hba_file == self.data_directory.join(HBA_FILE)
    }
}

/// Whether a value of `shared_preload_libraries` names the library.
pub fn preloads(list: &str) -> bool {
    list.split(',').any(|entry| {
        let entry = entry.trim().trim_matches('"');
        let name = Path::new(entry).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.strip_suffix(".so").unwrap_or(name) == "dsql_iam")
    })
}

fn preloaded(facts: &Facts, library: Option<&Library>) -> Finding {
    const CHECK: &str = "library";
    if let Some(library) = library {
        let (version, major) = (library.version, facts.major);
        return fine(
            CHECK,
            format!("version {version}, loaded at the start of PostgreSQL {major}"),
        );
    }
    if facts.is_loaded {
        return fine(CHECK, "loaded at the start of the server");
    }
    let in_file = facts.preload_in_file.as_deref().unwrap_or_default();
    if !facts.is_installed {
        let found = "its files are not in this PostgreSQL";
        return bad(CHECK, Status::Fault, found, "dsql-iam install");
    }
    if preloads(in_file) {
        let found =
            "it is in shared_preload_libraries, but the server has not been restarted since";
        return bad(CHECK, Status::Fault, found, "restart the server");
    }
    let others = facts.preload.trim();
    let list = match others {
        "" => "'dsql_iam'".to_owned(),
        others => {
            let mut names: Vec<_> = others.split(',').map(str::trim).collect();
            names.push("dsql_iam");
            let quoted: Vec<_> = names
                .iter()
                .map(|name| format!("'{}'", name.trim_matches('"').replace('\'', "''")))
                .collect();
            quoted.join(", ")
        }
    };
    bad(
        CHECK,
        Status::Fault,
        format!("shared_preload_libraries is '{others}'"),
        format!("ALTER SYSTEM SET shared_preload_libraries = {list}, and restart the server"),
    )
}

fn extension(facts: &Facts, library: Option<&Library>) -> Finding {
    const CHECK: &str = "extension";
    let database = &facts.database;
    match (&facts.extension, library) {
        (None, None) => bad(
            CHECK,
            Status::Unknown,
            format!("not created in the database {database}"),
            "first mend: library",
        ),
        (None, Some(_)) if facts.schema_owner.is_some() => bad(
            CHECK,
            Status::Fault,
            format!(
                "not created in the database {database}, which has a schema sys of {}: nothing in it is \
                 the extension's",
                facts.schema_owner.as_deref().unwrap_or_default()
            ),
            "see what it is, then in that database, as a superuser: ALTER SCHEMA sys RENAME TO sys_old; \
             CREATE EXTENSION dsql_iam",
        ),
        (None, Some(_)) => bad(
            CHECK,
            Status::Fault,
            format!("not created in the database {database}"),
            "in the database postgres, as a superuser: CREATE EXTENSION dsql_iam",
        ),
        (Some(version), Some(library)) if version != library.version => bad(
            CHECK,
            Status::Fault,
            format!(
                "version {version}, but the library has version {}",
                library.version
            ),
            "ALTER EXTENSION dsql_iam UPDATE",
        ),
        (Some(version), _) if database != "postgres" => bad(
            CHECK,
            Status::Warning,
            format!("version {version} in the database {database}, where no token leads"),
            "ask in the database postgres",
        ),
        (Some(version), _) => fine(CHECK, format!("version {version}")),
    }
}

fn syntax(facts: &Facts, library: &Library) -> Finding {
    const CHECK: &str = "syntax";
    let instead = "sys.iam_grant and sys.iam_revoke do the same";
    if library.understands_syntax {
        return fine(CHECK, "AWS IAM GRANT and REVOKE are understood");
    }
    if !facts.is_on("dsql_iam.install_syntax") {
        return bad(
            CHECK,
            Status::Warning,
            format!("off; {instead}"),
            "ALTER SYSTEM SET dsql_iam.install_syntax = on, and restart the server",
        );
    }
    bad(
        CHECK,
        Status::Fault,
        format!("the parser does not take AWS IAM GRANT; {instead}"),
        "the server's log says why, at its start",
    )
}

fn hba(facts: &Facts, library: &Library) -> Finding {
    const CHECK: &str = "hba";
    let file = facts.hba_file.display();
    let broken = facts.hba_lines.iter().find_map(|line| {
        let error = line.error.as_deref()?;
        Some((place(facts, Some(library), line), error))
    });
    if let Some((place, error)) = broken {
        return bad(
            CHECK,
            Status::Fault,
            format!("{place}, or what it names: {error}"),
            "mend that line, and: SELECT pg_reload_conf()",
        );
    }
    let asks_everybody = |line: &HbaLine| {
        line.kind.as_deref() == Some("host")
            && line.method.as_deref() == Some("trust")
            && line.databases.as_deref() == Some(&["all".to_owned()])
            && line.roles.as_deref() == Some(&["all".to_owned()])
            && line.address.as_deref() == Some("all")
    };
    let is_reached = facts.hba_lines.iter().any(asks_everybody);
    if facts.has_our_hba_file() {
        return if is_reached {
            fine(CHECK, format!("{file} is in force"))
        } else {
            bad(
                CHECK,
                Status::Fault,
                format!("{file} is not what the library wrote"),
                "SELECT pg_reload_conf(), which has it written again",
            )
        };
    }
    if facts.is_on("dsql_iam.manage_hba") {
        return bad(
            CHECK,
            Status::Fault,
            format!("{file} is in force, and not the library's own file"),
            "restart the server, and load no other library that sets hba_file",
        );
    }
    let remedy = "ALTER SYSTEM SET dsql_iam.manage_hba = on, and restart the server";
    let found = if is_reached {
        format!("{file} is in force, with a trust line that is an open door without the library")
    } else {
        format!("{file} is in force, which does not ask everybody for a token")
    };
    bad(CHECK, Status::Warning, found, remedy)
}

fn tls(facts: &Facts, library: Option<&Library>) -> Finding {
    const CHECK: &str = "tls";
    // The setting is on as soon as a reload has read it, whatever became of the files.
    let fault = library.and_then(|library| tls_fault(library.tls.as_ref()?, &library.user));
    if let Some((found, remedy)) = fault {
        return bad(
            CHECK,
            Status::Fault,
            format!("on, but PostgreSQL cannot load what it needs: {found}"),
            format!("{remedy}; then: SELECT pg_reload_conf()"),
        );
    }
    let is_loaded = facts.settings.contains_key("dsql_iam.require_tls");
    match (facts.is_on("ssl"), facts.is_on("dsql_iam.require_tls")) {
        (true, true) => fine(CHECK, "on, and asked for"),
        (true, false) if !is_loaded => fine(CHECK, "on"),
        (true, false) => bad(
            CHECK,
            Status::Warning,
            "on, but tokens are taken without it too",
            "ALTER SYSTEM SET dsql_iam.require_tls = on; SELECT pg_reload_conf()",
        ),
        (false, false) if is_loaded => bad(
            CHECK,
            Status::Warning,
            "off, so that tokens travel for everybody to read",
            "ssl_cert_file and ssl_key_file, then: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
        ),
        (false, _) => bad(
            CHECK,
            Status::Fault,
            "off, and without it nobody gets in",
            "ssl_cert_file and ssl_key_file, then: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
        ),
    }
}

/// Why the server can encrypt nothing, or no more after its next start, and what mends that: as PostgreSQL
/// itself judges the files (`check_ssl_key_file_permissions()`), and then by its own verdict.
fn tls_fault(tls: &Tls, user: &ServerUser) -> Option<(String, String)> {
    for (setting, file) in [
        ("ssl_cert_file", &tls.certificate),
        ("ssl_key_file", &tls.key),
    ] {
        let path = file.path.display();
        if let Err(error) = &file.access {
            let remedy = format!("put it there, or: ALTER SYSTEM SET {setting} = '…'");
            return Some((format!("{setting} {path}: {error}"), remedy));
        }
    }
    let key = tls.key.path.display();
    if let Ok(access) = tls.key.access {
        let is_roots = access.owner == 0;
        if access.owner != user.id && !is_roots {
            let found = format!(
                "the key {key} is neither {}'s, as whom the server runs, nor root's",
                user.name
            );
            return Some((found, user.given(&tls.key.path, Some(access), "600")));
        }
        // The group of a key of root's may read it.
        let too_much = if is_roots { 0o037 } else { 0o077 };
        if access.mode & too_much != 0 {
            let (mode, right) = (access.mode, if is_roots { "640" } else { "600" });
            let found = format!("others can get at the key {key} (mode {mode:04o})");
            return Some((found, format!("chmod {right} {key}")));
        }
    }
    for file in [&tls.certificate, &tls.key] {
        if let Some(error) = &file.unreadable {
            let now = file.access.as_ref().ok().copied();
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => user.given(&file.path, now, "u+r"),
                _ => "put a file that can be read there".to_owned(),
            };
            return Some((format!("{}: {error}", file.path.display()), remedy));
        }
    }
    (tls.is_loaded == Some(false)).then(|| {
        (
            format!(
                "of {} and {key}, or of what else is set for TLS, its log has just said why",
                tls.certificate.path.display()
            ),
            "mend what the server's log says".to_owned(),
        )
    })
}

fn cluster(library: &Library) -> Finding {
    const CHECK: &str = "cluster";
    match &library.cluster {
        Ok(arn) => fine(CHECK, arn),
        Err(fault) => {
            let setting = fault.split_whitespace().next().unwrap_or_default();
            bad(
                CHECK,
                Status::Fault,
                format!("dsql_iam.{fault}"),
                format!("ALTER SYSTEM SET dsql_iam.{setting} = '…'; SELECT pg_reload_conf()"),
            )
        }
    }
}

fn iam_directory(library: &Library) -> Finding {
    const CHECK: &str = "iam_directory";
    let path = library.directory.display();
    let given = |mode| {
        let now = library.directory_access.as_ref().ok().copied();
        library.user.given(&library.directory, now, mode)
    };
    let mode = match &library.directory_access {
        Ok(access) => access.mode,
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("as the server's user: install -d -m 700 {path}")
                }
                io::ErrorKind::PermissionDenied => format!(
                    "let {} through the folders above {path}: chmod o+x each of them",
                    library.user.name
                ),
                _ => {
                    "ALTER SYSTEM SET dsql_iam.iam_directory = '…'; SELECT pg_reload_conf()".into()
                }
            };
            return bad(CHECK, Status::Fault, format!("{path}: {error}"), remedy);
        }
    };
    if mode & 0o022 != 0 {
        return bad(
            CHECK,
            Status::Fault,
            format!("{path} has mode {mode:04o}: others can put documents there"),
            given("700"),
        );
    }
    let Counts { users, roles, keys } = match &library.identities {
        Ok(counts) => *counts,
        Err(error) => {
            let now = library.faulty_document;
            let remedy = match error {
                LoadError::Exposed { path, .. } => library.user.given(path, now, "600"),
                LoadError::Directory { .. } => {
                    format!("let the server's user read it: {}", given("u+rx"))
                }
                LoadError::Unreadable { path, error } => match (error.kind(), now) {
                    (io::ErrorKind::PermissionDenied, Some(_)) => format!(
                        "let the server's user read it: {}",
                        library.user.given(path, now, "u+r")
                    ),
                    // It cannot even be looked at.
                    (io::ErrorKind::PermissionDenied, None) => {
                        format!("let the server's user get at it: {}", given("u+rx"))
                    }
                    _ => format!("write {} again, or take it away", path.display()),
                },
                LoadError::Broken { path, .. } | LoadError::NotAFile(path) => format!(
                    "write {} again as the AWS CLI prints it, or take it away",
                    path.display()
                ),
                LoadError::TooMany(path) => {
                    format!("take documents out of {}", path.display())
                }
            };
            return bad(CHECK, Status::Fault, error.to_string(), remedy);
        }
    };
    let (useless, remedies) = useless_keys(&keys, &path.to_string());
    let useless = match &useless[..] {
        [] => String::new(),
        useless => format!(", and some that open nothing: {}", useless.join(", ")),
    };
    let usable = keys.usable;
    let found = format!("{path}: {users} users, {roles} roles, {usable} access keys{useless}");
    if usable == 0 {
        let found = format!("{found}, so nobody can sign a token");
        return bad(CHECK, Status::Fault, found, remedies.join("; "));
    }
    if mode & 0o077 != 0 {
        return bad(
            CHECK,
            Status::Warning,
            format!("{found}; others can look into it (mode {mode:04o})"),
            given("700"),
        );
    }
    fine(CHECK, found)
}

/// Which access keys open nothing, and what would have some that do: a new one if there is none at all.
fn useless_keys(keys: &KeyCounts, path: &str) -> (Vec<String>, Vec<String>) {
    let new_key =
        || format!("(umask 077; aws iam create-access-key --user-name NAME > {path}/NAME.json)");
    let reasons = [
        (
            keys.other_account,
            "of another account than dsql_iam.account_id",
            "if the documents are the right ones: ALTER SYSTEM SET dsql_iam.account_id = '…'; SELECT \
             pg_reload_conf()"
                .to_owned(),
        ),
        (
            keys.ownerless,
            "of nobody in the documents",
            format!("(umask 077; aws iam get-account-authorization-details > {path}/account.json)"),
        ),
        (keys.inactive, "not active", new_key()),
        (
            keys.over,
            "of sessions that are over",
            "assume the role again: dsql-iam assume-role, or aws sts assume-role".to_owned(),
        ),
    ];
    let reasons = reasons.into_iter().filter(|(count, _, _)| *count > 0);
    let (found, mut remedies): (Vec<_>, Vec<_>) = reasons
        .map(|(count, what, remedy)| (format!("{count} {what}"), remedy))
        .unzip();
    if found.is_empty() {
        remedies.push(new_key());
    }
    (found, remedies)
}

fn audit_file(library: &Library) -> Finding {
    const CHECK: &str = "audit_file";
    let Some((path, outcome)) = &library.audit_file else {
        return fine(CHECK, "none; the server's log has each decision");
    };
    let file = path.display();
    match outcome {
        Ok(()) => fine(CHECK, format!("{file} can be written")),
        Err(error) => bad(
            CHECK,
            Status::Fault,
            format!("{file} cannot be written, so that nobody gets in: {error}"),
            format!(
                "let the server's user write {file}, a file of its own, in a folder that is there; or, to do \
                 without: ALTER SYSTEM RESET dsql_iam.audit_file; SELECT pg_reload_conf()"
            ),
        ),
    }
}

fn clock(facts: &Facts, newest_document: Option<f64>) -> Finding {
    const CHECK: &str = "clock";
    let remedy = "set the clock: timedatectl set-ntp true";
    let ahead = |time: f64| time - facts.now > CLOCK_SKEW;
    if facts.now < ANNOUNCED {
        return bad(
            CHECK,
            Status::Fault,
            "it shows a time before there was an Aurora DSQL",
            remedy,
        );
    }
    if ahead(facts.checkpoint) {
        let found = "it was set back: the last checkpoint is in its future";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    if newest_document.is_some_and(ahead) {
        let found = "it is late: an IAM document was written in its future";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    fine(CHECK, "not before anything that the server has seen")
}

fn admin(facts: &Facts) -> Finding {
    const CHECK: &str = "admin";
    let Some(admin) = &facts.admin else {
        let (found, remedy) = (
            "there is no role admin",
            "CREATE ROLE admin WITH LOGIN CREATEROLE",
        );
        return bad(CHECK, Status::Fault, found, remedy);
    };
    let attributes = "ALTER ROLE admin WITH LOGIN CREATEROLE NOSUPERUSER";
    if admin.is_superuser {
        let found = "it is a superuser, and no superuser gets in with a token";
        return bad(CHECK, Status::Fault, found, attributes);
    }
    if !admin.can_log_in {
        return bad(CHECK, Status::Fault, "it may not log in", attributes);
    }
    if !admin.makes_roles {
        let found = "it cannot make roles, as Aurora DSQL's can";
        return bad(CHECK, Status::Warning, found, attributes);
    }
    if admin.connections == 0 {
        let remedy = "ALTER ROLE admin CONNECTION LIMIT -1";
        return bad(CHECK, Status::Fault, "its connection limit is 0", remedy);
    }
    if !admin.may_connect {
        let remedy = "GRANT CONNECT ON DATABASE postgres TO admin";
        let found = "it may not connect to the database postgres";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    if !admin.uses_its_roles {
        // CREATE EXTENSION sets it from 16 on; pg_upgrade from an older version does not.
        let remedy = "ALTER ROLE admin SET createrole_self_grant = 'set, inherit'";
        let found = "it cannot use the roles that it makes, as Aurora DSQL's can";
        return bad(CHECK, Status::Warning, found, remedy);
    }
    fine(CHECK, "may log in and make roles")
}

fn other_logins(facts: &Facts, library: Option<&Library>) -> Finding {
    const CHECK: &str = "other_logins";
    if !facts.is_loaded {
        return bad(
            CHECK,
            Status::Unknown,
            "without the library everybody logs in as pg_hba.conf says",
            "first mend: library",
        );
    }
    let exempt = facts.setting("dsql_iam.exempt_roles").trim();
    let exempt = (!exempt.is_empty()).then(|| {
        (
            format!("with a password over TCP: {exempt}"),
            "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server".to_owned(),
        )
    });
    let lines: Vec<HbaLine> = facts.hba_lines.iter().flat_map(HbaLine::halves).collect();
    let doors: Vec<_> = lines
        .iter()
        .filter_map(|line| door(facts, line, &place(facts, library, line)))
        .collect();
    let reload = (!doors.is_empty()).then(|| "SELECT pg_reload_conf()".to_owned());
    let (mut found, mut remedies): (Vec<_>, Vec<_>) = exempt.into_iter().chain(doors).unzip();
    remedies.extend(reload);
    remedies.dedup();
    found.push(match &facts.names_of(|role| role.is_superuser)[..] {
        "" => "no superuser can log in".to_owned(),
        some => format!("superusers, over Unix sockets as pg_hba.conf says: {some}"),
    });
    let is_by_name = |line: &HbaLine| {
        line.is_local() && !line.is_for_replication() && line.is_by_peer() && line.map().is_none()
    };
    let is_ordinary = |role: &Role, line: &HbaLine| !role.is_superuser && line.is_for(role);
    if lines
        .iter()
        .any(|line| is_by_name(line) && facts.roles.iter().any(|role| is_ordinary(role, line)))
    {
        found.push("users of this machine, over Unix sockets, as the role of their name".into());
    }
    let found = found.join("; ");
    if remedies.is_empty() {
        fine(CHECK, found)
    } else {
        bad(CHECK, Status::Warning, found, remedies.join("; "))
    }
}

/// Where a line of the hba file stands that people write: from PostgreSQL 16 on the server tells, and before
/// the library's file has a copy of theirs, behind lines of its own.
fn place(facts: &Facts, library: Option<&Library>, line: &HbaLine) -> String {
    let users = library.and_then(|library| library.users_hba.as_ref());
    let copied = users.and_then(|users| {
        let number = line.number.checked_sub(users.lines_before)?;
        (number > 0 && facts.has_our_hba_file()).then_some((&*users.file, number))
    });
    let (file, number) = match (&line.file, copied) {
        (Some(file), _) => (&**file, line.number),
        (None, Some(copied)) => copied,
        (None, None) => (&*facts.hba_file, line.number),
    };
    format!("line {number} of {}", file.display())
}

/// Who gets in by a line of the hba file without a token, and what would shut it, before a reload; `place` is
/// where the line stands. `None` if nobody does, or only who should: superusers over Unix sockets, and by
/// `peer` the users of the machine as the role of their name.
fn door(facts: &Facts, line: &HbaLine, place: &str) -> Option<(String, String)> {
    // Over TCP the library stands behind trust: it asks for a token, and lets nobody replicate.
    if line.method() == "reject" || !line.is_local() && line.method() == "trust" {
        return None;
    }
    let (method, roles) = (line.method(), line.roles.as_deref().unwrap_or_default());
    let by = format!("by {place}");
    if line.is_local() && method == "trust" {
        return Some((
            format!(
                "over Unix sockets everybody on this machine, as {}, unasked, {by}",
                roles.join(", ")
            ),
            format!("write peer instead of trust in {place}"),
        ));
    }
    let asks_for_password = matches!(method, "scram-sha-256" | "md5" | "password");
    let gets_in = |role: &Role| line.is_for(role) && (!asks_for_password || role.has_password);
    if line.is_for_replication() {
        // Whoever replicates copies the data directory, and the documents if they are in it.
        let replicates = |role: &Role| role.may_replicate || role.is_superuser;
        let is_meant = |role: &Role| line.is_local() && (role.is_superuser || line.is_by_peer());
        let names = facts.names_of(|role| gets_in(role) && replicates(role) && !is_meant(role));
        return (!names.is_empty()).then(|| {
            (
                format!("for replication, with {method}, {by}: {names}"),
                format!("take out {place}, if nobody needs it for replication"),
            )
        });
    }
    if line.is_local() {
        if line.is_by_peer() {
            // Without a map users of the machine come in as the role of their own name.
            let map = line.map()?;
            let names = facts.names_of(|role| gets_in(role) && !role.is_superuser);
            return (!names.is_empty()).then(|| {
                (
                    format!(
                        "over Unix sockets, as the map {map} of pg_ident.conf has it, {by}: {names}"
                    ),
                    format!("take map={map} out of {place}"),
                )
            });
        }
        let names = facts.names_of(|role| gets_in(role) && !role.is_superuser);
        return (!names.is_empty()).then(|| {
            (
                format!("over Unix sockets, with {method}, {by}: {names}"),
                format!("write peer instead of {method} in {place}"),
            )
        });
    }
    // In the library's own file the lines for TCP come too late.
    (!facts.has_our_hba_file()).then(|| {
        (
            format!("over TCP, with {method}, {by}: {}", roles.join(", ")),
            format!(
                "take out {place}, or: ALTER SYSTEM SET dsql_iam.manage_hba = on, and restart the server"
            ),
        )
    })
}

impl HbaLine {
    fn is_local(&self) -> bool {
        self.kind.as_deref() == Some("local")
    }

    fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// Whether the system tells who it is. Over sockets `ident` is `peer`.
    fn is_by_peer(&self) -> bool {
        matches!(self.method(), "peer" | "ident")
    }

    /// The map in pg_ident.conf that the line names.
    fn map(&self) -> Option<&str> {
        let options = self.options.as_deref().unwrap_or_default();
        options
            .iter()
            .find_map(|option| option.strip_prefix("map="))
    }

    /// The line for replication and the line for databases, where one is for both.
    fn halves(&self) -> Vec<Self> {
        let databases = self.databases.clone().unwrap_or_default();
        let (replication, others): (Vec<_>, Vec<_>) = databases
            .into_iter()
            .partition(|name| name == "replication");
        if replication.is_empty() || others.is_empty() {
            return vec![self.clone()];
        }
        [others, replication]
            .map(|databases| Self {
                databases: Some(databases),
                ..self.clone()
            })
            .into()
    }

    fn is_for_replication(&self) -> bool {
        let databases = self.databases.as_deref().unwrap_or_default();
        databases.iter().any(|name| name == "replication")
    }

    /// Groups and patterns count as everybody: who is meant by them is not known here.
    fn is_for(&self, role: &Role) -> bool {
        let names = self.roles.as_deref().unwrap_or_default();
        names
            .iter()
            .any(|name| name == "all" || name.starts_with(['+', '/']) || *name == role.name)
    }
}

impl Facts {
    /// The names of roles that may log in, as far as a line has room for them.
    fn names_of(&self, is_meant: impl Fn(&Role) -> bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn line(number: u32, kind: &str, database: &str, roles: &str, method: &str) -> HbaLine {
        HbaLine {
            file: None,
            number,
            kind: Some(kind.into()),
            databases: Some(vec![database.into()]),
            roles: Some(vec![roles.into()]),
            address: (kind == "host").then(|| "all".into()),
            method: Some(method.into()),
            options: None,
            error: None,
        }
    }

    fn role(name: &str) -> Role {
        Role {
            name: name.into(),
            is_superuser: false,
            may_replicate: false,
            has_password: false,
        }
    }

    /// A server on which all is well.
    fn facts() -> Facts {
        let settings = [
            ("ssl", "on"),
            ("dsql_iam.require_tls", "on"),
            ("dsql_iam.manage_hba", "on"),
            ("dsql_iam.install_syntax", "on"),
            ("dsql_iam.exempt_roles", ""),
        ];
        Facts {
            major: 15,
            preload: "dsql_iam".into(),
            preload_in_file: Some("dsql_iam".into()),
            is_loaded: true,
            is_installed: true,
            database: "postgres".into(),
            extension: Some("1".into()),
            schema_owner: Some("postgres".into()),
            data_directory: "/data".into(),
            hba_file: "/data/dsql_iam_hba.conf".into(),
            hba_lines: vec![
                line(3, "host", "all", "all", "trust"),
                line(5, "local", "all", "all", "peer"),
            ],
            settings: settings
                .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
                .into(),
            now: ANNOUNCED + 1e6,
            checkpoint: ANNOUNCED,
            roles: vec![
                role("admin"),
                Role {
                    is_superuser: true,
                    may_replicate: true,
                    ..role("postgres")
                },
            ],
            admin: Some(Admin {
                can_log_in: true,
                is_superuser: false,
                makes_roles: true,
                connections: -1,
                may_connect: true,
                uses_its_roles: true,
            }),
        }
    }

    fn access(owner: u32, mode: u32) -> Access {
        Access { owner, mode }
    }

    fn tls_files() -> Tls {
        let file = |path: &str, mode| TlsFile {
            path: path.into(),
            access: Ok(access(7, mode)),
            unreadable: None,
        };
        Tls {
            certificate: file("/tls/server.crt", 0o644),
            key: file("/tls/server.key", 0o600),
            is_loaded: Some(true),
        }
    }

    fn counts(keys: KeyCounts) -> Counts {
        Counts {
            users: 1,
            roles: 1,
            keys,
        }
    }

    fn library() -> Library {
        Library {
            version: "1",
            understands_syntax: true,
            cluster: Ok("arn".into()),
            users_hba: Some(UsersHba {
                file: "/etc/pg_hba.conf".into(),
                lines_before: 4,
            }),
            user: ServerUser {
                id: 7,
                name: "postgres".into(),
            },
            directory: "/iam".into(),
            directory_access: Ok(access(7, 0o700)),
            faulty_document: None,
            identities: Ok(counts(KeyCounts {
                usable: 1,
                ..KeyCounts::default()
            })),
            tls: Some(tls_files()),
            audit_file: Some(("/audit".into(), Ok(()))),
            newest_document: Some(ANNOUNCED),
        }
    }

    /// The findings that are not fine, as `check status`, after one change; each has a remedy.
    fn after(change: impl FnOnce(&mut Facts, &mut Library)) -> String {
        let (mut facts, mut library) = (facts(), library());
        change(&mut facts, &mut library);
        not_fine(&examine(&facts, Some(&library)))
    }

    fn not_fine(findings: &[Finding]) -> String {
        assert_eq!(findings.len(), 11);
        let lines = findings.iter().filter(|finding| {
            assert_eq!(finding.remedy.is_none(), finding.status == Status::Ok);
            finding.status != Status::Ok
        });
        let lines: Vec<_> = lines
            .map(|finding| format!("{} {}", finding.check, finding.status.word()))
            .collect();
        lines.join(", ")
    }

    fn set(facts: &mut Facts, name: &str, value: &str) {
        facts.settings.insert(name.into(), Some(value.into()));
    }

    #[test]
    fn each_fault_is_found_and_no_other() {
        assert_eq!(after(|_, _| ()), "");
        for schema_owner in [None, Some("app".to_owned())] {
            let without = |f: &mut Facts, _: &mut Library| {
                (f.extension, f.schema_owner) = (None, schema_owner);
            };
            assert_eq!(after(without), "extension fault");
        }
        assert_eq!(
            after(|f, _| f.extension = Some("0".into())),
            "extension fault"
        );
        assert_eq!(after(|f, _| f.database = "x".into()), "extension warning");
        assert_eq!(after(|_, l| l.understands_syntax = false), "syntax fault");
        let off = |f: &mut Facts, l: &mut Library| {
            l.understands_syntax = false;
            set(f, "dsql_iam.install_syntax", "off");
        };
        assert_eq!(after(off), "syntax warning");
        assert_eq!(
            after(|_, l| l.cluster = Err("region must".into())),
            "cluster fault"
        );
    }

    #[test]
    fn doors_beside_the_token_are_found() {
        let other_file = |f: &mut Facts| f.hba_file = "/data/pg_hba.conf".into();
        assert_eq!(after(|f, _| other_file(f)), "hba fault");
        assert_eq!(
            after(|f, _| f.hba_lines[1].error = Some("?".into())),
            "hba fault"
        );
        assert_eq!(
            after(|f, _| f.hba_lines[0].method = Some("md5".into())),
            "hba fault"
        );
        assert_eq!(
            after(|f, _| f.hba_lines[0].databases = Some(vec!["x".into()])),
            "hba fault"
        );
        assert_eq!(
            after(|f, _| {
                other_file(f);
                set(f, "dsql_iam.manage_hba", "off");
            }),
            "hba warning"
        );
        assert_eq!(
            after(|f, _| {
                other_file(f);
                set(f, "dsql_iam.manage_hba", "off");
                f.hba_lines[0].method = Some("scram-sha-256".into());
            }),
            "hba warning, other_logins warning"
        );
        assert_eq!(
            after(|f, _| set(f, "dsql_iam.exempt_roles", "dba")),
            "other_logins warning"
        );
        assert_eq!(
            after(|f, _| f.hba_lines[1].method = Some("trust".into())),
            "other_logins warning"
        );
    }

    /// What is found of other logins, after a change, without the superusers at its end; and what
    /// mends it.
    fn others(change: impl FnOnce(&mut Facts)) -> (String, Option<String>) {
        let mut facts = facts();
        change(&mut facts);
        let finding = other_logins(&facts, Some(&library()));
        let is_warning = finding.status == Status::Warning;
        assert_eq!(is_warning, finding.remedy.is_some());
        let (doors, _) = finding
            .found
            .split_once("superusers, over Unix sockets as pg_hba.conf says: postgres")
            .expect("superusers come in over the socket");
        (doors.to_owned(), finding.remedy)
    }

    #[test]
    fn whoever_comes_in_without_a_token_is_named() {
        let with = |lines: &[HbaLine], roles: &[Role]| {
            others(|facts| {
                facts.hba_lines.extend_from_slice(lines);
                facts.roles.extend_from_slice(roles);
            })
        };
        let app = Role {
            has_password: true,
            ..role("app")
        };
        // Passwords count for who has one, be it over the socket or for replication.
        for method in ["scram-sha-256", "md5", "password"] {
            let local = line(7, "local", "all", "all", method);
            assert_eq!(with(from_ref(&local), &[]), (String::new(), None));
            let (found, remedy) = with(&[local], from_ref(&app));
            assert_eq!(
                found,
                format!("over Unix sockets, with {method}, by line 3 of /etc/pg_hba.conf: app; ")
            );
            let remedy = remedy.expect("it is a warning");
            assert_eq!(
                remedy,
                format!(
                    "write peer instead of {method} in line 3 of /etc/pg_hba.conf; SELECT \
                     pg_reload_conf()"
                )
            );
        }
        // What other methods ask for is not known here.
        let pam = [line(7, "local", "all", "+group", "pam")];
        assert!(with(&pam, &[]).0.starts_with("over Unix sockets, with pam"));
        // Each line is for whom it names, and in the file that it stands in.
        let named = HbaLine {
            file: Some("/etc/other.conf".into()),
            ..line(7, "local", "x", "app", "md5")
        };
        assert_eq!(
            with(from_ref(&named), from_ref(&app)).0,
            "over Unix sockets, with md5, by line 7 of /etc/other.conf: app; "
        );
        let other = Role {
            has_password: true,
            ..role("other")
        };
        assert_eq!(with(&[named], &[other]).1, None);
        // One line can be for replication and for databases.
        let both = HbaLine {
            databases: Some(vec!["replication".into(), "all".into()]),
            ..line(7, "local", "", "all", "md5")
        };
        assert_eq!(
            with(&[both], from_ref(&app)).0,
            "over Unix sockets, with md5, by line 3 of /etc/pg_hba.conf: app; "
        );
        // By peer everybody has their own role, unless a map says otherwise.
        let peer = line(7, "local", "all", "all", "peer");
        assert_eq!(with(from_ref(&peer), from_ref(&app)).1, None);
        let mapped = HbaLine {
            options: Some(vec!["map=others".into()]),
            ..peer
        };
        let (found, remedy) = with(from_ref(&mapped), from_ref(&app));
        assert_eq!(
            found,
            "over Unix sockets, as the map others of pg_ident.conf has it, by line 3 of \
             /etc/pg_hba.conf: admin, app; "
        );
        assert!(remedy.is_some_and(|text| {
            text.starts_with("take map=others out of line 3 of /etc/pg_hba.conf; ")
        }));
        let for_superusers = HbaLine {
            roles: Some(vec!["postgres".into()]),
            ..mapped
        };
        assert_eq!(with(&[for_superusers], &[app]).1, None);
    }

    #[test]
    fn a_line_is_named_where_people_write_it() {
        let (mut facts, library) = (facts(), library());
        let place = |facts: &Facts, line| place(facts, Some(&library), &line);
        let local = |number| line(number, "local", "all", "all", "trust");
        assert_eq!(place(&facts, local(5)), "line 1 of /etc/pg_hba.conf");
        // One of the library's own.
        assert_eq!(place(&facts, local(4)), "line 4 of /data/dsql_iam_hba.conf");
        // From PostgreSQL 16 on.
        let told = HbaLine {
            file: Some("/etc/pg_hba.conf".into()),
            ..local(5)
        };
        assert_eq!(place(&facts, told), "line 5 of /etc/pg_hba.conf");
        // Another library has put its file in force.
        facts.hba_file = "/other.conf".into();
        assert_eq!(place(&facts, local(5)), "line 5 of /other.conf");
        facts.hba_file = "/data/dsql_iam_hba.conf".into();
        facts.hba_lines[1].error = Some("bad".into());
        let finding = hba(&facts, &library);
        assert_eq!(
            finding.found,
            "line 1 of /etc/pg_hba.conf, or what it names: bad"
        );
    }

    #[test]
    fn who_comes_in_by_their_own_name_is_told() {
        let by_name = "users of this machine, over Unix sockets, as the role of their name";
        let peer = || line(5, "local", "all", "all", "peer");
        let both = HbaLine {
            databases: Some(vec!["all".into(), "replication".into()]),
            ..peer()
        };
        let mapped = HbaLine {
            options: Some(vec!["map=others".into()]),
            ..peer()
        };
        let of_replication = line(5, "local", "replication", "all", "peer");
        let of_superusers = line(5, "local", "all", "postgres", "peer");
        for (line, is_told) in [
            (peer(), true),
            (both, true),
            (mapped, false),
            (of_replication, false),
            (of_superusers, false),
        ] {
            let mut facts = facts();
            facts.hba_lines = vec![line.clone()];
            let found = other_logins(&facts, Some(&library())).found;
            assert_eq!(found.contains(by_name), is_told, "{line:?}: {found}");
        }
    }

    #[test]
    fn replication_reads_the_data_directory() {
        let with = |line: HbaLine, role: &Role| {
            others(|facts| {
                facts.hba_lines.push(line);
                facts.roles.push(role.clone());
            })
        };
        let standby = Role {
            may_replicate: true,
            has_password: true,
            ..role("standby")
        };
        for kind in ["local", "host", "hostssl"] {
            let line = || line(7, kind, "replication", "all", "scram-sha-256");
            let (found, remedy) = with(line(), &standby);
            assert_eq!(
                found,
                "for replication, with scram-sha-256, by line 3 of /etc/pg_hba.conf: \
                 standby; "
            );
            assert!(remedy.is_some_and(|text| {
                text.starts_with("take out line 3 of /etc/pg_hba.conf, if nobody")
            }));
            for cannot in [
                Role {
                    may_replicate: false,
                    ..standby.clone()
                },
                Role {
                    has_password: false,
                    ..standby.clone()
                },
            ] {
                assert_eq!(with(line(), &cannot), (String::new(), None));
            }
        }
        let superuser = Role {
            is_superuser: true,
            ..standby.clone()
        };
        let with_certificate = line(7, "hostssl", "replication", "standby", "cert");
        assert!(with(with_certificate, &superuser).1.is_some());
        // The hook refuses these, and a superuser may come over the socket.
        let trusted = line(7, "host", "replication", "all", "trust");
        assert_eq!(with(trusted, &standby).1, None);
        let by_name = line(7, "local", "replication", "all", "peer");
        assert_eq!(with(by_name, &standby).1, None);
    }

    #[test]
    fn one_door_does_not_hide_the_others() {
        let (found, remedy) = others(|facts| {
            set(facts, "dsql_iam.exempt_roles", "dba");
            facts.hba_file = "/etc/pg_hba.conf".into();
            facts.hba_lines = vec![
                line(1, "local", "all", "all", "trust"),
                line(2, "local", "x", "y", "trust"),
                line(3, "host", "all", "app", "md5"),
                line(4, "host", "all", "all", "reject"),
            ];
        });
        assert_eq!(
            found,
            "with a password over TCP: dba; over Unix sockets everybody on this machine, as all, \
             unasked, by line 1 of /etc/pg_hba.conf; over Unix sockets everybody on this machine, \
             as y, unasked, by line 2 of /etc/pg_hba.conf; over TCP, with md5, by line 3 of \
             /etc/pg_hba.conf: app; "
        );
        assert_eq!(
            remedy.as_deref(),
            Some(
                "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server; write peer \
                 instead of trust in line 1 of /etc/pg_hba.conf; write peer instead of trust in line 2 \
                 of /etc/pg_hba.conf; take out line 3 of /etc/pg_hba.conf, or: ALTER SYSTEM SET \
                 dsql_iam.manage_hba = on, and restart the server; SELECT pg_reload_conf()"
            )
        );
    }

    #[test]
    fn many_roles_fit_into_a_line() {
        let (found, _) = others(|facts| {
            facts.hba_lines.push(line(7, "local", "all", "all", "ldap"));
            facts
                .roles
                .extend((0..20).map(|number| role(&format!("role{number}"))));
        });
        assert!(found.ends_with("role8 and 11 more; "), "{found}");
    }

    #[test]
    fn tls_is_wanted() {
        assert_eq!(after(|f, _| set(f, "ssl", "off")), "tls fault");
        assert_eq!(
            after(|f, _| set(f, "dsql_iam.require_tls", "off")),
            "tls warning"
        );
        assert_eq!(
            after(|f, _| {
                set(f, "ssl", "off");
                set(f, "dsql_iam.require_tls", "off");
            }),
            "tls warning"
        );
    }

    #[test]
    fn tls_is_on_only_if_its_files_can_be_loaded() {
        let said = |change: &dyn Fn(&mut Tls)| {
            let mut library = library();
            change(library.tls.as_mut().expect("it is on"));
            let finding = tls(&facts(), Some(&library));
            let remedy = finding.remedy.map(|remedy| {
                assert_eq!(finding.status, Status::Fault);
                let what = "on, but PostgreSQL cannot load what it needs: ";
                let found = finding.found.strip_prefix(what).expect("it says so");
                let remedy = remedy.strip_suffix("; then: SELECT pg_reload_conf()");
                format!("{found} -> {}", remedy.expect("a reload comes last"))
            });
            remedy.unwrap_or_default()
        };
        let gone = || Err(io::ErrorKind::NotFound.into());
        assert_eq!(
            said(&|tls| tls.certificate.access = gone()),
            "ssl_cert_file /tls/server.crt: entity not found -> put it there, or: ALTER SYSTEM SET \
             ssl_cert_file = '…'"
        );
        assert_eq!(
            said(&|tls| tls.key.access = gone()),
            "ssl_key_file /tls/server.key: entity not found -> put it there, or: ALTER SYSTEM SET \
             ssl_key_file = '…'"
        );
        // As PostgreSQL has it: private, of the server's user; or of root, and then for its group too.
        for (owner, mode, is_taken) in [
            (7, 0o400, true),
            (7, 0o700, true),
            (7, 0o640, false),
            (7, 0o604, false),
            (0, 0o640, true),
            (0, 0o660, false),
            (0, 0o650, false),
            (0, 0o644, false),
            (8, 0o600, false),
        ] {
            let said = said(&|tls| tls.key.access = Ok(access(owner, mode)));
            assert_eq!(said.is_empty(), is_taken, "{owner} {mode:o}: {said}");
        }
        assert_eq!(
            said(&|tls| tls.key.access = Ok(access(7, 0o644))),
            "others can get at the key /tls/server.key (mode 0644) -> chmod 600 /tls/server.key"
        );
        // Root's may be for others of its group, too.
        assert_eq!(
            said(&|tls| tls.key.access = Ok(access(0, 0o644))),
            "others can get at the key /tls/server.key (mode 0644) -> chmod 640 /tls/server.key"
        );
        assert_eq!(
            said(&|tls| tls.key.access = Ok(access(8, 0o600))),
            "the key /tls/server.key is neither postgres's, as whom the server runs, nor root's -> chown \
             postgres /tls/server.key && chmod 600 /tls/server.key"
        );
        let denied = || Some(io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            said(&|tls| {
                tls.key.access = Ok(access(0, 0o600));
                tls.key.unreadable = denied();
            }),
            "/tls/server.key: permission denied -> chown postgres /tls/server.key && chmod u+r \
             /tls/server.key"
        );
        assert_eq!(
            said(&|tls| tls.certificate.unreadable = denied()),
            "/tls/server.crt: permission denied -> chmod u+r /tls/server.crt"
        );
        assert_eq!(
            said(&|tls| tls.is_loaded = Some(false)),
            "of /tls/server.crt and /tls/server.key, or of what else is set for TLS, its log has just said why \
             -> mend what the server's log says"
        );
        assert_eq!(said(&|tls| tls.is_loaded = None), "");
    }

    #[test]
    fn the_directory_has_to_be_private_and_whole() {
        const FAULT: &str = "iam_directory fault";
        for error in [
            io::ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::NotADirectory,
        ] {
            assert_eq!(after(|_, l| l.directory_access = Err(error.into())), FAULT);
        }
        assert_eq!(
            after(|_, l| l.directory_access = Ok(access(7, 0o770))),
            FAULT
        );
        assert_eq!(
            after(|_, l| l.directory_access = Ok(access(7, 0o755))),
            "iam_directory warning"
        );
        assert_eq!(
            after(|_, l| l.identities = Ok(counts(KeyCounts::default()))),
            FAULT
        );
        let path = || PathBuf::from("/iam/a.json");
        let error = || io::Error::from(io::ErrorKind::PermissionDenied);
        let errors = [
            LoadError::Exposed {
                path: path(),
                mode: 0o644,
            },
            LoadError::Unreadable {
                path: path(),
                error: error(),
            },
            LoadError::Directory {
                path: path(),
                error: error(),
            },
            LoadError::NotAFile(path()),
            LoadError::TooMany(path()),
        ];
        for error in errors {
            assert_eq!(after(|_, l| l.identities = Err(error)), FAULT);
        }
    }

    #[test]
    fn what_is_somebody_elses_is_handed_over() {
        let remedy = |change: &dyn Fn(&mut Library)| {
            let mut library = library();
            change(&mut library);
            iam_directory(&library).remedy.unwrap_or_default()
        };
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let unreadable = |now: Option<Access>| {
            remedy(&|l| {
                l.faulty_document = now;
                l.identities = Err(LoadError::Unreadable {
                    path: "/iam/a.json".into(),
                    error: denied(),
                });
            })
        };
        assert_eq!(
            unreadable(Some(access(0, 0o600))),
            "let the server's user read it: chown postgres /iam/a.json && chmod u+r /iam/a.json"
        );
        assert_eq!(
            unreadable(Some(access(7, 0))),
            "let the server's user read it: chmod u+r /iam/a.json"
        );
        assert_eq!(
            unreadable(None),
            "let the server's user get at it: chmod u+rx /iam"
        );
        let exposed = |now: Access| {
            remedy(&|l| {
                l.faulty_document = Some(now);
                l.identities = Err(LoadError::Exposed {
                    path: "/iam/a.json".into(),
                    mode: now.mode,
                });
            })
        };
        assert_eq!(exposed(access(7, 0o644)), "chmod 600 /iam/a.json");
        assert_eq!(
            exposed(access(0, 0o644)),
            "chown postgres /iam/a.json && chmod 600 /iam/a.json"
        );
        for mode in [0o777, 0o755] {
            let with = |owner| remedy(&|l| l.directory_access = Ok(access(owner, mode)));
            assert_eq!(with(7), "chmod 700 /iam");
            assert_eq!(with(0), "chown postgres /iam && chmod 700 /iam");
        }
        let unlisted = remedy(&|l| {
            l.directory_access = Ok(access(0, 0o700));
            l.identities = Err(LoadError::Directory {
                path: "/iam".into(),
                error: denied(),
            });
        });
        assert_eq!(
            unlisted,
            "let the server's user read it: chown postgres /iam && chmod u+rx /iam"
        );
    }

    #[test]
    fn keys_that_open_nothing_do_not_count() {
        let with = |keys: KeyCounts| {
            iam_directory(&Library {
                identities: Ok(counts(keys)),
                ..library()
            })
        };
        let useless = KeyCounts {
            usable: 0,
            inactive: 1,
            over: 2,
            ownerless: 3,
            other_account: 4,
        };
        let found = "/iam: 1 users, 1 roles, 0 access keys, and some that open nothing: 4 of another account \
                     than dsql_iam.account_id, 3 of nobody in the documents, 1 not active, 2 of sessions that \
                     are over";
        assert_eq!(
            with(useless),
            bad(
                "iam_directory",
                Status::Fault,
                format!("{found}, so nobody can sign a token"),
                "if the documents are the right ones: ALTER SYSTEM SET dsql_iam.account_id = '…'; SELECT \
                 pg_reload_conf(); (umask 077; aws iam get-account-authorization-details > \
                 /iam/account.json); (umask 077; aws iam create-access-key --user-name NAME > \
                 /iam/NAME.json); assume the role again: dsql-iam assume-role, or aws sts assume-role"
            )
        );
        // One is enough.
        let one = KeyCounts {
            usable: 1,
            ..useless
        };
        assert_eq!(
            with(one),
            fine(
                "iam_directory",
                found.replace("0 access keys", "1 access keys")
            )
        );
    }

    #[test]
    fn an_audit_file_has_to_be_one_that_can_be_written() {
        assert_eq!(after(|_, l| l.audit_file = None), "");
        let broken = |error: &str| Some(("/audit".into(), Err(error.to_owned())));
        assert_eq!(
            after(|_, l| l.audit_file = broken("it is not a file")),
            "audit_file fault"
        );
    }

    #[test]
    fn a_clock_that_went_back_is_found() {
        assert_eq!(after(|f, _| f.checkpoint = f.now + 299.0), "");
        assert_eq!(after(|f, _| f.checkpoint = f.now + 301.0), "clock fault");
        assert_eq!(
            after(|f, l| l.newest_document = Some(f.now + 301.0)),
            "clock fault"
        );
        assert_eq!(
            after(|f, _| (f.now, f.checkpoint) = (ANNOUNCED - 1.0, 0.0)),
            "clock fault"
        );
    }

    #[test]
    fn admin_has_to_get_in() {
        fn admin(change: impl FnOnce(&mut Admin)) -> String {
            after(|facts, _| change(facts.admin.as_mut().expect("it is there")))
        }
        assert_eq!(after(|f, _| f.admin = None), "admin fault");
        assert_eq!(admin(|admin| admin.can_log_in = false), "admin fault");
        assert_eq!(admin(|admin| admin.is_superuser = true), "admin fault");
        assert_eq!(admin(|admin| admin.makes_roles = false), "admin warning");
        assert_eq!(admin(|admin| admin.connections = 0), "admin fault");
        assert_eq!(admin(|admin| admin.may_connect = false), "admin fault");
        assert_eq!(admin(|admin| admin.uses_its_roles = false), "admin warning");
    }

    #[test]
    fn without_the_library_the_others_in_the_list_stay() {
        let mut facts = facts();
        facts.is_loaded = false;
        facts.settings.retain(|name, _| name == "ssl");
        facts.preload = "pg_stat_statements, \"odd name\"".into();
        facts.preload_in_file = None;
        let findings = examine(&facts, None);
        assert_eq!(
            not_fine(&findings),
            "library fault, syntax unknown, hba unknown, cluster unknown, iam_directory unknown, \
             audit_file unknown, other_logins unknown"
        );
        assert_eq!(
            findings[0].remedy.as_deref(),
            Some(
                "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', 'odd name', \
                 'dsql_iam', and restart the server"
            )
        );
        facts.preload_in_file = Some("a, $libdir/dsql_iam".into());
        assert_eq!(
            examine(&facts, None)[0].remedy.as_deref(),
            Some("restart the server")
        );
        facts.is_installed = false;
        assert_eq!(
            examine(&facts, None)[0].remedy.as_deref(),
            Some("dsql-iam install")
        );
        assert!(!preloads("dsql_iam2, xdsql_iam"));
        assert!(preloads("a, \"/x/dsql_iam.so\""));
    }
}
