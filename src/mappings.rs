//! Which ARN may be which role: one shared security label for each mapping.
//!
//! A client authenticates before any database is open, so a table cannot be asked. The shared
//! catalog `pg_shseclabel` can: its rows are cluster-wide, logged, replicated, dumped by
//! `pg_dumpall`. The ARN stands in the `provider` column (`dsql_iam:ARN`), the rest in the label.

use crate::admin;
use crate::port::has_label;
use crate::reach::{Reach, is_exempt};
use crate::settings;
use dsql_iam_core::{ADMIN, IamArn, NotAnIamArn};
use dsql_iam_server::aws_iam::Verb;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, function_name};
use serde_json::json;
use std::ffi::{CStr, CString};

/// The prefix of the provider of each of our labels.
pub const PROVIDER_PREFIX: &str = "dsql_iam:";

/// A role, as far as a login needs to know it.
pub struct LoginRole {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// LOGIN
    pub can_login: bool,
    /// SUPERUSER
    pub is_superuser: bool,
    /// Whether the time of VALID UNTIL is over.
    pub is_over: bool,
}

impl LoginRole {
    /// The role with that name, if there is one.
    pub fn find(name: &CStr) -> Option<Self> {
        // SAFETY: looks up the shared cache of roles, which is there before a database is; the
        // tuple is read before it is released, and nothing raises in between.
        unsafe {
            let tuple = pg_sys::SearchSysCache1(
                pg_sys::SysCacheIdentifier::AUTHNAME as _,
                pg_sys::Datum::from(name.as_ptr()),
            );
            if tuple.is_null() {
                return None;
            }
            let form: *const pg_sys::FormData_pg_authid = pg_sys::GETSTRUCT(tuple).cast();
            let mut is_for_ever = false;
            let valid_until = pg_sys::SysCacheGetAttr(
                pg_sys::SysCacheIdentifier::AUTHNAME as _,
                tuple,
                pg_sys::Anum_pg_authid_rolvaliduntil as _,
                &mut is_for_ever,
            );
            let role = Self {
                oid: (*form).oid,
                can_login: (*form).rolcanlogin,
                is_superuser: (*form).rolsuper,
                is_over: !is_for_ever
                    && (valid_until.value() as pg_sys::TimestampTz) < pg_sys::GetCurrentTimestamp(),
            };
            pg_sys::ReleaseSysCache(tuple);
            Some(role)
        }
    }
}

fn address_of(role: pg_sys::Oid) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    }
}

fn provider(arn: &str) -> CString {
    crate::port::c_string(format!("{PROVIDER_PREFIX}{arn}"))
}

/// Whether `arn` is mapped to `role`. Works before a database is open.
pub fn is_mapped(role: pg_sys::Oid, arn: &str) -> bool {
    let provider = provider(arn);
    // SAFETY: one look-up in a shared catalog's index.
    unsafe { !pg_sys::GetSecurityLabel(&address_of(role), provider.as_ptr()).is_null() }
}

/// Whether any ARN is mapped to `role`, committed since the transaction began or not. Needs an open
/// database.
pub fn has_mappings(role: pg_sys::Oid) -> bool {
    has_label(Some(role), &provider(""))
}

/// Whether any ARN is mapped to any role. Needs an open database.
pub fn any() -> bool {
    has_label(None, &provider(""))
}

fn raise(code: Code, message: impl Into<String>) -> ! {
    ErrorReport::new(code, message.into(), function_name!()).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not come back")
}

