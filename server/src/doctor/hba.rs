//! The hba file in force, and every way in that it leaves beside the token.

use super::{Facts, Finding, HbaLine, Library, Role, Status, bad, fine};

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
            format!("{place}, or what it names: {error}"),
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
                format!("{file} is not what the library wrote"),
                "SELECT pg_reload_conf(), which has it written again",
            )
        };
    }
    if facts.is_on("dsql_iam.manage_hba") {
        return bad(
            CHECK,
            Status::Fault,
            format!("{file} is in force, and not the library's own file"),
            "restart the server, and load no other library that sets hba_file",
        );
    }
    let remedy = "ALTER SYSTEM SET dsql_iam.manage_hba = on, and restart the server";
    let found = if is_reached {
        format!("{file} is in force, with a trust line that is an open door without the library")
    } else {
        format!("{file} is in force, which does not ask everybody for a token")
    };
    bad(CHECK, Status::Warning, found, remedy)
}

pub(super) fn other_logins(facts: &Facts, library: Option<&Library>) -> Finding {
    const CHECK: &str = "other_logins";
    if !facts.is_loaded {
        return bad(
            CHECK,
            Status::Unknown,
            "without the library everybody logs in as pg_hba.conf says",
            "first mend: library",
        );
    }
    let exempt = facts.setting("dsql_iam.exempt_roles").trim();
    let exempt = (!exempt.is_empty()).then(|| {
        (
            format!("with a password over TCP: {exempt}"),
            "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server".to_owned(),
        )
    });
    let lines: Vec<HbaLine> = facts.hba_lines.iter().flat_map(HbaLine::halves).collect();
    let doors: Vec<_> = lines
        .iter()
        .filter_map(|line| door(facts, line, &place(facts, library, line)))
        .collect();
    let reload = (!doors.is_empty()).then(|| "SELECT pg_reload_conf()".to_owned());
    let (mut found, mut remedies): (Vec<_>, Vec<_>) = exempt.into_iter().chain(doors).unzip();
    remedies.extend(reload);
    remedies.dedup();
    found.push(match &facts.names_of(|role| role.is_superuser)[..] {
        "" => "no superuser can log in".to_owned(),
        some => format!("superusers, over Unix sockets as pg_hba.conf says: {some}"),
    });
    let is_by_name = |line: &HbaLine| {
        line.is_local() && !line.is_for_replication() && line.is_by_peer() && line.map().is_none()
    };
    let is_ordinary = |role: &Role, line: &HbaLine| !role.is_superuser && line.is_for(role);
    if lines
        .iter()
        .any(|line| is_by_name(line) && facts.roles.iter().any(|role| is_ordinary(role, line)))
    {
        found.push("users of this machine, over Unix sockets, as the role of their name".into());
    }
    let found = found.join("; ");
    if remedies.is_empty() {
        fine(CHECK, found)
    } else {
        bad(CHECK, Status::Warning, found, remedies.join("; "))
    }
}

/// Where a line of the hba file stands that people write: from PostgreSQL 16 on the server tells, and before
/// the library's file has a copy of theirs, behind lines of its own.
pub(super) fn place(facts: &Facts, library: Option<&Library>, line: &HbaLine) -> String {
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
    format!("line {number} of {}", file.display())
}

/// Who gets in by a line of the hba file without a token, and what would shut it, before a reload; `place` is
/// where the line stands. `None` if nobody does, or only who should: superusers over Unix sockets, and by
/// `peer` the users of the machine as the role of their name.
fn door(facts: &Facts, line: &HbaLine, place: &str) -> Option<(String, String)> {
    // Over TCP the library stands behind trust: it asks for a token, and lets nobody replicate.
    if line.method() == "reject" || !line.is_local() && line.method() == "trust" {
        return None;
    }
    let (method, roles) = (line.method(), line.roles.as_deref().unwrap_or_default());
    let by = format!("by {place}");
    if line.is_local() && method == "trust" {
        return Some((
            format!(
                "over Unix sockets everybody on this machine, as {}, unasked, {by}",
                roles.join(", ")
            ),
            format!("write peer instead of trust in {place}"),
        ));
    }
    let asks_for_password = matches!(method, "scram-sha-256" | "md5" | "password");
    let gets_in = |role: &Role| line.is_for(role) && (!asks_for_password || role.has_password);
    if line.is_for_replication() {
        // Whoever replicates copies the data directory, and the documents if they are in it.
        let replicates = |role: &Role| role.may_replicate || role.is_superuser;
        let is_meant = |role: &Role| line.is_local() && (role.is_superuser || line.is_by_peer());
        let names = facts.names_of(|role| gets_in(role) && replicates(role) && !is_meant(role));
        return (!names.is_empty()).then(|| {
            (
                format!("for replication, with {method}, {by}: {names}"),
                format!("take out {place}, if nobody needs it for replication"),
            )
        });
    }
    if line.is_local() {
        if line.is_by_peer() {
            // Without a map users of the machine come in as the role of their own name.
            let map = line.map()?;
            let names = facts.names_of(|role| gets_in(role) && !role.is_superuser);
            return (!names.is_empty()).then(|| {
                (
                    format!(
                        "over Unix sockets, as the map {map} of pg_ident.conf has it, {by}: {names}"
                    ),
                    format!("take map={map} out of {place}"),
                )
            });
        }
        let names = facts.names_of(|role| gets_in(role) && !role.is_superuser);
        return (!names.is_empty()).then(|| {
            (
                format!("over Unix sockets, with {method}, {by}: {names}"),
                format!("write peer instead of {method} in {place}"),
            )
        });
    }
    // In the library's own file the lines for TCP come too late.
    (!facts.has_our_hba_file()).then(|| {
        (
            format!("over TCP, with {method}, {by}: {}", roles.join(", ")),
            format!(
                "take out {place}, or: ALTER SYSTEM SET dsql_iam.manage_hba = on, and restart the server"
            ),
        )
    })
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
    fn halves(&self) -> Vec<Self> {
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
