//! Whether a request is allowed: all policies that have a say in it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>:
//!
//! 1. a Deny that applies, in whatever policy, decides
//! 2. if there are service control policies, one of them has to allow it
//! 3. a resource-based policy that names the caller itself (the user, the role session, or
//!    everybody) and allows it, decides
//! 4. an identity-based policy has to allow it, or a resource-based policy that names the
//!    session's role
//! 5. if there is a permissions boundary, it has to allow it
//! 6. if there are session policies, one of them has to allow it
//!
//! For a resource of another account, 3 is no way: both the resource-based policy and the caller's
//! own have to allow it.
//!
//! A resource-based policy that names the account leaves the decision to the account's
//! identity-based policies. Nothing here belongs to one service; which policies there are is the
//! caller's to find out ([`crate::identity::Identities::policies`] for a user or role).

use crate::policy::{Caller, Context, Effect, Missing, Naming, Policy, Question};
use std::fmt;

/// The kinds of policies that have a say, as IAM calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyType {
    /// Limits what an account may do.
    ServiceControl,
    /// Attached to the resource.
    ResourceBased,
    /// Attached to the user, its groups, or the role.
    IdentityBased,
    /// Limits what a user or role may be allowed.
    PermissionsBoundary,
    /// Limits what a role session may do.
    Session,
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceControl => "service control policy",
            Self::ResourceBased => "resource-based policy",
            Self::IdentityBased => "identity-based policy",
            Self::PermissionsBoundary => "permissions boundary",
            Self::Session => "session policy",
        })
    }
}

/// Where a policy comes from, for those who ask which one decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'p> {
    /// Written into a user, group or role.
    Inline {
        /// The ARN of the user, group or role.
        owner: &'p str,
        /// The policy's name.
        name: &'p str,
    },
    /// A managed policy, by its ARN.
    Managed(&'p str),
    /// Any other, by a name that says enough.
    Other(&'p str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { owner, name } => write!(f, "inline policy {name} of {owner}"),
            Self::Managed(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

/// A policy with the place it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sourced<'p> {
    /// Where it comes from.
    pub source: Source<'p>,
    /// The policy.
    pub policy: &'p Policy,
}

/// All policies that have a say in a request.
#[derive(Debug, Clone, Default)]
pub struct Policies<'p> {
    /// Of the user and its groups, or of the role.
    pub identity: Vec<Sourced<'p>>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<Sourced<'p>>,
    /// The policies of the session, if it was given any: an empty list allows nothing.
    pub session: Option<Vec<Sourced<'p>>>,
    /// Attached to the resource.
    pub resource: Option<Sourced<'p>>,
    /// Whether the resource-based policy has to allow it too, as a role's trust policy has to.
    pub resource_must_allow: bool,
    /// Service control policies; none at all limit nothing.
    pub service_control: Vec<Sourced<'p>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// `service:Name`
    pub action: &'r str,
    /// The ARN of the resource, or `*`.
    pub resource: &'r str,
    /// The account that owns the resource; `None` if it is the one in the ARN, or, where there is
    /// none in it, the caller's.
    pub resource_account: Option<&'r str>,
    /// What else is known.
    pub context: &'r Context,
}

impl<'r> Request<'r> {
    fn resource_account(&self, caller: &Caller<'r>) -> &'r str {
        let in_arn = self.resource.split(':').nth(4);
        let in_arn = in_arn.filter(|account| !account.is_empty() && *account != "*");
        self.resource_account
            .or(in_arn)
            .unwrap_or_else(|| caller.account())
    }
}

/// Yes, or one of the two kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionKind {
    /// Allowed.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// A policy that would have to allow it does not.
    ImplicitDeny,
}

/// A statement that applies to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched<'p> {
    /// What kind of policy it is in.
    pub policy_type: PolicyType,
    /// Where that policy comes from.
    pub source: Source<'p>,
    /// The statement's Sid.
    pub sid: Option<&'p str>,
    /// Its place in the policy, from 0.
    pub index: usize,
    /// Whether it allows or denies.
    pub effect: Effect,
}

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        };
        write!(
            f,
            "{effect}: {} {}, statement {}",
            self.policy_type,
            self.source,
            self.index + 1
        )?;
        match self.sid {
            Some(sid) => write!(f, " ({sid})"),
            None => Ok(()),
        }
    }
}

