//! Whether a request is allowed: all policies that have a say in it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>:
//!
//! 1. a Deny that applies, in whatever policy, decides
//! 2. if there are service control policies, one of them has to allow it, on each level of the
//!    organization
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

use crate::arn::account_in;
use crate::policy::{Caller, Context, Effect, Evaluation, Naming, Policy, Question};
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
    /// Service control policies, by level of the organization, from its root to the account: on each of
    /// them one has to allow it. No level at all limits nothing. They do not count for service-linked roles.
    pub service_control: Vec<Vec<Sourced<'p>>>,
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
        self.resource_account
            .or_else(|| account_in(self.resource))
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

/// How many statements of one effect in policies of one kind, or on one level of the organization, a
/// decision names.
pub const MAX_MATCHED: usize = 100;

/// A statement that applies to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched<'p> {
    /// What kind of policy it is in.
    pub policy_type: PolicyType,
    /// Where that policy comes from.
    pub source: Source<'p>,
    /// The name of the file that the policy is in, if it came from one.
    pub file: Option<&'p str>,
    /// The statement's Sid.
    pub sid: Option<&'p str>,
    /// Its place in the policy, from 0.
    pub index: usize,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whether the decision rests on it: as one of those that deny, or, where the request is allowed,
    /// as one of those in the policies that had to allow it. Nothing decides what nothing allows.
    pub decides: bool,
    /// How closely it names the caller.
    naming: Naming,
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
        if let Some(sid) = self.sid {
            write!(f, " ({sid})")?;
        }
        if let Some(file) = self.file {
            write!(f, ", in {file}")?;
        }
        f.write_str(if self.decides { ": decides" } else { "" })
    }
}

/// The outcome, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Yes or no.
    pub kind: DecisionKind,
    /// The kind of policy that denies it or does not allow it; `None` if it is allowed.
    pub refused_by: Option<PolicyType>,
    /// Whether it was given up, since to look at all the policies would take too much: a no.
    pub is_unfinished: bool,
    /// Every statement that applies, in the order of [`PolicyType`]; of more than [`MAX_MATCHED`] that
    /// allow, or that deny, in policies of one kind (or on one level), the first.
    pub matched: Vec<Matched<'p>>,
    /// Condition keys that were asked for and are not in the context.
    pub missing_context: Vec<String>,
    /// Those of them that others than service control policies asked for.
    pub missing_in_account: Vec<String>,
    /// What the policies of each kind say by themselves; a kind of which there are none is not in it,
    /// but for the identity-based ones.
    said: Vec<(PolicyType, DecisionKind)>,
}

impl<'p> Decision<'p> {
    /// What the policies of this kind say by themselves; `None` if there are none of it.
    pub fn says(&self, policy_type: PolicyType) -> Option<DecisionKind> {
        let mut said = self.said.iter();
        said.find(|(of, _)| *of == policy_type)
            .map(|(_, kind)| *kind)
    }

