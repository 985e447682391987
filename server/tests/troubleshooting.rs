//! docs/troubleshooting.md has each refusal as the code has it, and no other.

use std::collections::BTreeSet;
use std::fs;

use dsql_iam_core::sigv4::Malformed;
use dsql_iam_core::{Action, BadCluster, Denial, DenyReason, PolicyType};
use dsql_iam_server::{OtherCluster, Reached, Refusal};

/// A refusal as the page has it: check, SQLSTATE, HINT and reason.
type Row = [String; 4];

/// The refusal after `refusal`, with words in capitals for values.
///
/// Going on from one to the next visits each: a new variant does not compile before it has its
/// place in here.
fn next(refusal: &Refusal) -> Option<Refusal> {
    Some(match refusal {
        Refusal::NoTls => OtherCluster::ServerName("NAME".into()).into(),
        Refusal::OtherCluster(_) => Refusal::NoServerName,
        Refusal::NoServerName => Refusal::InvalidServerName("NAME".into()),
        Refusal::InvalidServerName(_) => Refusal::Inactive,
        Refusal::Inactive => Refusal::Status("STATUS".into()),
        Refusal::Status(_) => Refusal::Protocol {
            message: "MESSAGE",
            came: "WHAT CAME".into(),
        },
        Refusal::Protocol { .. } => Refusal::Iam(Denial::Malformed(Malformed::NoUrl)),
        Refusal::Iam(Denial::Malformed(Malformed::Value(_))) => {
            Refusal::Unconfigured(BadCluster::Account("VALUE".into()))
        }
        Refusal::Unconfigured(bad) => match bad {
            BadCluster::Account(_) => Refusal::Unconfigured(BadCluster::Region("VALUE".into())),
            BadCluster::Region(_) => Refusal::Unconfigured(BadCluster::Id("VALUE".into())),
            BadCluster::Id(_) => Refusal::Unconfigured(BadCluster::Endpoint("VALUE".into())),
            BadCluster::Endpoint(_) => Refusal::Unconfigured(BadCluster::Linked("VALUE".into())),
            BadCluster::Linked(_) => Refusal::Iam(Denial::ScopeDate {
                scope: "DAY".into(),
                date: "DATE".into(),
            }),
        },
        Refusal::Iam(Denial::NotYetValid { .. }) => Refusal::NoIdentities("WHAT IS WRONG".into()),
        Refusal::NoIdentities(_) => Refusal::Iam(Denial::UnknownAccessKey("KEY".into())),
        Refusal::Iam(Denial::AmbiguousPrincipal { .. }) => {
            Refusal::StoredSession("WHAT IS WRONG".into())
        }
        Refusal::StoredSession(_) => Refusal::Iam(Denial::WrongSessionToken("KEY".into())),
        Refusal::Iam(denial) => {
            next_denial(denial).map_or_else(|| Refusal::Database("NAME".into()), Refusal::Iam)
        }
        Refusal::Database(_) => Refusal::Role {
            role: "ROLE".into(),
            fault: "does not exist",
        },
        Refusal::Role { .. } => Refusal::Mapping {
            role: "ROLE".into(),
            arn: "ARN".into(),
        },
        Refusal::Mapping { .. } => Refusal::Server {
            sqlstate: "53300".into(),
            message: "MESSAGE".into(),
        },
        Refusal::Server { .. } => Refusal::Parameter("NAME".into()),
        Refusal::Parameter(_) => Refusal::Limit(Reached::Connections),
        Refusal::Limit(Reached::Connections) => Refusal::Limit(Reached::Rate),
        Refusal::Limit(Reached::Rate) => Refusal::Internal("WHERE".into()),
        Refusal::Internal(_) => return None,
    })
}

