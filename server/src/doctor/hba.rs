//! The hba file in force, and every way in that it leaves beside the token.

use super::facts::{Facts, HbaLine, Library, Role};
use super::finding::{Finding, Status, bad, fine};
use std::fmt;
use std::path::{Path, PathBuf};

pub(super) fn hba(facts: &Facts, library: &Library) -> Finding {
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
            format!("{place}, or a file that it names, is invalid: {error}"),
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
                format!("{file} is not as the library wrote it"),
                "SELECT pg_reload_conf(): the library writes it again",
            )
        };
    }
    if facts.is_on("dsql_iam.manage_hba") {
        return bad(
            CHECK,
            Status::Fault,
            format!("{file} is in force instead of the library's own file"),
            "restart the server without any other library that sets hba_file",
        );
    }
    let remedy = "ALTER SYSTEM SET dsql_iam.manage_hba = on, and restart the server";
    let found = if is_reached {
        format!(
            "{file} is in force, with a trust line, which lets everybody in once the library is not loaded"
        )
    } else {
        format!("{file} is in force, by which not every TCP connection is asked for a token")
    };
    bad(CHECK, Status::Warning, found, remedy)
}

pub(super) fn other_logins(facts: &Facts, library: Option<&Library>) -> Vec<Finding> {
    const CHECK: &str = "other_logins";
    if !facts.is_loaded {
        let found = "without the library every login is as pg_hba.conf says";
        return vec![bad(CHECK, Status::Unknown, found, "first mend: library")];
    }
    let warning = |found: String, remedy: String| bad(CHECK, Status::Warning, found, remedy);
    let lines: Vec<HbaLine> = facts
        .hba_lines
        .iter()
        .flat_map(HbaLine::apart_from_replication)
        .collect();
    let mut findings = vec![fine(CHECK, as_they_should_be(facts, &lines))];
    let exempt = facts.setting("dsql_iam.exempt_roles").trim();
    if !exempt.is_empty() {
        findings.push(warning(
            format!("with a password over TCP: {exempt}"),
            "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server".to_owned(),
        ));
    }
    if !facts.unknown_exempt_roles.is_empty() {
        let names = facts.unknown_exempt_roles.join(", ");
        findings.push(warning(
            format!("dsql_iam.exempt_roles names roles that do not exist: {names}"),
            "take them out of dsql_iam.exempt_roles, and restart the server; a role of that name would log in \
             with its password"
                .to_owned(),
        ));
    }
    // Lines that are mended alike are one finding: their numbers count for the file as it is.
    let mut doors: Vec<(Mend, Vec<String>, Vec<Place>)> = Vec::new();
    for line in &lines {
        let place = place(facts, library, line);
        let Some((mend, found)) = login_without_token(facts, line, &place) else {
            continue;
        };
        match doors.iter_mut().find(|(other, ..)| *other == mend) {
            Some((_, all, places)) => {
                all.push(found);
                places.push(place);
            }
            None => doors.push((mend, vec![found], vec![place])),
        }
    }
    findings.extend(
        doors
            .into_iter()
            .map(|(mend, found, places)| warning(found.join("; "), mend.remedy(&places))),
    );
    findings
}

/// The logins without a token that are as they should be: superusers over Unix sockets, and by `peer` the users
/// of the machine as the role of their name.
fn as_they_should_be(facts: &Facts, lines: &[HbaLine]) -> String {
    let superusers = match &facts.names_of(|role| role.is_superuser)[..] {
        "" => "no superuser can log in".to_owned(),
        some => format!("superusers, over Unix sockets as pg_hba.conf says: {some}"),
    };
    let is_by_name = |line: &HbaLine| {
        line.is_local() && !line.is_for_replication() && line.is_by_peer() && line.map().is_none()
    };
    let is_ordinary = |role: &Role, line: &HbaLine| !role.is_superuser && line.is_for(role);
    let by_name = lines
        .iter()
        .any(|line| is_by_name(line) && facts.roles.iter().any(|role| is_ordinary(role, line)));
    if by_name {
        format!("{superusers}; users of this machine, over Unix sockets, as the role of their name")
    } else {
        superusers
    }
}

/// A line of an hba file that people write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    number: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.number, self.file.display())
    }
}

