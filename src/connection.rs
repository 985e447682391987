//! The ClientAuthentication hook: the door.
//!
//! | connection | what happens |
//! |---|---|
//! | PostgreSQL's own method has refused it | it stays refused |
//! | its hba line has another method than `trust` | PostgreSQL's own answer stands |
//! | Unix socket | PostgreSQL's own answer stands |
//! | TCP, `trust`, no TLS and `require_tls` is on | refused before a token is asked for |
//! | TCP, `trust`, replication | refused |
//! | TCP, `trust`, too many connections or new ones | refused before a token is asked for |
//! | TCP, `trust`, the client names another cluster, or none and `require_sni` is on | refused before a token is asked for |
//! | TCP, `trust` | a token is asked for, and everything below has to be right |
//!
//! A token opens the door if `iam` admits it ([`dsql_iam_core::login`]), the database is `postgres`,
//! the role exists, may log in and is no superuser nor a member of one, and, unless the role is `admin`, the
//! principal's ARN is mapped to it; and if PostgreSQL will then not turn it away for a limit or a
//! privilege, as far as that can be told before. Whatever goes wrong in here refuses the connection.

use crate::port::{self, Connection, Reach, Received, Refusal, c_string, sqlstate};
use crate::{audit, identities, limits, mappings, settings};
use data_encoding::{BASE32_NOPAD, Encoding};
use dsql_iam_core::audit::Decision;
use dsql_iam_core::cluster::Cluster;
use dsql_iam_core::denial::Denial;
use dsql_iam_core::limits::Reached;
use dsql_iam_core::login::{ADMIN, Caller, Verdict, check_claims, judge_token};
use dsql_iam_core::request_context::{Circumstances, ConnectionFacts};
use dsql_iam_core::sigv4::token::{Action, MAX_TOKEN, Malformed, Token};
use dsql_iam_server::connect_options::cluster_ids;
use pgrx::pg_sys::libpq;
use pgrx::{pg_guard, pg_sys};
use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::fmt::Write;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

static PREVIOUS: OnceLock<libpq::ClientAuthentication_hook_type> = OnceLock::new();

const ACCESS_DENIED: &CStr = c"unable to accept connection, access denied";
const TLS_MANDATORY: &CStr = c"unable to accept connection, SSL is mandatory";
const NO_SERVER_NAME: &CStr = c"unable to accept connection, sni was not received";

/// Who logged in to this session with a token.
pub struct Session {
    /// The id in the refusal's DETAIL and in the log.
    pub id: String,
    /// The principal.
    pub caller: Caller,
}

static SESSION: OnceLock<Session> = OnceLock::new();

/// The session of this backend, if it began with a token.
pub fn session() -> Option<&'static Session> {
    SESSION.get()
}

/// Puts the hook in its place. Called once, while the server starts.
pub fn install() {
    // SAFETY: the server has one thread, and calls no hook while it loads libraries.
    unsafe {
        PREVIOUS.get_or_init(|| libpq::ClientAuthentication_hook);
        libpq::ClientAuthentication_hook = Some(authenticate);
    }
    port::install_log_filter();
}

