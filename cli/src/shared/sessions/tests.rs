use super::*;
use dsql_iam_core::session_store::{count_lasting, find};
use dsql_iam_core::sts::{AssumeRole, StsEnvironment, assume_role, caller_with_secret};
use dsql_iam_core::{ConnectionFacts, Identities, PresentedCredentials, documents};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use time::macros::utc_datetime;

const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:30);
const ALICE: &str = "arn:aws:iam::012345678912:user/alice";
const RANDOM: &str = "ABCDEFGHIJ23";
const BOB: &str = "arn:aws:iam::012345678912:user/bob";

fn identities() -> Identities {
    let may = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
    let trust = json!({"Statement": {"Effect": "Allow", "Action": "sts:*",
        "Principal": {"AWS": "012345678912"}}});
    let account = json!({
        "UserDetailList": [{"UserName": "alice", "Arn": ALICE,
            "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": may}]}],
        "RoleDetailList": [{"RoleName": "app", "Arn": "arn:aws:iam::012345678912:role/app",
            "MaxSessionDuration": 43200, "AssumeRolePolicyDocument": trust}],
    });
    let key = json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA",
        "Status": "Active", "SecretAccessKey": "secret"}});
    let parsed = [account, key].map(|document| {
        let document = documents::parse(&document.to_string());
        (
            "a document",
            document.unwrap_or_else(|fault| panic!("{fault}")),
        )
    });
    documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

/// A session that may begin, and how long it lasts.
fn grant(now: UtcDateTime, seconds: u32) -> Grant {
    let identities = identities();
    let environment = StsEnvironment {
        now,
        identities: &identities,
        stored: None,
        region: "us-east-1",
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    };
    let presented = PresentedCredentials {
        access_key_id: "AKIA",
        session_token: None,
    };
    let caller = caller_with_secret(presented, "secret", &environment).unwrap();
    let request = AssumeRole {
        role_arn: "arn:aws:iam::012345678912:role/app".into(),
        role_session_name: "me".into(),
        duration_seconds: Some(seconds),
        ..AssumeRole::default()
    };
    assume_role(&caller, &request, &environment).unwrap()
}

fn begun(directory: &Path, owner: &str, quota: u64, now: UtcDateTime) -> Result<NewKey, NotBegun> {
    begin(&grant(now, 3600), owner, quota, directory, now)
}

/// All files below a directory, sorted.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(directory.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path.to_string_lossy().into_owned()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_session_is_where_its_key_leads_and_its_key_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = [(); 2].map(|()| begun(directory.path(), ALICE, 9, NOW).unwrap());
    assert!(one.id != two.id && one.secret != two.secret);
    assert!(one.session_token != two.session_token);
    assert_eq!((one.id.len(), one.secret.len()), (20, 40));
    let end = EndingHour::of(utc_datetime!(2026-01-01 13:30));
    assert_eq!(ending_hour(&one.id), end);
    for key in [&one, &two] {
        let found = find(directory.path(), &key.id, NOW).unwrap().unwrap();
        assert_eq!(found.key().secret, key.secret);
        assert_eq!(
            found.key().expiration,
            Some(utc_datetime!(2026-01-01 13:30))
        );
    }
    // Beside the two: what counts all, and what counts those of the principal.
    assert_eq!(files(directory.path()).len(), 4);
}

/// Beginning one takes the same few looks however many there are: none of them is at a folder's list.
#[test]
fn a_principal_has_a_quota_and_others_do_not_share_it() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        begun(directory.path(), ALICE, 3, NOW).unwrap();
    }
    let before = files(directory.path());
    let Err(NotBegun::Refused(refusal)) = begun(directory.path(), ALICE, 3, NOW) else {
        panic!("the quota is used up")
    };
    assert_eq!(refusal.to_string(), "Throttling: Rate exceeded");
    assert_eq!(refusal.code.status(), 400);
    assert_eq!(
        refusal.reason.unwrap(),
        format!("{ALICE} has begun 3 sessions that are not over, and 3 is the most")
    );
    assert_eq!(files(directory.path()), before);
    begun(directory.path(), BOB, 3, NOW).unwrap();
    // They count until the hour in which they end is over, and not for longer.
    let last = utc_datetime!(2026-01-01 13:59:59);
    assert!(begun(directory.path(), ALICE, 3, last).is_err());
    begun(directory.path(), ALICE, 3, utc_datetime!(2026-01-01 14:00)).unwrap();
    // Removing the documents makes no room for more.
    let hour = EndingHour::of(utc_datetime!(2026-01-01 13:30)).unwrap();
    let folder = directory.path().join(FOLDER).join(hour.folder());
    for name in files(&folder).iter().filter(|name| name.ends_with(".json")) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    assert!(begun(directory.path(), ALICE, 3, NOW).is_err());
}

#[test]
fn all_together_have_a_quota() {
    let directory = tempfile::tempdir().unwrap();
    begun(directory.path(), ALICE, 3, NOW).unwrap();
    let hour = EndingHour::of(utc_datetime!(2026-01-01 23:30)).unwrap();
    let folder = directory.path().join(FOLDER).join(hour.folder());
    fs::create_dir(&folder).unwrap();
    let count = fs::File::create(folder.join(COUNT)).unwrap();
    count.set_len(MAX_SESSIONS - 2).unwrap();
    begun(directory.path(), ALICE, 3, NOW).unwrap();
    let Err(NotBegun::Refused(refusal)) = begun(directory.path(), BOB, 3, NOW) else {
        panic!("there is no room")
    };
    assert_eq!(refusal.to_string(), "Throttling: Rate exceeded");
    let reason = refusal.reason.unwrap();
    assert_eq!(
        reason,
        "the IAM directory holds 100000 sessions that are not over, and 100000 is the most"
    );
    let missing = begun(&directory.path().join("missing"), ALICE, 3, NOW);
    assert!(matches!(missing, Err(NotBegun::Failed(_))));
}