/// The outcome, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Yes or no.
    pub kind: DecisionKind,
    /// The kind of policy that denies it or does not allow it; `None` if it is allowed.
    pub refused_by: Option<PolicyType>,
    /// Every statement that applies, in the order of [`PolicyType`].
    pub matched: Vec<Matched<'p>>,
    /// Condition keys that were asked for and are not in the context.
    pub missing_context: Vec<String>,
    /// Whether the service control policies allow it; `None` if there are none.
    pub allowed_by_service_control: Option<bool>,
    /// Whether the permissions boundary allows it; `None` if there is none.
    pub allowed_by_boundary: Option<bool>,
    /// Whether the session policies allow it; `None` if there are none.
    pub allowed_by_session: Option<bool>,
}

/// Decides one request of a caller.
pub fn authorize<'p, 'r>(
    policies: &Policies<'p>,
    caller: &Caller<'r>,
    request: &Request<'r>,
) -> Decision<'p> {
    let question = Question::new(
        request.action,
        request.resource,
        request.context,
        *caller,
        policies.boundary.is_some(),
    );
    let mut survey = Survey {
        question,
        missing: Missing::default(),
        matched: Vec::new(),
    };
    let service_control = survey.ask(PolicyType::ServiceControl, &policies.service_control);
    let resource = survey.ask(PolicyType::ResourceBased, policies.resource.as_slice());
    let identity = survey.ask(PolicyType::IdentityBased, &policies.identity);
    let boundary = survey.ask(
        PolicyType::PermissionsBoundary,
        policies.boundary.as_slice(),
    );
    let in_session = policies.session.as_deref().unwrap_or(&[]);
    let session = survey.ask(PolicyType::Session, in_session);
    let Survey {
        missing, matched, ..
    } = survey;

    let allows = |said: Naming| said != Naming::None;
    let limit = |is_there: bool, said: Naming| is_there.then(|| allows(said));
    let allowed_by_service_control = limit(!policies.service_control.is_empty(), service_control);
    let allowed_by_boundary = limit(policies.boundary.is_some(), boundary);
    let allowed_by_session = limit(policies.session.is_some(), session);

    // Another account's resource takes both: its own policy, and those of the caller.
    let is_anothers = request.resource_account(caller) != caller.account();
    let denied_by = matched
        .iter()
        .find(|statement| statement.effect == Effect::Deny)
        .map(|statement| statement.policy_type);
    let (kind, refused_by) = if denied_by.is_some() {
        (DecisionKind::ExplicitDeny, denied_by)
    } else {
        let lacking = if allowed_by_service_control == Some(false) {
            Some(PolicyType::ServiceControl)
        } else if (policies.resource_must_allow || is_anothers) && !allows(resource) {
            Some(PolicyType::ResourceBased)
        } else if resource == Naming::Caller && !is_anothers {
            // Granted to the caller itself: what the others do not say is no limit.
            None
        } else if !allows(identity) && (is_anothers || resource != Naming::Role) {
            Some(PolicyType::IdentityBased)
        } else if allowed_by_boundary == Some(false) {
            Some(PolicyType::PermissionsBoundary)
        } else if allowed_by_session == Some(false) {
            Some(PolicyType::Session)
        } else {
            None
        };
        match lacking {
            Some(_) => (DecisionKind::ImplicitDeny, lacking),
            None => (DecisionKind::Allowed, None),
        }
    };
    Decision {
        kind,
        refused_by,
        matched,
        missing_context: missing.into_names(),
        allowed_by_service_control,
        allowed_by_boundary,
        allowed_by_session,
    }
}

/// Asks one policy after the other, and notes what applies.
struct Survey<'q, 'p> {
    question: Question<'q>,
    missing: Missing,
    matched: Vec<Matched<'p>>,
}

