//! `dsql-iam doctor`: what `sys.doctor()` tells, from outside, and where the library is not loaded.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use dsql_iam_server::doctor::{CLOCK_SKEW, FACTS_QUERY, Facts, Status, examine};
use serde::{Deserialize, Serialize};

use super::Report;
use crate::shared::error::Error;
use crate::shared::postgres;

/// The arguments of `dsql-iam doctor`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam doctor 'host=/var/run/postgresql user=postgres dbname=postgres'

The connection has to be one of a superuser, over the Unix socket, or of admin, once it can log in.
The exit status is 0 if there is no fault, and 1 if there is one.")]
pub struct Arguments {
    /// Connection string or URI, as psql takes it [default: what PGHOST and its like say]
    #[arg(
        env = "DSQL_SUPERUSER",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    connection: String,

    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Deserialize)]
struct Row {
    check_name: String,
    status: Status,
    found: String,
    remedy: Option<String>,
}

/// Asks the server. Without the library it is asked for what can be told without it; without the
/// extension the library's function is declared for the moment. A function of that name that is not the
/// extension's is never called: whoever may create a schema could have put it there, for a superuser to run.
///
/// # Errors
/// A sentence, if the server cannot be asked.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let script = format!(
        r"\set VERBOSITY terse
SELECT extract(epoch FROM pg_catalog.clock_timestamp());
SELECT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'dsql_iam.region') AS is_loaded,
    EXISTS (SELECT FROM pg_catalog.pg_depend AS member
        JOIN pg_catalog.pg_extension AS extension ON extension.oid = member.refobjid
        WHERE member.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
            AND member.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
            AND member.objid = pg_catalog.to_regprocedure('sys.doctor()')
            AND member.deptype = 'e' AND extension.extname = 'dsql_iam') AS has_function \gset
\if :is_loaded
    \echo findings
    \if :has_function
        SELECT pg_catalog.json_agg(pg_catalog.row_to_json(d)) FROM sys.doctor() AS d;
    \else
        BEGIN;
        CREATE FUNCTION pg_temp.doctor()
            RETURNS TABLE (check_name text, status text, found text, remedy text)
            AS 'dsql_iam', 'doctor_wrapper' LANGUAGE C SET search_path = pg_catalog, pg_temp;
        SELECT pg_catalog.json_agg(pg_catalog.row_to_json(d)) FROM pg_temp.doctor() AS d;
        ROLLBACK;
    \endif
\else
    \echo facts
    {FACTS_QUERY};
\endif
"
    );
    let before = now();
    let answer = postgres::psql(&arguments.connection, &script)
        .map_err(|fault| format!("the server could not be asked: {fault}"))?;
    let after = now();
    let mut lines = answer.lines().filter(|line| !line.trim().is_empty());
    let (clock, kind) = (lines.next(), lines.next());
    let rest = lines.collect::<Vec<_>>().join("\n");
    let not_understood =
        |fault: serde_json::Error| format!("the server's answer is broken: {fault}");
    let mut rows: Vec<Row> = if kind == Some("findings") {
        serde_json::from_str(&rest).map_err(not_understood)?
    } else {
        let facts: Facts = serde_json::from_str(&rest).map_err(not_understood)?;
        let findings = examine(&facts, None).into_iter();
        findings
            .map(|finding| Row {
                check_name: finding.check.into(),
                status: finding.status,
                found: finding.found,
                remedy: finding.remedy,
            })
            .collect()
    };
    let clock = clock.and_then(|clock| clock.trim().parse().ok());
    rows.push(clocks(
        clock.ok_or("the server did not tell its time")?,
        before,
        after,
    ));
    Ok(Report {
        is_well: rows
            .iter()
            .all(|row| matches!(row.status, Status::Ok | Status::Warning)),
        text: if arguments.json {
            serde_json::to_string_pretty(&rows).map_err(Error::of)?
        } else {
            table(&rows)
        },
        ..Report::default()
    })
}

/// Compares the server's clock with this machine's, read before and after.
fn clocks(servers: f64, before: f64, after: f64) -> Row {
    let apart = (before - servers).max(servers - after).max(0.0);
    let is_fine = apart <= CLOCK_SKEW;
    Row {
        check_name: "clocks".into(),
        status: if is_fine { Status::Ok } else { Status::Fault },
        found: format!("the server's and this machine's are {apart:.0} seconds apart"),
        remedy: (!is_fine).then(|| "set both by the network: timedatectl set-ntp true".into()),
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// For people; the colours are left out again where nobody would see them.
fn table(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| {
        let colour = match row.status {
            Status::Ok => 32,
            Status::Fault => 31,
            Status::Warning | Status::Unknown => 33,
        };
        let (status, check, found) = (row.status.word(), &row.check_name, &row.found);
        let line = format!("\x1b[{colour}m{status:<8}\x1b[0m {check:<14} {found}");
        match &row.remedy {
            Some(remedy) => format!("{line}\n{:24}-> {remedy}", ""),
            None => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Status, clocks};

    #[test]
    fn time_that_the_question_took_is_no_fault_of_the_clocks() {
        assert_eq!(clocks(1000.0, 990.0, 1400.0).status, Status::Ok);
        assert_eq!(clocks(1000.0, 690.0, 690.0).status, Status::Fault);
        assert_eq!(clocks(1000.0, 1310.0, 1320.0).status, Status::Fault);
    }
}
