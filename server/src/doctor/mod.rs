//! Whether a server is as it should be: each thing that has to be right, what was found, and the one
//! line that mends it.
//!
//! `sys.doctor()` asks it inside of a server, `dsql-iam doctor` from outside, where the library may
//! not even be loaded. Both learn [`Facts`] by SQL, the answer to [`FACTS_QUERY`];
//! only the library knows [`Library`].

mod extension;
mod facts;
mod finding;
mod hba;
mod identities;
mod tls;

#[cfg(test)]
mod tests;

use self::extension::{extension, syntax};
use self::hba::{hba, other_logins};
use self::identities::iam_directory;
use self::tls::tls;
use dsql_iam_core::Cluster;
use finding::{bad, fine};
use std::path::Path;

pub use facts::{
    Access, Admin, Counts, FACTS_QUERY, Facts, HbaLine, Library, Role, ServerUser, Tls, TlsFile,
    UsersHba,
};
pub use finding::{Finding, Status};

/// How far a clock may be off before tokens are refused for it, in seconds: as at a login.
pub const CLOCK_SKEW: f64 = dsql_iam_core::CLOCK_SKEW.as_seconds_f64();
/// The day on which Aurora DSQL was announced, 2024-12-03, in seconds since 1970: no clock that is
/// right shows an earlier time.
const ANNOUNCED: f64 = 1_733_184_000.0;

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
    findings.push(admin(facts));
    findings.extend(other_logins(facts, library));
    findings
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
        let found = "its files are not installed in this PostgreSQL";
        return bad(CHECK, Status::Fault, found, "dsql-iam install");
    }
    if preloads(in_file) {
        let found =
            "it is in shared_preload_libraries, but the server has not been restarted since";
        return bad(CHECK, Status::Fault, found, "restart the server");
    }
    bad(
        CHECK,
        Status::Fault,
        format!("shared_preload_libraries is '{}'", facts.preload.trim()),
        "dsql-iam setup, and restart the server",
    )
}

fn cluster(library: &Library) -> Finding {
    const CHECK: &str = "cluster";
    match &library.cluster {
        Ok(cluster) => {
            let mut found = cluster.arn();
            let linked: Vec<String> = cluster.linked().iter().map(Cluster::arn).collect();
            if !linked.is_empty() {
                found += &format!(", linked with {}", linked.join(", "));
            }
            let loopback = match cluster.answers_to("localhost") {
                true => "accepted, as by every server with dsql_iam.loopback_endpoints",
                false => "not accepted",
            };
            fine(
                CHECK,
                format!("{found}; tokens for localhost are {loopback}"),
            )
        }
        Err(fault) => {
            let setting = fault.part();
            bad(
                CHECK,
                Status::Fault,
                format!("dsql_iam.{fault}"),
                format!("ALTER SYSTEM SET dsql_iam.{setting} = '…'; SELECT pg_reload_conf()"),
            )
        }
    }
}

fn audit_file(library: &Library) -> Finding {
    const CHECK: &str = "audit_file";
    let Some((path, outcome)) = &library.audit_file else {
        return fine(CHECK, "none; the server's log records each decision");
    };
    let file = path.display();
    match outcome {
        Ok(()) => fine(CHECK, format!("{file} can be written")),
        Err(error) => bad(
            CHECK,
            Status::Fault,
            format!("{file} cannot be written, so every login is refused: {error}"),
            format!(
                "let the server's user write the file {file} in an existing folder; or do without it: ALTER \
                 SYSTEM RESET dsql_iam.audit_file; SELECT pg_reload_conf()"
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
            "it shows a time before Aurora DSQL was announced",
            remedy,
        );
    }
    if ahead(facts.checkpoint) {
        let found = "it was set back: the last checkpoint is in the future";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    if newest_document.is_some_and(ahead) {
        let found = "it is behind: an IAM document has a modification time in the future";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    fine(
        CHECK,
        "not behind the last checkpoint or the newest document",
    )
}

fn admin(facts: &Facts) -> Finding {
    const CHECK: &str = "admin";
    let Some(admin) = &facts.admin else {
        return if facts.extension.is_none() {
            let found = "unknown; create the extension first: CREATE EXTENSION makes it";
            bad(CHECK, Status::Unknown, found, "first mend: extension")
        } else {
            let remedy = "CREATE ROLE admin WITH LOGIN CREATEROLE";
            bad(
                CHECK,
                Status::Fault,
                "the role admin does not exist",
                remedy,
            )
        };
    };
    let attributes = "ALTER ROLE admin WITH LOGIN CREATEROLE NOSUPERUSER";
    if admin.is_superuser {
        let found = "it is a superuser, and a superuser cannot log in with a token";
        return bad(CHECK, Status::Fault, found, attributes);
    }
    if !admin.can_log_in {
        return bad(CHECK, Status::Fault, "it cannot log in", attributes);
    }
    if !admin.members.is_empty() {
        let members = admin.members.join(", ");
        let revoke = |member: &String| format!("REVOKE admin FROM {member}");
        let remedy: Vec<_> = admin.members.iter().map(revoke).collect();
        let found = format!("members of it act as admin without a token: {members}");
        return bad(CHECK, Status::Fault, found, remedy.join("; "));
    }
    if admin.has_password {
        let found = "it has a password, and it needs none to log in with a token";
        return bad(
            CHECK,
            Status::Fault,
            found,
            "ALTER ROLE admin PASSWORD NULL",
        );
    }
    if !admin.makes_roles {
        let found = "it cannot create roles, as Aurora DSQL's can";
        return bad(CHECK, Status::Warning, found, attributes);
    }
    if admin.connections == 0 {
        let remedy = "ALTER ROLE admin CONNECTION LIMIT -1";
        return bad(CHECK, Status::Fault, "its connection limit is 0", remedy);
    }
    if !admin.may_connect {
        let remedy = "GRANT CONNECT ON DATABASE postgres TO admin";
        let found = "it cannot connect to the database postgres";
        return bad(CHECK, Status::Fault, found, remedy);
    }
    if !admin.uses_its_roles {
        // CREATE EXTENSION sets it from 16 on; pg_upgrade from an older version does not.
        let remedy = "ALTER ROLE admin SET createrole_self_grant = 'set, inherit'";
        let found = "it cannot SET ROLE to the roles that it creates, as Aurora DSQL's can";
        return bad(CHECK, Status::Warning, found, remedy);
    }
    if !admin.settings.is_empty() {
        // A role may have made its settings itself; another one may have prepared them, before it was admin's.
        let settings = admin.settings.join(", ");
        let found = format!("it has settings of its own, which apply to each login: {settings}");
        let remedy = "unless admin needs them: ALTER ROLE admin RESET ALL; ALTER ROLE admin SET \
                      createrole_self_grant = 'set, inherit' (the latter from PostgreSQL 16 on)";
        return bad(CHECK, Status::Warning, found, remedy);
    }
    fine(CHECK, "can log in and create roles")
}
