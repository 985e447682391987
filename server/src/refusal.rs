//! Every reason to refuse a connection, and what the client and the log hear of it.
//!
//! A refusal is IAM's ([`Denial`]), or the server's own: for the connection, the settings, the database, the
//! role. The client gets SQLSTATE, message and HINT in Aurora DSQL's words; the *reason*
//! ([`Display`](std::fmt::Display)) is for the log, holds all that helps to find the fault, and never a secret.

use dsql_iam_core::{BadCluster, Denial, printable};
use std::borrow::Cow;

use crate::connect_options::OtherCluster;
use crate::limits::Reached;
use crate::session_parameters;

/// `ERRCODE_CONNECTION_FAILURE`
const CONNECTION_FAILURE: &str = "08006";
/// `ERRCODE_PROTOCOL_VIOLATION`
const PROTOCOL_VIOLATION: &str = "08P01";
/// `ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION`
const INVALID_AUTHORIZATION: &str = "28000";
/// `ERRCODE_TOO_MANY_CONNECTIONS`
const TOO_MANY_CONNECTIONS: &str = "53300";
/// `ERRCODE_CONFIGURATION_LIMIT_EXCEEDED`
const LIMIT_EXCEEDED: &str = "53400";

/// Why a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The connection is not encrypted.
    #[error("the connection is not encrypted, and dsql_iam.require_tls is on")]
    NoTls,
    /// There are too many connections, or too many new ones.
    #[error("{}", limit(*.0))]
    Limit(Reached),
    /// The client says that it wants another cluster.
    #[error("the client names another cluster: {0}")]
    OtherCluster(#[from] OtherCluster),
    /// The client names neither a server nor a cluster.
    #[error("the client sent no server name (SNI), and dsql_iam.require_sni is on")]
    NoServerName,
    /// The client names a server by a name from which no cluster follows.
    #[error("the client sent the server name (SNI) {}, which is not an endpoint, and dsql_iam.require_sni is on", printable(.0))]
    InvalidServerName(String),
    /// The cluster was idle, as its document says.
    #[error("the status of the cluster is INACTIVE in its document (get-cluster)")]
    Inactive,
    /// The cluster is not there for connections, as its document says.
    #[error("the status of the cluster is {} in its document (get-cluster)", printable(.0))]
    Status(String),
    /// The client did not answer with a password as the protocol has it.
    #[error("{message}: {came}")]
    Protocol {
        /// PostgreSQL's message
        message: &'static str,
        /// what came instead
        came: String,
    },
    /// The cluster's settings are missing or malformed.
    #[error("dsql_iam is not configured: {0}")]
    Unconfigured(#[from] BadCluster),
    /// No identities could be loaded.
    #[error("no IAM identities are loaded: {0}")]
    NoIdentities(String),
    /// The session of the access key is stored, and cannot be used.
    #[error("the stored session of the access key is not used: {0}")]
    StoredSession(String),
    /// IAM says no.
    #[error("{0}")]
    Iam(#[from] Denial),
    /// Another database than `postgres`.
    #[error("database {} was asked for; there is only postgres", printable(.0))]
    Database(String),
    /// The role does not exist, cannot log in, or is a superuser.
    #[error("role {} {fault}", printable(.role))]
    Role {
        /// the role asked for
        role: String,
        /// `does not exist`, …
        fault: &'static str,
    },
    /// The principal's ARN is not mapped to the role.
    #[error("{arn} is not mapped to role {} (AWS IAM GRANT)", printable(.role))]
    Mapping {
        /// the role asked for
        role: String,
        /// the ARN that would have to be mapped
        arn: String,
    },
    /// A parameter of the startup packet is not one of Aurora DSQL's.
    #[error("the client sets the parameter {}, and dsql_iam.restrict_parameters is on", printable(.0))]
    Parameter(String),
    /// The server itself would turn the session away, for a limit or a privilege of its own.
    #[error("{message}")]
    Server {
        /// the server's SQLSTATE
        sqlstate: String,
        /// the server's message
        message: String,
    },
    /// Something broke while deciding.
    #[error("an internal error occurred: {0}")]
    Internal(String),
}

fn limit(reached: Reached) -> &'static str {
    match reached {
        Reached::Connections => "the limit dsql_iam.max_connections is reached",
        Reached::Rate => "the rate limit dsql_iam.max_connection_rate is reached",
    }
}

impl Refusal {
    /// Why nobody connects to a cluster of this status, the one of `aws dsql get-cluster`; `None` if it takes
    /// connections, or if the status is not known.
    ///
    /// Source: the messages of the service for a cluster that was idle. One that is being made or deleted, or of a
    /// status that is not known here, is refused like everything that is in doubt.
    pub fn of_status(status: &str) -> Option<Self> {
        match status {
            "" | "ACTIVE" | "IDLE" | "UPDATING" => None,
            "INACTIVE" => Some(Self::Inactive),
            other => Some(Self::Status(other.to_owned())),
        }
    }

    /// A short name of the check that failed, the same in every release, for machines.
    pub fn check(&self) -> &'static str {
        match self {
            Self::NoTls => "tls",
            Self::Limit(_) => "limit",
            Self::OtherCluster(_)
            | Self::NoServerName
            | Self::InvalidServerName(_)
            | Self::Inactive
            | Self::Status(_) => "cluster",
            Self::Protocol { .. } => "protocol",
            Self::Unconfigured(_) => "configuration",
            Self::NoIdentities(_) => "identities",
            Self::StoredSession(_) => "session",
            Self::Iam(denial) => denial.check(),
            Self::Database(_) => "database",
            Self::Role { .. } => "role",
            Self::Mapping { .. } => "mapping",
            Self::Parameter(_) => "parameter",
            Self::Server { .. } => "server",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether no token came before it: a stranger has this for a connection, as often as he likes.
    pub fn is_before_token(&self) -> bool {
        matches!(
            self,
            Self::NoTls
                | Self::OtherCluster(_)
                | Self::NoServerName
                | Self::InvalidServerName(_)
                | Self::Protocol { .. }
        )
    }

    /// The SQLSTATE: 28000 if IAM said yes and the database no, 08006 for most of what comes before.
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::NoTls
            | Self::NoServerName
            | Self::InvalidServerName(_)
            | Self::Protocol { .. } => PROTOCOL_VIOLATION,
            Self::Limit(Reached::Connections) => TOO_MANY_CONNECTIONS,
            Self::Limit(Reached::Rate) => LIMIT_EXCEEDED,
            Self::Parameter(_) => session_parameters::NOT_SUPPORTED,
            Self::Server { sqlstate, .. } => sqlstate,
            Self::Role { .. } | Self::Mapping { .. } => INVALID_AUTHORIZATION,
            Self::OtherCluster(_)
            | Self::Inactive
            | Self::Status(_)
            | Self::Unconfigured(_)
            | Self::NoIdentities(_)
            | Self::StoredSession(_)
            | Self::Iam(_)
            | Self::Database(_)
            | Self::Internal(_) => CONNECTION_FAILURE,
        }
    }

    /// The primary message.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::NoTls => {
                "unable to accept connection, SSL is mandatory. AWS Authentication is required."
                    .into()
            }
            Self::NoServerName => "unable to accept connection, sni was not received".into(),
            Self::InvalidServerName(_) => "unable to accept connection, invalid sni".into(),
            Self::Inactive => {
                "unable to accept connection, waking up cluster, please retry later".into()
            }
            Self::Limit(Reached::Connections) => {
                "Unable to accept connection, too many open connections.".into()
            }
            Self::Limit(Reached::Rate) => "Unable to accept connection, rate exceeded.".into(),
            Self::Protocol { message, .. } => (*message).into(),
            Self::Parameter(name) => session_parameters::message(&printable(name)).into(),
            Self::Server { message, .. } => message.clone().into(),
            Self::OtherCluster(_)
            | Self::Status(_)
            | Self::Unconfigured(_)
            | Self::NoIdentities(_)
            | Self::StoredSession(_)
            | Self::Iam(_)
            | Self::Database(_)
            | Self::Role { .. }
            | Self::Mapping { .. }
            | Self::Internal(_) => "unable to accept connection, access denied".into(),
        }
    }

    /// The HINT, which only IAM's denials have; `None` where Aurora DSQL says nothing.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Iam(denial) => denial.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_sqlstate_and_its_message() {
        const DENIED: &str = "unable to accept connection, access denied";
        let role = || "example".to_owned();
        for (refusal, check, sqlstate, message) in [
            (
                Refusal::NoTls,
                "tls",
                "08P01",
                "unable to accept connection, SSL is mandatory. AWS Authentication is required.",
            ),
            (
                Refusal::Limit(Reached::Connections),
                "limit",
                "53300",
                "Unable to accept connection, too many open connections.",
            ),
            (
                Refusal::Limit(Reached::Rate),
                "limit",
                "53400",
                "Unable to accept connection, rate exceeded.",
            ),
            (
                Refusal::NoServerName,
                "cluster",
                "08P01",
                "unable to accept connection, sni was not received",
            ),
            (
                Refusal::InvalidServerName("vpce-1.vpce.amazonaws.com".into()),
                "cluster",
                "08P01",
                "unable to accept connection, invalid sni",
            ),
            (
                Refusal::of_status("INACTIVE").unwrap(),
                "cluster",
                "08006",
                "unable to accept connection, waking up cluster, please retry later",
            ),
            (
                Refusal::of_status("DELETED").unwrap(),
                "cluster",
                "08006",
                DENIED,
            ),
            (
                Refusal::Protocol {
                    message: "expected password response",
                    came: "got message type 81".into(),
                },
                "protocol",
                "08P01",
                "expected password response",
            ),
            (
                Refusal::Parameter("lock_timeout".into()),
                "parameter",
                "0A000",
                "setting configuration parameter \"lock_timeout\" not supported",
            ),
            (
                Refusal::Server {
                    sqlstate: "53300".into(),
                    message: "too many clients".into(),
                },
                "server",
                "53300",
                "too many clients",
            ),
            (
                Refusal::Role {
                    role: role(),
                    fault: "does not exist",
                },
                "role",
                "28000",
                DENIED,
            ),
            (
                Refusal::Mapping {
                    role: role(),
                    arn: "arn".into(),
                },
                "mapping",
                "28000",
                DENIED,
            ),
            (Refusal::Database(role()), "database", "08006", DENIED),
            (
                OtherCluster::ServerName(role()).into(),
                "cluster",
                "08006",
                DENIED,
            ),
            (
                BadCluster::Region(role()).into(),
                "configuration",
                "08006",
                DENIED,
            ),
            (Refusal::NoIdentities(role()), "identities", "08006", DENIED),
            (Refusal::StoredSession(role()), "session", "08006", DENIED),
            (
                Refusal::Internal("deciding".into()),
                "internal",
                "08006",
                DENIED,
            ),
        ] {
            assert_eq!(refusal.check(), check);
            assert_eq!(refusal.sqlstate(), sqlstate, "{refusal}");
            assert_eq!(refusal.message(), message, "{refusal}");
            assert_eq!(refusal.hint(), None, "{refusal}");
        }
        let denial = Denial::UnknownAccessKey("KEY".into());
        let refusal = Refusal::from(denial.clone());
        assert_eq!((refusal.sqlstate(), &*refusal.message()), ("08006", DENIED));
        assert_eq!(refusal.check(), denial.check());
        assert_eq!(refusal.hint(), denial.hint());
        assert_eq!(refusal.to_string(), denial.to_string());
    }

    #[test]
    fn a_text_that_a_client_chose_cannot_spoil_the_log() {
        let role = || "a\u{1b}[2J".to_owned();
        for refusal in [
            Refusal::Role {
                role: role(),
                fault: "does not exist",
            },
            Refusal::Mapping {
                role: role(),
                arn: "arn".into(),
            },
            Refusal::Database(role()),
            Refusal::Parameter(role()),
            OtherCluster::Id(role().repeat(1000)).into(),
        ] {
            let text = refusal.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.len() < 3000, "{text:?}");
        }
    }
}
