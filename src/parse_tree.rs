//! Reads the nodes of PostgreSQL's parse trees.

use pgrx::{PgList, pg_sys};
use std::ffi::{CStr, c_char};

/// The string at `text`, if there is one.
///
/// # Safety
/// `text` must be null or a C string that lives for `'a`.
pub unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The string in a node.
///
/// # Safety
/// `node` must be a String node.
pub unsafe fn string_value(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(feature = "pg14")]
        return (*node.cast::<pg_sys::Value>()).val.str_;
        #[cfg(not(feature = "pg14"))]
        return (*node.cast::<pg_sys::String>()).sval;
    }
}

/// The role that is meant, if there is one; `CURRENT_USER` and the like stand for theirs.
///
/// # Safety
/// `role` must be null or a RoleSpec.
pub unsafe fn oid_of(role: *mut pg_sys::RoleSpec) -> pg_sys::Oid {
    // SAFETY: the caller's promise. PUBLIC stands for no role.
    unsafe {
        if role.is_null() || (*role).roletype == pg_sys::RoleSpecType::ROLESPEC_PUBLIC {
            return pg_sys::InvalidOid;
        }
        pg_sys::get_rolespec_oid(role, true)
    }
}

/// The arguments of the options with these names, each as the list that it has to be.
///
/// # Safety
/// `options` must be a list of DefElems, or null.
pub unsafe fn arguments(options: *mut pg_sys::List, names: &[&CStr]) -> Vec<*mut pg_sys::List> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = PgList::<pg_sys::DefElem>::from_pg(options);
        let wanted =
            |option: &*mut pg_sys::DefElem| names.contains(&CStr::from_ptr((**option).defname));
        let found = options.iter_ptr().filter(wanted);
        found.map(|option| (*option).arg.cast()).collect()
    }
}
