//! `ClientAuthentication_hook`: admits or refuses each connection.
//!
//! | connection | what happens |
//! |---|---|
//! | PostgreSQL's own method has refused it | it stays refused |
//! | its hba line has another method than `trust` | PostgreSQL's own answer stands |
//! | Unix socket | PostgreSQL's own answer stands |
//! | TCP, `trust`, no TLS and `require_tls` is on | refused before a token is asked for |
//! | TCP, `trust`, the client names another cluster, or none and `require_sni` is on | refused before a token is asked for |
//! | TCP, `trust` | a token is asked for, and all of this has to hold, in this order |
//!
//! 1. `iam` admits the token ([`dsql_iam_core::judge`]).
//! 2. The database is `postgres`, and not for replication, be it physical or logical.
//! 3. The role exists, may log in, and is neither a superuser nor a member of one.
//! 4. The principal's ARN is mapped to the role, unless it is `admin`.
//! 5. PostgreSQL will not refuse the session for a limit or a privilege, as far as that can be told before.
//! 6. The client sets no parameter that Aurora DSQL does not take, if `restrict_parameters` is on.
//! 7. There are not too many connections, or new ones.
//!
//! The session is that role's, or none. Any error in here refuses the connection.

use crate::port::{self, Connection, Fatal, Password, Received, c_string};
use crate::reach::Reach;
use crate::{audit, identities, limits, mappings, settings};
use dsql_iam_core::sigv4::{MAX_TOKEN, Malformed, Token};
use dsql_iam_core::{
    ADMIN, Action, Admission, BadCluster, Caller, Cluster, ConnectionFacts, Denial, Identities,
    LoginEnvironment, LoginRecord, OmittedRecord, RefusalReason, check_claims, cloudtrail_event,
    cloudtrail_omitted, judge_token,
};
use dsql_iam_server::session_parameters::refused_at_startup;
use dsql_iam_server::{
    Refusal, Refused, Written, last_line, log_line, named_cluster, omitted_sentence, session_id,
};
use pgrx::pg_sys::libpq;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{pg_guard, pg_sys};
use std::any::Any;
use std::ffi::{CStr, c_int};
use std::fmt::Write;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use time::UtcDateTime;

static PREVIOUS: OnceLock<libpq::ClientAuthentication_hook_type> = OnceLock::new();

/// A session that began with a token.
pub struct Session {
    /// The id in the refusal's DETAIL and in the log.
    pub id: String,
    /// The principal.
    pub caller: Caller,
    /// The action that its token was signed for.
    action: Option<Action>,
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
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut attempt = Attempt::new(&connection);
        let refusal = attempt.admit().err()?;
        Some(attempt.refused(&refusal))
    }));
    let fatal = match judged {
        Ok(None) => return,
        Ok(Some(fatal)) => fatal,
        // A panic of ours, or an ERROR of the server's, out of memory for one.
        Err(fault) => {
            Attempt::resumed(&connection).refused(&Refusal::Internal(message_of(&*fault)))
        }
    };
    port::refuse(fatal)
}

/// The text that the log has of a fault while deciding: the message of an ERROR, and of a panic none, since that may
/// show secrets that were looked at.
fn message_of(fault: &(dyn Any + Send)) -> String {
    match fault.downcast_ref() {
        Some(CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) => {
            format!("deciding: {}", report.message())
        }
        _ => "deciding".into(),
    }
}

/// Refuses somebody who has been recorded as admitted: PostgreSQL has looked the role's name up again, and it is
/// another role's by now. That is recorded too, under the same session id.
#[pg_guard]
extern "C-unwind" fn refuse_other_role() {
    let refused = catch_unwind(|| {
        let connection = port::current()?;
        let attempt = Attempt::resumed(&connection);
        let role = connection.user().to_string_lossy().into_owned();
        let fault = "is another role since the token was judged";
        Some(attempt.refused(&Refusal::Role { role, fault }))
    });
    // Nobody is let in for an error on the way.
    let internal = Refusal::Internal("refusing".into());
    port::refuse(refused.ok().flatten().unwrap_or_else(|| Fatal {
        sqlstate: c_string(internal.sqlstate()),
        message: c_string(&*internal.message()),
        detail: c_string(""),
        hint: c_string(""),
        is_logged: true,
    }))
}

