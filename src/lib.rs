//! dsql_iam: makes a stock PostgreSQL authenticate the way Amazon Aurora DSQL does.
//!
//! This crate is the part that touches PostgreSQL; `dsql-iam-core` and `dsql-iam-server` decide. `_PG_init`
//! below puts everything in its place, in reading order.

mod admin;
mod async_indexes;
mod audit;
mod connection;
mod doctor;
mod functions;
mod guard;
mod hba;
mod identities;
mod in_force;
mod limits;
mod mappings;
mod memory;
mod parse_tree;
mod port;
mod reach;
mod reload;
mod role_acts;
mod session_parameters;
mod settings;
mod statement;
mod syntax;

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, ereport, function_name, pg_guard, pg_module_magic, pg_sys};

pg_module_magic!();

/// The text that `dsql-iam install` knows a library of ours by: its version, and the PostgreSQL that it is
/// built for. `build.rs` has it; a NUL ends it.
// SAFETY: nothing else has a symbol of this name, and nobody calls it. It has a name so that the linker keeps it.
#[unsafe(no_mangle)]
pub static DSQL_IAM_LIBRARY: [u8; LIBRARY.len()] = *LIBRARY.as_bytes().first_chunk().unwrap();
const LIBRARY: &str = concat!(env!("DSQL_IAM_LIBRARY"), "\0");

// `cargo pgrx` writes the script of the extension itself, and takes this for its content.
pgrx::extension_sql_file!("../sql/dsql_iam--0.1.0.sql", name = "dsql_iam", finalize);

/// Called by PostgreSQL when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: a flag of the server.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        ErrorReport::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "dsql_iam has to be loaded when the server starts",
            function_name!(),
        )
        .set_hint("Add dsql_iam to shared_preload_libraries and restart the server.")
        .report(PgLogLevel::ERROR);
    }
    keep_backtraces_out_of_errors();
    settings::register(reload::HOOKS);
    if let Err(fault) = hba::install() {
        ereport!(
            PgLogLevel::FATAL,
            Code::ERRCODE_CONFIG_FILE_ERROR,
            format!("dsql_iam could not put its hba file in force: {fault}")
        );
    }
    if let Err(error) = in_force::install(&settings::data_directory()) {
        ereport!(
            PgLogLevel::FATAL,
            Code::ERRCODE_IO_ERROR,
            format!("dsql_iam could not make a temporary file in the data directory: {error}")
        );
    }
    limits::install();
    identities::load_in_postmaster(&settings::iam_directory());
    connection::install();
    statement::install();
    guard::install();
    session_parameters::install();
    if !port::guard_role_setting(session_parameters::refuses_role) {
        ereport!(
            PgLogLevel::FATAL,
            Code::ERRCODE_INTERNAL_ERROR,
            "dsql_iam could not guard the setting role"
        );
    }
    install_syntax();
    memory::join_free_pieces();
}

/// Gets `AWS IAM` and, where that is asked for, `CREATE INDEX ASYNC` past the server's grammar.
fn install_syntax() {
    let wants_async = settings::async_indexes();
    if !settings::installs_syntax() {
        if wants_async {
            pgrx::warning!(
                "dsql_iam.async_indexes does nothing while dsql_iam.install_syntax is off"
            );
        }
        return;
    }
    if let Err(fault) = syntax::install() {
        pgrx::warning!(
            "dsql_iam: AWS IAM GRANT and REVOKE are not available: {fault}; use sys.iam_grant and sys.iam_revoke"
        );
    } else if wants_async && let Err(fault) = async_indexes::install() {
        pgrx::warning!("dsql_iam: CREATE INDEX ASYNC is not available: {fault}");
    }
}

/// pgrx adds a backtrace to the DETAIL of an error if `RUST_BACKTRACE` is set where the server was
/// started. A client has to be told the same wherever that was.
fn keep_backtraces_out_of_errors() {
    const SWITCH: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(SWITCH);
    // SAFETY: the postmaster has one thread. The environment is put back as it was.
    unsafe {
        std::env::set_var(SWITCH, "0");
        // The first to ask decides for the process, and so for those that it forks.
        let _ = std::backtrace::Backtrace::capture();
        match before {
            Some(value) => std::env::set_var(SWITCH, value),
            None => std::env::remove_var(SWITCH),
        }
    }
}
