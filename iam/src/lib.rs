//! Decides who may log in to a cluster, the way Amazon Aurora DSQL does.
//!
//! This crate knows no PostgreSQL. It takes a token, the role it is presented for, the time, the
//! cluster's description and the IAM identities, and answers with an [`Admission`] or a
//! [`Denial`]. Time and secrets are arguments; the places that do I/O are [`directory`],
//! which reads the IAM documents from disk, and [`session_store`], which reads sessions.
//!
//! `docs/architecture.md` says what each module holds. The modules whose functions are called by the
//! module's name (`documents::parse`, `sigv4::signature`) are public; of the others this file has what
//! is used outside.

#![forbid(unsafe_code)]
// The face of the crate is what this file says, and no more.
#![warn(unreachable_pub)]

pub mod access;
mod actions;
mod arn;
mod audit;
mod authorization;
pub mod check;
mod cluster;
mod credentials;
mod denial;
mod diagnosis;
pub mod directory;
pub mod documents;
pub mod excerpts;
mod explain;
mod identity;
mod identity_provider;
pub mod json;
mod login;
mod mfa;
pub mod policy;
mod request_context;
pub mod session_store;
pub mod sigv4;
pub mod sts;
mod time;
mod visible;

pub use actions::{Action, is_about_trust, resource_template};
pub use arn::{
    Arn, IamArn, IamKind, NotAnIamArn, SessionArn, account_in, account_of, is_account_id,
};
pub use audit::{LoginRecord, OmittedRecord, RefusalReason, cloudtrail_event, cloudtrail_omitted};
pub use authorization::{
    Decision, DecisionKind, DenyReason, Matched, Policies, PolicyType, Request, Source, Sourced,
    authorize, authorize_within,
};
pub use cluster::{BadCluster, Cluster, ID_LEN, SERVICE, id_and_region, parse_linked};
pub use credentials::{Authenticated, PresentedCredentials, is_same_secret};
pub use denial::Denial;
pub use diagnosis::{Attempt, Diagnosed, Diagnosis, diagnose};
pub use explain::{CheckOutcome, Explanation, SignedValue, explain};
pub use identity::{
    AccessKey, ClusterDescription, Group, Identities, IdentityCounts, IdentityError, InlinePolicy,
    KnownSession, Owner, Principal, SIMULATED, Session, SessionPolicies, Tag,
};
pub use identity_provider::{Algorithm, PublicKey};
pub use login::{
    ADMIN, Access, Admission, Caller, KeyCounts, Refused, Verdict, check_claims, count_keys, judge,
    judge_token, may_connect,
};
pub use mfa::CodeStep;
pub use request_context::{ConnectionFacts, LoginEnvironment, request_context, simulated_context};
pub use time::{CLOCK_SKEW, format_amz_date};
pub use visible::{is_hidden, printable, printable_up_to, visible, visible_path};
