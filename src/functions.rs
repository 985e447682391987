//! The SQL functions; `sql/dsql_iam--*.sql` declares them.

use crate::{connection, doctor, limits, mappings, port, settings};
use dsql_iam_core::access::{Outcome, Survey};
use dsql_iam_core::sigv4::access_key_id;
use dsql_iam_core::{ConnectionFacts, Identities, LoginEnvironment, explain};
use dsql_iam_server::Refusal;
use dsql_iam_server::aws_iam::Verb;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, function_name, name, pg_extern};
use time::UtcDateTime;

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

/// `sys.explain_token(role, token)`: each check that a login with this token would have to pass,
/// over this connection, as Aurora DSQL's clients never hear it.
#[pg_extern(sql = false)]
fn explain_token(
    role: &str,
    token: &str,
) -> TableIterator<
    'static,
    (
        name!(check_name, String),
        name!(outcome, String),
        name!(reason, Option<String>),
    ),
> {
    // Over a Unix socket there is no address, and no TLS is needed.
    let facts = port::current().map_or(
        ConnectionFacts {
            source_ip: None,
            is_tls: false,
        },
        |current| connection::facts(&current),
    );
    let explained = settings::cluster()
        .map_err(Refusal::from)
        .and_then(|cluster| {
            let identities = connection::identities_for(&access_key_id(token))?;
            let environment = LoginEnvironment {
                now: UtcDateTime::now(),
                cluster: &cluster,
                identities: &identities,
                connection: facts,
            };
            Ok(explain(token, role, &environment))
        });
    let row = |check: &str, outcome: &str, reason: Option<String>| {
        (check.to_owned(), outcome.to_owned(), reason)
    };
    let failed = |refusal: &Refusal| row(refusal.check(), "failed", Some(refusal.to_string()));
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(refusal) => return TableIterator::new(vec![failed(&refusal)]),
    };
    let mut rows: Vec<_> = explanation
        .checks
        .iter()
        .map(|(check, outcome)| row(check, outcome.word(), outcome.reason().map(str::to_owned)))
        .collect();
    let database = explanation
        .has_no_fault()
        .then_some(explanation.mapped_arn.as_deref())
        .flatten()
        .map(|arn| connection::check_role(&port::c_string(role), arn));
    rows.extend(match database {
        None => ["role", "mapping"].map(|check| row(check, "not reached", None)),
        Some(Ok(_)) => ["role", "mapping"].map(|check| row(check, "passed", None)),
        Some(Err(refusal @ Refusal::Role { .. })) => {
            [failed(&refusal), row("mapping", "not reached", None)]
        }
        Some(Err(refusal)) => [row("role", "passed", None), failed(&refusal)],
    });
    let statements = explanation.statements.into_iter();
    rows.extend(statements.map(|statement| row("policy", "statement", Some(statement))));
    let missing = explanation.missing_context.into_iter();
    rows.extend(missing.map(|key| row("policy", "not known here", Some(key))));
    let signed = explanation.signed.iter();
    rows.extend(signed.map(|signed| row(signed.name, "signed", Some(signed.to_string()))));
    TableIterator::new(rows)
}

/// `sys.iam_access`: who may connect as whom, now and over TLS, by the documents in the directory and the given
/// mappings, which are those of this server. Stored sessions come and go, and are not among them. Every role that is let
/// in is looked at as at a login.
#[expect(
    clippy::type_complexity,
    reason = "pgrx reads the columns from the type"
)]
#[pg_extern(sql = false)]
fn iam_access(
    arns: Vec<String>,
    roles: Vec<String>,
) -> TableIterator<
    'static,
    (
        name!(principal, String),
        name!(principal_type, String),
        name!(role_name, String),
        name!(access, String),
        name!(check_name, Option<String>),
        name!(reason, Option<String>),
        name!(statements, Vec<String>),
    ),
> {
    let loaded = settings::cluster()
        .map_err(|fault| fault.to_string())
        .and_then(|cluster| {
            let identities = Identities::load(&settings::iam_directory());
            Ok((cluster, identities.map_err(|fault| fault.to_string())?))
        });
    let survey = loaded.map(|(cluster, identities)| {
        let environment = LoginEnvironment {
            now: UtcDateTime::now(),
            cluster: &cluster,
            identities: &identities,
            connection: ConnectionFacts {
                source_ip: None,
                is_tls: true,
            },
        };
        let pairs = arns.iter().zip(&roles);
        Survey::new(
            &environment,
            Some(pairs.map(|(arn, role)| (arn.as_str(), role.as_str()))),
        )
    });
    let survey = match survey {
        Ok(survey) => survey,
        Err(fault) => {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            ErrorReport::new(code, fault, function_name!()).report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not come back")
        }
    };
    // One by one, as PostgreSQL asks for them: as many as there are principals times roles do not fit into memory.
    let rows = (0..).map_while(move |place| {
        let cell = survey.cell_at(place)?;
        let (mut outcome, mut check) = (cell.outcome, cell.check);
        let mut reason = cell.reason;
        if outcome == Outcome::Allowed
            && let Some(arn) = cell.mapped_arn
            && let Err(refusal) = connection::check_role(&port::c_string(cell.role), arn)
        {
            (outcome, check) = (Outcome::Denied, Some(refusal.check()));
            reason = refusal.to_string();
        }
        Some((
            cell.principal.to_owned(),
            cell.principal_type.word().to_owned(),
            cell.role.to_owned(),
            outcome.word().to_owned(),
            check.map(str::to_owned),
            Some(reason).filter(|reason| !reason.is_empty()),
            cell.statements.iter().map(|one| one.text.clone()).collect(),
        ))
    });
    TableIterator::new(rows)
}

/// `sys.doctor()`: whether this server is as it should be, and what mends it.
#[pg_extern(sql = false)]
fn doctor() -> TableIterator<
    'static,
    (
        name!(check_name, String),
        name!(status, String),
        name!(found, String),
        name!(remedy, Option<String>),
    ),
> {
    let rows = doctor::findings().into_iter().map(|finding| {
        (
            finding.check.to_owned(),
            finding.status.word().to_owned(),
            finding.found,
            finding.remedy,
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// `sys.iam_counts`: what has come of logins, and of looking at the documents, since the time in the last column.
#[expect(
    clippy::type_complexity,
    reason = "pgrx reads the columns from the type"
)]
#[pg_extern(sql = false)]
fn iam_counts() -> TableIterator<
    'static,
    (
        name!(event, String),
        name!(check_name, Option<String>),
        name!(count, i64),
        name!(seconds, Option<f64>),
        name!(stats_reset, Option<TimestampWithTimeZone>),
    ),
> {
    let counts = limits::counts();
    let since = TimestampWithTimeZone::try_from(counts.since()).ok();
    let rows = counts.all().into_iter().map(|row| {
        (
            row.event.to_owned(),
            row.check.map(str::to_owned),
            i64::try_from(row.count).unwrap_or(i64::MAX),
            row.seconds,
            since,
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}
