//! The power of a role, by its attributes and by its memberships at any remove. Every guard asks here: only a
//! superuser may give it, directly or through other roles.

use crate::port::{self, ReachedRole};
use crate::settings;
use dsql_iam_core::ADMIN;
use pgrx::pg_sys;

/// The most that a role reaches, with the role that has it: the role itself, or one that it is a member of.
pub enum Reach {
    /// Nothing but ordinary roles.
    Nothing,
    /// `admin`, or a role that `dsql_iam.exempt_roles` lists.
    Reserved(String),
    /// A role with this attribute, `REPLICATION` or `BYPASSRLS`, by the second name.
    Attribute(&'static str, String),
    /// One of PostgreSQL's predefined roles.
    Predefined(String),
    /// A superuser.
    Superuser(String),
}

impl Reach {
    /// How far `role` reaches. Works before a database is open.
    pub fn of(role: pg_sys::Oid) -> Self {
        let exempt = settings::exempt_roles();
        let reached = port::reached_roles(role).into_iter();
        let reached = reached.map(|role| Self::by(role, &exempt));
        // Of two that are alike the nearer one is named.
        reached.fold(Self::Nothing, |most, next| {
            match next.rank() > most.rank() {
                true => next,
                false => most,
            }
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Reserved(_) => 1,
            Self::Attribute(..) => 2,
            Self::Predefined(_) => 3,
            Self::Superuser(_) => 4,
        }
    }

    /// The reach of this role alone.
    fn by(role: ReachedRole, exempt: &[String]) -> Self {
        let ReachedRole { name, .. } = role;
        match () {
            () if role.is_superuser => Self::Superuser(name),
            () if role.is_predefined => Self::Predefined(name),
            () if role.can_replicate => Self::Attribute("REPLICATION", name),
            () if role.bypasses_rls => Self::Attribute("BYPASSRLS", name),
            () if name == ADMIN || exempt.contains(&name) => Self::Reserved(name),
            () => Self::Nothing,
        }
    }

    /// A sentence about the role of this name: what it reaches, and by which role; `None` if that is nothing.
    pub fn sentence(&self, name: &str) -> Option<String> {
        let (by, it_has, which_has) = match self {
            Self::Nothing => return None,
            Self::Reserved(by) if by == ADMIN => (by, String::new(), String::new()),
            Self::Reserved(by) => {
                let listed = "listed in dsql_iam.exempt_roles";
                (by, format!("is {listed}"), format!(", which is {listed}"))
            }
            Self::Attribute(attribute, by) => {
                let has = format!("has the attribute {attribute}");
                (by, has.clone(), format!(", which {has}"))
            }
            Self::Predefined(by) => (by, "is a predefined role".into(), String::new()),
            Self::Superuser(by) => (by, "is a superuser".into(), ", which is a superuser".into()),
        };
        Some(match by == name {
            true => format!("It {it_has}."),
            false => format!("It is a member of \"{by}\"{which_has}."),
        })
    }

    /// Whether this role itself is a superuser.
    pub fn is_superuser_itself(&self, name: &str) -> bool {
        matches!(self, Self::Superuser(by) if by == name)
    }
}

/// Why the name is reserved for what superusers make, if it is: whether there is such a role or not.
pub fn reservation(name: &str) -> Option<&'static str> {
    if name == ADMIN {
        return Some("The name is reserved while dsql_iam is loaded.");
    }
    is_exempt(name).then_some("It is listed in dsql_iam.exempt_roles.")
}

/// Whether `dsql_iam.exempt_roles` lists the name.
pub fn is_exempt(name: &str) -> bool {
    settings::exempt_roles().iter().any(|role| role == name)
}
