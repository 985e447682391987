//! The safe face of the files in C, `port.c` above all: the connection that is being authenticated, and
//! reports that pgrx cannot make.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{FromDatum, IntoDatum, PgTryBuilder, Spi, pg_sys, spi};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// `NI_MAXHOST` of `netdb.h`.
const NI_MAXHOST: usize = 1025;

/// Mirrors `DsqlIamConnection` in `port.c`.
#[repr(C)]
struct RawConnection {
    user: *const c_char,
    database: *const c_char,
    options: *const c_char,
    server_name: *const c_char,
    address: [c_char; NI_MAXHOST],
    is_trust: bool,
    is_tcp: bool,
    is_tls: bool,
    is_replication: bool,
}

mod c {
    use super::{RawConnection, RawLexer, RawReachedRole, c_char, c_int, c_void, pg_sys};
    unsafe extern "C-unwind" {
        pub fn dsql_iam_connection(port: *mut c_void, out: *mut RawConnection);
        pub fn dsql_iam_startup_parameter(port: *mut c_void, at: c_int) -> *const c_char;
        pub fn dsql_iam_ask_password(
            max_length: c_int,
            password: *mut *mut c_char,
            detail: *mut c_int,
        ) -> c_int;
        pub fn dsql_iam_wipe(password: *mut c_char, length: c_int);
        pub fn dsql_iam_set_principal(port: *mut c_void, arn: *const c_char);
        pub fn dsql_iam_install_log_filter();
        pub fn dsql_iam_limit_session(duration_ms: i64, overtime_ms: i64, detail: *const c_char);
        pub fn dsql_iam_refuse(
            sqlstate: *const c_char,
            message: *const c_char,
            detail: *const c_char,
            hint: *const c_char,
            is_logged: bool,
        ) -> !;
        pub fn dsql_iam_out_of_memory(size: usize);
        pub fn dsql_iam_syntax_error(query: *const c_char, at: c_int, len: c_int) -> !;
        pub fn dsql_iam_log_ddl(query: *const c_char, location: c_int, len: c_int);
        pub fn dsql_iam_report(level: c_int, message: *const c_char);
        pub fn dsql_iam_keyword_hash_slot() -> *mut c_void;
        pub fn dsql_iam_has_label(role: pg_sys::Oid, prefix: *const c_char) -> bool;
        pub fn dsql_iam_reached_roles(role: pg_sys::Oid, out: *mut *mut RawReachedRole) -> c_int;
        pub fn dsql_iam_guard_role_setting(refuses: extern "C-unwind" fn() -> bool) -> bool;
        pub fn dsql_iam_note_users_hba_file(users: *const c_char, own: *const c_char) -> bool;
        pub fn dsql_iam_startup_fault(
            role: pg_sys::Oid,
            database: *const c_char,
            message: *mut *const c_char,
        ) -> *const c_char;
        pub fn dsql_iam_expect_role(role: pg_sys::Oid, otherwise: extern "C-unwind" fn());
        pub fn dsql_iam_lexer(word: *const c_char, len: usize, out: *mut RawLexer) -> bool;
        pub fn dsql_iam_lexer_may_follow(
            word: *const c_char,
            len: usize,
            next: *const c_char,
        ) -> bool;
        pub fn dsql_iam_lexer_prepare() -> bool;
        pub fn dsql_iam_lexer_is_live(lexer: *const RawLexer) -> bool;
        pub fn proc_exit(code: c_int) -> !;
        pub fn dsql_iam_loads_tls() -> bool;
        /// The server's own, without the guard that pgrx puts around it.
        pub fn standard_ProcessUtility(
            planned: *mut pg_sys::PlannedStmt,
            query: *const c_char,
            read_only_tree: bool,
            context: pg_sys::ProcessUtilityContext::Type,
            params: pg_sys::ParamListInfo,
            environment: *mut pg_sys::QueryEnvironment,
            receiver: *mut pg_sys::DestReceiver,
            completion: *mut pg_sys::QueryCompletion,
        );
    }
}

/// Whether the server's certificate and key can be loaded, in this process; the log has why not.
pub fn loads_tls() -> bool {
    // SAFETY: a session's own encryption stays as it is. It logs, and an ERROR would end in the guard.
    unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_loads_tls()) }
}

/// The last argument of `post_parse_analyze_hook`, which 19 makes constant.
#[cfg(not(feature = "pg19"))]
pub type Jumble = *mut pg_sys::JumbleState;
#[cfg(feature = "pg19")]
pub type Jumble = *const pg_sys::JumbleState;