/// Outside of any guard while the previous hook runs, so that its ERROR passes as it is.
unsafe extern "C-unwind" fn authenticate(raw_port: *mut libpq::be::Port, status: c_int) {
    if let Some(Some(previous)) = PREVIOUS.get() {
        // SAFETY: the hook that was there before, with its own arguments.
        unsafe { previous(raw_port, status) };
    }
    if status == pg_sys::STATUS_OK as c_int {
        // SAFETY: PostgreSQL's own Port, as the hook's contract says.
        unsafe { stand_behind_trust(raw_port) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn stand_behind_trust(raw_port: *mut libpq::be::Port) {
    // SAFETY: the caller's promise.
    let connection = unsafe { Connection::new(raw_port.cast()) };
    if !connection.wants_token() {
        return;
    }
    let refusal = match catch_unwind(AssertUnwindSafe(|| admit(&connection))) {
        Ok(Ok(())) => return,
        Ok(Err(refusal)) => refusal,
        // A panic of ours, or an ERROR of the server's, out of memory for one.
        Err(_) => Attempt::new(&connection).denied(Denial::Internal("deciding"), None, None),
    };
    port::refuse(refusal)
}

/// One attempt to log in, with its session id.
struct Attempt<'c> {
    connection: &'c Connection,
    session_id: String,
}

fn admit(connection: &Connection) -> Result<(), Refusal> {
    let attempt = Attempt::new(connection);
    if settings::requires_tls() && !connection.is_tls() {
        return Err(attempt.denied(Denial::NoTls, None, None));
    }
    limits::begin().map_err(|reached| attempt.denied(Denial::Limit(reached), None, None))?;
    check_cluster(connection).map_err(|denial| attempt.denied(denial, None, None))?;
    let password = match port::ask_password(MAX_TOKEN) {
        Received::Password(password) => password,
        Received::Nothing => port::exit_quietly(),
        Received::OtherMessage(kind) => {
            let message = c"expected password response";
            return Err(attempt.protocol_violation(message, &format!("got message type {kind}")));
        }
        Received::Broken => {
            return Err(
                attempt.protocol_violation(c"invalid password packet size", "too long or cut off")
            );
        }
        Received::BadSize => {
            return Err(
                attempt.protocol_violation(c"invalid password packet size", "empty or with a NUL")
            );
        }
    };
    let role = connection.user().to_string_lossy();
    let verdict = match std::str::from_utf8(password.bytes()) {
        Ok(password) => verdict(connection, password, &role),
        Err(_) => Verdict::refused(Malformed::NoUrl.into()),
    };
    drop(password);
    let Verdict {
        caller,
        action,
        outcome,
    } = verdict;
    let admitted = outcome.and_then(|admission| {
        check_database(connection)?;
        let role = check_role(connection.user(), &admission.caller.mapped_arn)?;
        match port::startup_fault(role, connection.database()) {
            None => Ok(admission),
            Some((sqlstate, message)) => Err(Denial::Server { sqlstate, message }),
        }
    });
    match admitted {
        Ok(admission) => {
            if attempt
                .record(Some(&admission.caller), action, None)
                .is_err()
            {
                let denial = Denial::Internal("writing the audit file");
                return Err(attempt.denied(denial, Some(&admission.caller), action));
            }
            connection.set_principal(&c_string(admission.caller.arn.as_str()));
            if let Some(duration) = settings::max_connection_duration() {
                let detail = c_string(attempt.detail());
                port::limit_session(duration, settings::max_connection_overtime(), &detail);
            }
            let _ = SESSION.set(Session {
                id: attempt.session_id,
                caller: admission.caller,
            });
            Ok(())
        }
        Err(denial) => Err(attempt.denied(denial, caller.as_ref(), action)),
    }
}

/// Refuses a client that names another cluster, or none where it has to, before it is asked for its token: by
/// Server Name Indication, or by the option that is there for clients without it.
fn check_cluster(connection: &Connection) -> Result<(), Denial> {
    // Without a cluster the login is refused for that.
    let Ok(cluster) = settings::cluster() else {
        return Ok(());
    };
    let server_name = connection.server_name().to_string_lossy();
    if cluster.is_anothers(&server_name) {
        return Err(Denial::OtherCluster(format!("server name {server_name}")));
    }
    let options = connection.options().to_string_lossy();
    let mut named = !server_name.is_empty();
    for id in cluster_ids(&options) {
        if !cluster.has_id(id) {
            return Err(Denial::OtherCluster(format!("amzn-cluster-id {id}")));
        }
        named = true;
    }
    if settings::requires_sni() && !named {
        return Err(Denial::NoServerName);
    }
    Ok(())
}

fn verdict(connection: &Connection, password: &str, role: &str) -> Verdict {
    // What is no token is refused as that, also where the settings allow no login.
    let token = match Token::parse(password) {
        Ok(token) => token,
        Err(fault) => return Verdict::refused(fault.into()),
    };
    // To look whether the documents have changed costs more than all else: not for whoever is refused
    // without.
    let refused = |denial| Verdict {
        action: Some(token.action),
        ..Verdict::refused(denial)
    };
    let cluster = match settings::cluster() {
        Ok(cluster) => cluster,
        Err(fault) => return refused(fault.into()),
    };
    if let Err(denial) = check_claims(&token, role, &cluster, UtcDateTime::now()) {
        return refused(denial);
    }
    let key = || token.credential.access_key_id.to_string();
    let judged = with_circumstances(&cluster, key, facts(connection), |circumstances| {
        judge_token(&token, role, circumstances)
    });
    judged.unwrap_or_else(Verdict::refused)
}

/// Calls `use_them` with what a login with the token of this access key is judged by at this moment.
///
/// # Errors
/// If the documents do not allow any login.
pub fn with_circumstances<T>(
    cluster: &Cluster,
    access_key_id: impl FnOnce() -> String,
    connection: ConnectionFacts,
    use_them: impl FnOnce(&Circumstances) -> T,
) -> Result<T, Denial> {
    let directory = settings::iam_directory();
    let used = identities::with_current(&directory, access_key_id, |identities| {
        use_them(&Circumstances {
            now: UtcDateTime::now(),
            cluster,
            identities,
            connection,
        })
    });
    used.map_err(Denial::NoIdentities)
}

/// What a policy's conditions can ask about the connection.
pub fn facts(connection: &Connection) -> ConnectionFacts {
    let address = connection.address().to_string_lossy();
    // A link-local address has its interface behind a percent sign, which is no part of it.
    let (address, _) = address.split_once('%').unwrap_or((&address, ""));
    ConnectionFacts {
        source_ip: address.parse().ok(),
        is_tls: connection.is_tls(),
    }
}

fn check_database(connection: &Connection) -> Result<(), Denial> {
    if connection.is_replication() {
        return Err(Denial::WrongDatabase("replication".into()));
    }
    if connection.database() != c"postgres" {
        let database = connection.database().to_string_lossy().into_owned();
        return Err(Denial::WrongDatabase(database));
    }
    Ok(())
}

/// Whether whoever has this IAM ARN may be this role: the checks that follow IAM's. Gives the role.
///
/// # Errors
/// Why not.
pub fn check_role(name: &CStr, arn: &str) -> Result<pg_sys::Oid, Denial> {
    let role = name.to_string_lossy();
    let unusable = |fault| Denial::RoleUnusable {
        role: role.clone().into_owned(),
        fault,
    };
    let found = mappings::LoginRole::find(name);
    // Looked up for an unknown role too, so that time does not tell it from an unmapped one.
    let oid = found.as_ref().map_or(pg_sys::InvalidOid, |found| found.oid);
    let is_mapped = mappings::is_mapped(oid, arn);
    match found {
        None => return Err(unusable("does not exist")),
        Some(found) if !found.can_login => return Err(unusable("is not permitted to log in")),
        Some(found) if found.is_superuser => return Err(unusable("is a superuser")),
        Some(found) if found.is_over => return Err(unusable("is past its VALID UNTIL")),
        Some(_) => {}
    }
    if role != ADMIN && !is_mapped {
        return Err(Denial::NotMapped {
            role: role.into_owned(),
            arn: arn.to_owned(),
        });
    }
    // Behind the mapping, so that how long it takes tells nothing to those that have none.
    match port::reach(oid) {
        Reach::Superuser(_) => Err(unusable("is a member of a superuser")),
        Reach::Predefined(_) | Reach::Nothing => Ok(oid),
    }
}

impl<'c> Attempt<'c> {
    fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            session_id: new_session_id(),
        }
    }

    /// The DETAIL of whatever ends the session.
    fn detail(&self) -> String {
        format!("Session Id: {}", self.session_id)
    }

    /// What the client hears of `denial`; the log hears all.
    fn denied(&self, denial: Denial, caller: Option<&Caller>, action: Option<Action>) -> Refusal {
        // What could not be recorded is refused all the same.
        let _ = self.record(caller, action, Some(&denial));
        let mut detail = self.detail();
        if settings::explains_denials() {
            let _ = write!(detail, "\n{denial}");
        }
        let hint = c_string(denial.hint().unwrap_or_default());
        let (sqlstate, message) = match denial {
            Denial::Limit(Reached::Connections) => (
                sqlstate::TOO_MANY_CONNECTIONS,
                Cow::from(c"Unable to accept connection, too many open connections."),
            ),
            Denial::Limit(Reached::Rate) => (
                sqlstate::LIMIT_EXCEEDED,
                c"Unable to accept connection, rate exceeded.".into(),
            ),
            Denial::Server { sqlstate, message } => (sqlstate, c_string(message).into()),
            Denial::NoTls => (sqlstate::PROTOCOL_VIOLATION, TLS_MANDATORY.into()),
            Denial::NoServerName => (sqlstate::PROTOCOL_VIOLATION, NO_SERVER_NAME.into()),
            _ if denial.is_after_iam() => (sqlstate::INVALID_AUTHORIZATION, ACCESS_DENIED.into()),
            _ => (sqlstate::CONNECTION_FAILURE, ACCESS_DENIED.into()),
        };
        Refusal {
            sqlstate,
            message,
            detail: c_string(detail),
            hint,
        }
    }

    fn protocol_violation(&self, message: &'static CStr, reason: &str) -> Refusal {
        let denial = Denial::Protocol(format!("{}: {reason}", message.to_string_lossy()));
        let _ = self.record(None, None, Some(&denial));
        Refusal {
            sqlstate: sqlstate::PROTOCOL_VIOLATION,
            message: message.into(),
            detail: c_string(self.detail()),
            hint: c_string(""),
        }
    }

    /// Records a decision: a line in the server's log, and one in the audit file.
    fn record(
        &self,
        caller: Option<&Caller>,
        action: Option<Action>,
        denial: Option<&Denial>,
    ) -> io::Result<()> {
        let role = self.connection.user().to_string_lossy();
        let address = self.connection.address().to_string_lossy();
        let cluster = settings::cluster().ok();
        let decision = Decision {
            time: UtcDateTime::now(),
            session_id: &self.session_id,
            role: &role,
            address: &address,
            cluster: cluster.as_ref(),
            caller,
            action,
            denial,
        };
        let recorded = audit::record(&decision);
        if let Err(error) = &recorded {
            pgrx::log!("dsql_iam: dsql_iam.audit_file could not be written: {error}");
        }
        // Nobody is let in who is not recorded: then a refusal follows, with a line of its own.
        if recorded.is_ok() || denial.is_some() {
            pgrx::log!("{}", log_line(&decision));
        }
        recorded
    }
}

