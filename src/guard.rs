//! Guards roles while the library is loaded: only superusers, and those of the second column, may do the following.
//!
//! | what | who else may | why |
//! |---|---|---|
//! | change `admin`, its settings, its label or comment; drop or rename it | nobody | Aurora DSQL does not let it be modified |
//! | `ALTER ROLE admin SET search_path` and its RESET | `admin` | AWS's sample for TypeORM does so |
//! | `GRANT admin TO …`, `REVOKE admin FROM …` in any form | nobody | a member of `admin` is `admin` |
//! | `GRANT`, `REVOKE` of privileges or roles to or from `admin` | `admin`, of roles | its permissions are not managed, but it may take on any role |
//! | `REASSIGN OWNED BY admin`, `DROP OWNED BY admin` | nobody | the same |
//! | `REASSIGN OWNED BY … TO admin` | `admin` | it does so before it drops a role |
//! | `ALTER DEFAULT PRIVILEGES FOR ROLE admin` | `admin` | the same |
//! | `SET ROLE admin`, in whichever way (`server_settings.c`) | a session of `admin` | only who logs in as `admin` is `admin`, even if a superuser has made somebody a member |
//! | make, rename, change, hand out, label or drop a role that `dsql_iam.exempt_roles` lists, or make it a member, whether there is one or not; make a role `admin`, or rename one to that | an exempt role its password, in a session of its own | who logs in under such a name needs no token |
//! | make anybody a member of a role that reaches more than ordinary roles (`reach.rs`) | nobody | CREATEROLE would be enough before 16, and `pg_execute_server_program` reads the IAM documents |
//! | rename, label, drop or change such a role | its attributes and settings the role itself, in a session of its own | a principal that sets its password can log in as it |
//! | put an extension into `sys` or `pg_catalog` | nobody | the script of a trusted one runs as a superuser |
//! | make, change, grant and drop roles as `admin`, without being connected as it | nobody | a function that `admin` owns is called by others |
//! | drop a role that is mapped | nobody, superusers neither | Aurora DSQL refuses it with 2BP01 |
//!
//! A superuser gets a warning where `admin` is concerned, since the server is then no longer as
//! Aurora DSQL would have it. `admin` itself may do its part only where somebody is connected as it, or a
//! superuser has said `SET ROLE admin`: in a SECURITY DEFINER function, and in what maintains its tables,
//! `admin` is somebody else's. DROP EXTENSION gives a notice if mappings stay behind.

use crate::admin::{self, acts_for_itself};
use crate::mappings;
use crate::parse_tree::{arguments, string_value, text};
use crate::reach::{Reach, reservation};
use crate::role_acts::{self, Act, Deed, name_of};
use dsql_iam_core::ADMIN;
use pg_sys::{NodeTag, Oid};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, ereport, function_name, pg_guard, pg_sys};
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

/// Whether [`check`] has to see statements with this tag.
pub fn watches(tag: NodeTag) -> bool {
    role_acts::are_in(tag) || tag == NodeTag::T_CreateExtensionStmt
}

/// Raises an ERROR if the statement must not be carried out.
///
/// # Safety
/// `node` must be a utility statement of the type that its tag tells.
pub unsafe fn check(node: *mut pg_sys::Node) {
    // SAFETY: the caller's promise.
    let deeds = unsafe {
        if (*node).type_ == NodeTag::T_CreateExtensionStmt {
            refuse_to_place_extension(node.cast());
            return tell_where_tokens_lead(node.cast());
        }
        role_acts::deeds(node)
    };
    protect_admin(&deeds);
    // Dropping is judged as it happens: while the statement waits for one role, the name of the next could go to
    // another.
    for deed in deeds.iter().filter(|deed| deed.act != Act::Drop) {
        refuse_what_only_superusers_do(deed);
    }
    refuse_roles_to_others(&deeds);
}

/// Refuses, or warns a superuser, if one of the deeds changes `admin`.
fn protect_admin(deeds: &[Deed]) {
    let Some(admin) = admin::find() else {
        return;
    };
    // The acts that `admin` may do to itself.
    let is_its_own = |act| {
        matches!(
            act,
            Act::SetSearchPath | Act::Join | Act::Defaults | Act::GetOwned
        )
    };
    let mut acts = deeds.iter().filter(|deed| deed.is_admins());
    let is_allowed = |deed: &Deed| is_its_own(deed.act) && acts_for_itself(admin);
    if acts.all(is_allowed) {
        return;
    }
    // SAFETY: asks for the current role, and for a flag of the server.
    let (is_superuser, is_extensions) =
        unsafe { (pg_sys::superuser(), pg_sys::creating_extension) };
    if !is_superuser {
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("role \"{ADMIN}\" cannot be modified"),
            "Aurora DSQL allows no change to this role; here only a superuser may make one."
        );
    }
    // CREATE EXTENSION makes the role.
    if !is_extensions {
        ereport!(
            PgLogLevel::WARNING,
            Code::ERRCODE_WARNING,
            format!("role \"{ADMIN}\" cannot be modified on Aurora DSQL")
        );
    }
}

