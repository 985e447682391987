//! What nobody but a superuser may do to roles while the library is loaded.
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
//! | `SET ROLE admin`, in whichever way (`role_setting.c`) | a session of `admin` | only who logs in as `admin` is `admin`, even if a superuser has made somebody a member |
//! | make anybody a member of a role that is, or is a member of, a superuser or a role whose name starts with `pg_` | nobody | CREATEROLE would be enough before 16, and `pg_execute_server_program` reads the IAM documents |
//! | change the name, the attributes or the settings of such a role | the role itself | with a password of one's own it would be one's own |
//! | make, change, grant and drop roles as `admin`, without being connected as it | nobody | a function that `admin` owns is called by others |
//! | drop a role that is mapped | nobody, superusers neither | Aurora DSQL refuses it with 2BP01 |
//!
//! A superuser gets a warning where `admin` is concerned, since the server is then no longer as
//! Aurora DSQL would have it. What `admin` may do itself it may only if somebody is connected as it, or a
//! superuser has said `SET ROLE admin`: in a SECURITY DEFINER function, and in what maintains its tables,
//! `admin` is somebody else's. Whoever drops the extension gets a notice if mappings stay behind.

use crate::admin::{self, acts_for_itself};
use crate::mappings;
use crate::parse_tree::{arguments, oid_of, string_value, text};
use crate::port::{Reach, reach};
use dsql_iam_core::login::ADMIN;
use pg_sys::{NodeTag, Oid, RoleSpec};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgList, PgLogLevel, ereport, function_name, pg_guard, pg_sys};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// Whether [`check`] has to see statements with this tag.
pub fn watches(tag: NodeTag) -> bool {
    matches!(
        tag,
        NodeTag::T_AlterDefaultPrivilegesStmt
            | NodeTag::T_AlterRoleSetStmt
            | NodeTag::T_AlterRoleStmt
            | NodeTag::T_CommentStmt
            | NodeTag::T_CreateRoleStmt
            | NodeTag::T_DropOwnedStmt
            | NodeTag::T_DropRoleStmt
            | NodeTag::T_GrantRoleStmt
            | NodeTag::T_GrantStmt
            | NodeTag::T_ReassignOwnedStmt
            | NodeTag::T_RenameStmt
            | NodeTag::T_SecLabelStmt
    )
}

/// Raises an ERROR if the statement must not be carried out.
///
/// # Safety
/// `node` must be a utility statement of the type that its tag tells.
pub unsafe fn check(node: *mut pg_sys::Node) {
    // SAFETY: the caller's promise.
    unsafe {
        match (*node).type_ {
            NodeTag::T_GrantRoleStmt => refuse_to_grant(&granted_roles(node.cast())),
            NodeTag::T_CreateRoleStmt => refuse_to_grant(&joined_roles(node.cast())),
            NodeTag::T_AlterRoleStmt => {
                let statement: *mut pg_sys::AlterRoleStmt = node.cast();
                let members = arguments((*statement).options, &[c"rolemembers"]);
                match members.is_empty() {
                    true => refuse_to_alter(oid_of((*statement).role)),
                    false => refuse_to_grant(&[oid_of((*statement).role)]),
                }
            }
            NodeTag::T_AlterRoleSetStmt => {
                refuse_to_alter(oid_of((*node.cast::<pg_sys::AlterRoleSetStmt>()).role));
            }
            // Its name would be another's, and who is about to be granted something is looked up by name
            // both here and, after a wait perhaps, by PostgreSQL.
            NodeTag::T_RenameStmt => {
                let statement: *mut pg_sys::RenameStmt = node.cast();
                if (*statement).renameType == pg_sys::ObjectType::OBJECT_ROLE {
                    refuse_to_alter(pg_sys::get_role_oid((*statement).subname, true));
                }
            }
            _ => {}
        }
        if let Some(admin) = admin::find() {
            protect(admin, node);
            refuse_roles_to_others(admin, node);
        }
    }
}