/// Carries out `AWS IAM GRANT` or `AWS IAM REVOKE`, whichever way it was asked for.
///
/// Raises an ERROR with Aurora DSQL's message if it cannot.
pub fn change(verb: Verb, role: &CStr, arn: &str) {
    let statement = match verb {
        Verb::Grant => c"AWS IAM GRANT",
        Verb::Revoke => c"AWS IAM REVOKE",
    };
    // SAFETY: three checks that raise an ERROR or do nothing.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(statement.as_ptr());
        pg_sys::PreventCommandIfParallelMode(statement.as_ptr());
        pg_sys::PreventCommandDuringRecovery(statement.as_ptr());
    }
    let name = role.to_string_lossy();
    if !may_change() {
        let act = match verb {
            Verb::Grant => "grant IAM trust with role",
            Verb::Revoke => "revoke IAM trust from role",
        };
        raise(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to {act} {name}"),
        );
    }
    if let Err(NotAnIamArn) = IamArn::parse(arn) {
        raise(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            NotAnIamArn.to_string(),
        );
    }
    let role = lock(role);
    match verb {
        Verb::Grant => grant(&role, &name, arn),
        Verb::Revoke => revoke(&role, &name, arn),
    }
}

/// Only superusers change mappings, and `admin` in sessions of its own or of a superuser's.
fn may_change() -> bool {
    // SAFETY: asks for the current role.
    let is_superuser = unsafe { pg_sys::superuser() };
    is_superuser || admin::find().is_some_and(admin::acts_for_itself)
}

/// Finds the role and keeps it from being dropped, and from being mapped by others, until the
/// transaction ends.
fn lock(name: &CStr) -> LoginRole {
    let missing = || -> ! {
        let name = name.to_string_lossy();
        raise(
            Code::ERRCODE_UNDEFINED_OBJECT,
            format!("Role {name} does not exist"),
        )
    };
    loop {
        let Some(found) = LoginRole::find(name) else {
            missing()
        };
        // SAFETY: takes a lock and looks at what others did meanwhile. DROP ROLE takes a
        // stronger lock on the same object.
        unsafe {
            pg_sys::LockSharedObject(
                pg_sys::AuthIdRelationId,
                found.oid,
                0,
                pg_sys::ShareUpdateExclusiveLock as _,
            );
            pg_sys::AcceptInvalidationMessages();
        }
        // The name may have gone to another role while this waited.
        match LoginRole::find(name) {
            Some(again) if again.oid == found.oid => return again,
            Some(_) => continue,
            None => missing(),
        }
    }
}

fn grant(role: &LoginRole, name: &str, arn: &str) {
    if name.starts_with("pg_") {
        raise(
            Code::ERRCODE_INVALID_GRANT_OPERATION,
            format!("Role {name} not supported"),
        );
    }
    if let Some(privilege) = check_trust(role, name) {
        // SAFETY: asks for the current role.
        if !unsafe { pg_sys::superuser() } {
            let message = format!("permission denied to grant IAM trust with role {name}");
            ErrorReport::new(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                message,
                function_name!(),
            )
            .set_detail(privilege)
            .report(PgLogLevel::ERROR);
        }
    }
    if !role.can_login {
        raise(
            Code::ERRCODE_INVALID_GRANT_OPERATION,
            format!("role {name} must have the LOGIN attribute"),
        );
    }
    if is_mapped(role.oid, arn) {
        raise(
            Code::ERRCODE_DUPLICATE_OBJECT,
            format!("IAM role {arn} is already granted to role {name}"),
        );
    }
    // SAFETY: asks for a new OID and for the current role's name.
    let (iam_oid, grantor) = unsafe {
        let grantor = pg_sys::GetUserId();
        let name = CStr::from_ptr(pg_sys::GetUserNameFromId(grantor, false));
        (
            pg_sys::GetNewObjectId().to_u32(),
            (grantor.to_u32(), name.to_string_lossy().into_owned()),
        )
    };
    let label = json!({"iam_oid": iam_oid, "grantor_oid": grantor.0, "grantor": grantor.1});
    set_label(role.oid, arn, Some(&label.to_string()));
    tell_of_exemption(name);
}

/// Sends a notice if the role logs in without a token, so that the mapping opens nothing.
fn tell_of_exemption(name: &str) {
    if !is_exempt(name) || !settings::manages_hba() {
        return;
    }
    let message = format!("role \"{name}\" is listed in dsql_iam.exempt_roles");
    ErrorReport::new(
        Code::ERRCODE_SUCCESSFUL_COMPLETION,
        message,
        function_name!(),
    )
    .set_detail("It logs in with its password, and tokens are not taken for it.")
    .set_hint(
        "To have it log in with a token, take it out of that setting, and restart the server.",
    )
    .report(PgLogLevel::NOTICE);
}

