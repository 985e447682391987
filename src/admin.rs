//! The role `admin`, which the cluster has from the start.

use pgrx::pg_sys;
use std::ffi::c_int;

/// The role `admin`, if there is one.
pub fn find() -> Option<pg_sys::Oid> {
    // SAFETY: looks up a role by name.
    let admin = unsafe { pg_sys::get_role_oid(c"admin".as_ptr(), true) };
    (admin != pg_sys::InvalidOid).then_some(admin)
}

/// Whether somebody is connected as `admin` and acts as it: in a session of its own, or in one of a
/// superuser who has said `SET ROLE admin`.
///
/// A member of `admin`, or who calls one of its SECURITY DEFINER functions, is not; nor is a process that
/// maintains a table of `admin`'s, as autovacuum and REINDEX do, and runs functions that others
/// have put into an index.
pub fn acts_for_itself(admin: pg_sys::Oid) -> bool {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: fills two variables; asks for the session's role.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        if user != admin || context & pg_sys::SECURITY_RESTRICTED_OPERATION as c_int != 0 {
            return false;
        }
        let session = pg_sys::GetSessionUserId();
        let has_set_role = context == 0 && pg_sys::GetOuterUserId() == admin;
        session == admin || (has_set_role && pg_sys::superuser_arg(session))
    }
}