    /// The statements that the decision rests on.
    pub fn deciding(&self) -> impl Iterator<Item = &Matched<'p>> {
        self.matched.iter().filter(|statement| statement.decides)
    }
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
        evaluation: Evaluation::default(),
        matched: Vec::new(),
    };
    use PolicyType::{IdentityBased, PermissionsBoundary, ResourceBased, ServiceControl, Session};
    // AWS: they affect no service-linked role.
    let service_control: &[Vec<Sourced<'p>>] = match caller.is_service_linked() {
        true => &[],
        false => &policies.service_control,
    };
    let is_controlled = !service_control.is_empty();
    let levels = service_control.iter();
    let levels = levels.map(|level| survey.ask(ServiceControl, level));
    let service_control = levels.reduce(Said::and).unwrap_or(Said::NOTHING);
    let missing_in_organization = survey.evaluation.take_missing();
    let resource = survey.ask(ResourceBased, policies.resource.as_slice());
    let identity = survey.ask(IdentityBased, &policies.identity);
    let boundary = survey.ask(PermissionsBoundary, policies.boundary.as_slice());
    let session = survey.ask(Session, policies.session.as_deref().unwrap_or(&[]));
    // In the order in which it is told who denies, and who does not allow.
    let all = [
        (ServiceControl, is_controlled, service_control),
        (ResourceBased, policies.resource.is_some(), resource),
        (IdentityBased, true, identity),
        (PermissionsBoundary, policies.boundary.is_some(), boundary),
        (Session, policies.session.is_some(), session),
    ];

    // Another account's resource takes both: its own policy, and those of the caller.
    let is_anothers = request.resource_account(caller) != caller.account();
    // Granted to the caller itself: what the others do not say is no limit.
    let grants_itself = resource.allowed == Naming::Caller && !is_anothers;
    let grants_role = resource.allowed == Naming::Role && !is_anothers && !identity.allows();
    let has_to_allow = |policy_type: PolicyType, is_there: bool| match policy_type {
        ServiceControl => is_there,
        ResourceBased => {
            policies.resource_must_allow || is_anothers || grants_itself || grants_role
        }
        IdentityBased => !grants_itself && !grants_role,
        PermissionsBoundary | Session => is_there && !grants_itself,
    };
    let denying = all.iter().find(|(_, _, said)| said.is_denied);
    let lacking = all.iter().find(|(policy_type, is_there, said)| {
        has_to_allow(*policy_type, *is_there) && !said.allows()
    });
    let is_unfinished = survey.evaluation.work.is_used_up();
    let (kind, refused_by) = match (denying, lacking) {
        // What was not looked at could have denied it.
        _ if is_unfinished => (DecisionKind::ImplicitDeny, None),
        (Some((denied_by, ..)), _) => (DecisionKind::ExplicitDeny, Some(*denied_by)),
        (None, Some((lacking, ..))) => (DecisionKind::ImplicitDeny, Some(*lacking)),
        (None, None) => (DecisionKind::Allowed, None),
    };
    for statement in &mut survey.matched {
        statement.decides = match kind {
            DecisionKind::ExplicitDeny => statement.effect == Effect::Deny,
            DecisionKind::ImplicitDeny => false,
            DecisionKind::Allowed => {
                has_to_allow(statement.policy_type, true)
                    && (statement.policy_type != ResourceBased
                        || statement.naming == resource.allowed)
            }
        };
    }
    let are_there = all.into_iter().filter(|(_, is_there, _)| *is_there);
    let missing_in_account = survey.evaluation.take_missing();
    let mut missing_context = missing_in_organization;
    missing_context.extend(missing_in_account.clone());
    Decision {
        kind,
        refused_by,
        is_unfinished,
        matched: survey.matched,
        missing_context: missing_context.into_values().collect(),
        missing_in_account: missing_in_account.into_values().collect(),
        said: are_there
            .map(|(policy_type, _, said)| (policy_type, said.kind()))
            .collect(),
    }
}

/// What the policies of one kind say.
#[derive(Clone, Copy)]
struct Said {
    /// How closely they allow it to the caller; [`Naming::None`] if they do not.
    allowed: Naming,
    /// Whether one of them denies it.
    is_denied: bool,
}

impl Said {
    /// They neither allow nor deny it.
    const NOTHING: Self = Self {
        allowed: Naming::None,
        is_denied: false,
    };

    /// Of two levels, both of which have to allow it.
    fn and(self, other: Self) -> Self {
        Self {
            allowed: self.allowed.min(other.allowed),
            is_denied: self.is_denied || other.is_denied,
        }
    }

    fn allows(self) -> bool {
        self.allowed != Naming::None
    }

    fn kind(self) -> DecisionKind {
        if self.is_denied {
            DecisionKind::ExplicitDeny
        } else if self.allows() {
            DecisionKind::Allowed
        } else {
            DecisionKind::ImplicitDeny
        }
    }
}

/// Asks one policy after the other, and notes what applies.
struct Survey<'q, 'p> {
    question: Question<'q>,
    evaluation: Evaluation,
    matched: Vec<Matched<'p>>,
}

