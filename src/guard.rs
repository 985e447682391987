//! What nobody but a superuser may do to roles while the library is loaded.
//!
//! | what | who else may | why |
//! |---|---|---|
//! | change `admin`, its settings, its label or comment; drop or rename it | nobody | Aurora DSQL does not let it be modified |
//! | `GRANT admin TO …`, `REVOKE admin FROM …` in any form | nobody | a member of `admin` is `admin` |
//! | `GRANT`, `REVOKE` of privileges or roles to or from `admin` | `admin`, of roles | its permissions are not managed, but it may take on any role |
//! | `REASSIGN OWNED BY admin`, `DROP OWNED BY admin` | nobody | the same |
//! | `REASSIGN OWNED BY … TO admin` | `admin` | it does so before it drops a role |
//! | `ALTER DEFAULT PRIVILEGES FOR ROLE admin` | `admin` | the same |
//! | `SET ROLE admin` | a session of `admin` | only who logs in as `admin` is `admin`, even if a superuser has made somebody a member |
//! | make anybody a member of a role whose name starts with `pg_` | nobody | CREATEROLE would be enough before 16, and `pg_execute_server_program` reads the IAM documents |
//! | drop a role that is mapped | nobody, superusers neither | Aurora DSQL refuses it with 2BP01 |
//!
//! A superuser gets a warning where `admin` is concerned, since the server is then no longer as
//! Aurora DSQL would have it. Whoever drops the extension gets a notice if mappings stay behind.

