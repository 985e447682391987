//! The directory of IAM documents: what is taken, what is refused, and what counts as a change.

use dsql_iam_core::Identities;
use dsql_iam_core::directory::{
    self, Fingerprint, LoadError, MAX_DOCUMENTS, Snapshot, count, is_larger_than,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use time::UtcDateTime;

const USERS: &str = r#"{
    "UserDetailList": [
        {"Path": "/", "UserName": "alice", "UserId": "AIDAALICE",
         "Arn": "arn:aws:iam::012345678912:user/alice",
         "CreateDate": "2024-01-01T00:00:00+00:00",
         "GroupList": [], "AttachedManagedPolicies": [], "Tags": []}
    ],
    "GroupDetailList": [], "RoleDetailList": [], "Policies": []
}"#;
const KEY: &str = r#"{
    "AccessKey": {
        "UserName": "alice", "AccessKeyId": "AKIAALICE", "Status": "Active",
        "SecretAccessKey": "alices-secret", "CreateDate": "2024-01-01T00:00:00+00:00"
    }
}"#;
const SESSION: &str = r#"{
    "Credentials": {
        "AccessKeyId": "ASIAAPP", "SecretAccessKey": "apps-secret",
        "SessionToken": "apps-session-token", "Expiration": "2024-11-25T12:00:00+00:00"
    },
    "AssumedRoleUser": {
        "AssumedRoleId": "AROAAPP:web",
        "Arn": "arn:aws:sts::012345678912:assumed-role/App/web"
    }
}"#;

/// A directory with `documents`: name, text, mode.
fn directory(documents: &[(&str, &str, u32)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text, mode) in documents {
        write(directory.path(), name, text, *mode);
    }
    directory
}

