//! `dsql-iam check`: the contents of a directory of IAM documents, its errors and its probable mistakes.

use std::fmt::Write;

use clap::Args;
use dsql_iam_core::check::{self, Finding, IdentityReport, SessionReport, Severity};
use dsql_iam_core::session_store::FOLDER;
use dsql_iam_core::{Cluster, visible};
use time::UtcDateTime;

use super::Report;
use crate::shared::cluster::{self, ClusterArguments};
use crate::shared::error::Error;

/// The arguments of `dsql-iam check`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam check --iam-directory ./iam --cluster-arn arn:aws:dsql:us-east-1:012345678912:cluster/ID

An error keeps a server from loading the directory: then the exit status is 1. A warning is about a part
that has no effect, or not the one that it seems to have; the exit status is 0, or 1 with --strict. No
secret is printed.")]
pub struct Arguments {
    #[command(flatten)]
    of: ClusterArguments,

    /// The cluster's account, instead of --cluster-arn
    #[arg(long, value_name = "ID", requires_all = ["region", "cluster_id"])]
    account_id: Option<String>,

    /// The cluster's id, instead of --cluster-arn
    #[arg(long, value_name = "ID", requires_all = ["region", "account_id"])]
    cluster_id: Option<String>,

    /// Exit with 1 if there are warnings too
    #[arg(long)]
    strict: bool,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Checks the directory.
///
/// # Errors
/// A sentence, if the cluster is none.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let ClusterArguments {
        iam_directory,
        cluster_arn,
        region,
    } = &arguments.of;
    let region = region.as_deref();
    let cluster = match (&arguments.account_id, &arguments.cluster_id, region) {
        (Some(account), Some(id), Some(region)) => {
            Some(Cluster::new(account, region, id, "").map_err(Error::of)?)
        }
        _ => match cluster_arn {
            Some(arn) => Some(cluster::with_arn(arn, region, "")?),
            None => None,
        },
    };
    let now = UtcDateTime::now();
    let report = check::check(iam_directory, cluster.as_ref(), now);
    let (errors, warnings) = report.counts();
    Ok(Report {
        is_well: errors == 0 && (warnings == 0 || !arguments.strict),
        text: if arguments.json {
            serde_json::to_string_pretty(&report).map_err(Error::of)?
        } else {
            text(&report)
        },
        ..Report::default()
    })
}

/// For people; the colours are left out again where nobody would see them.
fn text(report: &check::Report) -> String {
    let mut text = String::new();
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        if !rows.is_empty() {
            let _ = writeln!(text, "{title}");
        }
        for (name, rest) in rows {
            let line = visible(&format!("  {name:<width$}  {rest}"));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    };
    let documents = report.documents.iter().map(|document| {
        let mode = document.mode.as_deref().unwrap_or("?");
        let kind = document
            .kind
            .map_or(String::new(), |kind| format!("{kind}: "));
        let rest = format!("{mode:<4}  {kind}{}", document.brings);
        (document.file.clone(), rest)
    });
    section("Documents", documents.collect());
    section("Users", identities(&report.users));
    section("Groups", identities(&report.groups));
    section("Roles", identities(&report.roles));
    let keys = report.access_keys.iter().map(|key| {
        let status = if key.is_active { "active" } else { "inactive" };
        let rest = format!("{status}, of {} ({})", key.user, key.file);
        (key.id.clone(), rest)
    });
    section("Access keys", keys.collect());
    let folder = format!("{FOLDER}/");
    let is_stored = |session: &&SessionReport| session.file.starts_with(&folder);
    let stored = report.sessions.iter().filter(is_stored);
    let (stored, ended) = (
        stored.clone().count(),
        stored.filter(|one| one.is_over).count(),
    );
    let stored = (stored > 0).then(|| {
        let began = counted(stored, "session");
        (
            folder.clone(),
            format!("{began} that dsql-iam began, {ended} of them ended"),
        )
    });
    let sessions = report.sessions.iter().filter(|one| !is_stored(one));
    let sessions = sessions.map(|session| {
        let ends = if session.is_over { "ended" } else { "until" };
        let (id, end, file) = (&session.access_key_id, &session.expiration, &session.file);
        let rest = format!("{ends} {end}, access key {id} ({file})");
        (session.arn.clone(), rest)
    });
    section("Sessions", sessions.chain(stored).collect());
    let policies = report.policies.iter().map(|policy| {
        let (statements, attachments) = (policy.statements, policy.attachments);
        let statements = counted(statements, "statement");
        let attached = match attachments {
            0 => String::new(),
            _ => format!(", attached {}", counted(attachments, "time")),
        };
        let rest = format!("{statements}{attached} ({})", policy.file);
        (policy.name.clone(), rest)
    });
    section("Policies", policies.collect());
    if !text.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        let _ = writeln!(text, "{}", line(finding));
    }
    for what in &report.not_checked {
        let what = visible(what);
        let _ = writeln!(text, "\x1b[33mnot checked\x1b[0m  {what}");
    }
    let (errors, warnings) = report.counts();
    let _ = write!(
        text,
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    text
}

fn line(finding: &Finding) -> String {
    let word = finding.severity.word();
    let colour = match finding.severity {
        Severity::Error => 31,
        Severity::Warning => 33,
        Severity::Note => 36,
    };
    let place = [&finding.file, &finding.subject];
    let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
    let place = match place.join(": ") {
        none if none.is_empty() => none,
        place => format!("{place}: "),
    };
    let found = visible(&format!("{place}{}", finding.found));
    let line = format!("\x1b[{colour}m{word:<11}\x1b[0m  {found}");
    match &finding.remedy {
        Some(remedy) => format!("{line}\n{:13}-> {}", "", visible(remedy)),
        None => line,
    }
}

fn identities(rows: &[IdentityReport]) -> Vec<(String, String)> {
    let row = |row: &IdentityReport| {
        let lists = [
            ("inline", &row.inline),
            ("attached", &row.attached),
            ("groups", &row.groups),
        ];
        let mut parts: Vec<String> = lists
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        parts.extend(row.boundary.iter().map(|arn| format!("boundary: {arn}")));
        if parts.is_empty() {
            parts.push("no policies".into());
        }
        (
            row.arn.clone(),
            format!("{} ({})", parts.join("; "), row.file),
        )
    };
    rows.iter().map(row).collect()
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