/// Refuses what is done to a reserved name, or to a role that reaches more than ordinary roles, but for a
/// superuser, and for some of it the role itself.
fn refuse_what_only_superusers_do(deed: &Deed) {
    // SAFETY: asks for the current role.
    let is_superuser = unsafe { pg_sys::superuser() };
    // Acts on `admin` are judged by now, unless there is none yet.
    let is_judged = !deed.act.is_about_roles() || (deed.is_admins() && deed.act != Act::Create);
    if is_superuser || is_judged {
        return;
    }
    let is_its_own = || deed.role.is_some_and(acts_for_itself);
    if let Some(reservation) = reservation(&deed.name) {
        if deed.act == Act::SetPassword && is_its_own() {
            return;
        }
        refuse(deed, reservation);
    }
    let is_change = matches!(
        deed.act,
        Act::Alter
            | Act::SetPassword
            | Act::SetSearchPath
            | Act::Describe
            | Act::Rename
            | Act::Drop
    );
    if deed.act != Act::Grant && (!is_change || is_its_own()) {
        return;
    }
    let reach = deed.role.map_or(Reach::Nothing, Reach::of);
    // PostgreSQL refuses this itself, in words of its own.
    if reach.is_superuser_itself(&deed.name) {
        return;
    }
    if let Some(sentence) = reach.sentence(&deed.name) {
        refuse(deed, &sentence);
    }
}

fn refuse(deed: &Deed, reason: &str) {
    let (verb, name) = (deed.act.verb(), &deed.name);
    ereport!(
        PgLogLevel::ERROR,
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied to {verb} role \"{name}\""),
        format!("{reason} Only superusers may {verb} it while dsql_iam is loaded.")
    );
}

/// Refuses to make, change, grant and drop roles as `admin` in a session not connected as it. A member of
/// `admin` could otherwise write a function, give it to `admin`, and have all that CREATEROLE gives.
fn refuse_roles_to_others(deeds: &[Deed]) {
    if !deeds.iter().any(|deed| deed.act.is_about_roles()) {
        return;
    }
    // SAFETY: asks for the current role.
    let current = unsafe { pg_sys::GetUserId() };
    if admin::find() == Some(current) && !acts_for_itself(current) {
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to manage roles as \"{ADMIN}\""),
            format!(
                "Only a session connected as \"{ADMIN}\" may do this, not a function that the role owns."
            )
        );
    }
}

/// Refuses to put an extension into `sys` or `pg_catalog`, but for a superuser.
///
/// The script of a trusted extension runs as a superuser, so that PostgreSQL does not ask whether the
/// schema is one in which the user may create.
///
/// # Safety
/// `statement` must be a `CREATE EXTENSION` statement.
unsafe fn refuse_to_place_extension(statement: *mut pg_sys::CreateExtensionStmt) {
    // SAFETY: the caller's promise: the option `schema` holds a String node. Looks up names; the list is the
    // server's own copy.
    unsafe {
        let name = (*statement).extname;
        let is_there = pg_sys::get_extension_oid(name, true) != pg_sys::InvalidOid;
        if is_there || pg_sys::superuser() {
            return;
        }
        let schema = match arguments((*statement).options, &[c"schema"]).first() {
            Some(schema) => pg_sys::get_namespace_oid(string_value(schema.cast()), true),
            None => {
                let path = pgrx::PgList::<c_void>::from_pg(pg_sys::fetch_search_path(false));
                path.get_oid(0).unwrap_or(pg_sys::InvalidOid)
            }
        };
        // Null without such a schema.
        let schema = text(pg_sys::get_namespace_name(schema));
        let is_protected = |schema: &&CStr| [c"sys", c"pg_catalog"].contains(schema);
        let Some(schema) = schema.filter(is_protected) else {
            return;
        };
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!(
                "permission denied to create extension \"{}\" in schema \"{}\"",
                CStr::from_ptr(name).to_string_lossy(),
                schema.to_string_lossy()
            ),
            "Only superusers may put extensions into that schema while dsql_iam is loaded."
        );
    }
}

