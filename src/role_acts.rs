//! The acts of a statement on roles.

use crate::parse_tree::{arguments, oid_of, string_value, text};
use dsql_iam_core::ADMIN;
use pg_sys::{NodeTag, Oid, RoleSpec};
use pgrx::{PgList, pg_sys};
use std::ffi::{CStr, c_char};

/// An act on a role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// There is a role of this name afterwards.
    Create,
    /// Its attributes or settings change.
    Alter,
    /// Its password changes, and nothing else.
    SetPassword,
    /// Its setting `search_path` changes.
    SetSearchPath,
    /// It has another name afterwards.
    Rename,
    /// It is gone afterwards.
    Drop,
    /// Somebody becomes a member of it.
    Grant,
    /// Somebody leaves it, or may less with it.
    Revoke,
    /// It becomes a member of others, or leaves them.
    Join,
    /// Its comment or its security label changes.
    Describe,
    /// It gets or loses privileges on an object.
    Privilege,
    /// Its default privileges change: the rights of others on objects that it will make.
    Defaults,
    /// All that it has is taken from it.
    TakeOwned,
    /// It gets all that others have.
    GetOwned,
}

impl Act {
    /// Whether CREATEROLE is what the act asks for.
    pub fn is_about_roles(self) -> bool {
        !matches!(
            self,
            Self::Privilege | Self::Defaults | Self::TakeOwned | Self::GetOwned
        )
    }

    /// The verb for a message.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Drop => "drop",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            _ => "alter",
        }
    }
}

/// One thing that a statement does to one role.
pub struct Deed {
    /// The act.
    pub act: Act,
    /// The role's name; empty where all roles are meant, or PUBLIC.
    pub name: String,
    /// The role, if there is one.
    pub role: Option<Oid>,
}

impl Deed {
    /// # Safety
    /// `name` must be null or a C string.
    unsafe fn by_name(act: Act, name: *const c_char) -> Self {
        // SAFETY: the caller's promise; looks up a role.
        let (name, role) = unsafe {
            match text(name) {
                None => (String::new(), pg_sys::InvalidOid),
                Some(name) => (
                    name.to_string_lossy().into_owned(),
                    pg_sys::get_role_oid(name.as_ptr(), true),
                ),
            }
        };
        Self {
            act,
            name,
            role: (role != pg_sys::InvalidOid).then_some(role),
        }
    }

    /// `CURRENT_USER` and the like stand for theirs.
    ///
    /// # Safety
    /// `role` must be null or a RoleSpec.
    unsafe fn by_spec(act: Act, role: *mut RoleSpec) -> Self {
        // SAFETY: the caller's promise; the role is looked up, and then its name.
        unsafe {
            match oid_of(role) {
                pg_sys::InvalidOid if role.is_null() => Self::by_name(act, std::ptr::null()),
                pg_sys::InvalidOid => Self::by_name(act, (*role).rolename),
                oid => Self {
                    act,
                    name: name_of(oid),
                    role: Some(oid),
                },
            }
        }
    }

    /// Whether the role is `admin`, or would be.
    pub fn is_admins(&self) -> bool {
        self.name == ADMIN
    }
}

/// The name of a role that is there.
pub fn name_of(role: Oid) -> String {
    // SAFETY: looks up a name; null without such a role.
    unsafe { text(pg_sys::GetUserNameFromId(role, true)) }
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Whether [`deeds`] knows statements with this tag.
pub fn are_in(tag: NodeTag) -> bool {
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

/// All that the statement does to roles, in its order.
///
/// # Safety
/// `node` must be a utility statement of the type that its tag tells, with lists of what the grammar puts
/// there.
pub unsafe fn deeds(node: *mut pg_sys::Node) -> Vec<Deed> {
    // SAFETY: the caller's promise.
    unsafe {
        match (*node).type_ {
            NodeTag::T_CreateRoleStmt => of_create_role(node.cast()),
            NodeTag::T_AlterRoleStmt => of_alter_role(node.cast()),
            NodeTag::T_AlterRoleSetStmt => {
                let statement: *mut pg_sys::AlterRoleSetStmt = node.cast();
                let is_search_path = text((*(*statement).setstmt).name) == Some(c"search_path");
                let act = match is_search_path {
                    true => Act::SetSearchPath,
                    false => Act::Alter,
                };
                vec![Deed::by_spec(act, (*statement).role)]
            }
            NodeTag::T_DropRoleStmt => {
                by_specs(Act::Drop, (*node.cast::<pg_sys::DropRoleStmt>()).roles)
            }
            NodeTag::T_RenameStmt => {
                let statement: *mut pg_sys::RenameStmt = node.cast();
                if (*statement).renameType != pg_sys::ObjectType::OBJECT_ROLE {
                    return Vec::new();
                }
                vec![
                    Deed::by_name(Act::Rename, (*statement).subname),
                    Deed::by_name(Act::Create, (*statement).newname),
                ]
            }
            NodeTag::T_GrantRoleStmt => of_grant_role(node.cast()),
            NodeTag::T_CommentStmt => {
                let statement: *mut pg_sys::CommentStmt = node.cast();
                of_description((*statement).objtype, (*statement).object)
            }
            NodeTag::T_SecLabelStmt => {
                let statement: *mut pg_sys::SecLabelStmt = node.cast();
                of_description((*statement).objtype, (*statement).object)
            }
            NodeTag::T_GrantStmt => {
                by_specs(Act::Privilege, (*node.cast::<pg_sys::GrantStmt>()).grantees)
            }
            NodeTag::T_AlterDefaultPrivilegesStmt => {
                let statement: *mut pg_sys::AlterDefaultPrivilegesStmt = node.cast();
                let mut deeds = by_specs(Act::Privilege, (*(*statement).action).grantees);
                deeds.extend(by_options(Act::Defaults, (*statement).options, &[c"roles"]));
                deeds
            }
            NodeTag::T_ReassignOwnedStmt => {
                let statement: *mut pg_sys::ReassignOwnedStmt = node.cast();
                let mut deeds = by_specs(Act::TakeOwned, (*statement).roles);
                deeds.push(Deed::by_spec(Act::GetOwned, (*statement).newrole));
                deeds
            }
            NodeTag::T_DropOwnedStmt => by_specs(
                Act::TakeOwned,
                (*node.cast::<pg_sys::DropOwnedStmt>()).roles,
            ),
            _ => Vec::new(),
        }
    }
}

/// # Safety
/// As for [`deeds`].
unsafe fn of_create_role(statement: *mut pg_sys::CreateRoleStmt) -> Vec<Deed> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = (*statement).options;
        let mut deeds = vec![Deed::by_name(Act::Create, (*statement).role)];
        deeds.extend(by_options(Act::Grant, options, &[c"addroleto"]));
        let members = [c"rolemembers", c"adminmembers"];
        deeds.extend(by_options(Act::Join, options, &members));
        deeds
    }
}