#[test]
fn at_once_no_more_begin_than_the_quota() {
    let directory = tempfile::tempdir().unwrap();
    let begins = || {
        (0..20)
            .filter(|_| begun(directory.path(), ALICE, 50, NOW).is_ok())
            .count()
    };
    let began: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(begins)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((began, count_lasting(directory.path(), NOW)), (50, 50));
}

/// Otherwise the directory's owner would have root make, give away and remove files elsewhere.
#[test]
fn no_link_leads_sessions_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let hour = EndingHour::of(utc_datetime!(2026-01-01 9:30)).unwrap();
    let (over, file) = (hour.folder(), file_name(&hour.access_key_id(RANDOM)));
    fs::create_dir(elsewhere.path().join(&over)).unwrap();
    fs::write(elsewhere.path().join(&over).join(&file), "{}").unwrap();
    let sessions = directory.path().join(FOLDER);
    symlink(elsewhere.path(), &sessions).unwrap();
    remove_expired(directory.path(), 99, NOW);
    assert!(matches!(
        begun(directory.path(), ALICE, 3, NOW),
        Err(NotBegun::Failed(_))
    ));
    fs::remove_file(&sessions).unwrap();
    fs::create_dir(&sessions).unwrap();
    symlink(elsewhere.path().join(&over), sessions.join(&over)).unwrap();
    remove_expired(directory.path(), 99, NOW);
    assert_eq!(files(elsewhere.path()), [format!("{over}/{file}")]);
    fs::remove_file(sessions.join(&over)).unwrap();
    fs::rename(elsewhere.path().join(&over), sessions.join(&over)).unwrap();
    remove_expired(directory.path(), 99, NOW);
    assert!(!sessions.join(&over).exists());
}

#[test]
fn what_has_been_over_for_an_hour_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing is made for it.
    remove_expired(directory.path(), 99, NOW);
    assert!(files(directory.path()).is_empty() && !directory.path().join(FOLDER).exists());
    for minutes in [0, 60, 120] {
        let began = NOW - Duration::minutes(minutes + 60);
        begun(directory.path(), ALICE, 9, began).unwrap();
    }
    let mine = directory.path().join(FOLDER).join("mine.json");
    fs::write(&mine, "{}").unwrap();
    assert_eq!(count_lasting(directory.path(), NOW), 1);
    // No more than it was asked for at a time.
    remove_expired(directory.path(), 2, NOW);
    assert_eq!(files(directory.path()).len(), 3 * 3 + 1 - 2);
    remove_expired(directory.path(), 99, NOW);
    let left = files(directory.path());
    // 11:30 is not an hour ago when its hour ends; 10:30 is.
    let hours = [11, 12].map(|hour| {
        let end = NOW.replace_hour(hour).unwrap();
        EndingHour::of(end).unwrap().folder()
    });
    assert_eq!(left.len(), 2 * 3 + 1, "{left:?}");
    assert!(left.contains(&"sessions/mine.json".to_owned()), "{left:?}");
    for hour in hours {
        let of_hour = left.iter().filter(|path| path.contains(&hour));
        assert_eq!(of_hour.count(), 3, "{left:?}");
    }
}

/// `KEEP` and `COPY` are hours too.
#[test]
fn what_is_not_of_a_session_stays() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = directory.path().join(FOLDER);
    for name in ["KEEP", "COPY", "keep", "BACKUP"] {
        fs::create_dir_all(sessions.join(name)).unwrap();
    }
    let hash = "0123456789abcdef0123456789abcdef";
    let hour = EndingHour::of_folder("KEEP").unwrap();
    let id = hour.access_key_id(RANDOM);
    let of_another = EndingHour::of_folder("COPY").unwrap();
    let of_another = of_another.access_key_id(RANDOM);
    let foreign = [
        "account.json".to_owned(),
        "notes".to_owned(),
        ".hidden".to_owned(),
        ".account.json.new".to_owned(),
        format!("{of_another}.json"),
        format!("{id}.json.bak"),
        format!("{id}.json.new"),
        format!(".{id}.json"),
        format!("{id}2.json"),
        format!(".count-{hash}0"),
        format!(".count-{}", hash.to_uppercase()),
        format!(".counts-{hash}"),
        ".code-".to_owned(),
    ];
    let ours = [
        format!("{id}.json"),
        format!(".{id}.json.new"),
        ".count".to_owned(),
        format!(".count-{hash}"),
        format!(".code-{hash}"),
    ];
    for name in foreign.iter().chain(&ours) {
        fs::write(sessions.join("KEEP").join(name), "x").unwrap();
    }
    remove_expired(directory.path(), 99, NOW);
    let mut expected = foreign.map(|name| format!("{FOLDER}/KEEP/{name}"));
    expected.sort();
    assert_eq!(files(directory.path()), expected);
    assert!(!sessions.join("COPY").exists());
    assert!(sessions.join("keep").exists() && sessions.join("BACKUP").exists());
    // Those that stay do not use up what may be removed at a time.
    fs::write(sessions.join("KEEP").join(file_name(&id)), "x").unwrap();
    remove_expired(directory.path(), 1, NOW);
    assert_eq!(files(directory.path()), expected);
}
