use super::*;
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use time::macros::utc_datetime;

const NOW: UtcDateTime = utc_datetime!(2026-11-27 08:30);
const RANDOM: &str = "ABCDEFGHIJ23";

fn id() -> String {
    EndingHour::of(NOW).unwrap().access_key_id(RANDOM)
}

fn session(id: &str) -> Value {
    json!({
        "Credentials": {"AccessKeyId": id, "SecretAccessKey": "secret", "SessionToken": "token",
                        "Expiration": "2026-11-27T08:45:00+00:00"},
        "AssumedRoleUser": {"Arn": "arn:aws:sts::012345678912:assumed-role/app/s"},
    })
}

fn folder(directory: &Path, hour: EndingHour) -> PathBuf {
    let folder = directory.join(FOLDER).join(hour.folder());
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The fault of the session with [`id`], for each test with a directory of its own.
fn fault(make: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = folder(directory.path(), EndingHour::of(NOW).unwrap()).join(file_name(&id()));
    make(&path);
    let fault = find(directory.path(), &id(), NOW)
        .err()
        .unwrap()
        .to_string();
    fault.replace(&*path.to_string_lossy(), "PATH")
}

#[test]
fn an_hour_and_its_folder() {
    let hour = EndingHour::of(NOW).unwrap();
    assert_eq!(EndingHour::of_folder(&hour.folder()), Some(hour));
    assert_eq!(hour.end(), utc_datetime!(2026-11-27 09:00).unix_timestamp());
    assert_eq!(
        EndingHour::of(utc_datetime!(1970-01-01 00:59:59))
            .unwrap()
            .folder(),
        "AAAA"
    );
    assert_eq!(EndingHour(1 << 15).folder(), "BAAA");
    assert_eq!(EndingHour::of(utc_datetime!(1969-12-31 23:59:59)), None);
    assert_eq!(EndingHour::of(utc_datetime!(2090-01-01 0:00)), None);
    for name in ["", "AAA", "AAAAA", "aaaa", "AAA0", "../A", "AA\u{c4}"] {
        assert_eq!(EndingHour::of_folder(name), None, "{name}");
    }
    let hours: Vec<u32> = hour.onwards().map(|hour| hour.0).collect();
    assert_eq!(hours, (hour.0..=hour.0 + 37).collect::<Vec<_>>());
    assert_eq!(ending_hour(&id()), Some(hour));
}

/// An id comes from a stranger, before its signature is looked at.
#[test]
fn an_id_leads_nowhere_but_to_its_file() {
    let directory = tempfile::tempdir().unwrap();
    for id in [
        "",
        "ASIA",
        "AKIAAAAAABCDEFGHIJ23",
        "ASIAAAAAABCDEFGHIJ2",
        "ASIAAAAAABCDEFGHIJ234",
        "ASIAAAAAABCDEFGHIJ2a",
        "ASIAAAAAABCDEFGHIJ20",
        "ASIA../../../../../x",
        "ASIAAAAAABCDEFGHIJ\0A",
    ] {
        assert_eq!(ending_hour(id), None, "{id}");
        assert!(find(directory.path(), id, NOW).unwrap().is_none(), "{id}");
    }
}

#[test]
fn a_session_is_found_by_its_id_alone() {
    let directory = tempfile::tempdir().unwrap();
    let hour = EndingHour::of(NOW).unwrap();
    assert!(find(directory.path(), &id(), NOW).unwrap().is_none());
    let folder = folder(directory.path(), hour);
    write(
        &folder.join(file_name(&id())),
        &session(&id()).to_string(),
        0o600,
    );
    // Nobody looks at the others, whatever they are.
    write(&folder.join("ASIAbroken.json"), "nonsense", 0o666);
    write(&folder.join(".total"), "..", 0o600);
    let found = find(directory.path(), &id(), NOW).unwrap().unwrap();
    assert_eq!(found.key().secret, "secret");
    let file = format!("sessions/{}/{}.json", hour.folder(), id());
    assert_eq!(found.file(), file);
    assert!(
        find(directory.path(), &hour.access_key_id("ABCDEFGHIJ24"), NOW)
            .unwrap()
            .is_none()
    );

    let mut identities = Identities::default();
    identities.add_stored(found).unwrap();
    assert!(identities.access_key(&id()).is_some());
    let again = find(directory.path(), &id(), NOW).unwrap().unwrap();
    let twice = identities.add_stored(again).unwrap_err().to_string();
    assert!(
        twice.ends_with(&format!("duplicate access key {}", id())),
        "{twice}"
    );
    assert!(identities.access_key(&id()).is_none());
    let with_sessions = || Identities::load_with_sessions(directory.path(), NOW).unwrap();
    assert!(with_sessions().access_key(&id()).is_some());
    let copy = directory.path().join("copy.json");
    write(&copy, &session(&id()).to_string(), 0o600);
    assert!(with_sessions().access_key(&id()).is_none());
    fs::remove_file(&copy).unwrap();

    let names: Vec<_> = all(directory.path(), NOW)
        .into_iter()
        .map(|entry| {
            (
                entry.file,
                entry.outcome.map(|_| ()).map_err(|fault| fault.to_string()),
            )
        })
        .collect();
    let broken = folder.join("ASIAbroken.json");
    let misnamed = format!(
        "\"{}\" does not hold the session that its name says",
        broken.display()
    );
    let file_of_broken = format!("sessions/{}/ASIAbroken.json", hour.folder());
    assert_eq!(names, [(file, Ok(())), (file_of_broken, Err(misnamed))]);
    assert_eq!(count_lasting(directory.path(), NOW), 2);
    assert_eq!(
        count_lasting(directory.path(), utc_datetime!(2026-11-27 09:00)),
        0
    );
}

/// The clock is right again.
#[test]
fn a_session_that_began_in_the_future_counts_for_no_login() {
    let directory = tempfile::tempdir().unwrap();
    let hour = EndingHour::of(NOW).unwrap();
    for (hours, is_good) in [(36, true), (37, true), (38, false), (500_000, false)] {
        let hour = EndingHour(hour.0 + hours);
        let id = hour.access_key_id(RANDOM);
        let path = folder(directory.path(), hour).join(file_name(&id));
        write(&path, &session(&id).to_string(), 0o600);
        let found = find(directory.path(), &id, NOW);
        let early = format!(
            "\"{}\" began while a clock was ahead: it ends later than any that has begun by now",
            path.display()
        );
        let fault = found.err().map(|fault| fault.to_string());
        assert_eq!(fault, (!is_good).then_some(early), "{hours}");
        let known = Identities::load_with_sessions(directory.path(), NOW).unwrap();
        assert_eq!(known.access_key(&id).is_some(), is_good, "{hours}");
        // Where there is no such session, the key is one of a document.
        assert!(
            find(directory.path(), &hour.access_key_id("ABCDEFGHIJ24"), NOW)
                .unwrap()
                .is_none()
        );
        let then = UtcDateTime::from_unix_timestamp(hour.end() - 1).unwrap();
        assert!(find(directory.path(), &id, then).unwrap().is_some());
    }
    assert_eq!(count_lasting(directory.path(), NOW), 2);
    let good = all(directory.path(), NOW);
    let good = good.iter().filter(|entry| entry.outcome.is_ok());
    assert_eq!(good.count(), 2);
    // Times that have no hour.
    for now in [
        utc_datetime!(1969-12-31 23:59),
        utc_datetime!(2090-01-01 0:00),
    ] {
        let id = EndingHour(hour.0 + 37).access_key_id(RANDOM);
        assert!(find(directory.path(), &id, now).is_err());
        assert_eq!(count_lasting(directory.path(), now), 0);
    }
}

#[test]
fn no_folder_is_a_link() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hour = EndingHour::of(NOW).unwrap();
    let place = folder(elsewhere.path(), hour);
    write(
        &place.join(file_name(&id())),
        &session(&id()).to_string(),
        0o600,
    );
    let sessions = directory.path().join(FOLDER);
    let found = || find(directory.path(), &id(), NOW).map(|found| found.is_some());
    let is_refused = || matches!(found(), Err(SessionFault::NotAFile(_)));
    symlink(elsewhere.path().join(FOLDER), &sessions).unwrap();
    assert!(is_refused());
    fs::remove_file(&sessions).unwrap();
    fs::create_dir(&sessions).unwrap();
    symlink(&place, sessions.join(hour.folder())).unwrap();
    assert!(is_refused());
    assert!(all(directory.path(), NOW)[0].outcome.is_err());
    // The directory itself may be one.
    let link = directory.path().join("link");
    symlink(elsewhere.path(), &link).unwrap();
    assert!(find(&link, &id(), NOW).unwrap().is_some());
}