impl<'p> Survey<'_, 'p> {
    fn ask(&mut self, policy_type: PolicyType, policies: &[Sourced<'p>]) -> Said {
        let mut said = Said::NOTHING;
        // Of those that allow, and of those that deny.
        let mut counts = [0; 2];
        for Sourced { source, policy } in policies {
            for (index, statement) in policy.statements().iter().enumerate() {
                if self.evaluation.work.is_used_up() {
                    return said;
                }
                let naming = statement.apply(&self.question, &mut self.evaluation);
                if naming == Naming::None {
                    continue;
                }
                let count = match statement.effect() {
                    Effect::Allow => {
                        said.allowed = said.allowed.max(naming);
                        &mut counts[0]
                    }
                    Effect::Deny => {
                        said.is_denied = true;
                        &mut counts[1]
                    }
                };
                *count += 1;
                if *count > MAX_MATCHED {
                    continue;
                }
                self.matched.push(Matched {
                    policy_type,
                    source: *source,
                    file: policy.file(),
                    sid: statement.sid(),
                    index,
                    effect: statement.effect(),
                    decides: false,
                    naming,
                });
            }
        }
        said
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

    /// One policy of each type, or none. The letters: `+` allows, `-` denies, `±` does both, `0` says
    /// nothing.
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
        let (allow, deny) = (("Allow", "dsql:*"), ("Deny", "dsql:DbConnect"));
        let statements = match letter {
            '+' => vec![allow],
            '-' => vec![deny],
            '±' => vec![allow, deny],
            _ => vec![("Allow", "s3:*")],
        };
        let kind = principal.map_or(Kind::IdentityBased, |_| Kind::ResourceBased);
        let statement = |(effect, action)| {
            let mut statement = json!({"Effect": effect, "Action": action, "Resource": "*"});
            if let Some(principal) = principal {
                statement["Principal"] = principal.clone();
            }
            statement
        };
        let statements: Vec<Value> = statements.into_iter().map(statement).collect();
        Policy::parse(&json!({"Statement": statements}).to_string(), kind).unwrap()
    }

    fn decide(setup: &Setup, caller: &Caller<'_>) -> (DecisionKind, Option<PolicyType>) {
        decision(setup, caller, |decision| {
            (decision.kind, decision.refused_by)
        })
    }

    fn decision<T>(setup: &Setup, caller: &Caller<'_>, look: impl FnOnce(&Decision<'_>) -> T) -> T {
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
            service_control: service_control.iter().map(|p| vec![sourced(p)]).collect(),
        };
        let request = Request {
            action: "dsql:DbConnect",
            resource: CLUSTER,
            resource_account: None,
            context: &context,
        };
        look(&authorize(&policies, caller, &request))
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

    /// AWS: a permissions boundary that denies the action does not allow it.
    #[test]
    fn each_kind_says_one_thing() {
        use DecisionKind::*;
        use PolicyType::*;
        for (letter, said) in [
            (None, None),
            (Some('+'), Some(Allowed)),
            (Some('0'), Some(ImplicitDeny)),
            (Some('-'), Some(ExplicitDeny)),
            (Some('±'), Some(ExplicitDeny)),
        ] {
            let setup = Setup {
                identity: letter.or(Some('0')),
                boundary: letter,
                session: letter,
                service_control: letter,
                resource: letter.map(|letter| (letter, json!("*"))),
                must: false,
            };
            decision(&setup, &SESSION, |decision| {
                for kind in [PermissionsBoundary, Session, ServiceControl, ResourceBased] {
                    assert_eq!(decision.says(kind), said, "{letter:?} {kind}");
                }
                let of_identity = said.unwrap_or(ImplicitDeny);
                assert_eq!(decision.says(IdentityBased), Some(of_identity));
            });
        }
    }

    #[test]
    fn the_reason_is_the_first_in_order() {
        use DecisionKind::*;
        use PolicyType::*;
        let order = [
            ServiceControl,
            ResourceBased,
            IdentityBased,
            PermissionsBoundary,
            Session,
        ];
        for (letter, kind) in [('-', ExplicitDeny), ('0', ImplicitDeny)] {
            for (first, expected) in order.into_iter().enumerate() {
                // Those before it allow, and those behind it refuse as it does.
                let letters = |at: usize| Some(if at < first { '+' } else { letter });
                let setup = Setup {
                    service_control: letters(0),
                    resource: letters(1).map(|l| (l, json!({"AWS": "012345678912"}))),
                    identity: letters(2),
                    boundary: letters(3),
                    session: letters(4),
                    must: true,
                };
                assert_eq!(decide(&setup, &SESSION), (kind, Some(expected)));
            }
        }
        // A deny behind a lack is a deny.
        let setup = Setup {
            service_control: Some('0'),
            session: Some('-'),
            ..Setup::default()
        };
        assert_eq!(decide(&setup, &SESSION), (ExplicitDeny, Some(Session)));
    }

    #[test]
    fn which_statements_decide() {
        use PolicyType::*;
        let account = json!({"AWS": "012345678912"});
        let role = json!({"AWS": SESSION.role_arn});
        // Of identity, boundary, session, service control and resource.
        for (letters, principal, deciding) in [
            ("+    ", None, &[IdentityBased][..]),
            (
                "++++ ",
                None,
                &[ServiceControl, IdentityBased, PermissionsBoundary, Session],
            ),
            ("+0   ", None, &[]),
            ("±+   ", None, &[IdentityBased]),
            (
                "±-+- ",
                None,
                &[ServiceControl, IdentityBased, PermissionsBoundary],
            ),
            ("++++±", Some(&account), &[ResourceBased]),
            ("+   +", Some(&account), &[IdentityBased]),
            ("0+  +", Some(&role), &[ResourceBased, PermissionsBoundary]),
            ("+++++", Some(&json!("*")), &[ServiceControl, ResourceBased]),
        ] {
            let letters: Vec<char> = letters.chars().collect();
            let letter = |at: usize| Some(letters[at]).filter(|letter| *letter != ' ');
            let setup = Setup {
                identity: letter(0),
                boundary: letter(1),
                session: letter(2),
                service_control: letter(3),
                resource: letter(4).map(|letter| (letter, principal.unwrap().clone())),
                must: false,
            };
            decision(&setup, &SESSION, |decision| {
                let kinds: Vec<_> = decision.deciding().map(|s| s.policy_type).collect();
                assert_eq!(kinds, deciding, "{letters:?}");
                let is_deny = decision.kind == DecisionKind::ExplicitDeny;
                let effect = if is_deny { Effect::Deny } else { Effect::Allow };
                assert!(decision.deciding().all(|s| s.effect == effect));
            });
        }
    }

    /// As a decision has them: whether it was given up, its kind, and how many statements it names.
    fn of_hostile(documents: &[Value], context: &Context) -> (bool, DecisionKind, usize) {
        of_hostile_repeated(documents, &vec![1; documents.len()], context)
    }

    /// The same, each of the documents so often.
    fn of_hostile_repeated(
        documents: &[Value],
        times: &[usize],
        context: &Context,
    ) -> (bool, DecisionKind, usize) {
        let policies: Vec<Policy> = documents
            .iter()
            .map(|text| Policy::parse(&text.to_string(), Kind::IdentityBased).unwrap())
            .collect();
        let repeated = policies.iter().zip(times);
        let repeated = repeated.flat_map(|(policy, times)| std::iter::repeat_n(policy, *times));
        let identity = repeated.map(|policy| Sourced {
            source: Source::Other("hostile"),
            policy,
        });
        let policies = Policies {
            identity: identity.collect(),
            ..Policies::default()
        };
        let request = Request {
            action: "dsql:DbConnect",
            resource: CLUSTER,
            resource_account: None,
            context,
        };
        let decision = authorize(&policies, &USER, &request);
        if decision.is_unfinished {
            assert_eq!(decision.refused_by, None);
        }
        (
            decision.is_unfinished,
            decision.kind,
            decision.matched.len(),
        )
    }

    #[test]
    fn many_statements_are_counted_and_not_kept() {
        let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
        let mut statements = vec![allow; 999];
        let allowing = json!({ "Statement": statements });
        statements.push(deny);
        let denying = json!({ "Statement": statements });
        let context = Context::default();
        let (_, kind, named) = of_hostile(&[allowing.clone(), allowing.clone()], &context);
        assert_eq!((kind, named), (DecisionKind::Allowed, MAX_MATCHED));
        // The one that decides is named, wherever it stands.
        let (_, kind, named) = of_hostile(&[allowing, denying], &context);
        assert_eq!((kind, named), (DecisionKind::ExplicitDeny, MAX_MATCHED + 1));
    }

    #[test]
    fn what_takes_too_much_is_given_up_and_refused() {
        let allow = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
        let mut context = Context::default();
        context.set("k", "a".repeat(4_000));
        context.set("v", "a".repeat(12_000));
        context.set_all("many", vec!["a".into(); 8_000]);
        context.set_all("empty", vec![String::new(); 16_000]);
        let with = |operator: &str, key: &str, values: &Value| {
            json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*",
                "Resource": "*", "Condition": {operator: {key: values}}}})
        };
        let list = |value: &str, count: usize| json!(vec![value; count]);
        let hostile = [
            with("StringLike", "v", &list("*${k}b", 1_000)),
            with("ForAllValues:StringEquals", "many", &list("${k}", 10_000)),
            with("ForAllValues:NumericEquals", "many", &list("1", 16_000)),
            with(
                "StringLike",
                "v",
                &list(&format!("*{}b", "a".repeat(1_900)), 30),
            ),
            // The first matches all there is.
            with("StringLike", "empty", &list("*", 30_000)),
            with(
                "Bool",
                "empty",
                &list(&format!("${{k}}{}", "a".repeat(90)), 30),
            ),
        ];
        for policy in hostile {
            for policies in [[allow.clone(), policy.clone()], [policy, allow.clone()]] {
                let (is_unfinished, kind, _) = of_hostile(&policies, &context);
                assert!(is_unfinished, "{kind:?}");
                assert_eq!(kind, DecisionKind::ImplicitDeny);
            }
        }
        // As many actions as a document may have, none of which is the one asked for.
        let statement = json!({"Effect": "Allow", "Action": vec!["a:b"; 300_000], "Resource": "*"});
        let many = json!({ "Statement": statement });
        assert!(of_hostile_repeated(&[many, allow.clone()], &[100, 1], &context).0);
        // What an account can have takes a fraction of it.
        let wide = json!({"Effect": "Allow", "Resource": vec!["arn:aws:s3:::a-bucket/*"; 20],
            "Action": vec!["dsql:*Something*"; 100]});
        let mut many = vec![json!({ "Statement": vec![wide; 10] }); 220];
        many.push(allow);
        let (is_unfinished, kind, _) = of_hostile(&many, &context);
        assert_eq!((is_unfinished, kind), (false, DecisionKind::Allowed));
    }

    /// The values of a key are looked at by each condition on it, even by one that compares them with
    /// nothing, or asks only whether there are any.
    #[test]
    fn values_that_are_compared_with_nothing_are_work_too() {
        let bases = [
            "StringEquals",
            "StringLike",
            "ArnLike",
            "StringNotEquals",
            "ArnNotLike",
        ];
        let quantifiers = ["", "ForAllValues:", "ForAnyValue:"];
        let named = |base: &str| quantifiers.map(|quantifier| format!("{quantifier}{base}"));
        let empty = bases.iter().flat_map(|base| named(base));
        let empty: Value = empty.map(|name| (name, json!({"k": []}))).collect();
        let null = json!({"Null": {"k": false, "K2": true}});
        let mut context = Context::default();
        context.set_all("k", vec![String::new(); 16_000]);
        context.set_all("k2", vec![String::new(); 16_000]);
        for condition in [empty, null] {
            for effect in ["Allow", "Deny"] {
                let statement = json!({"Effect": effect, "Action": "*", "Resource": "*",
                    "Condition": condition});
                let document = json!({"Statement": vec![statement; 1_000]});
                let (is_unfinished, kind, _) = of_hostile_repeated(&[document], &[2], &context);
                assert!(is_unfinished, "{effect} {condition}");
                assert_eq!(kind, DecisionKind::ImplicitDeny);
            }
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
            ["aws:PrincipalOrgID", "AWS:sourcevpc", "aws:x"]
        );
        assert_eq!(decision.missing_in_account, decision.missing_context);
        // What an organization's policies ask for can be told from what the account's ask for.
        let own = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*",
            "Resource": "*", "Condition": {"StringEquals": {"aws:userid": "x", "aws:x": "y"}}}});
        let own = Policy::parse(&own.to_string(), Kind::IdentityBased).unwrap();
        let source = Source::Other("own");
        let policies = Policies {
            identity: vec![Sourced {
                source,
                policy: &own,
            }],
            service_control: vec![policies.identity.clone()],
            ..Policies::default()
        };
        let decision = authorize(&policies, &USER, &request);
        assert_eq!(
            decision.missing_context,
            ["aws:PrincipalOrgID", "AWS:sourcevpc", "aws:userid", "aws:x"]
        );
        assert_eq!(decision.missing_in_account, ["aws:userid", "aws:x"]);
        let keys = ["AWS:sourcevpc", "aws:PrincipalOrgID", "aws:x", "s3:prefix"];
        assert_eq!(policy.context_keys().into_iter().collect::<Vec<_>>(), keys);
    }
}