/// One attempt to log in, and what is known of it so far.
struct Attempt<'c> {
    connection: &'c Connection,
    session_id: String,
    cluster: Result<Cluster, BadCluster>,
    /// The token's action, once it is found to be well formed.
    action: Option<Action>,
    /// The principal, once the signature proves it.
    caller: Option<Caller>,
    /// The error, if the admission could not be recorded.
    unrecorded: Option<io::Error>,
}

impl<'c> Attempt<'c> {
    fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            session_id: random_id(),
            cluster: settings::cluster(),
            action: None,
            caller: None,
            unrecorded: None,
        }
    }

    /// That of the session, if this process has been recorded as admitted, or is about to be.
    fn resumed(connection: &'c Connection) -> Self {
        let attempt = Self::new(connection);
        match session() {
            None => attempt,
            Some(session) => Self {
                session_id: session.id.clone(),
                action: session.action,
                caller: Some(session.caller.clone()),
                ..attempt
            },
        }
    }

    /// The checks of a login in their order; the first that fails decides.
    fn admit(&mut self) -> Result<(), Refusal> {
        let connection = self.connection;
        if settings::requires_tls() && !connection.is_tls() {
            return Err(Refusal::NoTls);
        }
        self.check_cluster()?;
        let password = ask_password()?;
        let judged = self.judge(password.bytes());
        drop(password);
        let caller = judged?.caller;
        check_database(connection)?;
        let role = check_role(connection.user(), &caller.mapped_arn)?;
        if let Some((sqlstate, message)) = port::startup_fault(role, connection.database()) {
            return Err(Refusal::Server { sqlstate, message });
        }
        check_parameters(connection)?;
        // Last, so that nobody without a token that is good uses up what is meant for others.
        limits::begin().map_err(Refusal::Limit)?;
        let detail = c_string(self.detail());
        if let Some(duration) = settings::max_connection_duration() {
            port::limit_session(duration, settings::max_connection_overtime(), &detail);
        }
        let principal = c_string(caller.arn.as_str());
        self.tell_omitted(UtcDateTime::now());
        // Before the record, so that a refusal behind it is of this session, and is written.
        let _ = SESSION.set(Session {
            id: self.session_id.clone(),
            caller,
            action: self.action,
        });
        if let Err(error) = self.record(None, Written::Whole) {
            self.unrecorded = Some(error);
            return Err(Refusal::Internal("writing the audit file".into()));
        }
        connection.set_principal(&principal);
        port::expect_role(role, refuse_other_role);
        Ok(())
    }

    /// Refuses a client that names another cluster, or none where it has to, before it is asked for its token: by
    /// Server Name Indication, or by the option that is there for clients without it. From here on the cluster is
    /// the one that it names.
    fn check_cluster(&mut self) -> Result<(), Refusal> {
        // Without a cluster the login is refused for that.
        let Ok(cluster) = &self.cluster else {
            return Ok(());
        };
        let server_name = self.connection.server_name().to_string_lossy();
        let options = self.connection.options().to_string_lossy();
        let named = named_cluster(cluster, &server_name, &options)?;
        if settings::requires_sni() && named.is_none() {
            if server_name.is_empty() {
                return Err(Refusal::NoServerName);
            }
            if !cluster.answers_to(&server_name) {
                return Err(Refusal::InvalidServerName(server_name.into_owned()));
            }
        }
        if let Some(named) = named {
            self.cluster = Ok(named.alone());
        }
        Ok(())
    }

    /// IAM's part: whether the password is a token that may log in as this role.
    fn judge(&mut self, password: &[u8]) -> Result<Admission, Refusal> {
        // A malformed token is reported as such even where the cluster is not configured.
        let token = std::str::from_utf8(password)
            .map_err(|_| Malformed::NoUrl)
            .and_then(Token::parse)
            .map_err(Denial::from)?;
        self.action = Some(token.action);
        let cluster = self.cluster.as_ref().map_err(Clone::clone)?;
        // The record is of the one that the token is for, as the judgement is.
        let cluster = cluster.signed_for(token.host).alone();
        self.cluster = Ok(cluster.clone());
        let role = self.connection.user().to_string_lossy();
        // Asking the directory for changes is the expensive step, so the cheap checks come first.
        check_claims(&token, &role, &cluster, UtcDateTime::now())?;
        let identities = identities_for(&token.credential.access_key_id)?;
        let description = identities.cluster(&cluster.arn());
        if let Some(refusal) = description.and_then(|one| Refusal::of_status(&one.status)) {
            return Err(refusal);
        }
        let environment = LoginEnvironment {
            now: UtcDateTime::now(),
            cluster: &cluster,
            identities: &identities,
            connection: facts(self.connection),
        };
        let outcome = judge_token(&token, &role, &environment).outcome;
        self.caller = match &outcome {
            Ok(admission) => Some(admission.caller.clone()),
            Err(refused) => refused.caller.clone(),
        };
        outcome.map_err(|refused| refused.denial.into())
    }

    /// The DETAIL of the message that ends the session.
    fn detail(&self) -> String {
        format!("Session Id: {}", self.session_id)
    }

    /// Records the refusal, and gives what the client hears of it; the full reason is the log's.
    fn refused(&self, refusal: &Refusal) -> Fatal {
        let now = UtcDateTime::now();
        // First, so that there is room for those of this minute.
        self.tell_omitted(now);
        let written = match session() {
            // The log may have it as admitted, which is not true any more.
            Some(_) if self.unrecorded.is_none() => Written::Whole,
            _ => limits::note_refusal(self.refused_one(), now),
        };
        // A refusal that cannot be recorded is one all the same.
        let _ = self.record(Some(refusal), written);
        let mut detail = self.detail();
        if settings::explains_denials() {
            let _ = write!(detail, "\n{refusal}");
        }
        Fatal {
            sqlstate: c_string(refusal.sqlstate()),
            message: c_string(&*refusal.message()),
            detail: c_string(detail),
            hint: c_string(refusal.hint().unwrap_or_default()),
            is_logged: written != Written::Omitted,
        }
    }

    /// Whose budget of written refusals counts.
    fn refused_one(&self) -> Refused<'_> {
        match &self.caller {
            Some(caller) => Refused::Principal(&caller.mapped_arn),
            None => Refused::Stranger(facts(self.connection).source_ip),
        }
    }

    /// Records the decision: a line in the server's log, and one in the audit file. Refusals beyond
    /// `dsql_iam.max_logged_refusals` are counted.
    fn record(&self, refusal: Option<&Refusal>, written: Written) -> io::Result<()> {
        let reason = refusal.map(ToString::to_string).unwrap_or_default();
        let role = self.connection.user().to_string_lossy();
        let address = self.connection.address().to_string_lossy();
        let decision = LoginRecord {
            time: UtcDateTime::now(),
            session_id: &self.session_id,
            role: &role,
            address: &address,
            cluster: self.cluster.as_ref().ok(),
            caller: self.caller.as_ref(),
            action: self.action,
            refused: refusal.map(|refusal| RefusalReason {
                check: refusal.check(),
                reason: &reason,
            }),
        };
        // Refusals that cost nothing do not fill the disk: they are counted.
        let is_omitted = written == Written::Omitted;
        let recorded = match refusal {
            Some(refusal) if is_omitted || refusal.is_before_token() => Ok(()),
            _ => audit::record(|| cloudtrail_event(&decision)),
        };
        // Nobody is let in who is not recorded: then a refusal follows, which tells the error.
        if recorded.is_err() && refusal.is_none() {
            return recorded;
        }
        let error = self.unrecorded.as_ref().or(recorded.as_ref().err());
        if !is_omitted {
            if let Some(error) = error {
                log_unrecorded(error);
            }
            pgrx::log!("{}", log_line(&decision));
        }
        let principal = decision.caller.map(|caller| caller.mapped_arn.as_str());
        if let Some(line) = last_line(written, &address, principal) {
            pgrx::log!("{line}");
        }
        limits::counts().login(refusal.map(Refusal::check));
        recorded
    }

    /// Tells the refusals that were left out, in minutes that are over.
    fn tell_omitted(&self, now: UtcDateTime) {
        let mut is_recorded = true;
        while let Some(omitted) = limits::omitted_refusals(now) {
            let sentence = omitted_sentence(&omitted);
            pgrx::log!("dsql_iam: {sentence}");
            let address = omitted.whose.network().map(|network| network.to_string());
            let record = OmittedRecord {
                time: now,
                id: &random_id(),
                cluster: self.cluster.as_ref().ok(),
                address: address.as_deref(),
                principal: omitted.whose.principal(),
                count: omitted.count,
                sentence: &sentence,
            };
            // A file that stays locked is not waited for again.
            if is_recorded && let Err(error) = audit::record(|| cloudtrail_omitted(&record)) {
                is_recorded = false;
                log_unrecorded(&error);
            }
        }
    }
}

