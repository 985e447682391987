//! `CREATE INDEX ASYNC`: which statement is one, and what is done then.
//!
//! `syntax.rs` gets it past the grammar; from then on it is a `CREATE INDEX` whose text, which was never
//! changed, says `ASYNC`. At the top level, and where a program executes it as a string, it gives the row
//! with the id of its job, by `async_index.c`. Where it stands in the body of a function or a `DO`, it gives
//! none, since PL/pgSQL would complain of a row that nobody takes. Either way the index is there at once, and
//! the job, which `sys.jobs` has, is over.

use crate::parse_tree::text;
use crate::port::{self, Jumble, ProcessUtility};
use dsql_iam_server::async_index::is_async;
use dsql_iam_server::session_id;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, function_name, pg_extern, pg_sys};
use std::ffi::{CStr, c_char, c_int};
use std::panic::catch_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

mod c {
    use crate::port::ProcessUtility;
    use pgrx::pg_sys;
    use std::ffi::c_char;
    // In `async_index.c`. Those that raise are called outside of any guard.
    unsafe extern "C-unwind" {
        pub fn dsql_iam_watch_new_indexes();
        pub fn dsql_iam_announce_job(query: *mut pg_sys::Query);
        pub fn dsql_iam_is_announced(statement: *mut pg_sys::Node) -> bool;
        pub fn dsql_iam_run_announced(
            planned: *mut pg_sys::PlannedStmt,
            query: *const c_char,
            read_only_tree: bool,
            context: pg_sys::ProcessUtilityContext::Type,
            params: pg_sys::ParamListInfo,
            environment: *mut pg_sys::QueryEnvironment,
            receiver: *mut pg_sys::DestReceiver,
            completion: *mut pg_sys::QueryCompletion,
        );
        pub fn dsql_iam_build_index(
            id: *const u8,
            next: ProcessUtility,
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

static PREVIOUS: OnceLock<pg_sys::post_parse_analyze_hook_type> = OnceLock::new();

/// A job's id, as a C string.
pub type JobId = [u8; 27];

/// Whether the syntax is there, and the hooks are.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Whether `CREATE INDEX ASYNC` is taken on this server.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Takes `CREATE INDEX ASYNC` from now on, if the parser does. Called once, while the server starts, when the
/// lexer's hook is in its place.
///
/// # Errors
/// Why it cannot be had on this server; everything is then as it was.
pub fn install() -> Result<(), String> {
    IS_ON.store(true, Ordering::Relaxed);
    if !is_understood() {
        IS_ON.store(false, Ordering::Relaxed);
        return Err("the server's parser refused a sample statement".into());
    }
    // SAFETY: the server has one thread, and calls no hook while it loads libraries.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::post_parse_analyze_hook);
        pg_sys::post_parse_analyze_hook = Some(post_parse_analyze);
        c::dsql_iam_watch_new_indexes();
    }
    Ok(())
}

/// Whether the parser takes a sample for the `CREATE INDEX` that it should become.
fn is_understood() -> bool {
    let is_index = |node: *mut pg_sys::Node| {
        // SAFETY: a statement, as its tag tells; its name is a string or null.
        unsafe {
            let statement: *mut pg_sys::IndexStmt = node.cast();
            (*node).type_ == pg_sys::NodeTag::T_IndexStmt
                && text((*statement).idxname) == Some(c"example")
        }
    };
    port::parses(c"CREATE INDEX ASYNC example ON t (a)", is_index)
}

/// Outside of any guard, so that an ERROR of the server's or of another library's passes as it is. Nothing
/// with a destructor is alive here.
unsafe extern "C-unwind" fn post_parse_analyze(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: Jumble,
) {
    // SAFETY: the arguments are as the hook's contract says.
    unsafe {
        if let Some(Some(previous)) = PREVIOUS.get() {
            previous(state, query, jumble);
        }
        // PL/pgSQL and SQL functions look up names in what stands in their bodies.
        let is_in_body = (*state).p_post_columnref_hook.is_some();
        if !is_in_body
            && (*query).commandType == pg_sys::CmdType::CMD_UTILITY
            && is_job(
                (*query).utilityStmt,
                (*state).p_sourcetext,
                (*query).stmt_location,
            )
        {
            c::dsql_iam_announce_job(query);
        }
    }
}

/// The utility hook's task for a statement.
pub enum Task {
    /// Nothing.
    None,
    /// Carry out a `CREATE INDEX` and give its row: [`run_announced`].
    Announced,
    /// Build the index, and record the job with this id: [`build_index`].
    Build(JobId),
}

/// Carries out [`Task::Announced`]; a utility hook, with the contract of one.
pub fn run_announced() -> ProcessUtility {
    c::dsql_iam_run_announced
}

/// Carries out [`Task::Build`].
pub fn build_index() -> BuildIndex {
    c::dsql_iam_build_index
}

/// Takes a job's id, the hook that carries out the `CREATE INDEX`, and the utility hook's arguments.
pub type BuildIndex = unsafe extern "C-unwind" fn(
    *const u8,
    ProcessUtility,
    *mut pg_sys::PlannedStmt,
    *const c_char,
    bool,
    pg_sys::ProcessUtilityContext::Type,
    pg_sys::ParamListInfo,
    *mut pg_sys::QueryEnvironment,
    *mut pg_sys::DestReceiver,
    *mut pg_sys::QueryCompletion,
);

/// The task for a statement of `query`.
///
/// # Safety
/// As the utility hook's contract says.
pub unsafe fn task(
    planned: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> Task {
    // SAFETY: the caller's promise.
    unsafe {
        let node = (*planned).utilityStmt;
        if !is_on() {
            return Task::None;
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_CallStmt if c::dsql_iam_is_announced(node) => Task::Announced,
            pg_sys::NodeTag::T_IndexStmt
                if context != pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND
                    && is_job(node, query, (*planned).stmt_location) =>
            {
                Task::Build(new_id())
            }
            _ => Task::None,
        }
    }
}

/// Whether a statement, at byte `location` of `query`, is a `CREATE INDEX ASYNC`.
///
/// # Safety
/// `node` must be a statement, and `query` null or a C string.
unsafe fn is_job(node: *mut pg_sys::Node, query: *const c_char, location: c_int) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if query.is_null() || (*node).type_ != pg_sys::NodeTag::T_IndexStmt {
            return false;
        }
        let text = CStr::from_ptr(query).to_bytes();
        let start = usize::try_from(location).unwrap_or(0);
        catch_unwind(|| is_async(text.get(start..).unwrap_or_default())).unwrap_or(false)
    }
}

/// 26 characters of lower-case base32, as a Session Id has.
fn new_id() -> JobId {
    let mut id = JobId::default();
    let mut random = [0; 16];
    // SAFETY: fills the array and nothing else. Without randomness the id is less unique; it protects nothing.
    unsafe { pg_sys::pg_strong_random(random.as_mut_ptr().cast(), random.len()) };
    let text = session_id(random);
    let len = text.len().min(id.len() - 1);
    id[..len].copy_from_slice(&text.as_bytes()[..len]);
    id
}

/// `sys.wait_for_job(job_id)`: whether the job has come to a good end. Each one that can be seen is over.
#[pg_extern(sql = false)]
fn wait_for_job(job_id: &str) -> bool {
    let query = "SELECT status FROM sys.jobs WHERE job_id OPERATOR(pg_catalog.=) $1";
    match port::read_one::<String>(query, &[job_id.into()]) {
        Ok(Some(status)) => status == "completed",
        Ok(None) | Err(pgrx::spi::Error::InvalidPosition) => {
            ErrorReport::new(
                Code::ERRCODE_UNDEFINED_OBJECT,
                format!("job \"{job_id}\" does not exist"),
                function_name!(),
            )
            .set_hint(
                "sys.jobs lists the jobs that ended within 30 minutes before the last one began.",
            )
            .report(PgLogLevel::ERROR);
            false
        }
        Err(error) => {
            ErrorReport::new(
                Code::ERRCODE_INTERNAL_ERROR,
                format!("sys.jobs cannot be read: {error}"),
                function_name!(),
            )
            .report(PgLogLevel::ERROR);
            false
        }
    }
}
