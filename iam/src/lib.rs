//! Decides who may log in to a cluster, the way Amazon Aurora DSQL does.
//!
//! This crate knows no PostgreSQL. It takes a token, the role it is presented for, the time, the
//! cluster's description and the IAM identities, and answers with an [`login::Admission`] or a
//! [`denial::Denial`]. Time and secrets are arguments; the one place that does I/O is
//! [`directory`], which reads the IAM documents from disk.
//!
//! | module | holds |
//! |---|---|
//! | [`token`] | the presigned URL that is sent as the password |
//! | [`signature`] | Signature Version 4: canonical request, string to sign, constant-time check |
//! | [`arn`] | ARNs of users, roles and role sessions |
//! | [`policy`] | policy documents: the language, and when a statement applies to a request |
//! | [`authorization`] | what all policies of an account decide together |
//! | [`identity`] | users, groups, roles, access keys of the accounts that were loaded |
//! | [`documents`] | the JSON that AWS's command line prints, turned into identities |
//! | [`json`] | how those documents are read: no null, and no list for an object |
//! | [`directory`] | the directory that holds those documents |
//! | [`excerpts`] | those documents, so that what one login needs can be read alone |
//! | [`check`] | what a directory brings, and what in it cannot be meant so |
//! | [`cluster`] | the cluster: account, region, endpoints |
//! | [`login`] | one login, start to end |
//! | [`request_context`] | what policies can ask about a login |
//! | [`denial`] | every reason to refuse, and the sentence that goes with it |
//! | [`explain`] | every check of a login with its outcome |
//! | [`audit`] | a decision in the form of AWS CloudTrail's events |
//! | [`sts`] | who may assume a role, and what the session is then |
//! | [`signed_request`] | a request that carries its signature in a header |
//! | [`limits`] | how many connections there may be |

#![forbid(unsafe_code)]

pub mod arn;
pub mod audit;
pub mod authorization;
pub mod check;
pub mod cluster;
pub mod denial;
pub mod directory;
pub mod documents;
pub mod excerpts;
pub mod explain;
pub mod identity;
pub mod json;
pub mod limits;
pub mod login;
pub mod policy;
pub mod request_context;
pub mod signature;
pub mod signed_request;
pub mod sts;
pub mod token;