/// Some lines, by their files.
fn all(places: &[Place]) -> String {
    let mut files: Vec<&Path> = places.iter().map(|place| &*place.file).collect();
    files.dedup();
    let lines = files.iter().map(|file| {
        let of_file = places.iter().filter(|place| place.file == **file);
        let mut numbers: Vec<String> = of_file.map(|place| place.number.to_string()).collect();
        numbers.dedup();
        match &numbers[..] {
            [number] => format!("line {number} of {}", file.display()),
            numbers => format!("lines {} of {}", numbers.join(", "), file.display()),
        }
    });
    lines.collect::<Vec<_>>().join(" and ")
}

/// The remedy for a line of an hba file that logs in without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    PeerInsteadOf(String),
    WithoutMap(String),
    WithoutReplication,
    WithoutTcp,
}

impl Mend {
    fn remedy(&self, places: &[Place]) -> String {
        let lines = all(places);
        match self {
            Self::PeerInsteadOf(method) => {
                format!("write peer instead of {method} in {lines}; SELECT pg_reload_conf()")
            }
            Self::WithoutMap(map) => {
                format!("take map={map} out of {lines}; SELECT pg_reload_conf()")
            }
            Self::WithoutReplication => format!(
                "take out {lines}, if nobody needs it for replication; SELECT pg_reload_conf()"
            ),
            Self::WithoutTcp => format!(
                "take out {lines}; SELECT pg_reload_conf(); or: ALTER SYSTEM SET dsql_iam.manage_hba = on, and \
                 restart the server"
            ),
        }
    }
}

/// Where a line of the hba file stands that people write: from PostgreSQL 16 on the server tells, and before
/// the library's file has a copy of theirs, behind lines of its own.
pub(super) fn place(facts: &Facts, library: Option<&Library>, line: &HbaLine) -> Place {
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
    Place {
        file: file.to_owned(),
        number,
    }
}

/// The users that log in by a line of the hba file without a token, and the remedy; `place` is where the line
/// stands. `None` if nobody does, or only those that should: superusers over Unix sockets, and by `peer` the
/// users of the machine as the role of their name.
fn login_without_token(facts: &Facts, line: &HbaLine, place: &Place) -> Option<(Mend, String)> {
    // Over TCP the library stands behind trust: it asks for a token, and lets nobody replicate.
    if line.method() == "reject" || !line.is_local() && line.method() == "trust" {
        return None;
    }
    let (method, roles) = (line.method(), line.roles.as_deref().unwrap_or_default());
    let by = format!("by {place}");
    if line.is_local() && method == "trust" {
        let found = format!(
            "over Unix sockets everybody on this machine, as {}, unasked, {by}",
            roles.join(", ")
        );
        return Some((Mend::PeerInsteadOf(method.to_owned()), found));
    }
    let asks_for_password = matches!(method, "scram-sha-256" | "md5" | "password");
    let gets_in = |role: &Role| line.is_for(role) && (!asks_for_password || role.has_password);
    if line.is_for_replication() {
        // Replication copies the data directory, and the documents if they are in it.
        let replicates = |role: &Role| role.may_replicate || role.is_superuser;
        let is_meant = |role: &Role| line.is_local() && (role.is_superuser || line.is_by_peer());
        let names = facts.names_of(|role| gets_in(role) && replicates(role) && !is_meant(role));
        let found = format!("for replication, with {method}, {by}: {names}");
        return (!names.is_empty()).then_some((Mend::WithoutReplication, found));
    }
    if line.is_local() {
        // By peer and without a map users of the machine come in as the role of their own name.
        let (mend, how) = if line.is_by_peer() {
            let map = line.map()?;
            let how = format!("as the map {map} of pg_ident.conf has it");
            (Mend::WithoutMap(map.to_owned()), how)
        } else {
            let how = format!("with {method}");
            (Mend::PeerInsteadOf(method.to_owned()), how)
        };
        let names = facts.names_of(|role| gets_in(role) && !role.is_superuser);
        let found = format!("over Unix sockets, {how}, {by}: {names}");
        return (!names.is_empty()).then_some((mend, found));
    }
    // In the library's own file the lines for TCP come too late.
    let found = format!("over TCP, with {method}, {by}: {}", roles.join(", "));
    (!facts.has_our_hba_file()).then_some((Mend::WithoutTcp, found))
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
    fn apart_from_replication(&self) -> Vec<Self> {
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
