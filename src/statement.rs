//! The ProcessUtility hook: carries out `AWS IAM GRANT` and `AWS IAM REVOKE`, takes mappings back
//! from a dump, has `CREATE INDEX ASYNC` carried out, and shows statements about roles to the guard, and those that
//! set parameters to `session_parameters.rs`.

use crate::async_indexes::{self, Task};
use crate::mappings::{self, PROVIDER_PREFIX};
use crate::parse_tree::{string_value, text};
use crate::{guard, port, session_parameters};
use dsql_iam_server::aws_iam::{Verb, Words, parse, token_at};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::{PgList, PgLogLevel, ereport, pg_guard, pg_sys};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

static PREVIOUS: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

/// Puts the hook in its place. Called once, while the server starts.
pub fn install() {
    // SAFETY: the server has one thread, and calls no hook while it loads libraries.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// Most statements are none of ours and go straight on: outside of any guard, so that an ERROR of
/// the server's passes as it is. Nothing with a destructor is alive here.
#[allow(clippy::too_many_arguments, reason = "the hook's own signature")]
unsafe extern "C-unwind" fn process_utility(
    planned: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the arguments are as the hook's contract says: nodes of the types their tags tell,
    // and strings that live during the call.
    unsafe {
        let tag = (*(*planned).utilityStmt).type_;
        let is_ours = tag == pg_sys::NodeTag::T_DoStmt
            || guard::watches(tag)
            || session_parameters::watches(tag);
        if is_ours {
            match carry_out(planned, query, context, completion) {
                Outcome::NotOurs => {}
                Outcome::Done => return,
                // Raised here because pgrx would lose the position on its way through the guard.
                Outcome::SyntaxError { at, len } => port::syntax_error(query, at, len),
            }
        }
        let next = match PREVIOUS.get() {
            Some(Some(previous)) => *previous,
            _ => port::standard_process_utility(),
        };
        if session_parameters::takes_role((*planned).utilityStmt) {
            return session_parameters::take_role()(
                next,
                planned,
                query,
                read_only_tree,
                context,
                params,
                environment,
                receiver,
                completion,
            );
        }
        let carry_out = match async_indexes::task(planned, query, context) {
            Task::None => next,
            Task::Announced => async_indexes::run_announced(),
            Task::Build(id) => {
                return async_indexes::build_index()(
                    id.as_ptr(),
                    next,
                    planned,
                    query,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    receiver,
                    completion,
                );
            }
        };
        carry_out(
            planned,
            query,
            read_only_tree,
            context,
            params,
            environment,
            receiver,
            completion,
        );
    }
}

/// The outcome of a statement.
#[derive(Clone, Copy)]
#[repr(C)]
enum Outcome {
    /// It is PostgreSQL's to carry out.
    NotOurs,
    /// It has been carried out.
    Done,
    /// It is an AWS IAM statement with a fault: `len` bytes at byte `at` of the query.
    SyntaxError { at: usize, len: usize },
}

/// Carries the statement out if it is one of ours; raises an ERROR if it must not be carried out.
///
/// # Safety
/// As the hook's contract says.
#[pg_guard]
unsafe extern "C-unwind" fn carry_out(
    planned: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
    completion: *mut pg_sys::QueryCompletion,
) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe {
        let node = (*planned).utilityStmt;
        match (*node).type_ {
            pg_sys::NodeTag::T_DoStmt => {
                aws_iam(planned, CStr::from_ptr(query), context, completion)
            }
            pg_sys::NodeTag::T_SecLabelStmt if security_label(node.cast()) => Outcome::Done,
            tag => {
                if guard::watches(tag) {
                    guard::check(node);
                }
                if session_parameters::watches(tag) {
                    session_parameters::check(node, context);
                }
                Outcome::NotOurs
            }
        }
    }
}

