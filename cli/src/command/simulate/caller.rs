//! The simulated caller, as policies see it.

use dsql_iam_core::policy::RequestPrincipal;
use dsql_iam_core::{Arn, IamArn, IamKind, Identities, SIMULATED, SessionArn, is_account_id};

use super::error::{Error, error};

/// A user, a session of a role, or a group, which asks for nothing outside of simulations; nobody, if
/// policies alone are simulated.
#[derive(Debug, Default, PartialEq)]
pub struct SimulatedCaller {
    arn: String,
    role_arn: Option<String>,
}

impl SimulatedCaller {
    /// Of the ARN of a user, of a group, of a role or of a role session. The session's role has the path that it
    /// has in the documents, or in the ARN of the policies' `source`.
    pub fn named(
        arn: &str,
        identities: Option<&Identities>,
        source: Option<&str>,
    ) -> Result<Self, Error> {
        match IamArn::parse(arn) {
            Ok(IamArn {
                kind: IamKind::User,
                ..
            }) => {
                return Ok(Self {
                    arn: arn.to_owned(),
                    role_arn: None,
                });
            }
            Ok(role) => {
                return Ok(Self {
                    arn: SessionArn::of(&role, SIMULATED).to_string(),
                    role_arn: Some(arn.to_owned()),
                });
            }
            Err(_) if is_group(arn) => {
                return Ok(Self {
                    arn: arn.to_owned(),
                    role_arn: None,
                });
            }
            Err(_) => {}
        }
        let session = SessionArn::parse(arn).ok_or_else(|| {
            error(format!(
                "--caller-arn: {arn} is not the ARN of a user, a group, a role or a role session"
            ))
        })?;
        let in_documents = identities
            .and_then(|identities| identities.role(session.account, session.role))
            .map(|role| role.arn.as_str());
        let is_source = |source: &&str| {
            IamArn::parse(source).is_ok_and(|role| {
                role.kind == IamKind::Role
                    && role.account == session.account
                    && role.name == session.role
            })
        };
        let role_arn = in_documents.or(source.filter(is_source)).map_or_else(
            || {
                format!(
                    "arn:{}:iam::{}:role/{}",
                    session.partition, session.account, session.role
                )
            },
            str::to_owned,
        );
        Ok(Self {
            arn: arn.to_owned(),
            role_arn: Some(role_arn),
        })
    }

    /// Whether nobody is named.
    pub fn is_nobody(&self) -> bool {
        self.arn.is_empty()
    }

    /// As policies see it; the documents, if there are any, know its unique id.
    pub fn caller<'a>(&'a self, identities: Option<&'a Identities>) -> RequestPrincipal<'a> {
        let role_arn = self.role_arn.as_deref();
        let known = identities.and_then(|all| all.principal(role_arn.unwrap_or(&self.arn)));
        RequestPrincipal {
            arn: &self.arn,
            role_arn,
            unique_id: known.and_then(|principal| principal.unique_id.as_deref()),
        }
    }
}

/// Whether it is the ARN of a group, path included.
pub fn is_group(arn: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| {
        let name = arn.resource.strip_prefix("group/").unwrap_or_default();
        let is_named = !name.is_empty() && !name.ends_with('/') && !name.contains(['*', '?']);
        let is_iam = arn.service == "iam" && arn.region.is_empty();
        is_iam && !arn.partition.is_empty() && is_account_id(arn.account) && is_named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_ask() {
        let user = "arn:aws:iam::012345678912:user/x/alice";
        let role = "arn:aws:iam::012345678912:role/x/App";
        let session = "arn:aws:sts::012345678912:assumed-role/App/web";
        let group = "arn:aws:iam::012345678912:group/x/staff";
        for (arn, source, expected, role_arn) in [
            (user, None, user, None),
            (group, None, group, None),
            (group, Some(group), group, None),
            (
                role,
                None,
                "arn:aws:sts::012345678912:assumed-role/App/simulated",
                Some(role),
            ),
            (session, Some(role), session, Some(role)),
            (
                session,
                Some("arn:aws:iam::012345678912:role/x/Other"),
                session,
                Some("arn:aws:iam::012345678912:role/App"),
            ),
            (
                session,
                Some(user),
                session,
                Some("arn:aws:iam::012345678912:role/App"),
            ),
        ] {
            let asker = SimulatedCaller::named(arn, None, source).unwrap();
            let caller = asker.caller(None);
            assert_eq!((caller.arn, caller.role_arn), (expected, role_arn), "{arn}");
        }
        for arn in [
            "",
            "alice",
            "arn:aws:iam::012345678912:root",
            "arn:aws:iam::012345678912:group/",
            "arn:aws:iam::012345678912:group/*",
            "arn:aws:iam::0123:group/staff",
            "arn:aws:sts::012345678912:assumed-role/App",
            "arn:aws:sts::012345678912:federated-user/alice",
            "arn:aws:iam::012345678912:user/*",
        ] {
            let fault = SimulatedCaller::named(arn, None, None)
                .unwrap_err()
                .to_string();
            assert_eq!(
                fault,
                format!(
                    "--caller-arn: {arn} is not the ARN of a user, a group, a role or a role session"
                )
            );
        }
    }
}
