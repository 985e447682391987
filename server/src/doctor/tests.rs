//! Each check of the doctor, on facts that are made up.

use super::hba::{hba, other_logins, place};
use super::identities::iam_directory;
use super::tls::tls;
use super::*;
use dsql_iam_core::directory::LoadError;
use dsql_iam_core::{BadCluster, Cluster, KeyCounts};
use std::io;
use std::path::PathBuf;
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
        unknown_exempt_roles: Vec::new(),
        admin: Some(Admin {
            can_log_in: true,
            is_superuser: false,
            makes_roles: true,
            members: Vec::new(),
            has_password: false,
            settings: Vec::new(),
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

fn sample_cluster() -> Cluster {
    Cluster::new("012345678912", "us-east-1", &"a".repeat(26), "").unwrap()
}

fn library() -> Library {
    Library {
        version: "1",
        understands_syntax: true,
        cluster: Ok(sample_cluster()),
        users_hba: Some(UsersHba {
            file: "/etc/pg_hba.conf".into(),
            lines_before: 4,
        }),
        user: ServerUser {
            id: 7,
            name: "postgres".into(),
        },
        directory: "/iam".into(),
        is_in_data_directory: false,
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
    let mut checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    checks.dedup();
    assert_eq!(checks.len(), 11);
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
        after(|_, l| l.cluster = Err(BadCluster::Region("x".into()))),
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

/// The ways beside the token, after a change, without those that are as they should be, a line each; and what
/// mends them.
fn others(change: impl FnOnce(&mut Facts)) -> (String, Option<String>) {
    let mut facts = facts();
    change(&mut facts);
    let findings = other_logins(&facts, Some(&library()));
    let (meant, doors) = findings.split_first().expect("one is always there");
    assert_eq!(meant.status, Status::Ok);
    let superusers = "superusers, over Unix sockets as pg_hba.conf says: postgres";
    assert!(meant.found.starts_with(superusers), "{}", meant.found);
    let all = |texts: Vec<&str>| texts.join("\n");
    let found = all(doors.iter().map(|door| &*door.found).collect());
    let remedies: Vec<&str> = doors
        .iter()
        .map(|door| {
            assert_eq!(door.status, Status::Warning);
            door.remedy.as_deref().expect("a warning has a remedy")
        })
        .collect();
    (found, (!remedies.is_empty()).then(|| all(remedies)))
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
            format!("over Unix sockets, with {method}, by line 3 of /etc/pg_hba.conf: app")
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
    // The credentials that other methods ask for are not known here.
    let pam = [line(7, "local", "all", "+group", "pam")];
    assert!(with(&pam, &[]).0.starts_with("over Unix sockets, with pam"));
    // Each line is for whom it names, and in the file that it stands in.
    let named = HbaLine {
        file: Some("/etc/other.conf".into()),
        ..line(7, "local", "x", "app", "md5")
    };
    assert_eq!(
        with(from_ref(&named), from_ref(&app)).0,
        "over Unix sockets, with md5, by line 7 of /etc/other.conf: app"
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
        "over Unix sockets, with md5, by line 3 of /etc/pg_hba.conf: app"
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
         /etc/pg_hba.conf: admin, app"
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
    let place = |facts: &Facts, line| place(facts, Some(&library), &line).to_string();
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
        "line 1 of /etc/pg_hba.conf, or a file that it names, is invalid: bad"
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
        let found = &other_logins(&facts, Some(&library()))[0].found;
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
             standby"
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
            line(5, "host", "all", "app", "md5"),
        ];
    });
    assert_eq!(
        found,
        "with a password over TCP: dba\n\
         over Unix sockets everybody on this machine, as all, unasked, by line 1 of /etc/pg_hba.conf; over Unix \
         sockets everybody on this machine, as y, unasked, by line 2 of /etc/pg_hba.conf\n\
         over TCP, with md5, by line 3 of /etc/pg_hba.conf: app; over TCP, with md5, by line 5 of \
         /etc/pg_hba.conf: app"
    );
    assert_eq!(
        remedy.as_deref(),
        Some(
            "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server\n\
             write peer instead of trust in lines 1, 2 of /etc/pg_hba.conf; SELECT pg_reload_conf()\n\
             take out lines 3, 5 of /etc/pg_hba.conf; SELECT pg_reload_conf(); or: ALTER SYSTEM SET \
             dsql_iam.manage_hba = on, and restart the server"
        )
    );
}

#[test]
fn an_exempt_role_that_does_not_exist_is_named() {
    let (found, remedy) = others(|facts| {
        set(facts, "dsql_iam.exempt_roles", "dba, nosuch");
        facts.unknown_exempt_roles = vec!["nosuch".into()];
    });
    assert_eq!(
        found,
        "with a password over TCP: dba, nosuch\n\
         dsql_iam.exempt_roles names roles that do not exist: nosuch"
    );
    assert!(remedy.is_some_and(|text| text.contains("take them out of dsql_iam.exempt_roles")));
}

#[test]
fn many_roles_fit_into_a_line() {
    let (found, _) = others(|facts| {
        facts.hba_lines.push(line(7, "local", "all", "all", "ldap"));
        facts
            .roles
            .extend((0..20).map(|number| role(&format!("role{number}"))));
    });
    assert!(found.ends_with("role8 and 11 more"), "{found}");
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
        "ssl_cert_file /tls/server.crt: entity not found -> put the file there, or: ALTER SYSTEM SET \
         ssl_cert_file = '…'"
    );
    assert_eq!(
        said(&|tls| tls.key.access = gone()),
        "ssl_key_file /tls/server.key: entity not found -> put the file there, or: ALTER SYSTEM SET \
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
        "others have access to the key /tls/server.key (mode 0644) -> chmod 600 /tls/server.key"
    );
    // Root's may be for others of its group, too.
    assert_eq!(
        said(&|tls| tls.key.access = Ok(access(0, 0o644))),
        "others have access to the key /tls/server.key (mode 0644) -> chmod 640 /tls/server.key"
    );
    assert_eq!(
        said(&|tls| tls.key.access = Ok(access(8, 0o600))),
        "the key /tls/server.key is owned neither by postgres, as whom the server runs, nor by root -> chown \
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
        "/tls/server.crt and /tls/server.key, or another file of its settings for TLS; its log has just said why \
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
fn secrets_do_not_belong_into_a_base_backup() {
    assert_eq!(
        after(|_, l| l.is_in_data_directory = true),
        "iam_directory warning"
    );
}

#[test]
fn a_directory_without_keys_gets_its_first() {
    let none = iam_directory(&Library {
        identities: Ok(counts(KeyCounts::default())),
        ..library()
    });
    assert_eq!(
        none.remedy.as_deref(),
        Some(
            "as the server's user: dsql-iam sample-identities /iam --account-id N, or, if the documents have \
             users: dsql-iam create-access-key --user-name NAME --iam-directory /iam"
        )
    );
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
    let found = "/iam: 1 users, 1 roles, 0 access keys, and unusable ones: 4 of another account than \
                 dsql_iam.account_id, 3 of users and roles that no document has, 1 inactive, 2 of expired \
                 sessions";
    assert_eq!(
        with(useless),
        bad(
            "iam_directory",
            Status::Fault,
            format!("{found}, so every token is refused"),
            "if the documents are the right ones: ALTER SYSTEM SET dsql_iam.account_id = '…'; SELECT \
             pg_reload_conf(); (umask 077; aws iam get-account-authorization-details > \
             /iam/account.json); dsql-iam create-access-key --user-name NAME \
             --iam-directory /iam; assume the role again: dsql-iam assume-role, or aws sts assume-role"
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
    let broken = |error: &'static str| Some(("/audit".into(), Err(io::Error::other(error))));
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
    let before = |f: &mut Facts, _: &mut Library| (f.admin, f.extension) = (None, None);
    assert_eq!(after(before), "extension fault, admin unknown");
    assert_eq!(
        admin(|admin| admin.members = vec!["x".into()]),
        "admin fault"
    );
    assert_eq!(admin(|admin| admin.has_password = true), "admin fault");
    assert_eq!(
        admin(|admin| admin.settings = vec!["search_path".into()]),
        "admin warning"
    );
    assert_eq!(admin(|admin| admin.can_log_in = false), "admin fault");
    assert_eq!(admin(|admin| admin.is_superuser = true), "admin fault");
    assert_eq!(admin(|admin| admin.makes_roles = false), "admin warning");
    assert_eq!(admin(|admin| admin.connections = 0), "admin fault");
    assert_eq!(admin(|admin| admin.may_connect = false), "admin fault");
    assert_eq!(admin(|admin| admin.uses_its_roles = false), "admin warning");
}

#[test]
fn without_the_library_setup_is_the_way() {
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
        findings[0].found,
        "shared_preload_libraries is 'pg_stat_statements, \"odd name\"'"
    );
    assert_eq!(
        findings[0].remedy.as_deref(),
        Some("dsql-iam setup, and restart the server")
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