/// A ProcessUtility hook, or the function that it stands before.
pub type ProcessUtility = unsafe extern "C-unwind" fn(
    *mut pg_sys::PlannedStmt,
    *const c_char,
    bool,
    pg_sys::ProcessUtilityContext::Type,
    pg_sys::ParamListInfo,
    *mut pg_sys::QueryEnvironment,
    *mut pg_sys::DestReceiver,
    *mut pg_sys::QueryCompletion,
);

/// The server's own function for utility statements, for where there is no hook before.
pub fn standard_process_utility() -> ProcessUtility {
    c::standard_ProcessUtility
}

/// A connection that is being authenticated.
pub struct Connection {
    port: *mut c_void,
    raw: RawConnection,
}

impl Connection {
    /// Looks at the server's `Port`.
    ///
    /// # Safety
    /// `port` must be the `Port` that `ClientAuthentication` was called with.
    pub unsafe fn new(port: *mut c_void) -> Self {
        let mut raw = RawConnection {
            user: std::ptr::null(),
            database: std::ptr::null(),
            options: std::ptr::null(),
            server_name: std::ptr::null(),
            address: [0; NI_MAXHOST],
            is_trust: false,
            is_tcp: false,
            is_tls: false,
            is_replication: false,
        };
        // SAFETY: the caller vouches for `port`; `raw` has the layout that `port.c` fills in.
        unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_connection(port, &mut raw)) };
        Self { port, raw }
    }

    /// Whether this is a connection that only a token opens: the hba line says `trust`, and it
    /// did not come over a Unix socket.
    pub fn wants_token(&self) -> bool {
        self.raw.is_trust && self.raw.is_tcp
    }

    /// Whether the connection is encrypted with TLS.
    pub fn is_tls(&self) -> bool {
        self.raw.is_tls
    }

    /// Whether the client asks for replication, physical or logical.
    pub fn is_replication(&self) -> bool {
        self.raw.is_replication
    }

    /// The role asked for, as sent.
    pub fn user(&self) -> &CStr {
        // SAFETY: a string of the Port, which lives as long as the process.
        unsafe { or_empty(self.raw.user) }
    }

    /// The database asked for, as sent.
    pub fn database(&self) -> &CStr {
        // SAFETY: as above.
        unsafe { or_empty(self.raw.database) }
    }

    /// The `options` of the connection string, as sent.
    pub fn options(&self) -> &CStr {
        // SAFETY: as above.
        unsafe { or_empty(self.raw.options) }
    }

    /// The names of the parameters that the startup packet has besides, as sent.
    pub fn startup_parameters(&self) -> impl Iterator<Item = &CStr> {
        // SAFETY: `port` is the Port of this connection; its strings live as long as the process.
        (0..).map_while(|at| unsafe {
            let name = pg_guard_ffi_boundary(|| c::dsql_iam_startup_parameter(self.port, at));
            (!name.is_null()).then(|| CStr::from_ptr(name))
        })
    }

    /// The name in TLS's Server Name Indication; empty without it.
    pub fn server_name(&self) -> &CStr {
        // SAFETY: a string of OpenSSL's, which lives as long as the connection.
        unsafe { or_empty(self.raw.server_name) }
    }

    /// The client's numeric address.
    pub fn address(&self) -> &CStr {
        // SAFETY: `port.c` terminates the array.
        unsafe { CStr::from_ptr(self.raw.address.as_ptr()) }
    }

    /// Tells PostgreSQL who was authenticated, for `log_connections` and `SYSTEM_USER`.
    pub fn set_principal(&self, arn: &CStr) {
        // SAFETY: `port` is the Port of this connection; the string is copied.
        unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_set_principal(self.port, arn.as_ptr())) };
    }
}

/// The connection of this session; `None` in a process that has none.
pub fn current() -> Option<Connection> {
    // SAFETY: a pointer of the server's, to the Port that this process was started for.
    unsafe {
        let port = pg_sys::MyProcPort;
        (!port.is_null()).then(|| Connection::new(port.cast()))
    }
}