/// What a statement does to `admin`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Nothing.
    None,
    /// What `admin` may do itself.
    Own,
    /// What only a superuser may do.
    Forbidden,
}

/// Refuses, or warns a superuser, if the statement changes `admin`.
unsafe fn protect(admin: Oid, node: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; questions about the current role, a flag of the server.
    unsafe {
        let touch = touch(admin, node);
        if touch == Touch::None || (touch == Touch::Own && acts_for_itself(admin)) {
            return;
        }
        if !pg_sys::superuser() {
            ereport!(
                PgLogLevel::ERROR,
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("role \"{ADMIN}\" cannot be modified"),
                "Aurora DSQL does not let it be; here only a superuser may."
            );
        }
        // CREATE EXTENSION makes the role.
        if !pg_sys::creating_extension {
            ereport!(
                PgLogLevel::WARNING,
                Code::ERRCODE_WARNING,
                format!("role \"{ADMIN}\" cannot be modified on Aurora DSQL")
            );
        }
    }
}

/// Refuses to make, change, grant and drop roles as `admin` to whoever is not connected as it. A member of
/// `admin` could otherwise write a function, give it to `admin`, and have all that CREATEROLE gives.
///
/// # Safety
/// `node` must be a utility statement of the type that its tag tells.
unsafe fn refuse_roles_to_others(admin: Oid, node: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; asks for the current role.
    unsafe {
        let is_about_roles = match (*node).type_ {
            NodeTag::T_AlterRoleSetStmt
            | NodeTag::T_AlterRoleStmt
            | NodeTag::T_CreateRoleStmt
            | NodeTag::T_DropRoleStmt
            | NodeTag::T_GrantRoleStmt => true,
            NodeTag::T_RenameStmt => {
                let statement: *mut pg_sys::RenameStmt = node.cast();
                (*statement).renameType == pg_sys::ObjectType::OBJECT_ROLE
            }
            NodeTag::T_CommentStmt => {
                let statement: *mut pg_sys::CommentStmt = node.cast();
                (*statement).objtype == pg_sys::ObjectType::OBJECT_ROLE
            }
            _ => false,
        };
        if is_about_roles && pg_sys::GetUserId() == admin && !acts_for_itself(admin) {
            ereport!(
                PgLogLevel::ERROR,
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied to manage roles as \"{ADMIN}\""),
                format!(
                    "Only who is connected as \"{ADMIN}\" may, not a function of its that others run."
                )
            );
        }
    }
}