/// `ALTER ROLE`, and `ALTER GROUP … ADD USER` and `DROP USER`.
///
/// # Safety
/// As for [`deeds`].
unsafe fn of_alter_role(statement: *mut pg_sys::AlterRoleStmt) -> Vec<Deed> {
    // SAFETY: the caller's promise: the options are DefElems.
    unsafe {
        let (role, options) = ((*statement).role, (*statement).options);
        let names = PgList::<pg_sys::DefElem>::from_pg(options);
        let names: Vec<_> = names
            .iter_ptr()
            .map(|option| CStr::from_ptr((*option).defname))
            .collect();
        let act = match &names[..] {
            names if names.contains(&c"rolemembers") => match (*statement).action {
                1 => Act::Grant,
                _ => Act::Revoke,
            },
            [name] if *name == c"password" => Act::SetPassword,
            _ => Act::Alter,
        };
        let mut deeds = vec![Deed::by_spec(act, role)];
        deeds.extend(by_options(Act::Join, options, &[c"rolemembers"]));
        deeds
    }
}

/// # Safety
/// As for [`deeds`].
unsafe fn of_grant_role(statement: *mut pg_sys::GrantRoleStmt) -> Vec<Deed> {
    // SAFETY: the caller's promise: the list holds AccessPrivs, whose names are strings or null.
    unsafe {
        let act = match (*statement).is_grant {
            true => Act::Grant,
            false => Act::Revoke,
        };
        let granted = PgList::<pg_sys::AccessPriv>::from_pg((*statement).granted_roles);
        let mut deeds: Vec<_> = granted
            .iter_ptr()
            .map(|role| Deed::by_name(act, (*role).priv_name))
            .collect();
        deeds.extend(by_specs(Act::Join, (*statement).grantee_roles));
        deeds
    }
}

/// # Safety
/// The two must be of one COMMENT or SECURITY LABEL.
unsafe fn of_description(kind: pg_sys::ObjectType::Type, object: *mut pg_sys::Node) -> Vec<Deed> {
    if kind != pg_sys::ObjectType::OBJECT_ROLE {
        return Vec::new();
    }
    // SAFETY: the name of a role is a String node.
    vec![unsafe { Deed::by_name(Act::Describe, string_value(object)) }]
}

/// One deed for each in a list of RoleSpecs.
///
/// # Safety
/// `roles` must be such a list, or null.
unsafe fn by_specs(act: Act, roles: *mut pg_sys::List) -> Vec<Deed> {
    // SAFETY: the caller's promise.
    unsafe {
        let roles = PgList::<RoleSpec>::from_pg(roles);
        roles
            .iter_ptr()
            .map(|role| Deed::by_spec(act, role))
            .collect()
    }
}

/// One deed for each in the lists of RoleSpecs that the options with these names hold.
///
/// # Safety
/// `options` must be a list of DefElems, of which those hold such lists.
unsafe fn by_options(act: Act, options: *mut pg_sys::List, names: &[&CStr]) -> Vec<Deed> {
    // SAFETY: the caller's promise.
    unsafe {
        let lists = arguments(options, names);
        lists
            .into_iter()
            .flat_map(|roles| by_specs(act, roles))
            .collect()
    }
}