/// The string at `text`, or an empty one for a null pointer.
///
/// # Safety
/// `text` must be null or a string that lives for `'a`.
unsafe fn or_empty<'a>(text: *const c_char) -> &'a CStr {
    if text.is_null() {
        return c"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
}

/// Keeps PostgreSQL from logging somebody as authenticated before the library is asked.
pub fn install_log_filter() {
    // SAFETY: sets a hook; called while the server loads libraries.
    unsafe { c::dsql_iam_install_log_filter() };
}

/// The client's answer to the request for its password.
pub enum Received {
    /// A password. It is wiped when it is dropped.
    Password(Password),
    /// The client went away, as psql does to ask its user first.
    Nothing,
    /// A message of this type instead.
    OtherMessage(c_int),
    /// A message that is too long, or that was cut off.
    Broken,
    /// An empty password, or one with a NUL in it.
    BadSize,
}

/// The password that the client sent, in memory that is overwritten afterwards.
pub struct Password {
    text: *mut c_char,
    length: c_int,
}

impl Password {
    /// The password's bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a NUL-terminated string of this process, ours until `drop`.
        unsafe { CStr::from_ptr(self.text) }.to_bytes()
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        // SAFETY: palloc'ed by `dsql_iam_ask_password`, and given back once.
        unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_wipe(self.text, self.length)) };
    }
}

/// Asks the client for its password in clear text and reads the answer, of at most `max` bytes.
///
/// PostgreSQL's `authentication_timeout` ends the process if the answer does not come.
pub fn ask_password(max: usize) -> Received {
    let mut text: *mut c_char = std::ptr::null_mut();
    let mut detail: c_int = 0;
    let max = c_int::try_from(max).unwrap_or(c_int::MAX - 8);
    // SAFETY: called while the connection is authenticated, when the protocol expects just this.
    let received =
        unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_ask_password(max, &mut text, &mut detail)) };
    let password = (!text.is_null()).then(|| Password {
        text,
        length: detail,
    });
    match (received, password) {
        (0, Some(password)) => Received::Password(password),
        (1, _) => Received::Nothing,
        (2, _) => Received::OtherMessage(detail),
        (4, _) => Received::BadSize,
        _ => Received::Broken,
    }
}

/// Ends the session that begins after `duration`, between two statements; a transaction that is
/// open then has `overtime` more. The client is told `detail`. See `session_end.c`.
pub fn limit_session(duration: Duration, overtime: Duration, detail: &CStr) {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4000);
    let (duration, overtime) = (milliseconds(duration), milliseconds(overtime));
    // SAFETY: called once, after the timers of the process are there; the string is copied.
    unsafe {
        pg_guard_ffi_boundary(|| c::dsql_iam_limit_session(duration, overtime, detail.as_ptr()));
    }
}

/// A refusal in the form in which it is sent. Empty strings stand for no DETAIL and no HINT.
pub struct Fatal {
    /// Five characters.
    pub sqlstate: CString,
    /// The primary message.
    pub message: CString,
    /// DETAIL
    pub detail: CString,
    /// HINT
    pub hint: CString,
    /// Whether the server's log has it as well.
    pub is_logged: bool,
}

/// Text for PostgreSQL. A NUL, which it cannot hold, ends it.
pub fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    CString::new(bytes).unwrap_or_default()
}

/// Sends the refusal and ends the process.
pub fn refuse(fatal: Fatal) -> ! {
    let Fatal {
        sqlstate,
        message,
        detail,
        hint,
        is_logged,
    } = fatal;
    // The process ends inside the call, so nothing is dropped after it: the strings are given
    // up on purpose. SAFETY: four strings, of which the first has five characters.
    unsafe {
        c::dsql_iam_refuse(
            sqlstate.into_raw(),
            message.into_raw(),
            detail.into_raw(),
            hint.into_raw(),
            is_logged,
        )
    }
}

/// Ends the process with FATAL if it serves a client; otherwise does nothing.
///
/// Without a guard, which would need memory.
pub fn out_of_memory(size: usize) {
    // SAFETY: does not come back, or does nothing; never raises an ERROR.
    unsafe { c::dsql_iam_out_of_memory(size) };
}

/// Raises 42601 for the `len` bytes at byte `at` of `query`; no bytes stand for its end.
///
/// # Safety
/// To be called outside of any guard, with nothing alive that has a destructor: the ERROR jumps
/// over the caller. `query` must be a C string with these bytes.
pub unsafe fn syntax_error(query: *const c_char, at: usize, len: usize) -> ! {
    let as_int = |number| c_int::try_from(number).unwrap_or(0);
    // SAFETY: the caller's promise.
    unsafe { c::dsql_iam_syntax_error(query, as_int(at), as_int(len)) }
}

/// Logs one statement of `query` if `log_statement` is `ddl` or `mod`: the `len` bytes at `location`, as
/// in `PlannedStmt`, where a `len` of 0 is the rest.
pub fn log_ddl(query: &CStr, location: c_int, len: c_int) {
    // SAFETY: a string that lives during the call, and a statement of it.
    unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_log_ddl(query.as_ptr(), location, len)) };
}

