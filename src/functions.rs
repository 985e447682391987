//! The SQL functions; `sql/dsql_iam--*.sql` declares them.

use crate::{connection, mappings, port};
use dsql_iam_core::statement::Verb;
use pgrx::pg_extern;

/// `sys.iam_grant(role, arn)`: does what `AWS IAM GRANT` does.
#[pg_extern(sql = false)]
fn iam_grant(role: &str, arn: &str) {
    mappings::change(Verb::Grant, &port::c_string(role), arn);
}

/// `sys.iam_revoke(role, arn)`: does what `AWS IAM REVOKE` does.
#[pg_extern(sql = false)]
fn iam_revoke(role: &str, arn: &str) {
    mappings::change(Verb::Revoke, &port::c_string(role), arn);
}

/// `sys.iam_session_user()`: the ARN of the principal that logged in; null without a token.
#[pg_extern(sql = false)]
fn iam_session_user() -> Option<&'static str> {
    connection::session().map(|session| session.caller.arn.as_str())
}

/// `sys.current_session_id()`: the id that the log has for this session; null without a token.
#[pg_extern(sql = false)]
fn current_session_id() -> Option<&'static str> {
    connection::session().map(|session| session.id.as_str())
}
