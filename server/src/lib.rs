//! What is decided about a PostgreSQL server, without one.
//!
//! `iam` knows AWS and no PostgreSQL; the extension talks to PostgreSQL and decides nothing. This crate is
//! between them: it takes values and gives values, and so is tested and fuzzed without a server.
//!
//! | module | holds |
//! |---|---|
//! | [`aws_iam`] | the grammar of `AWS IAM GRANT` and `AWS IAM REVOKE` |
//! | [`connect_options`] | the cluster that a client names in its connection string |
//! | [`doctor`] | whether a server is as it should be, and what mends it |

#![forbid(unsafe_code)]

pub mod aws_iam;
pub mod connect_options;
pub mod doctor;
