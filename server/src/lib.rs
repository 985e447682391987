//! What is decided about a PostgreSQL server, without one.
//!
//! `iam` knows AWS and no PostgreSQL; the extension talks to PostgreSQL and decides nothing. This crate is
//! between them: it takes values and gives values, and so is tested and fuzzed without a server.
//!
//! | module | holds |
//! |---|---|
//! | [`async_index`] | the grammar of `CREATE INDEX ASYNC` and `CALL sys.wait_for_job` |
//! | [`aws_iam`] | the grammar of `AWS IAM GRANT` and `AWS IAM REVOKE` |
//! | [`connect_options`] | the cluster that a client names in its connection string |
//! | [`counts`] | what has come of logins since the server started |
//! | [`doctor`] | whether a server is as it should be, and what mends it |
//! | [`hba`] | the text of the library's hba file |
//! | [`limits`] | how many connections there may be |
//! | [`log_line`] | the line in the log for each decision |
//! | [`refusal`] | every reason to refuse, and what client and log hear of it |

#![forbid(unsafe_code)]

pub mod async_index;
pub mod aws_iam;
pub mod connect_options;
pub mod counts;
pub mod doctor;
pub mod hba;
pub mod limits;
pub mod log_line;
pub mod refusal;
mod scan;