fn write(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    set_mode(&path, mode);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A time at which all that has been written is old.
fn later() -> UtcDateTime {
    UtcDateTime::now() + time::Duration::SECOND
}

fn fingerprint(directory: &Path) -> Result<Fingerprint, LoadError> {
    directory::fingerprint(directory, later())
}

/// The identities, and the fingerprint of what they were read from.
fn load(directory: &Path) -> Result<(Identities, Fingerprint), LoadError> {
    let snapshot = Snapshot::read(directory)?;
    Ok((snapshot.identities()?, snapshot.fingerprint(later())))
}

fn error_of(directory: &Path) -> LoadError {
    match load(directory) {
        Ok(_) => panic!("{} was loaded", directory.display()),
        Err(error) => error,
    }
}

/// Users, roles and access keys that are loaded.
/// Users, roles and access keys.
fn counts_of(identities: &Identities) -> (usize, usize, usize) {
    let counts = identities.counts();
    (counts.users, counts.roles, counts.access_keys)
}

fn counts(directory: &Path) -> (usize, usize, usize) {
    let loaded = load(directory).unwrap_or_else(|error| panic!("{error}"));
    counts_of(&loaded.0)
}

#[test]
fn documents_are_loaded_together() {
    let directory = directory(&[("keys.json", KEY, 0o600), ("users.json", USERS, 0o644)]);
    let (identities, _) = load(directory.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(counts_of(&identities), (1, 0, 1));
    let key = identities.access_key("AKIAALICE").unwrap();
    assert_eq!(key.secret, "alices-secret");
}

#[test]
fn an_empty_directory_holds_nobody() {
    assert_eq!(counts(directory(&[]).path()), (0, 0, 0));
}

#[test]
fn a_document_that_others_can_write_is_refused() {
    for mode in [0o664, 0o646, 0o620, 0o602, 0o666] {
        let directory = directory(&[("account.json", "{\"UserDetailList\": []}", mode)]);
        let path = directory.path().join("account.json");
        let error = error_of(directory.path());
        let expected = format!(
            "\"{}\" has mode {mode:04o}: others than its owner can write it",
            path.display()
        );
        assert_eq!((error.to_string(), error.path()), (expected, &*path));
    }
    for mode in [0o644, 0o755, 0o444] {
        let directory = directory(&[("account.json", "{\"UserDetailList\": []}", mode)]);
        assert_eq!(counts(directory.path()), (0, 0, 0), "{mode:o}");
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let directory = directory(&[]);
    for mode in [0o770, 0o702, 0o720, 0o1777] {
        set_mode(directory.path(), mode);
        let expected = format!(
            "\"{}\" has mode {mode:04o}: others than its owner can write it",
            directory.path().display()
        );
        assert_eq!(error_of(directory.path()).to_string(), expected);
        let fault = fingerprint(directory.path()).unwrap_err();
        assert_eq!(fault.to_string(), expected);
    }
    set_mode(directory.path(), 0o755);
    assert_eq!(counts(directory.path()), (0, 0, 0));
}

#[test]
fn a_document_with_a_secret_must_be_private() {
    for (text, secrets) in [
        (KEY, ["alices-secret", "alices-secret"]),
        (SESSION, ["apps-secret", "apps-session-token"]),
    ] {
        for mode in [0o644, 0o640, 0o604, 0o660, 0o610, 0o602, 0o601, 0o777] {
            let directory = directory(&[("key.json", text, mode)]);
            let path = directory.path().join("key.json");
            let error = error_of(directory.path());
            let message = error.to_string();
            match error {
                LoadError::Exposed {
                    path: named,
                    mode: found,
                } => assert_eq!((named, found), (path.clone(), mode)),
                other => panic!("{mode:o}: {other}"),
            }
            let expected = format!(
                "\"{}\" holds a secret but has mode {mode:04o}; it must be 0600",
                path.display()
            );
            assert_eq!(message, expected);
            for secret in secrets {
                assert!(!message.contains(secret), "{message}");
            }
        }
        for mode in [0o600, 0o400] {
            let directory = directory(&[("key.json", text, mode)]);
            assert_eq!(counts(directory.path()), (0, 0, 1), "{mode:o}");
        }
    }
}

#[test]
fn a_document_without_a_secret_may_be_public() {
    for mode in [0o644, 0o640, 0o444, 0o755] {
        let directory = directory(&[("users.json", USERS, mode)]);
        assert_eq!(counts(directory.path()), (1, 0, 0), "{mode:o}");
    }
}

#[test]
fn a_broken_document_is_named_with_line_and_column() {
    let broken = "{\n  \"UserDetailList\": [\n    {\"UserName\" \"alice\"}\n  ]\n}";
    let directory = directory(&[("keys.json", KEY, 0o600), ("users.json", broken, 0o644)]);
    let error = error_of(directory.path());
    assert!(matches!(error, LoadError::Broken { .. }), "{error}");
    let path = directory.path().join("users.json");
    let expected = format!("\"{}\": expected `:` at line 3 column 17", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_contradiction_is_named_with_the_later_document() {
    let directory = directory(&[("a.json", KEY, 0o600), ("b.json", KEY, 0o600)]);
    let error = error_of(directory.path());
    assert!(matches!(error, LoadError::Broken { .. }), "{error}");
    let path = directory.path().join("b.json");
    let expected = format!("\"{}\": duplicate access key AKIAALICE", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_document_that_is_no_file_is_refused() {
    let directory = directory(&[("users.json", USERS, 0o644)]);
    let path = directory.path().join("x.json");
    fs::create_dir(&path).unwrap();
    let error = error_of(directory.path());
    assert!(matches!(error, LoadError::NotAFile(_)), "{error}");
    let expected = format!(
        "\"{}\" is not a regular file of at most 64 MiB",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_document_that_is_too_large_is_refused() {
    let directory = directory(&[]);
    let path = directory.path().join("x.json");
    let file = fs::File::create(&path).unwrap();
    // Nothing is written, so this takes no room.
    file.set_len(64 * 1024 * 1024 + 1).unwrap();
    let error = error_of(directory.path());
    assert!(matches!(error, LoadError::NotAFile(_)), "{error}");
}

#[test]
fn a_document_that_cannot_be_read_is_refused() {
    let directory = directory(&[("users.json", USERS, 0o644)]);
    let path = directory.path().join("x.json");
    symlink("nowhere.json", &path).unwrap();
    let start = format!("could not read \"{}\": ", path.display());
    for error in [
        error_of(directory.path()),
        fingerprint(directory.path()).unwrap_err(),
    ] {
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(!error.is_lasting());
    }

    fs::remove_file(&path).unwrap();
    fs::write(&path, b"{\"UserDetailList\": [\"\xff\"]}").unwrap();
    let error = error_of(directory.path());
    assert!(matches!(error, LoadError::Broken { .. }), "{error}");
    let fault = format!("\"{}\": not in UTF-8 at line 1 column 22", path.display());
    assert_eq!(error.to_string(), fault);
    assert!(error.is_lasting());

    set_mode(&path, 0o000);
    // Root reads it all the same, and stumbles over the same bytes.
    let error = error_of(directory.path());
    match error {
        LoadError::Broken { .. } => assert_eq!(error.to_string(), fault),
        _ => assert!(error.to_string().starts_with(&start), "{error}"),
    }
    assert!(error.is_lasting());
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let directory = directory(&[("users.json", USERS, 0o644)]);
    for path in [
        directory.path().join("missing"),
        directory.path().join("users.json"),
    ] {
        let start = format!("could not read the IAM directory \"{}\": ", path.display());
        for error in [error_of(&path), fingerprint(&path).unwrap_err()] {
            assert!(matches!(error, LoadError::Directory { .. }), "{error}");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }
}

#[test]
fn hidden_files_and_other_files_are_no_documents() {
    let directory = directory(&[("users.json", USERS, 0o644)]);
    let before = now(directory.path());
    for name in [
        ".hidden.json",
        ".json",
        "..json",
        "README",
        "users.json~",
        "users.json.bak",
        "json",
        "keys.JSON",
        "keys.jsonl",
    ] {
        write(directory.path(), name, "no JSON", 0o644);
    }
    fs::create_dir(directory.path().join("more")).unwrap();
    write(&directory.path().join("more"), "x.json", "no JSON", 0o644);
    assert_eq!(counts(directory.path()), (1, 0, 0));
    assert_eq!(now(directory.path()), before);
}

#[test]
fn a_document_may_be_a_symlink() {
    let elsewhere = directory(&[("secret", KEY, 0o600)]);
    let target = elsewhere.path().join("secret");
    let directory = directory(&[]);
    symlink(&target, directory.path().join("key.json")).unwrap();
    assert_eq!(counts(directory.path()), (0, 0, 1));

    // The mode that counts is the file's.
    let before = now(directory.path());
    set_mode(&target, 0o644);
    let error = error_of(directory.path());
    let is_exposed = matches!(error, LoadError::Exposed { mode: 0o644, .. });
    assert!(is_exposed, "{error}");
    assert_ne!(fingerprint(directory.path()).unwrap(), before);
}

#[test]
fn the_directory_may_be_a_symlink_that_is_switched() {
    let old = directory(&[("users.json", USERS, 0o644)]);
    let new = directory(&[("users.json", USERS, 0o644), ("key.json", KEY, 0o600)]);
    let parent = directory(&[]);
    let link = parent.path().join("iam.d");
    symlink(old.path(), &link).unwrap();
    let before = now(&link);
    fs::remove_file(&link).unwrap();
    symlink(new.path(), &link).unwrap();
    assert_eq!(counts(&link), (1, 0, 1));
    assert_ne!(now(&link), before);
}

/// The fingerprint as it is now, the same from both functions.
fn now(directory: &Path) -> Fingerprint {
    let loaded = load(directory).unwrap_or_else(|error| panic!("{error}"));
    let alone = fingerprint(directory).unwrap();
    assert_eq!(alone, loaded.1);
    assert_eq!(fingerprint(directory).unwrap(), alone);
    alone
}

#[test]
fn whatever_changes_a_document_changes_the_fingerprint() {
    let directory = directory(&[("users.json", USERS, 0o644), ("key.json", KEY, 0o600)]);
    let directory = directory.path();
    let mut before = now(directory);
    let mut changed = |what: &str| {
        let now = now(directory);
        assert_ne!(now, before, "{what}");
        before = now;
        // Longer than the clock that times are taken from stands still.
        std::thread::sleep(Duration::from_millis(30));
    };
    std::thread::sleep(Duration::from_millis(30));

    let edited = KEY.replace("alices-secret", "alices-longer-secret");
    write(directory, "key.json", &edited, 0o600);
    changed("an edit");
    write(
        directory,
        "key.json",
        &edited.replace("long", "LONG"),
        0o600,
    );
    changed("an edit that keeps the length");
    set_mode(&directory.join("users.json"), 0o640);
    changed("another mode");
    set_mode(&directory.join("users.json"), 0o644);
    changed("the mode before, at another time");
    write(directory, "session.json", SESSION, 0o600);
    changed("a document more");
    fs::rename(directory.join("session.json"), directory.join("s.json")).unwrap();
    changed("another name");
    write(directory, "s.json.new", SESSION, 0o600);
    fs::rename(directory.join("s.json.new"), directory.join("s.json")).unwrap();
    changed("a document replaced by its equal");
    fs::remove_file(directory.join("s.json")).unwrap();
    changed("a document less");
}

/// Times of files stand still meanwhile, and a document could be written over without a trace.
#[test]
fn what_is_read_just_after_a_change_is_read_again() {
    let directory = directory(&[("users.json", USERS, 0o644), ("key.json", KEY, 0o600)]);
    let path = directory.path();
    set_mode(&path.join("users.json"), 0o640);
    let snapshot = Snapshot::read(path).unwrap();
    let users = fs::metadata(path.join("users.json")).unwrap();
    let changed = UtcDateTime::from_unix_timestamp(users.ctime()).unwrap()
        + time::Duration::nanoseconds(users.ctime_nsec());
    let ms = time::Duration::MILLISECOND;
    let old = changed + 20 * ms;
    // The clock may have been set back since, or be another's.
    for now in [old, old + ms, changed - 20 * ms] {
        assert_eq!(
            snapshot.fingerprint(now),
            snapshot.fingerprint(old),
            "{now}"
        );
        assert_eq!(
            directory::fingerprint(path, now).unwrap(),
            snapshot.fingerprint(old)
        );
    }
    let fresh = [changed - 19 * ms, changed, changed + ms, changed + 19 * ms];
    let mut seen = vec![snapshot.fingerprint(old)];
    for now in fresh {
        let found = directory::fingerprint(path, now).unwrap();
        assert!(!seen.contains(&found), "{now}");
        assert_eq!(found, snapshot.fingerprint(now));
        seen.push(found);
    }
}

#[test]
fn more_documents_than_10000_are_refused() {
    let directory = directory(&[]);
    let path = directory.path();
    for number in 0..MAX_DOCUMENTS {
        fs::write(path.join(format!("{number}.json")), "{}").unwrap();
    }
    // Files that are not documents do not count.
    fs::write(path.join("README"), "").unwrap();
    assert_eq!(count(path).unwrap(), MAX_DOCUMENTS);
    fingerprint(path).unwrap();
    fs::write(path.join("more.json"), "{}").unwrap();
    let message = format!(
        "the IAM directory \"{}\" holds more than 10000 documents",
        path.display()
    );
    for error in [
        count(path).unwrap_err(),
        fingerprint(path).unwrap_err(),
        error_of(path),
    ] {
        assert!(matches!(error, LoadError::TooMany(_)), "{error}");
        assert_eq!(error.to_string(), message);
    }
}

/// Opening a pipe waits for somebody to write into it: it must not be opened.
#[test]
fn a_pipe_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let error = error_of(directory.path());
    assert_eq!(
        error.to_string(),
        format!(
            "\"{}\" is not a regular file of at most 64 MiB",
            pipe.display()
        )
    );
}

#[test]
fn documents_that_come_and_go_do_no_harm() {
    let directory = directory(&[("users.json", USERS, 0o644)]);
    let path = directory.path();
    let loads = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As sessions do: they appear whole, and are removed when they are over.
            let (hidden, session) = (path.join(".session.json"), path.join("session.json"));
            while loads.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(&hidden, SESSION).unwrap();
                set_mode(&hidden, 0o600);
                fs::rename(&hidden, &session).unwrap();
                fs::remove_file(&session).unwrap();
                // Sessions are further apart than a look at the directory takes.
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let outcomes: Vec<_> = (0..500)
            .map(|_| load(path).map(|(identities, _)| identities.counts().users))
            .collect();
        loads.store(false, std::sync::atomic::Ordering::Relaxed);
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_or_else(|error| panic!("{error}")), 1);
        }
    });
    // One that is gone for good is still named.
    symlink(path.join("nowhere"), path.join("gone.json")).unwrap();
    assert!(matches!(error_of(path), LoadError::Unreadable { .. }));
}

#[test]
fn a_directory_is_as_large_as_its_files() {
    let directory = directory(&[("a.json", "{}", 0o600), ("b.json", "{}", 0o600)]);
    let path = directory.path();
    // Files that are not documents count, and their length does not.
    fs::write(path.join("README"), "x".repeat(100)).unwrap();
    fs::create_dir(path.join(".git")).unwrap();
    for (files, bytes, expected) in [(4, 4, false), (3, 4, true), (4, 3, true), (0, 0, true)] {
        let is_larger = is_larger_than(path, files, bytes).unwrap();
        assert_eq!(is_larger, expected, "{files} {bytes}");
    }
    let missing = is_larger_than(&path.join("missing"), 2, 4).unwrap_err();
    assert!(matches!(missing, LoadError::Directory { .. }), "{missing}");
}