/// Raises an ERROR if nobody is to be mapped to the role; says why only a superuser may, if that is so: the
/// role has what nobody but a superuser can have given it.
fn check_trust(role: &LoginRole, name: &str) -> Option<String> {
    if name == ADMIN {
        refuse_trust(name, None);
    }
    let reach = Reach::of(role.oid);
    if matches!(reach, Reach::Superuser(_)) {
        refuse_trust(
            name,
            reach
                .sentence(name)
                .filter(|_| !reach.is_superuser_itself(name)),
        );
    }
    let reason = reach.sentence(name)?;
    Some(format!("{reason} Only superusers may map such roles."))
}

/// Raises the ERROR for a role that nobody is to be mapped to: `admin`, or one that is, or is a member
/// of, a superuser, as `detail` says.
fn refuse_trust(name: &str, detail: Option<String>) -> ! {
    let message = format!("Cannot establish trust with role {name}");
    let report = ErrorReport::new(
        Code::ERRCODE_INVALID_GRANT_OPERATION,
        message,
        function_name!(),
    );
    match detail {
        Some(detail) => report.set_detail(detail),
        None => report,
    }
    .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not come back")
}

fn revoke(role: &LoginRole, name: &str, arn: &str) {
    if !is_mapped(role.oid, arn) {
        let message = format!("IAM role {arn} does not exist");
        ErrorReport::new(Code::ERRCODE_UNDEFINED_OBJECT, message, function_name!())
            .set_detail(format!("It is not granted to role {name}."))
            .report(PgLogLevel::ERROR);
    }
    set_label(role.oid, arn, None);
}

fn set_label(role: pg_sys::Oid, arn: &str, label: Option<&str>) {
    let provider = provider(arn);
    let label = label.map(crate::port::c_string);
    // SAFETY: writes one row of a shared catalog in the current transaction; the strings are
    // copied. Makes the row visible to what follows in the transaction.
    unsafe {
        pg_sys::SetSecurityLabel(
            &address_of(role),
            provider.as_ptr(),
            label
                .as_ref()
                .map_or(std::ptr::null(), |label| label.as_ptr()),
        );
        pg_sys::CommandCounterIncrement();
    }
}

/// Brings back a mapping from a dump: `SECURITY LABEL FOR "dsql_iam:ARN" ON ROLE role IS '…'`.
///
/// Only superusers may; raises an ERROR if the label is not as `AWS IAM GRANT` writes it.
pub fn restore(role: &CStr, arn: &str, label: Option<&str>) {
    // SAFETY: two checks that raise an ERROR or do nothing.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"SECURITY LABEL".as_ptr());
        if !pg_sys::superuser() {
            raise(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "permission denied to set a security label of dsql_iam",
            );
        }
    }
    if IamArn::parse(arn).is_err() {
        raise(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            NotAnIamArn.to_string(),
        );
    }
    let is_ours = label.is_none_or(|label| {
        serde_json::from_str::<serde_json::Value>(label).is_ok_and(|value| {
            value["iam_oid"]
                .as_u64()
                .is_some_and(|oid| u32::try_from(oid).is_ok())
                && value["grantor_oid"]
                    .as_u64()
                    .is_some_and(|oid| u32::try_from(oid).is_ok())
                && value["grantor"].is_string()
        })
    });
    if !is_ours {
        let message = "invalid security label of dsql_iam";
        ErrorReport::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            message,
            function_name!(),
        )
        .set_hint("Use AWS IAM GRANT; it writes these labels, and dumps bring them back.")
        .report(PgLogLevel::ERROR);
    }
    let locked = lock(role);
    if label.is_some() {
        check_trust(&locked, &role.to_string_lossy());
    }
    set_label(locked.oid, arn, label);
}
