//! Decides who may log in to a cluster, the way Amazon Aurora DSQL does.
//!
//! This crate knows no PostgreSQL. It takes a token, the role it is presented for, the time, the
//! cluster's description and the IAM identities, and answers with an [`login::Admission`] or a
//! [`denial::Denial`]. Time and secrets are arguments; the one place that does I/O is
//! [`directory`], which reads the IAM documents from disk.
//!
//! `docs/architecture.md` says what each module holds.

#![forbid(unsafe_code)]

pub mod actions;
pub mod arn;
pub mod audit;
pub mod authorization;
pub mod check;
pub mod cluster;
pub mod credentials;
pub mod denial;
pub mod directory;
pub mod documents;
pub mod excerpts;
pub mod explain;
pub mod identity;
pub mod json;
pub mod login;
pub mod policy;
pub mod request_context;
pub mod sigv4;
pub mod sts;
pub mod time;