/// Sends a notice if this extension is to be in a database that no token opens. Not from its script, during which
/// the server holds notices back.
///
/// # Safety
/// `statement` must be a statement.
unsafe fn tell_where_tokens_lead(statement: *mut pg_sys::CreateExtensionStmt) {
    // SAFETY: the caller's promise. Asks for the name of the database that is open.
    let (extension, database) = unsafe {
        (
            text((*statement).extname),
            text(pg_sys::get_database_name(pg_sys::MyDatabaseId)),
        )
    };
    let Some(database) = database.filter(|name| *name != c"postgres") else {
        return;
    };
    if extension != Some(c"dsql_iam") {
        return;
    }
    let message = format!(
        "tokens do not open the database \"{}\"",
        database.to_string_lossy()
    );
    ErrorReport::new(
        Code::ERRCODE_SUCCESSFUL_COMPLETION,
        message,
        function_name!(),
    )
    .set_detail(
        "Logins with a token are let into the database \"postgres\" only, as on Aurora DSQL.",
    )
    .set_hint("For such logins, run in that database: CREATE EXTENSION dsql_iam")
    .report(PgLogLevel::NOTICE);
}

static PREVIOUS: OnceLock<pg_sys::object_access_hook_type> = OnceLock::new();

/// Puts the hook for dropped objects in its place; what sees statements is `statement.rs`. Called
/// once, while the server starts.
pub fn install() {
    // SAFETY: the server has one thread, and calls no hook while it loads libraries.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
    }
}

/// Sees whatever is about to be dropped, by a statement of its own, by `CASCADE`, or with its owner.
///
/// Most events of objects are not ours. Outside of any guard while the previous hook runs,
/// so that its ERROR passes as it is.
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: Oid,
    object: Oid,
    part: c_int,
    argument: *mut c_void,
) {
    if let Some(Some(previous)) = PREVIOUS.get() {
        // SAFETY: the hook that was there before, with its own arguments.
        unsafe { previous(access, class, object, part, argument) };
    }
    if access == pg_sys::ObjectAccessType::OAT_DROP {
        // SAFETY: what is about to be dropped is there until this returns.
        unsafe {
            match class {
                pg_sys::ExtensionRelationId => tell_that_mappings_stay(object),
                pg_sys::AuthIdRelationId => refuse_to_drop(object),
                _ => {}
            }
        }
    }
}

/// Refuses the drop of a role that only a superuser may drop, and fails that of a mapped one with 2BP01. The lock, which PostgreSQL takes next, holds off an AWS IAM
/// GRANT that comes at the same time.
///
/// Not when the statement begins: while it waited for one role, the name of the next could go to another.
#[pg_guard]
unsafe extern "C-unwind" fn refuse_to_drop(role: Oid) {
    let name = name_of(role);
    // SAFETY: takes a lock, and looks up what is there then.
    let is_there = unsafe {
        pg_sys::LockSharedObject(
            pg_sys::AuthIdRelationId,
            role,
            0,
            pg_sys::AccessExclusiveLock as _,
        );
        !pg_sys::GetUserNameFromId(role, true).is_null()
    };
    if !is_there {
        // PostgreSQL would say that a tuple was concurrently deleted.
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_UNDEFINED_OBJECT,
            format!("role \"{name}\" does not exist")
        );
    }
    refuse_what_only_superusers_do(&Deed {
        act: Act::Drop,
        name: name.clone(),
        role: Some(role),
    });
    if mappings::has_mappings(role) {
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            format!("role \"{name}\" cannot be dropped because some objects depend on it"),
            "IAM principals are mapped to it; sys.iam_pg_role_mappings lists them."
        );
    }
}

/// Sends a notice if this extension is dropped and there are mappings: they are the server's, not the
/// extension's, and count for as long as the library is loaded.
#[pg_guard]
unsafe extern "C-unwind" fn tell_that_mappings_stay(extension: Oid) {
    // SAFETY: looks up a name; null if there is none.
    let name = unsafe { text(pg_sys::get_extension_name(extension)) };
    if name == Some(c"dsql_iam") && mappings::any() {
        let message = "IAM mappings stay when the extension dsql_iam is dropped";
        ErrorReport::new(
            Code::ERRCODE_SUCCESSFUL_COMPLETION,
            message,
            function_name!(),
        )
        .set_detail("They count for as long as the library is loaded.")
        .set_hint(
            "To remove them all, before the drop: SELECT sys.iam_revoke(pg_role_name, arn) \
                 FROM sys.iam_pg_role_mappings",
        )
        .report(PgLogLevel::NOTICE);
    }
}