fn log_unrecorded(error: &io::Error) {
    pgrx::log!("dsql_iam: dsql_iam.audit_file could not be written: {error}");
}

/// An id as each session has one.
fn random_id() -> String {
    let mut random = [0; 16];
    // SAFETY: fills the array and nothing else. Without randomness the id is less unique; it protects nothing.
    unsafe { pg_sys::pg_strong_random(random.as_mut_ptr().cast(), random.len()) };
    session_id(random)
}

/// Asks the client for its token.
fn ask_password() -> Result<Password, Refusal> {
    let violation = |message, came: &str| {
        Err(Refusal::Protocol {
            message,
            came: came.to_owned(),
        })
    };
    match port::ask_password(MAX_TOKEN) {
        Received::Password(password) => Ok(password),
        Received::Nothing => port::exit_quietly(),
        Received::OtherMessage(kind) => violation(
            "expected password response",
            &format!("got message type {kind}"),
        ),
        Received::Broken => violation("invalid password packet size", "too long or cut off"),
        Received::BadSize => violation("invalid password packet size", "empty or with a NUL"),
    }
}

/// The identities by which a login with this access key is judged at this moment.
///
/// # Errors
/// If the documents do not allow any login.
pub fn identities_for(access_key_id: &str) -> Result<Identities, Refusal> {
    identities::current(&settings::iam_directory(), access_key_id)
}