#[test]
fn what_is_not_a_good_session_is_a_fault() {
    let good = session(&id()).to_string();
    let misnamed = "\"PATH\" does not hold the session that its name says";
    let not_a_file = "\"PATH\" is not a regular file of at most 256 KiB";
    for mode in [0o640, 0o604, 0o620, 0o602] {
        let exposed = format!("\"PATH\" holds a secret but has mode {mode:04o}; it must be 0600");
        assert_eq!(fault(|path| write(path, &good, mode)), exposed);
    }
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    write(elsewhere.path(), &good, 0o600);
    assert_eq!(
        fault(|path| symlink(elsewhere.path(), path).unwrap()),
        not_a_file
    );
    assert_eq!(fault(|path| fs::create_dir(path).unwrap()), not_a_file);
    assert_eq!(
        fault(|path| {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mkfifoat(CWD, path, mode).unwrap();
        }),
        not_a_file
    );
    let long = " ".repeat(256 * 1024 + 1);
    assert_eq!(fault(|path| write(path, &long, 0o600)), not_a_file);
    let another = session("ASIAAAAAABCDEFGHIJ23").to_string();
    assert_eq!(fault(|path| write(path, &another, 0o600)), misnamed);
    let users = json!({"AccessKey": {"UserName": "alice", "AccessKeyId": id(),
        "Status": "Active", "SecretAccessKey": "secret"}});
    assert_eq!(
        fault(|path| write(path, &users.to_string(), 0o600)),
        misnamed
    );
    let account = json!({"UserDetailList": []}).to_string();
    assert_eq!(fault(|path| write(path, &account, 0o600)), misnamed);
    let half = &good[..good.len() / 2];
    assert!(fault(|path| write(path, half, 0o600)).starts_with("\"PATH\": EOF"));
    let not_utf8 = fault(|path| {
        fs::write(path, [0xff]).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    });
    assert!(
        not_utf8.starts_with("could not read \"PATH\": "),
        "{not_utf8}"
    );
}

#[test]
fn a_session_of_another_user_than_the_directorys_is_a_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stat = fstat(&file).unwrap();
    check(file.path(), &stat, stat.st_uid).unwrap();
    let other = stat.st_uid + 1;
    let fault = check(file.path(), &stat, other).unwrap_err().to_string();
    let owners = format!(
        "belongs to the user {}, and the IAM directory to the user {other}",
        stat.st_uid
    );
    assert!(fault.ends_with(&owners), "{fault}");
}