/// The value in the first row of what a query reads. It takes no transaction id, as [`Spi::get_one`] does: a standby has
/// none.
///
/// # Errors
/// Those of SPI; `InvalidPosition` if there is no row.
pub fn read_one<T: FromDatum + IntoDatum>(
    query: &str,
    arguments: &[DatumWithOid<'_>],
) -> spi::Result<Option<T>> {
    Spi::connect(|client| client.select(query, Some(1), arguments)?.first().get_one())
}

/// Writes a line into the log, without the statement that happens to run: a token may stand in it.
pub fn log(message: impl Into<Vec<u8>>) {
    report(pg_sys::LOG, message);
}

/// The same as a warning.
pub fn warn(message: impl Into<Vec<u8>>) {
    report(pg_sys::WARNING, message);
}

fn report(level: u32, message: impl Into<Vec<u8>>) {
    let message = c_string(message);
    // SAFETY: a string that lives during the call; both levels come back.
    unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_report(level as c_int, message.as_ptr())) };
}

/// Whether `role`, or any role, has a security label whose provider starts with `prefix`: what is
/// committed, and what this transaction has done. Needs an open database. See `roles.c`.
pub fn has_label(role: Option<pg_sys::Oid>, prefix: &CStr) -> bool {
    let role = role.unwrap_or(pg_sys::InvalidOid);
    // SAFETY: scans a catalog; the string lives during the call.
    unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_has_label(role, prefix.as_ptr())) }
}

/// Mirrors `DsqlIamReachedRole` in `roles.c`.
#[repr(C)]
struct RawReachedRole {
    name: [c_char; pg_sys::NAMEDATALEN as usize],
    is_superuser: bool,
    is_predefined: bool,
    can_replicate: bool,
    bypasses_rls: bool,
}

/// A role that another one is, or may act as.
pub struct ReachedRole {
    /// Its name.
    pub name: String,
    /// SUPERUSER
    pub is_superuser: bool,
    /// Whether its name starts with `pg_`, as PostgreSQL's predefined roles' do, and no others can.
    pub is_predefined: bool,
    /// REPLICATION
    pub can_replicate: bool,
    /// BYPASSRLS
    pub bypasses_rls: bool,
}

/// The role itself, and all that it may act as by its memberships, one behind the other; none if there is no
/// such role. Works before a database is open. See `roles.c`.
pub fn reached_roles(role: pg_sys::Oid) -> Vec<ReachedRole> {
    let mut found = std::ptr::null_mut();
    // SAFETY: looks up shared catalogs, and fills an array of as many elements as it says, which is given back.
    unsafe {
        let len = pg_guard_ffi_boundary(|| c::dsql_iam_reached_roles(role, &mut found));
        let raw = std::slice::from_raw_parts(found, usize::try_from(len).unwrap_or(0));
        let roles = raw.iter().map(|role| ReachedRole {
            name: CStr::from_ptr(role.name.as_ptr())
                .to_string_lossy()
                .into_owned(),
            is_superuser: role.is_superuser,
            is_predefined: role.is_predefined,
            can_replicate: role.can_replicate,
            bypasses_rls: role.bypasses_rls,
        });
        let roles = roles.collect();
        pg_sys::pfree(found.cast());
        roles
    }
}

/// Why PostgreSQL would not begin a session of `role`, which is no superuser, in `database`: SQLSTATE and
/// message, if there is something. See `startup.c`.
pub fn startup_fault(role: pg_sys::Oid, database: &CStr) -> Option<(String, String)> {
    let mut message = std::ptr::null();
    // SAFETY: looks up shared catalogs and counts processes. The SQLSTATE is a constant, and the message
    // a string of this process, there if the SQLSTATE is.
    unsafe {
        let sqlstate = pg_guard_ffi_boundary(|| {
            c::dsql_iam_startup_fault(role, database.as_ptr(), &mut message)
        });
        (!sqlstate.is_null()).then(|| {
            let text = |text: &CStr| text.to_string_lossy().into_owned();
            (text(CStr::from_ptr(sqlstate)), text(or_empty(message)))
        })
    }
}

/// Has `otherwise` called, which must end the process, if PostgreSQL makes the session that begins another role's:
/// it looks the role up again by its name, which may be another's by then. See `startup.c`.
pub fn expect_role(role: pg_sys::Oid, otherwise: extern "C-unwind" fn()) {
    // SAFETY: notes a function to be called.
    unsafe { pg_guard_ffi_boundary(|| c::dsql_iam_expect_role(role, otherwise)) };
}

