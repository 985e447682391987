//! Whether there is TLS, and whether it is asked for.

use super::facts::{Facts, Library, ServerUser, Tls};
use super::finding::{Finding, Status, bad, fine};
use std::io;

pub(super) fn tls(facts: &Facts, library: Option<&Library>) -> Finding {
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
        (true, true) => fine(CHECK, "on, and required"),
        (true, false) if !is_loaded => fine(CHECK, "on"),
        (true, false) => bad(
            CHECK,
            Status::Warning,
            "on, but tokens are accepted without it too",
            "ALTER SYSTEM SET dsql_iam.require_tls = on; SELECT pg_reload_conf()",
        ),
        (false, false) if is_loaded => bad(
            CHECK,
            Status::Warning,
            "off, so tokens cross the network in clear text",
            "set ssl_cert_file and ssl_key_file, then: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
        ),
        (false, _) => bad(
            CHECK,
            Status::Fault,
            "off, so every login is refused",
            "set ssl_cert_file and ssl_key_file, then: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
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
            let remedy = format!("put the file there, or: ALTER SYSTEM SET {setting} = '…'");
            return Some((format!("{setting} {path}: {error}"), remedy));
        }
    }
    let key = tls.key.path.display();
    if let Ok(access) = tls.key.access {
        let is_roots = access.owner == 0;
        if access.owner != user.id && !is_roots {
            let found = format!(
                "the key {key} is owned neither by {}, as whom the server runs, nor by root",
                user.name
            );
            return Some((found, user.given(&tls.key.path, Some(access), "600")));
        }
        // The group of a key of root's may read it.
        let too_much = if is_roots { 0o037 } else { 0o077 };
        if access.mode & too_much != 0 {
            let (mode, right) = (access.mode, if is_roots { "640" } else { "600" });
            let found = format!("others have access to the key {key} (mode {mode:04o})");
            return Some((found, format!("chmod {right} {key}")));
        }
    }
    for file in [&tls.certificate, &tls.key] {
        if let Some(error) = &file.unreadable {
            let now = file.access.as_ref().ok().copied();
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => user.given(&file.path, now, "u+r"),
                _ => "put a readable file there".to_owned(),
            };
            return Some((format!("{}: {error}", file.path.display()), remedy));
        }
    }
    (tls.is_loaded == Some(false)).then(|| {
        (
            format!(
                "{} and {key}, or another file of its settings for TLS; its log has just said why",
                tls.certificate.path.display()
            ),
            "mend what the server's log says".to_owned(),
        )
    })
}