unsafe fn touch(admin: Oid, node: *mut pg_sys::Node) -> Touch {
    let forbidden_if = |is_admin| match is_admin {
        true => Touch::Forbidden,
        false => Touch::None,
    };
    let own_if = |is_admin| match is_admin {
        true => Touch::Own,
        false => Touch::None,
    };
    // SAFETY: the caller's promise: each node is of the type that its tag tells, and its lists hold
    // what the grammar puts there.
    unsafe {
        match (*node).type_ {
            NodeTag::T_AlterRoleStmt => {
                let statement: *mut pg_sys::AlterRoleStmt = node.cast();
                if is(admin, (*statement).role) {
                    return Touch::Forbidden;
                }
                own_if(options_name(admin, (*statement).options, &[c"rolemembers"]))
            }
            NodeTag::T_AlterRoleSetStmt => {
                let statement: *mut pg_sys::AlterRoleSetStmt = node.cast();
                let is_admin = is(admin, (*statement).role);
                match text((*(*statement).setstmt).name) == Some(c"search_path") {
                    true => own_if(is_admin),
                    false => forbidden_if(is_admin),
                }
            }
            NodeTag::T_DropRoleStmt => {
                let statement: *mut pg_sys::DropRoleStmt = node.cast();
                forbidden_if(any_is(admin, (*statement).roles))
            }
            NodeTag::T_RenameStmt => {
                let statement: *mut pg_sys::RenameStmt = node.cast();
                let is_role = (*statement).renameType == pg_sys::ObjectType::OBJECT_ROLE;
                forbidden_if(is_role && is_admin_name((*statement).subname))
            }
            NodeTag::T_CreateRoleStmt => {
                let options = (*node.cast::<pg_sys::CreateRoleStmt>()).options;
                if options_name(admin, options, &[c"addroleto"]) {
                    return Touch::Forbidden;
                }
                own_if(options_name(
                    admin,
                    options,
                    &[c"rolemembers", c"adminmembers"],
                ))
            }
            NodeTag::T_GrantRoleStmt => {
                let statement: *mut pg_sys::GrantRoleStmt = node.cast();
                let granted = PgList::<pg_sys::AccessPriv>::from_pg((*statement).granted_roles);
                if granted
                    .iter_ptr()
                    .any(|role| is_admin_name((*role).priv_name))
                {
                    return Touch::Forbidden;
                }
                own_if(any_is(admin, (*statement).grantee_roles))
            }
            NodeTag::T_GrantStmt => {
                forbidden_if(any_is(admin, (*node.cast::<pg_sys::GrantStmt>()).grantees))
            }
            NodeTag::T_AlterDefaultPrivilegesStmt => {
                let statement: *mut pg_sys::AlterDefaultPrivilegesStmt = node.cast();
                if any_is(admin, (*(*statement).action).grantees) {
                    return Touch::Forbidden;
                }
                own_if(options_name(admin, (*statement).options, &[c"roles"]))
            }
            NodeTag::T_ReassignOwnedStmt => {
                let statement: *mut pg_sys::ReassignOwnedStmt = node.cast();
                if any_is(admin, (*statement).roles) {
                    return Touch::Forbidden;
                }
                own_if(is(admin, (*statement).newrole))
            }
            NodeTag::T_DropOwnedStmt => {
                forbidden_if(any_is(admin, (*node.cast::<pg_sys::DropOwnedStmt>()).roles))
            }
            NodeTag::T_SecLabelStmt => {
                let statement: *mut pg_sys::SecLabelStmt = node.cast();
                forbidden_if(names_admin((*statement).objtype, (*statement).object))
            }
            NodeTag::T_CommentStmt => {
                let statement: *mut pg_sys::CommentStmt = node.cast();
                forbidden_if(names_admin((*statement).objtype, (*statement).object))
            }
            _ => Touch::None,
        }
    }
}

/// Whether the role that is meant is `admin`; `CURRENT_USER` and the like stand for theirs.
///
/// # Safety
/// `role` must be null or a RoleSpec.
unsafe fn is(admin: Oid, role: *mut RoleSpec) -> bool {
    // SAFETY: the caller's promise.
    unsafe { oid_of(role) == admin }
}

/// Whether `admin` is in a list of RoleSpecs.
///
/// # Safety
/// `roles` must be such a list, or null.
unsafe fn any_is(admin: Oid, roles: *mut pg_sys::List) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let roles = PgList::<RoleSpec>::from_pg(roles);
        roles.iter_ptr().any(|role| is(admin, role))
    }
}

/// Whether `admin` is in the list of RoleSpecs of one of the options with these names.
///
/// # Safety
/// `options` must be a list of DefElems, of which those hold such lists.
unsafe fn options_name(admin: Oid, options: *mut pg_sys::List, names: &[&CStr]) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let lists = arguments(options, names);
        lists.into_iter().any(|roles| any_is(admin, roles))
    }
}

/// Whether the object of a COMMENT or SECURITY LABEL is `admin`.
///
/// # Safety
/// The two must be of one statement.
unsafe fn names_admin(kind: pg_sys::ObjectType::Type, object: *mut pg_sys::Node) -> bool {
    // SAFETY: the name of a role is a String node.
    unsafe { kind == pg_sys::ObjectType::OBJECT_ROLE && is_admin_name(string_value(object)) }
}