/// Keeps sessions that may not become `admin` from it, however the setting `role` is set, and each session for which
/// `refuses` is true from every other role. To be called once, while the server starts; gives false if there is no
/// such setting. See `server_settings.c`.
pub fn guard_role_setting(refuses: extern "C-unwind" fn() -> bool) -> bool {
    // SAFETY: puts a function into the server's table of settings, which has one thread.
    unsafe { c::dsql_iam_guard_role_setting(refuses) }
}

/// Has `hba_file`, where `postgresql.conf` sets it to the user's file, be no change while our own file is in force.
/// To be called once, while the server starts; gives false if there is no memory for it. See `server_settings.c`.
pub fn note_users_hba_file(users: &CStr, own: &CStr) -> bool {
    // SAFETY: as above; the two strings are copied.
    unsafe { c::dsql_iam_note_users_hba_file(users.as_ptr(), own.as_ptr()) }
}

/// Whether the server's parser takes a text, and its first statement is one that `fits`.
pub fn parses(text: &CStr, fits: impl Fn(*mut pg_sys::Node) -> bool) -> bool {
    PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: parses a text; the nodes are looked at and left to the memory context.
        unsafe {
            let list = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
            let statements = pgrx::PgList::<pg_sys::RawStmt>::from_pg(list);
            let statement = statements.get_ptr(0).map(|raw| (*raw).stmt);
            statement.is_some_and(&fits)
        }
    }))
    .catch_others(|_| false)
    .execute()
}

/// Hashes a word of `len` bytes for PostgreSQL's keyword table.
pub type KeywordHash = unsafe extern "C-unwind" fn(word: *const c_void, len: usize) -> c_int;

/// The place in the server's keyword table that holds its hash function.
pub fn keyword_hash_slot() -> *mut KeywordHash {
    // SAFETY: gives an address and does nothing else.
    unsafe { c::dsql_iam_keyword_hash_slot().cast() }
}

/// Mirrors `DsqlIamLexer` in `lexer.c`.
#[repr(C)]
struct RawLexer {
    buffer: *mut u8,
    len: usize,
    hidden: u8,
    extra: *const c_void,
}

/// The lexer that asks about a word.
pub struct Lexer {
    raw: RawLexer,
    /// Where in its buffer the word starts.
    pub word: usize,
    /// The byte behind the word, which the lexer hides under a NUL.
    pub hidden: u8,
}

impl Lexer {
    /// Makes [`Self::at`] ready, or says that it never finds anything on this system.
    pub fn prepare() -> bool {
        // SAFETY: maps a page and gives it back, while the server has one thread.
        unsafe { c::dsql_iam_lexer_prepare() }
    }

    /// Whether it can be worth looking for a lexer of which the next word starts with these two letters, in
    /// lower case.
    ///
    /// # Safety
    /// The word is a string of this length, with a byte behind it.
    pub unsafe fn may_find(word: *const c_void, len: usize, next: &[u8; 2]) -> bool {
        // SAFETY: reads no other page of memory than the one that the byte behind the word is on.
        unsafe { c::dsql_iam_lexer_may_follow(word.cast(), len, next.as_ptr().cast()) }
    }

    /// Finds the lexer that stands behind the word; nothing if somebody else asks. See `lexer.c`.
    ///
    /// # Safety
    /// To be called from the keyword table's hash function, with the word that it was called with.
    /// The lexer must not outlive that call.
    pub unsafe fn at(word: *const c_void, len: usize) -> Option<Self> {
        let mut raw = RawLexer {
            buffer: std::ptr::null_mut(),
            len: 0,
            hidden: 0,
            extra: std::ptr::null(),
        };
        // SAFETY: reads only what can be read, and raises nothing. The word is in the buffer.
        unsafe {
            c::dsql_iam_lexer(word.cast(), len, &mut raw).then(|| Self {
                word: word.cast::<u8>().offset_from_unsigned(raw.buffer),
                hidden: raw.hidden,
                raw,
            })
        }
    }

    /// Whether this lexer is at work, rather than what one has left behind in memory.
    pub fn is_live(&self) -> bool {
        // SAFETY: unwinds the stack, and raises nothing.
        unsafe { c::dsql_iam_lexer_is_live(&self.raw) }
    }

    /// The query that it reads, in a copy of its own.
    pub fn buffer(&mut self) -> &mut [u8] {
        // SAFETY: the lexer's own struct says so, and it waits for an answer meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.raw.buffer, self.raw.len) }
    }
}

/// Ends the process without a word, as PostgreSQL does when a client goes away.
pub fn exit_quietly() -> ! {
    // SAFETY: the way every backend ends.
    unsafe { c::proc_exit(0) }
}
