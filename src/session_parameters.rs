//! Refuses the parameters that Aurora DSQL does not take, in sessions that began with a token, while
//! `dsql_iam.restrict_parameters` is on. Which these are says [`dsql_iam_server::session_parameters`].
//!
//! | how | where it is refused |
//! |---|---|
//! | startup packet, `options` | the login: `connection.rs` |
//! | `SET`, `SET SESSION`, `SET LOCAL`; with `ALTER ROLE`, `ALTER DATABASE`, `CREATE FUNCTION` and `ALTER FUNCTION` | [`check`] |
//! | `set_config()` with the name as a constant | the hook behind the analysis of a query |
//! | `role`, in whichever way | besides, in the setting's check hook: `server_settings.c` |

use crate::parse_tree::text;
use crate::port::{Jumble, ProcessUtility};
use crate::reach::is_exempt;
use crate::{connection, settings};
use dsql_iam_server::session_parameters::{Scope, message, takes};
use pg_sys::{NodeTag, VariableSetKind};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::{PgList, PgLogLevel, ereport, pg_guard, pg_sys};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

mod c {
    use super::{c_char, pg_sys};
    unsafe extern "C-unwind" {
        /// In `session_parameters.c`.
        pub fn dsql_iam_refused_by_set_config(
            query: *mut pg_sys::Query,
            takes: extern "C-unwind" fn(*const c_char) -> bool,
        ) -> *const c_char;
        /// In `server_settings.c`. Raises what the hooks behind it raise.
        pub fn dsql_iam_take_role(
            next: crate::port::ProcessUtility,
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

/// Puts the hook for analysed queries in its place. Called once, while the server starts.
pub fn install() {
    // SAFETY: the server has one thread, and calls no hook while it loads libraries.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::post_parse_analyze_hook);
        pg_sys::post_parse_analyze_hook = Some(post_parse_analyze);
    }
}

/// Whether this session takes Aurora DSQL's parameters only: if it began with a token. The script of an extension
/// may set what it needs.
fn is_restricted() -> bool {
    // SAFETY: a flag of the server.
    let is_script = unsafe { pg_sys::creating_extension };
    settings::restricts_parameters() && connection::session().is_some() && !is_script
}

/// Whether the setting `role` takes no value here, for its check hook.
pub extern "C-unwind" fn refuses_role() -> bool {
    is_restricted() || (settings::restricts_parameters() && is_worker_of_a_token())
}

/// Whether this is a parallel worker that may work for a session that began with a token. A worker is told its
/// session's user and not how that logged in: all but superusers and exempt roles count as with a token.
#[pg_guard]
extern "C-unwind" fn is_worker_of_a_token() -> bool {
    // SAFETY: a number of the server's; looks a role up, or raises; null, or a string of the current memory context.
    let name = unsafe {
        if pg_sys::ParallelWorkerNumber < 0 || pg_sys::superuser_arg(pg_sys::GetSessionUserId()) {
            return false;
        }
        text(pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true))
    };
    // Only the library's hba file lets exempt roles in without a token.
    !(settings::manages_hba() && name.is_some_and(|name| is_exempt(&name.to_string_lossy())))
}

/// Outside of any guard while the previous hook runs, so that its ERROR passes as it is.
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
        if is_restricted() {
            check_set_config(query);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_set_config(query: *mut pg_sys::Query) {
    // SAFETY: an analysed query, which is looked at; null, or a string of the current memory context.
    let refused = unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| c::dsql_iam_refused_by_set_config(query, takes_name))
    };
    // SAFETY: as above.
    if let Some(name) = unsafe { text(refused) } {
        refuse(&name.to_string_lossy());
    }
}

/// The setting `role` has the last word itself.
extern "C-unwind" fn takes_name(name: *const c_char) -> bool {
    // SAFETY: a C string of the caller's.
    let name = unsafe { CStr::from_ptr(name) };
    takes(&name.to_string_lossy(), Scope::Session)
}

fn refuse(name: &str) {
    ereport!(
        PgLogLevel::ERROR,
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        message(name)
    );
}

/// Whether [`check`] has to see statements with this tag.
pub fn watches(tag: NodeTag) -> bool {
    matches!(
        tag,
        NodeTag::T_VariableSetStmt
            | NodeTag::T_AlterRoleSetStmt
            | NodeTag::T_AlterDatabaseSetStmt
            | NodeTag::T_CreateFunctionStmt
            | NodeTag::T_AlterFunctionStmt
    ) && is_restricted()
}