use crate::mappings;
use crate::statement::{string_value, text};
use dsql_iam_core::login::ADMIN;
use pg_sys::{NodeTag, Oid, RoleSpec};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgList, PgLogLevel, ereport, function_name, pg_sys};
use std::ffi::{CStr, c_char};

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
            | NodeTag::T_DropStmt
            | NodeTag::T_GrantRoleStmt
            | NodeTag::T_GrantStmt
            | NodeTag::T_ReassignOwnedStmt
            | NodeTag::T_RenameStmt
            | NodeTag::T_SecLabelStmt
            | NodeTag::T_VariableSetStmt
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
            NodeTag::T_DropRoleStmt => refuse_to_drop_mapped(node.cast()),
            NodeTag::T_DropStmt => return tell_that_mappings_stay(node.cast()),
            NodeTag::T_GrantRoleStmt => refuse_predefined_roles(granted_roles(node.cast())),
            NodeTag::T_AlterRoleStmt => refuse_predefined_roles(altered_role(node.cast())),
            NodeTag::T_CreateRoleStmt => refuse_predefined_roles(joined_roles(node.cast())),
            _ => {}
        }
        let admin = pg_sys::get_role_oid(c"admin".as_ptr(), true);
        if admin == pg_sys::InvalidOid {
            return;
        }
        match (*node).type_ {
            NodeTag::T_VariableSetStmt => refuse_to_become(admin, node.cast()),
            _ => protect(admin, node),
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
        if touch == Touch::None || (touch == Touch::Own && pg_sys::GetUserId() == admin) {
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

/// Refuses `SET ROLE admin` in a session that is neither `admin`'s nor a superuser's, which takes a
/// member that a superuser has made.
unsafe fn refuse_to_become(admin: Oid, statement: *mut pg_sys::VariableSetStmt) {
    // SAFETY: the caller's promise; questions about the session.
    unsafe {
        let session = pg_sys::GetSessionUserId();
        let may = session == admin || pg_sys::superuser_arg(session);
        if !may && sets_role_to_admin(statement) {
            ereport!(
                PgLogLevel::ERROR,
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied to set role \"{ADMIN}\"")
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
                forbidden_if(is(admin, (*statement).role))
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
    // SAFETY: the caller's promise. PUBLIC stands for no role.
    unsafe {
        !role.is_null()
            && (*role).roletype != pg_sys::RoleSpecType::ROLESPEC_PUBLIC
            && pg_sys::get_rolespec_oid(role, true) == admin
    }
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
        let options = PgList::<pg_sys::DefElem>::from_pg(options);
        options.iter_ptr().any(|option| {
            names.contains(&CStr::from_ptr((*option).defname))
                && any_is(admin, (*option).arg.cast())
        })
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

/// Whether it is a `SET ROLE admin`, in any notation.
///
/// # Safety
/// `statement` must be a SET statement.
unsafe fn sets_role_to_admin(statement: *mut pg_sys::VariableSetStmt) -> bool {
    // SAFETY: the name is a string or null. The value is taken apart by PostgreSQL itself.
    unsafe {
        text((*statement).name).is_some_and(|name| name.to_bytes().eq_ignore_ascii_case(b"role"))
            && (*statement).kind == pg_sys::VariableSetKind::VAR_SET_VALUE
            && is_admin_name(pg_sys::ExtractSetVariableArgs(statement))
    }
}

/// Fails a `DROP ROLE` of a mapped role with 2BP01. The lock holds off an AWS IAM GRANT that comes
/// at the same time.
///
/// # Safety
/// `statement` must be a `DROP ROLE` statement.
unsafe fn refuse_to_drop_mapped(statement: *mut pg_sys::DropRoleStmt) {
    // SAFETY: the list holds RoleSpecs.
    unsafe {
        if !pg_sys::has_createrole_privilege(pg_sys::GetUserId()) {
            // PostgreSQL refuses anyway, and this must lock nothing for who may do nothing.
            return;
        }
        for specification in PgList::<pg_sys::RoleSpec>::from_pg((*statement).roles).iter_ptr() {
            if (*specification).roletype != pg_sys::RoleSpecType::ROLESPEC_CSTRING {
                continue;
            }
            let Some(role) = lock_to_drop((*specification).rolename) else {
                continue;
            };
            if mappings::has_mappings(role) {
                let name = CStr::from_ptr((*specification).rolename).to_string_lossy();
                ereport!(
                    PgLogLevel::ERROR,
                    Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                    format!("role \"{name}\" cannot be dropped because some objects depend on it"),
                    "IAM principals are mapped to it; sys.iam_pg_role_mappings lists them."
                );
            }
        }
    }
}

/// Finds a role, if it is there, and locks it as `DROP ROLE` does.
///
/// # Safety
/// `name` must be a C string.
unsafe fn lock_to_drop(name: *const c_char) -> Option<Oid> {
    // SAFETY: the caller's promise; takes a lock and looks at what others did meanwhile.
    unsafe {
        let mut role = pg_sys::get_role_oid(name, true);
        while role != pg_sys::InvalidOid {
            pg_sys::LockSharedObject(
                pg_sys::AuthIdRelationId,
                role,
                0,
                pg_sys::AccessExclusiveLock as _,
            );
            pg_sys::AcceptInvalidationMessages();
            // PostgreSQL goes by the name, which may have gone to another role while this waited.
            let found = pg_sys::get_role_oid(name, true);
            if found == role {
                return Some(role);
            }
            role = found;
        }
        None
    }
}

/// Sends a notice at a `DROP EXTENSION` of this one, if there are mappings: they are the server's,
/// not the extension's, and count for as long as the library is loaded.
///
/// The extension's schema cannot be dropped by itself, so nothing but this statement drops it from
/// an open database.
///
/// # Safety
/// `statement` must be a `DROP` statement.
unsafe fn tell_that_mappings_stay(statement: *mut pg_sys::DropStmt) {
    // SAFETY: the list of extensions holds Strings; looks up one by its name.
    let drops_ours = unsafe {
        (*statement).removeType == pg_sys::ObjectType::OBJECT_EXTENSION
            && PgList::<pg_sys::Node>::from_pg((*statement).objects)
                .iter_ptr()
                .any(|name| text(string_value(name)).is_some_and(|name| name == c"dsql_iam"))
            && pg_sys::get_extension_oid(c"dsql_iam".as_ptr(), true) != pg_sys::InvalidOid
    };
    if drops_ours && mappings::any() {
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

/// Refuses to make anybody a member of a predefined role, but for a superuser.
///
/// Before 16 CREATEROLE is enough to do so, and `admin` has it: `pg_execute_server_program` would
/// give it the server's files, the IAM documents among them.
fn refuse_predefined_roles(names: Vec<String>) {
    // SAFETY: asks for the current role.
    if unsafe { pg_sys::superuser() } {
        return;
    }
    if let Some(name) = names.iter().find(|name| name.starts_with("pg_")) {
        ereport!(
            PgLogLevel::ERROR,
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to grant role \"{name}\""),
            "Only superusers may grant predefined roles while dsql_iam is loaded."
        );
    }
}

/// The roles that a `GRANT role TO …` hands out; none for a REVOKE.
///
/// # Safety
/// `statement` must be such a statement.
unsafe fn granted_roles(statement: *mut pg_sys::GrantRoleStmt) -> Vec<String> {
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
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

/// The role of an `ALTER ROLE`, which `ALTER GROUP role ADD USER …` is a form of.
///
/// # Safety
/// `statement` must be such a statement.
unsafe fn altered_role(statement: *mut pg_sys::AlterRoleStmt) -> Vec<String> {
    // SAFETY: the role is a RoleSpec, whose name is a string or null.
    let name = unsafe { text((*(*statement).role).rolename) };
    name.map(|name| name.to_string_lossy().into_owned())
        .into_iter()
        .collect()
}

/// The roles in `CREATE ROLE … IN ROLE`.
///
/// # Safety
/// `statement` must be a `CREATE ROLE` statement.
unsafe fn joined_roles(statement: *mut pg_sys::CreateRoleStmt) -> Vec<String> {
    // SAFETY: the list holds DefElems, and this one's argument is a list of RoleSpecs.
    unsafe {
        let options = PgList::<pg_sys::DefElem>::from_pg((*statement).options);
        let joins = options
            .iter_ptr()
            .filter(|option| CStr::from_ptr((**option).defname) == c"addroleto");
        let roles = joins.flat_map(|option| {
            let roles = PgList::<pg_sys::RoleSpec>::from_pg((*option).arg.cast());
            roles.iter_ptr().collect::<Vec<_>>()
        });
        let names = roles.filter_map(|role| text((*role).rolename));
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}
