//! Finds roles that nobody can assume: by their trust policies, and by their sessions.

use crate::actions::{ASSUME_ROLE, ASSUME_ROLE_WITH_WEB_IDENTITY};
use crate::arn::{IamArn, IamKind, SessionArn, account_of};
use crate::identity::{Identities, Owner, Principal};
use crate::policy::principal::Listed;
use crate::policy::{Effect, Policy, Statement};
use std::collections::{HashMap, HashSet};
use time::UtcDateTime;

/// The principals that a trust policy may let assume its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trusted<'p> {
    /// `*`
    Everybody,
    /// All that the account's own policies let.
    Account(&'p str),
    /// The user, role or session with this ARN.
    Arn(&'p str),
    /// The user or role with this unique id.
    UniqueId(&'p str),
    /// A service or an identity provider.
    Other,
}

impl Policy {
    /// Those whom its statements name that may allow `sts:AssumeRole`.
    pub(crate) fn trusted(&self) -> impl Iterator<Item = Trusted<'_>> {
        self.listed().map(|listed| match listed {
            Listed::Everybody => Trusted::Everybody,
            Listed::Account(account) => Trusted::Account(account),
            Listed::Arn(arn) => Trusted::Arn(arn),
            Listed::UniqueId(id) => Trusted::UniqueId(id),
            Listed::Federated(_) | Listed::Service(_) | Listed::NoCaller => Trusted::Other,
        })
    }

    /// The entries of the Principal elements of its statements that may allow `sts:AssumeRole`.
    fn listed(&self) -> impl Iterator<Item = &Listed> {
        let allowing = self.statements.iter().filter(|statement| {
            statement.effect == Effect::Allow && statement.has_action(ASSUME_ROLE)
        });
        let lists = allowing.filter_map(|statement| statement.principals.as_ref());
        lists.flat_map(|principals| &principals.listed)
    }

    /// The services that its statements let assume the role.
    pub(crate) fn trusted_services(&self) -> Vec<&str> {
        self.listed()
            .filter_map(|one| match one {
                Listed::Service(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The identity providers whose tokens its statements may let begin a session.
    fn trusted_providers(&self) -> impl Iterator<Item = &str> {
        let allowing = self.statements.iter().filter(|statement| {
            let is_about = statement.has_action(ASSUME_ROLE_WITH_WEB_IDENTITY);
            statement.effect == Effect::Allow && is_about
        });
        let lists = allowing.filter_map(|statement| statement.principals.as_ref());
        let listed = lists.flat_map(|principals| &principals.listed);
        listed.filter_map(|one| match one {
            Listed::Federated(arn) => Some(arn.as_str()),
            _ => None,
        })
    }

    /// The commands by which whom an identity provider vouches for may begin a session, if there are any.
    pub(crate) fn federated_commands(&self) -> Vec<&'static str> {
        let names_a_provider = |statement: &&Statement| {
            let mut listed = statement.principals.iter().flat_map(|list| &list.listed);
            statement.effect == Effect::Allow
                && listed.any(|one| matches!(one, Listed::Federated(_)))
        };
        let federated = self.statements.iter().filter(names_a_provider);
        let federated: Vec<&Statement> = federated.collect();
        let mut commands = vec![
            ("sts:AssumeRoleWithSAML", "assume-role-with-saml"),
            (
                ASSUME_ROLE_WITH_WEB_IDENTITY,
                "assume-role-with-web-identity",
            ),
        ];
        commands.retain(|(action, _)| federated.iter().any(|s| s.has_action(action)));
        commands.into_iter().map(|(_, command)| command).collect()
    }
}

/// The principals that could assume a role.
pub(super) struct Trust<'i> {
    principals: &'i HashMap<String, Principal>,
    /// How many users and roles an account has.
    accounts: HashMap<&'i str, usize>,
    /// Roles by account and name.
    roles: HashSet<(&'i str, &'i str)>,
    /// Roles that have sessions, and whether all of these are over.
    pub(super) sessions: HashMap<(&'i str, &'i str), bool>,
}

/// Whether the role's trust policy names an identity provider of its account whose keys are there.
pub(super) fn trusts_provider(all: &Identities, role: &Principal) -> bool {
    let mut named = role.trust_policy.iter().flat_map(Policy::trusted_providers);
    named.any(|arn| {
        let provider = arn.split_once(":oidc-provider/").map(|(_, url)| url);
        let issuer = provider.map(|url| format!("https://{url}"));
        let known = issuer.filter(|issuer| all.key_sets.contains_key(issuer));
        let account = account_of(&role.arn);
        account_of(arn) == account
            && known.is_some_and(|issuer| all.oidc_provider(account, &issuer).is_some())
    })
}

impl<'i> Trust<'i> {
    pub(super) fn of(all: &'i Identities, now: UtcDateTime) -> Self {
        let mut trust = Self {
            principals: &all.principals,
            accounts: HashMap::new(),
            roles: HashSet::new(),
            sessions: HashMap::new(),
        };
        for arn in all
            .principals
            .keys()
            .filter_map(|arn| IamArn::parse(arn).ok())
        {
            *trust.accounts.entry(arn.account).or_default() += 1;
            if arn.kind == IamKind::Role {
                trust.roles.insert((arn.account, arn.name));
            }
        }
        for key in all.access_keys.values() {
            if let Owner::Session(session) = &key.owner
                && let Some(arn) = SessionArn::parse(&session.arn)
            {
                let is_over = key.expiration.is_some_and(|end| now >= end);
                let all_over = trust
                    .sessions
                    .entry((arn.account, arn.role))
                    .or_insert(true);
                *all_over &= is_over;
            }
        }
        trust
    }

    /// Whether somebody in the documents, other than the role, is named by its trust policy.
    pub(super) fn someone_may_be(&self, role: &Principal) -> bool {
        let mut trusted = role.trust_policy.iter().flat_map(Policy::trusted);
        trusted.any(|one| match one {
            Trusted::Everybody => self.principals.len() > 1,
            Trusted::Account(account) => self.accounts.get(account).is_some_and(|n| *n > 1),
            Trusted::Arn(arn) => {
                let is_session = || {
                    let session = SessionArn::parse(arn);
                    session.is_some_and(|s| self.roles.contains(&(s.account, s.role)))
                };
                self.principals.contains_key(arn) || is_session()
            }
            Trusted::UniqueId(id) => {
                let mut known = self.principals.values();
                known.any(|principal| principal.unique_id.as_deref() == Some(id))
            }
            Trusted::Other => false,
        })
    }
}