/// Carries out a `DO` that was an AWS IAM statement before `syntax.rs` rewrote it.
///
/// # Safety
/// `planned` must be a `DO` statement of `query`; `completion` may be null.
unsafe fn aws_iam(
    planned: *mut pg_sys::PlannedStmt,
    query: &CStr,
    context: pg_sys::ProcessUtilityContext::Type,
    completion: *mut pg_sys::QueryCompletion,
) -> Outcome {
    // SAFETY: the caller's promise.
    let (node, location, len) = unsafe {
        (
            (*planned).utilityStmt.cast(),
            (*planned).stmt_location,
            (*planned).stmt_len,
        )
    };
    let start = usize::try_from(location).unwrap_or(0);
    let text = query.to_bytes().get(start..).unwrap_or_default();
    let Some(words) = parse(text) else {
        return Outcome::NotOurs;
    };
    let fault = match &words.preposition {
        None => Some(words.stopped_at),
        // SAFETY: the caller's promise.
        Some(_) => unsafe { fault_behind_preposition(node, &words, start) },
    };
    // SAFETY: the caller's promise.
    let Some((role, arn)) = (unsafe { role_and_arn(node) }).filter(|_| fault.is_none()) else {
        let at = fault.unwrap_or(words.stopped_at);
        let token = token_at(text.get(at..).unwrap_or_default());
        return Outcome::SyntaxError {
            at: start + at,
            len: token.len(),
        };
    };
    if context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL {
        port::log_ddl(query, location, len);
    }
    mappings::change(words.verb, role, &arn.to_string_lossy());
    // SAFETY: null, or the completion that the caller sends.
    if let Some(completion) = unsafe { completion.as_mut() } {
        completion.commandTag = match words.verb {
            Verb::Grant => pg_sys::CommandTag::CMDTAG_GRANT_ROLE,
            Verb::Revoke => pg_sys::CommandTag::CMDTAG_REVOKE_ROLE,
        };
        completion.nprocessed = 0;
    }
    Outcome::Done
}

/// Where a statement that has its role and preposition goes wrong behind them, if it does, in
/// bytes from its start: the grammar of `DO` takes less and more than an ARN.
///
/// # Safety
/// `node` must be a `DO` statement.
unsafe fn fault_behind_preposition(
    node: *mut pg_sys::DoStmt,
    words: &Words,
    start: usize,
) -> Option<usize> {
    // SAFETY: the list holds DefElems.
    unsafe {
        let arguments = PgList::<pg_sys::DefElem>::from_pg((*node).args);
        let is_named = |at, name: &CStr| {
            arguments
                .get_ptr(at)
                .is_some_and(|argument| CStr::from_ptr((*argument).defname) == name)
        };
        if !is_named(1, c"as") {
            return Some(words.stopped_at);
        }
        let third = arguments.get_ptr(2)?;
        Some(usize::try_from((*third).location).map_or(0, |at| at.saturating_sub(start)))
    }
}

/// The role and the ARN in the `DO` that an AWS IAM statement becomes.
///
/// # Safety
/// `node` must be a `DO` statement. The strings are its own.
pub unsafe fn role_and_arn<'n>(node: *mut pg_sys::DoStmt) -> Option<(&'n CStr, &'n CStr)> {
    // SAFETY: the list holds DefElems with strings.
    unsafe {
        let arguments = PgList::<pg_sys::DefElem>::from_pg((*node).args);
        let (role, arn) = (arguments.get_ptr(0)?, arguments.get_ptr(1)?);
        let fits = arguments.len() == 2
            && CStr::from_ptr((*role).defname) == c"language"
            && CStr::from_ptr((*arn).defname) == c"as";
        fits.then(|| {
            (
                CStr::from_ptr(pg_sys::defGetString(role)),
                CStr::from_ptr(pg_sys::defGetString(arn)),
            )
        })
    }
}

/// Takes `SECURITY LABEL FOR "dsql_iam:ARN" ON ROLE …` as `pg_dumpall` writes it.
///
/// # Safety
/// `statement` must be a `SECURITY LABEL` statement.
unsafe fn security_label(statement: *mut pg_sys::SecLabelStmt) -> bool {
    // SAFETY: the strings are the statement's, and live during the call.
    unsafe {
        let Some(provider) = text((*statement).provider) else {
            return false;
        };
        let provider = provider.to_string_lossy();
        let Some(arn) = provider.strip_prefix(PROVIDER_PREFIX) else {
            return false;
        };
        if (*statement).objtype != pg_sys::ObjectType::OBJECT_ROLE {
            ereport!(
                PgLogLevel::ERROR,
                Code::ERRCODE_WRONG_OBJECT_TYPE,
                "security labels of dsql_iam are for roles only"
            );
        }
        let Some(role) = text(string_value((*statement).object)) else {
            return false;
        };
        let label = text((*statement).label).map(|label| label.to_string_lossy());
        mappings::restore(role, arn, label.as_deref());
        true
    }
}
