//! Collects what `sys.doctor()` judges; [`dsql_iam_server::doctor`] judges it.

use crate::{audit, hba, port, settings, syntax};
use dsql_iam_core::session_store;
use dsql_iam_core::{Cluster, Identities, directory};
use dsql_iam_server::doctor::{
    Access, Counts, FACTS_QUERY, Facts, Finding, Library, ServerUser, Tls, TlsFile, UsersHba,
    examine,
};
use nix::unistd::{User, geteuid};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::{PgLogLevel, ereport};
use std::ffi::CStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;
use time::UtcDateTime;

/// Looks at this server. The current user has to be a superuser.
pub fn findings() -> Vec<Finding> {
    let answer = port::read_one::<String>(FACTS_QUERY, &[])
        .map_err(|error| error.to_string())
        .and_then(|text| text.ok_or_else(|| "the catalogs gave no answer".to_owned()))
        .and_then(|text| serde_json::from_str::<Facts>(&text).map_err(|error| error.to_string()));
    match answer {
        Ok(facts) => examine(&facts, Some(&library())),
        Err(fault) => {
            ereport!(
                PgLogLevel::ERROR,
                Code::ERRCODE_INTERNAL_ERROR,
                format!("dsql_iam could not examine this server: {fault}")
            );
            Vec::new()
        }
    }
}

fn library() -> Library {
    let path = settings::iam_directory();
    // Read anew, not as it is in force: what was good before may hide what is broken now.
    let identities = Identities::load(&path);
    let cluster = settings::cluster();
    let account = cluster.as_ref().ok().map(Cluster::account);
    let now = UtcDateTime::now();
    let count = |identities: Identities| {
        let mut counts = Counts::of(&identities, account, now);
        counts.keys.usable += session_store::count_lasting(&path, now);
        counts
    };
    Library {
        version: env!("CARGO_PKG_VERSION"),
        understands_syntax: syntax::is_understood(),
        users_hba: hba::users_file().map(|(file, lines)| UsersHba {
            file: file.to_owned(),
            lines_before: u32::try_from(lines).unwrap_or(u32::MAX),
        }),
        user: user(),
        is_in_data_directory: is_in_data_directory(&path),
        directory_access: directory_access(&path),
        faulty_document: identities
            .as_ref()
            .err()
            .and_then(|error| access(error.path()).ok()),
        identities: identities.map(count),
        cluster,
        tls: tls(),
        audit_file: settings::audit_file().map(|path| {
            let outcome = audit::try_out(&path);
            (path, outcome)
        }),
        newest_document: directory::newest(&path).and_then(|time| {
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64())
        }),
        directory: path,
    }
}

/// The user that the server runs as.
fn user() -> ServerUser {
    let id = geteuid();
    let known = User::from_uid(id).ok().flatten();
    ServerUser {
        id: id.as_raw(),
        name: known.map_or_else(|| id.to_string(), |user| user.name),
    }
}

fn access(path: &Path) -> io::Result<Access> {
    std::fs::metadata(path).map(|metadata| Access {
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
    })
}

/// Whether a base backup has it. That follows no symbolic link but those of tablespaces and of `pg_wal`.
fn is_in_data_directory(path: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(&settings::data_directory()))
}

fn directory_access(path: &Path) -> io::Result<Access> {
    let found = access(path)?;
    if path.is_dir() {
        Ok(found)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// The files for TLS, where it is on.
fn tls() -> Option<Tls> {
    if settings::of_server(c"ssl")?.as_os_str() != "on" {
        return None;
    }
    let file = |setting: &CStr| {
        let path = settings::data_directory().join(settings::of_server(setting)?);
        let access = access(&path);
        // A pipe that nobody writes into would never be read.
        let read = match &access {
            Ok(_) if !path.is_file() => Err(io::Error::other("it is not a file")),
            _ => std::fs::read(&path),
        };
        let has_passphrase = read
            .as_ref()
            .is_ok_and(|text| text.windows(9).any(|word| word == b"ENCRYPTED"));
        let file = TlsFile {
            path,
            access,
            unreadable: read.err(),
        };
        Some((file, has_passphrase))
    };
    let (certificate, _) = file(c"ssl_cert_file")?;
    let (key, has_passphrase) = file(c"ssl_key_file")?;
    let is_readable = certificate.unreadable.is_none() && key.unreadable.is_none();
    // The passphrase may have been asked for at the start of the server, and never again.
    let is_loaded = (is_readable && !has_passphrase).then(port::loads_tls);
    Some(Tls {
        certificate,
        key,
        is_loaded,
    })
}