impl<'p> Survey<'_, 'p> {
    /// How closely the policies allow it to the caller; [`Naming::None`] if they do not.
    fn ask(&mut self, policy_type: PolicyType, policies: &[Sourced<'p>]) -> Naming {
        let mut allowed = Naming::None;
        for Sourced { source, policy } in policies {
            for (index, statement) in policy.statements().iter().enumerate() {
                let naming = statement.apply(&self.question, &mut self.missing);
                if naming == Naming::None {
                    continue;
                }
                if statement.effect() == Effect::Allow {
                    allowed = allowed.max(naming);
                }
                self.matched.push(Matched {
                    policy_type,
                    source: *source,
                    sid: statement.sid(),
                    index,
                    effect: statement.effect(),
                });
            }
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Kind;
    use serde_json::{Value, json};

    const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
    const USER: Caller<'_> = Caller {
        arn: "arn:aws:iam::012345678912:user/alice",
        role_arn: None,
    };
    const SESSION: Caller<'_> = Caller {
        arn: "arn:aws:sts::012345678912:assumed-role/App/s",
        role_arn: Some("arn:aws:iam::012345678912:role/App"),
    };

    /// One policy of each type, or none. The letters: `+` allows, `-` denies, `0` says nothing.
    #[derive(Default)]
    struct Setup {
        identity: Option<char>,
        boundary: Option<char>,
        session: Option<char>,
        service_control: Option<char>,
        resource: Option<(char, Value)>,
        must: bool,
    }

    fn policy(letter: char, principal: Option<&Value>) -> Policy {
        let (effect, action) = match letter {
            '+' => ("Allow", "dsql:*"),
            '-' => ("Deny", "dsql:DbConnect"),
            _ => ("Allow", "s3:*"),
        };
        let mut statement =
            json!({"Sid": "S", "Effect": effect, "Action": action, "Resource": "*"});
        let kind = match principal {
            Some(principal) => {
                statement["Principal"] = principal.clone();
                Kind::ResourceBased
            }
            None => Kind::IdentityBased,
        };
        Policy::parse(&json!({"Statement": statement}).to_string(), kind).unwrap()
    }

    fn decide(setup: &Setup, caller: &Caller<'_>) -> (DecisionKind, Option<PolicyType>) {
        let plain = |letter: Option<char>| letter.map(|letter| policy(letter, None));
        let (identity, boundary) = (plain(setup.identity), plain(setup.boundary));
        let (session, service_control) = (plain(setup.session), plain(setup.service_control));
        let resource = setup.resource.as_ref().map(|(l, p)| policy(*l, Some(p)));
        let context = Context::default();
        let sourced = |policy| Sourced {
            source: Source::Other("it"),
            policy,
        };
        let policies = Policies {
            identity: identity.iter().map(sourced).collect(),
            boundary: boundary.as_ref().map(sourced),
            session: session.as_ref().map(|policy| vec![sourced(policy)]),
            resource: resource.as_ref().map(sourced),
            resource_must_allow: setup.must,
            service_control: service_control.iter().map(sourced).collect(),
        };
        let request = Request {
            action: "dsql:DbConnect",
            resource: CLUSTER,
            resource_account: None,
            context: &context,
        };
        let decision = authorize(&policies, caller, &request);
        (decision.kind, decision.refused_by)
    }

    #[test]
    fn every_limit_has_to_allow_it() {
        use DecisionKind::*;
        use PolicyType::*;
        let all = || Setup {
            identity: Some('+'),
            boundary: Some('+'),
            session: Some('+'),
            service_control: Some('+'),
            ..Setup::default()
        };
        assert_eq!(decide(&all(), &SESSION), (Allowed, None));
        let one = |letter| Setup {
            identity: letter,
            ..Setup::default()
        };
        assert_eq!(decide(&one(Some('+')), &USER), (Allowed, None));
        assert_eq!(
            decide(&one(None), &USER),
            (ImplicitDeny, Some(IdentityBased))
        );
        type Change = fn(&mut Setup, char);
        let changes: [(Change, PolicyType); 4] = [
            (|setup, letter| setup.identity = Some(letter), IdentityBased),
            (
                |setup, letter| setup.boundary = Some(letter),
                PermissionsBoundary,
            ),
            (|setup, letter| setup.session = Some(letter), Session),
            (
                |setup, letter| setup.service_control = Some(letter),
                ServiceControl,
            ),
        ];
        for (change, policy_type) in changes {
            for (letter, kind) in [('0', ImplicitDeny), ('-', ExplicitDeny)] {
                let mut setup = all();
                change(&mut setup, letter);
                assert_eq!(decide(&setup, &SESSION), (kind, Some(policy_type)));
            }
        }
    }

    #[test]
    fn how_far_a_resource_based_policy_goes() {
        use DecisionKind::*;
        use PolicyType::*;
        let root = json!({"AWS": "arn:aws:iam::012345678912:root"});
        let user = json!({"AWS": USER.arn});
        let role = json!({"AWS": SESSION.role_arn});
        let session = json!({"AWS": SESSION.arn});
        let everybody = json!("*");
        let yes = (Allowed, None);
        let no = |policy_type| (ImplicitDeny, Some(policy_type));
        for (caller, principal, identity, boundary, session_policy, expected) in [
            (&USER, &user, None, None, None, yes),
            (&USER, &user, Some('0'), Some('0'), None, yes),
            (&USER, &everybody, None, Some('0'), None, yes),
            (&USER, &root, None, None, None, no(IdentityBased)),
            (&USER, &root, Some('+'), None, None, yes),
            (
                &USER,
                &root,
                Some('+'),
                Some('0'),
                None,
                no(PermissionsBoundary),
            ),
            (&USER, &role, None, None, None, no(IdentityBased)),
            (&SESSION, &session, None, Some('0'), Some('0'), yes),
            (&SESSION, &everybody, None, Some('0'), Some('0'), yes),
            (&SESSION, &role, None, None, None, yes),
            (&SESSION, &role, None, Some('+'), Some('+'), yes),
            (
                &SESSION,
                &role,
                None,
                Some('0'),
                Some('+'),
                no(PermissionsBoundary),
            ),
            (&SESSION, &role, None, Some('+'), Some('0'), no(Session)),
            (&SESSION, &root, Some('0'), None, None, no(IdentityBased)),
        ] {
            let setup = |letter| Setup {
                identity,
                boundary,
                session: session_policy,
                resource: Some((letter, principal.clone())),
                ..Setup::default()
            };
            assert_eq!(decide(&setup('+'), caller), expected, "{principal}");
            let applies = !(caller == &USER && principal == &role);
            let denied = decide(&setup('-'), caller);
            assert_eq!(
                denied == (ExplicitDeny, Some(ResourceBased)),
                applies,
                "{principal}"
            );
        }
        let limited = Setup {
            resource: Some(('+', user.clone())),
            service_control: Some('0'),
            ..Setup::default()
        };
        assert_eq!(decide(&limited, &USER), no(ServiceControl));
        // As a trust policy has to.
        for (letter, principal, expected) in [('0', &user, no(ResourceBased)), ('+', &root, yes)] {
            let must = Setup {
                identity: Some('+'),
                resource: Some((letter, principal.clone())),
                must: true,
                ..Setup::default()
            };
            assert_eq!(decide(&must, &USER), expected);
        }
    }

    #[test]
    fn what_it_rests_on_is_told() {
        let text = json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Other", "Effect": "Allow", "Action": "s3:*", "Resource": "*",
             "Condition": {"StringEquals": {"s3:prefix": "x"}}},
            {"Sid": "Conditional", "Effect": "Allow", "Action": "dsql:*", "Resource": "*",
             "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1", "AWS:sourcevpc": "${aws:x}"}}},
            {"Effect": "Allow", "Action": "dsql:*", "Resource": "*"}]});
        let policy = Policy::parse(&text.to_string(), Kind::IdentityBased).unwrap();
        let context = Context::default();
        let policies = Policies {
            identity: vec![Sourced {
                source: Source::Managed("arn:aws:iam::aws:policy/P"),
                policy: &policy,
            }],
            ..Policies::default()
        };
        let request = Request {
            action: "DSQL:dbconnect",
            resource: CLUSTER,
            resource_account: None,
            context: &context,
        };
        let decision = authorize(&policies, &USER, &request);
        assert_eq!(decision.kind, DecisionKind::Allowed);
        let [matched] = decision.matched.as_slice() else {
            panic!("{:?}", decision.matched)
        };
        assert_eq!((matched.index, matched.sid), (2, None));
        assert_eq!(matched.source.to_string(), "arn:aws:iam::aws:policy/P");
        assert_eq!(
            decision.missing_context,
            ["aws:PrincipalOrgID", "AWS:sourcevpc"]
        );
        let keys = ["AWS:sourcevpc", "aws:PrincipalOrgID", "aws:x", "s3:prefix"];
        assert_eq!(policy.context_keys().into_iter().collect::<Vec<_>>(), keys);
    }
}
