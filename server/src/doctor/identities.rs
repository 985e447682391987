//! The IAM directory, its documents, and their access keys.

use super::facts::{Counts, Library};
use super::finding::{Finding, Status, bad, fine};
use dsql_iam_core::KeyCounts;
use dsql_iam_core::directory::LoadError;
use std::io;

pub(super) fn iam_directory(library: &Library) -> Finding {
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
                    "let {} pass the folders above {path}: chmod o+x each of them",
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
            format!("{path} has mode {mode:04o}: others can write documents there"),
            given("700"),
        );
    }
    let Counts { users, roles, keys } = match &library.identities {
        Ok(counts) => *counts,
        Err(error) => {
            let now = library.faulty_document;
            let remedy = match error {
                LoadError::Exposed { path, .. } => library.user.given(path, now, "600"),
                LoadError::Writable { path, .. } => library.user.given(path, now, "go-w"),
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
        useless => format!(", and unusable ones: {}", useless.join(", ")),
    };
    let usable = keys.usable;
    let found = format!("{path}: {users} users, {roles} roles, {usable} access keys{useless}");
    if usable == 0 {
        let found = format!("{found}, so every token is refused");
        return bad(CHECK, Status::Fault, found, remedies.join("; "));
    }
    if mode & 0o077 != 0 {
        return bad(
            CHECK,
            Status::Warning,
            format!("{found}; others can list it (mode {mode:04o})"),
            given("700"),
        );
    }
    if library.is_in_data_directory {
        return bad(
            CHECK,
            Status::Warning,
            format!(
                "{found}; it is in the data directory, so each base backup holds the secret keys"
            ),
            "move it out of the data directory, then: ALTER SYSTEM SET dsql_iam.iam_directory = '…'; SELECT \
             pg_reload_conf()",
        );
    }
    fine(CHECK, found)
}

/// The unusable access keys by reason, and what brings usable ones: a new one if there is none at all.
fn useless_keys(keys: &KeyCounts, path: &str) -> (Vec<String>, Vec<String>) {
    let new_key = || format!("dsql-iam create-access-key --user-name NAME --iam-directory {path}");
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
            "of users and roles that no document has",
            format!("(umask 077; aws iam get-account-authorization-details > {path}/account.json)"),
        ),
        (keys.inactive, "inactive", new_key()),
        (
            keys.over,
            "of expired sessions",
            "assume the role again: dsql-iam assume-role, or aws sts assume-role".to_owned(),
        ),
    ];
    let reasons = reasons.into_iter().filter(|(count, _, _)| *count > 0);
    let (found, mut remedies): (Vec<_>, Vec<_>) = reasons
        .map(|(count, what, remedy)| (format!("{count} {what}"), remedy))
        .unzip();
    if found.is_empty() {
        remedies.push(format!(
            "as the server's user: dsql-iam sample-identities {path} --account-id N, or, if the documents \
             have users: {}",
            new_key()
        ));
    }
    (found, remedies)
}
