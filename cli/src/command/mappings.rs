//! `dsql-iam mappings`: the mappings of a real cluster, for a local server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::ADMIN;

use super::Report;
use crate::shared::error::Error;
use crate::shared::mappings::{self, Mapping};

/// The arguments of `dsql-iam mappings`.
#[derive(Args)]
#[command(after_help = "\
Example, with the output of SELECT * FROM sys.iam_pg_role_mappings on the real cluster in a file:
  dsql-iam mappings --from mappings.txt --create-roles | psql --host localhost --username admin --dbname postgres

It takes the tables and records that psql prints, unaligned output, CSV, and JSON.")]
pub struct Arguments {
    /// The printed mappings; - is standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// Print a CREATE ROLE for each role too
    #[arg(long)]
    create_roles: bool,
}

/// Prints the statements.
///
/// # Errors
/// A sentence, if the mappings cannot be read.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let mappings = mappings::from_file(&arguments.from)?;
    Ok(statements(&mappings, arguments.create_roles).into())
}

fn statements(mappings: &[Mapping], creates_roles: bool) -> String {
    let (admins, others): (Vec<_>, Vec<_>) = mappings.iter().partition(|m| m.role == ADMIN);
    let roles: BTreeSet<&str> = others.iter().map(|mapping| mapping.role.as_str()).collect();
    let mut lines = Vec::new();
    if mappings.is_empty() {
        lines.push("-- No principal is mapped.".to_owned());
    }
    if !admins.is_empty() {
        lines.push("-- The role admin needs no mapping: those of admin are left out.".to_owned());
    }
    if creates_roles {
        let create = |role: &&str| format!("CREATE ROLE {} WITH LOGIN;", identifier(role));
        lines.extend(roles.iter().map(create));
    }
    let grants = others
        .iter()
        .map(|Mapping { role, arn }| format!("{};", grant(role, arn)));
    lines.extend(grants);
    lines.join("\n")
}

/// The statement that maps a principal to a role, without its semicolon.
pub(super) fn grant(role: &str, arn: &str) -> String {
    format!("AWS IAM GRANT {} TO {}", identifier(role), literal(arn))
}

/// A name as SQL takes it, always in quotes: which words are keywords depends on the server.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as SQL takes it. An ARN's path may hold quotes.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(role: &str, arn: &str) -> Mapping {
        Mapping {
            role: role.into(),
            arn: arn.into(),
        }
    }

    #[test]
    fn names_and_arns_are_quoted() {
        let app = "arn:aws:iam::012345678912:role/a/app";
        let mappings = [
            mapping("user", app),
            mapping("My \"role\"", "arn:aws:iam::012345678912:role/o'b\\r/app"),
            mapping("user", "arn:aws:iam::012345678912:user/dba"),
        ];
        assert_eq!(
            statements(&mappings, true),
            r#"CREATE ROLE "My ""role""" WITH LOGIN;
CREATE ROLE "user" WITH LOGIN;
AWS IAM GRANT "user" TO 'arn:aws:iam::012345678912:role/a/app';
AWS IAM GRANT "My ""role""" TO E'arn:aws:iam::012345678912:role/o''b\\r/app';
AWS IAM GRANT "user" TO 'arn:aws:iam::012345678912:user/dba';"#
        );
    }

    #[test]
    fn admin_needs_no_mapping() {
        let mappings = [mapping("admin", "arn:aws:iam::012345678912:user/dba")];
        assert_eq!(
            statements(&mappings, true),
            "-- The role admin needs no mapping: those of admin are left out."
        );
        assert_eq!(statements(&[], false), "-- No principal is mapped.");
    }
}