/// Raises an ERROR if the statement sets a parameter that is not taken here.
///
/// # Safety
/// `node` must be a utility statement of the type that its tag tells.
pub unsafe fn check(node: *mut pg_sys::Node, context: pg_sys::ProcessUtilityContext::Type) {
    // SAFETY: the caller's promise.
    unsafe {
        match (*node).type_ {
            NodeTag::T_VariableSetStmt => check_set(node.cast(), scope(node.cast(), context)),
            NodeTag::T_AlterRoleSetStmt => {
                check_set(
                    (*node.cast::<pg_sys::AlterRoleSetStmt>()).setstmt,
                    Scope::Session,
                );
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                check_set(
                    (*node.cast::<pg_sys::AlterDatabaseSetStmt>()).setstmt,
                    Scope::Session,
                );
            }
            NodeTag::T_CreateFunctionStmt => {
                check_clauses((*node.cast::<pg_sys::CreateFunctionStmt>()).options);
            }
            NodeTag::T_AlterFunctionStmt => {
                check_clauses((*node.cast::<pg_sys::AlterFunctionStmt>()).actions);
            }
            _ => {}
        }
    }
}

/// Whether a statement that [`check`] has let pass sets `role`, which then takes a value: see [`take_role`].
///
/// # Safety
/// As for [`check`].
pub unsafe fn takes_role(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        (*node).type_ == NodeTag::T_VariableSetStmt && {
            let name = text((*node.cast::<pg_sys::VariableSetStmt>()).name);
            name.is_some_and(|name| name.to_bytes().eq_ignore_ascii_case(b"role"))
                && is_restricted()
        }
    }
}

/// Carries out a `SET LOCAL ROLE` that [`check`] has let pass. Takes the hook that comes next, and a utility hook's
/// arguments.
pub fn take_role() -> TakeRole {
    c::dsql_iam_take_role
}

/// See [`take_role`].
pub type TakeRole = unsafe extern "C-unwind" fn(
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

/// # Safety
/// `statement` must be a `SET`.
unsafe fn scope(
    statement: *mut pg_sys::VariableSetStmt,
    context: pg_sys::ProcessUtilityContext::Type,
) -> Scope {
    let is_top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
    // SAFETY: the caller's promise; asks for the state of the transaction.
    if unsafe { (*statement).is_local && pg_sys::IsInTransactionBlock(is_top_level) } {
        Scope::Transaction
    } else {
        Scope::Session
    }
}

/// The `SET` clauses of a function.
///
/// # Safety
/// `options` must be a list of DefElems, of which those that are called `set` hold a `SET`.
unsafe fn check_clauses(options: *mut pg_sys::List) {
    // SAFETY: the caller's promise.
    unsafe {
        for option in PgList::<pg_sys::DefElem>::from_pg(options).iter_ptr() {
            if CStr::from_ptr((*option).defname) == c"set" {
                check_set((*option).arg.cast(), Scope::Session);
            }
        }
    }
}

/// Lets statements pass that set no parameter: `RESET`, and `SET TRANSACTION`; `SET SESSION CHARACTERISTICS` sets some
/// that it does not name.
///
/// # Safety
/// `statement` must be a `SET` or a `RESET`.
unsafe fn check_set(statement: *mut pg_sys::VariableSetStmt, scope: Scope) {
    // SAFETY: the caller's promise.
    let (kind, name) = unsafe { ((*statement).kind, text((*statement).name)) };
    if name == Some(c"SESSION CHARACTERISTICS") {
        // SAFETY: the grammar makes a list of DefElems of it, `transaction_isolation` for one.
        unsafe { refuse_characteristics((*statement).args) };
    }
    let sets = matches!(
        kind,
        VariableSetKind::VAR_SET_VALUE
            | VariableSetKind::VAR_SET_DEFAULT
            | VariableSetKind::VAR_SET_CURRENT
    );
    if let Some(name) = name.filter(|_| sets) {
        let name = name.to_string_lossy();
        if !takes(&name, scope) {
            refuse(&name);
        }
    }
}

/// Refuses a default of transactions, such as `default_transaction_isolation`.
///
/// # Safety
/// `modes` must be a list of DefElems.
unsafe fn refuse_characteristics(modes: *mut pg_sys::List) {
    // SAFETY: the caller's promise.
    unsafe {
        for mode in PgList::<pg_sys::DefElem>::from_pg(modes).iter_ptr() {
            let name = CStr::from_ptr((*mode).defname).to_string_lossy();
            refuse(&format!("default_{name}"));
        }
    }
}