/// One line for each decision, for machines as well: behind the colon `key=value`, the value as it is or
/// as a JSON string. What a client chose is such a string, so that no line break of theirs makes a line
/// of its own.
fn log_line(decision: &Decision) -> String {
    // JSON leaves the control characters from DEL on as they are, and some of them are a terminal's.
    let escaped = |char: char| match char.is_control() {
        true => format!("\\u{:04x}", u32::from(char)),
        false => char.to_string(),
    };
    let quoted = |text: &str| {
        let json = serde_json::Value::from(text).to_string();
        json.chars().map(escaped).collect::<String>()
    };
    let outcome = match decision.denial {
        None => "admitted",
        Some(_) => "refused",
    };
    let milliseconds = decision.time.truncate_to_millisecond();
    let mut line = format!(
        "dsql_iam: login {outcome}: time={} session_id={} outcome={outcome} role={} address={}",
        milliseconds.format(&Rfc3339).unwrap_or_default(),
        decision.session_id,
        quoted(decision.role),
        quoted(decision.address),
    );
    if let Some(caller) = decision.caller {
        line += &format!(" principal={}", quoted(&caller.arn));
    }
    if let Some(action) = decision.action {
        line += &format!(" action={}", action.iam_name());
    }
    if let Some(denial) = decision.denial {
        let reason = quoted(&denial.to_string());
        line += &format!(" check={} reason={reason}", denial.check());
    }
    line
}

/// 26 characters of lower-case base32, as in Aurora DSQL's refusals.
fn new_session_id() -> String {
    static LOWER: OnceLock<Encoding> = OnceLock::new();
    let encoding = LOWER.get_or_init(|| {
        let mut specification = BASE32_NOPAD.specification();
        specification.symbols.make_ascii_lowercase();
        // The same alphabet in lower case is as good an alphabet.
        specification.encoding().unwrap_or(BASE32_NOPAD)
    });
    let mut bytes = [0u8; 16];
    // SAFETY: fills the array and nothing else. Without randomness the id is less unique; it
    // protects nothing.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    encoding.encode(&bytes)
}