/// # Safety
/// `name` must be null or a C string.
unsafe fn is_admin_name(name: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    unsafe { text(name) }.is_some_and(|name| name.to_bytes() == ADMIN.as_bytes())
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
/// Most of what happens to objects is none of ours. Outside of any guard while the previous hook runs,
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
                pg_sys::AuthIdRelationId => refuse_to_drop_mapped(object),
                _ => {}
            }
        }
    }
}

/// Fails the drop of a mapped role with 2BP01. The lock, which PostgreSQL takes next, holds off an AWS IAM
/// GRANT that comes at the same time.
///
/// Not when the statement begins: while it waited for one role, the name of the next could go to another.
#[pg_guard]
unsafe extern "C-unwind" fn refuse_to_drop_mapped(role: Oid) {
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

/// Refuses to make anybody a member of one of `roles` if that is, or is a member of, a superuser or
/// a predefined role, but for a superuser.
///
/// Before 16 CREATEROLE is enough to do so, and `admin` has it: `pg_execute_server_program` would
/// give it the server's files, the IAM documents among them.
fn refuse_to_grant(roles: &[Oid]) {
    for role in roles {
        refuse_if_it_reaches(*role, "grant", "Only superusers may grant predefined roles");
    }
}

/// Refuses to change such a role, but for a superuser and for the role itself.
fn refuse_to_alter(role: Oid) {
    // SAFETY: asks for the current role.
    if role != unsafe { pg_sys::GetUserId() } {
        refuse_if_it_reaches(role, "alter", "Only superusers may alter predefined roles");
    }
}

fn refuse_if_it_reaches(role: Oid, verb: &str, rule: &str) {
    // SAFETY: asks for the current role.
    if unsafe { pg_sys::superuser() } {
        return;
    }
    let (reached, is_superuser) = match reach(role) {
        Reach::Nothing => return,
        Reach::Predefined(reached) => (reached, false),
        Reach::Superuser(reached) => (reached, true),
    };
    let name = name_of(role);
    let detail = match (reached == name, is_superuser) {
        // PostgreSQL refuses this itself, in words of its own.
        (true, true) => return,
        (true, false) => format!("{rule} while dsql_iam is loaded."),
        (false, _) => format!(
            "It is a member of \"{reached}\". {rule}, superusers, and members of either, \
             while dsql_iam is loaded."
        ),
    };
    ereport!(
        PgLogLevel::ERROR,
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied to {verb} role \"{name}\""),
        detail
    );
}

fn name_of(role: Oid) -> String {
    // SAFETY: looks up a name, which is there: the role has just been looked at.
    unsafe { CStr::from_ptr(pg_sys::GetUserNameFromId(role, false)) }
        .to_string_lossy()
        .into_owned()
}

/// The roles that a `GRANT role TO …` hands out; none for a REVOKE.
///
/// # Safety
/// `statement` must be such a statement.
unsafe fn granted_roles(statement: *mut pg_sys::GrantRoleStmt) -> Vec<Oid> {
    // SAFETY: the list holds AccessPrivs, whose names are strings or null.
    unsafe {
        if !(*statement).is_grant {
            return Vec::new();
        }
        let granted = PgList::<pg_sys::AccessPriv>::from_pg((*statement).granted_roles);
        let names = granted
            .iter_ptr()
            .filter_map(|role| text((*role).priv_name));
        names
            .map(|name| pg_sys::get_role_oid(name.as_ptr(), true))
            .collect()
    }
}

/// The roles in `CREATE ROLE … IN ROLE`.
///
/// # Safety
/// `statement` must be a `CREATE ROLE` statement.
unsafe fn joined_roles(statement: *mut pg_sys::CreateRoleStmt) -> Vec<Oid> {
    // SAFETY: the caller's promise: this option's argument is a list of RoleSpecs.
    unsafe {
        let lists = arguments((*statement).options, &[c"addroleto"]);
        let roles = lists.into_iter().flat_map(|list| {
            let roles = PgList::<RoleSpec>::from_pg(list);
            roles.iter_ptr().collect::<Vec<_>>()
        });
        roles.map(|role| oid_of(role)).collect()
    }
}
