//! The extension in the database, and the statements that it adds.

use super::facts::{Facts, Library};
use super::finding::{Finding, Status, bad, fine};

pub(super) fn extension(facts: &Facts, library: Option<&Library>) -> Finding {
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
                "not created in the database {database}, which has a schema sys, owned by {}, that is not the \
                 extension's",
                facts.schema_owner.as_deref().unwrap_or_default()
            ),
            "look at that schema, then, in that database, as a superuser: ALTER SCHEMA sys RENAME TO sys_old; \
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
            format!(
                "version {version} in the database {database}, and tokens are for the database postgres"
            ),
            "run this in the database postgres",
        ),
        (Some(version), _) => fine(CHECK, format!("version {version}")),
    }
}

pub(super) fn syntax(facts: &Facts, library: &Library) -> Finding {
    const CHECK: &str = "syntax";
    let instead = "sys.iam_grant and sys.iam_revoke do the same";
    if library.understands_syntax {
        return fine(CHECK, "the parser accepts AWS IAM GRANT and REVOKE");
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
        format!("the parser rejects AWS IAM GRANT; {instead}"),
        "look into the server's log, at its start, for the reason",
    )
}