/// The connection, as a policy's conditions see it.
pub fn facts(connection: &Connection) -> ConnectionFacts {
    let address = connection.address().to_string_lossy();
    // A link-local address has its interface behind a percent sign, which is no part of it.
    let (address, _) = address.split_once('%').unwrap_or((&address, ""));
    ConnectionFacts {
        source_ip: address.parse().ok(),
        is_tls: connection.is_tls(),
    }
}

/// PostgreSQL sets what the client sends once it is authenticated.
fn check_parameters(connection: &Connection) -> Result<(), Refusal> {
    if !settings::restricts_parameters() {
        return Ok(());
    }
    let names = connection.startup_parameters();
    let names: Vec<_> = names.map(CStr::to_string_lossy).collect();
    let options = connection.options().to_string_lossy();
    let refused = refused_at_startup(&options, names.iter().map(|name| &**name));
    refused.map_or(Ok(()), |name| Err(Refusal::Parameter(name)))
}

fn check_database(connection: &Connection) -> Result<(), Refusal> {
    if connection.is_replication() {
        return Err(Refusal::Database("replication".into()));
    }
    if connection.database() != c"postgres" {
        let database = connection.database().to_string_lossy().into_owned();
        return Err(Refusal::Database(database));
    }
    Ok(())
}

/// Whether the principal with this IAM ARN may be this role: the checks that follow IAM's. Gives the role.
///
/// # Errors
/// Why not.
pub fn check_role(name: &CStr, arn: &str) -> Result<pg_sys::Oid, Refusal> {
    let role = name.to_string_lossy();
    let unusable = |fault| Refusal::Role {
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
        return Err(Refusal::Mapping {
            role: role.into_owned(),
            arn: arn.to_owned(),
        });
    }
    // Behind the mapping, so that how long it takes tells nothing to those that have none.
    match Reach::of(oid) {
        Reach::Superuser(_) => Err(unusable("is a member of a superuser")),
        _ => Ok(oid),
    }
}