/// The same for those that are IAM's.
fn next_denial(denial: &Denial) -> Option<Denial> {
    let not_authorized = |why| Denial::NotAuthorized {
        principal: "PRINCIPAL".into(),
        action: Action::DbConnect,
        resource: "CLUSTER".into(),
        why,
    };
    Some(match denial {
        Denial::Malformed(malformed) => match malformed {
            Malformed::NoUrl => Denial::Malformed(Malformed::TooLong),
            Malformed::TooLong => Denial::Malformed(Malformed::Host),
            Malformed::Host => Denial::Malformed(Malformed::Twice("PARAMETER")),
            Malformed::Twice(_) => Denial::Malformed(Malformed::Missing("PARAMETER")),
            Malformed::Missing(_) => Denial::Malformed(Malformed::Unknown),
            Malformed::Unknown => Denial::Malformed(Malformed::OtherService("SERVICE".into())),
            Malformed::OtherService(_) => Denial::Malformed(Malformed::LifeTooLong),
            Malformed::LifeTooLong => Denial::Malformed(Malformed::Value("PARAMETER")),
            Malformed::Value(_) => return None,
        },
        // The server's own reasons come between: see `next`.
        Denial::NotYetValid { .. } | Denial::AmbiguousPrincipal { .. } => return None,
        Denial::ScopeDate { .. } => Denial::ScopeRegion {
            signed: "REGION".into(),
            cluster: "CLUSTER".into(),
        },
        Denial::ScopeRegion { .. } => Denial::ScopeService("SERVICE".into()),
        Denial::ScopeService(_) => Denial::ScopeTerminator("WORD".into()),
        Denial::ScopeTerminator(_) => Denial::WrongAction {
            role: "ROLE".into(),
            action: Action::DbConnect,
        },
        Denial::WrongAction { .. } => Denial::WrongHost("HOST".into()),
        Denial::WrongHost(_) => Denial::LoopbackHost("HOST".into()),
        Denial::LoopbackHost(_) => Denial::Expired {
            signed: "SIGNED".into(),
            earliest: "EARLIEST".into(),
            now: "NOW".into(),
            seconds: 900,
        },
        Denial::Expired { .. } => Denial::NotYetValid {
            signed: "SIGNED".into(),
            latest: "LATEST".into(),
            now: "NOW".into(),
        },
        Denial::UnknownAccessKey(_) => Denial::InactiveAccessKey("KEY".into()),
        Denial::InactiveAccessKey(_) => Denial::UnknownPrincipal {
            access_key: "KEY".into(),
            owner: "OWNER".into(),
        },
        Denial::UnknownPrincipal { .. } => Denial::AmbiguousPrincipal {
            access_key: "KEY".into(),
            owner: "OWNER".into(),
        },
        Denial::WrongSessionToken(_) => Denial::SessionOver {
            access_key: "KEY".into(),
            ended: "DATE".into(),
        },
        Denial::SessionOver { .. } => Denial::WrongSignature("KEY".into()),
        Denial::WrongSignature(_) => Denial::HostInCapitals("KEY".into()),
        Denial::HostInCapitals(_) => Denial::OtherAccount("PRINCIPAL".into()),
        Denial::OtherAccount(_) => {
            not_authorized(DenyReason::NotAllowedBy(PolicyType::IdentityBased))
        }
        Denial::NotAuthorized { why, .. } => match why {
            DenyReason::NotAllowedBy(_) => {
                not_authorized(DenyReason::DeniedBy(PolicyType::IdentityBased))
            }
            DenyReason::DeniedBy(_) => {
                not_authorized(DenyReason::Incomplete("WHAT IS MISSING".into()))
            }
            DenyReason::Incomplete(_) => not_authorized(DenyReason::TooMuchWork),
            DenyReason::TooMuchWork => return None,
        },
    })
}

fn row(refusal: &Refusal) -> Row {
    let quoted = |text: String| format!("`{text}`");
    [
        refusal.check().to_owned(),
        refusal.sqlstate().to_owned(),
        refusal.hint().map_or_else(|| "none".to_owned(), quoted),
        quoted(refusal.to_string()),
    ]
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshooting.md");
    fs::read_to_string(path).expect("docs/troubleshooting.md cannot be read")
}

/// A cell in full: one that ends in `…` is the last of the HINTs before it that begins so.
fn in_full(cell: &str, hints: &[String]) -> String {
    let Some(start) = cell.strip_suffix(" …`") else {
        return cell.to_owned();
    };
    let whole = hints.iter().rev().find(|hint| hint.starts_with(start));
    whole
        .unwrap_or_else(|| panic!("no row above begins so: {cell}"))
        .clone()
}

/// The refusals of the page's section "Each check": each check has a heading, each SQLSTATE and HINT a line
/// that ends in a colon, and each reason an item below it.
fn rows_of(page: &str) -> Vec<Row> {
    let (_, checks) = page.split_once("\n## Each check\n").expect("no checks");
    let checks = checks
        .split_once("\n## ")
        .map_or(checks, |(checks, _)| checks);
    let (mut check, mut sqlstate) = (String::new(), String::new());
    let (mut rows, mut hints) = (Vec::new(), Vec::new());
    for line in checks.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            check = heading.to_owned();
            sqlstate.clear();
        } else if let Some((state, hint)) = line.strip_suffix(':').and_then(shared) {
            sqlstate = state.to_owned();
            hints.push(in_full(hint, &hints));
        } else if let Some(item) = line.strip_prefix("- ") {
            let (reason, advice) = item.split_once("`: ").expect("no reason");
            assert!(!advice.is_empty(), "nothing to do: {line}");
            assert!(!sqlstate.is_empty(), "no SQLSTATE: {line}");
            let hint = &hints[hints.len() - 1];
            let reason = in_full(&format!("{reason}`"), &hints);
            rows.push([&check, &sqlstate, hint, &reason].map(String::clone));
        }
    }
    rows
}

/// Takes `08006, HINT TEXT` or `08006, no HINT` apart.
fn shared(line: &str) -> Option<(&str, &str)> {
    let (sqlstate, hint) = line.split_once(", ")?;
    match hint {
        "no HINT" => Some((sqlstate, "none")),
        _ => Some((sqlstate, hint.strip_prefix("HINT ")?)),
    }
}

#[test]
fn each_refusal_is_in_the_page_and_each_row_is_a_refusal() {
    let refusals = std::iter::successors(Some(Refusal::NoTls), next);
    let expected: Vec<Row> = refusals.map(|refusal| row(&refusal)).collect();
    let found = rows_of(&page());
    let set = |rows: &[Row]| rows.iter().cloned().collect::<BTreeSet<Row>>();
    let missing: Vec<_> = set(&expected).difference(&set(&found)).cloned().collect();
    let stale: Vec<_> = set(&found).difference(&set(&expected)).cloned().collect();
    assert_eq!((missing, stale), (vec![], vec![]));
    assert_eq!(found, expected, "in another order, or twice");
}

#[test]
fn each_kind_of_policy_is_in_the_page() {
    let page = page();
    let kinds = [
        PolicyType::ServiceControl,
        PolicyType::ResourceBased,
        PolicyType::IdentityBased,
        PolicyType::PermissionsBoundary,
        PolicyType::Session,
    ];
    for kind in kinds {
        assert!(page.contains(&format!("`{kind}`")), "{kind}");
    }
}
