//! The identities that were loaded: users, groups, roles, their policies, and access keys.

use crate::arn::{IamArn, IamKind};
use crate::denial::Why;
use crate::policy::{Decision, Policy, decide_all};
use std::collections::HashMap;
use time::UtcDateTime;

/// A user or a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The ARN of the user or role, path included.
    pub arn: String,
    /// Policies that are written into the user or role itself.
    pub inline: Vec<Policy>,
    /// ARNs of the managed policies that are attached.
    pub attached: Vec<String>,
    /// Names of the groups that the user is in.
    pub groups: Vec<String>,
    /// ARN of the managed policy that is the permissions boundary.
    pub boundary: Option<String>,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Policies that are written into the group itself.
    pub inline: Vec<Policy>,
    /// ARNs of the managed policies that are attached.
    pub attached: Vec<String>,
}

/// Whose access key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A user, by name: AWS does not tell the account.
    User(String),
    /// A role session, by its ARN.
    Session(String),
}

/// An access key with its secret.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The secret access key.
    pub secret: String,
    /// The session token of a temporary key.
    pub session_token: Option<String>,
    /// When a temporary key ends.
    pub expiration: Option<UtcDateTime>,
    /// Whether its status is `Active`.
    pub is_active: bool,
    /// Whose key it is.
    pub owner: Owner,
    /// Whether the session was narrowed by policies or tags that the document does not show.
    pub has_hidden_policies: bool,
}

/// Everything that the documents say. Build one with [`crate::documents::merge`].
#[derive(Clone, Default)]
pub struct Identities {
    /// Users and roles by ARN.
    pub(crate) principals: HashMap<String, Principal>,
    /// Groups by account and name.
    pub(crate) groups: HashMap<(String, String), Group>,
    /// Managed policies by ARN: the default version of each.
    pub(crate) policies: HashMap<String, Policy>,
    /// Access keys by id.
    pub(crate) access_keys: HashMap<String, AccessKey>,
    /// ARNs by kind (`true` for a user), account and name, since sessions and keys show no path.
    pub(crate) by_name: HashMap<(bool, String, String), String>,
}

impl Identities {
    /// The access key with this id.
    pub fn access_key(&self, id: &str) -> Option<&AccessKey> {
        self.access_keys.get(id)
    }

    /// How many users, roles and access keys there are, for a line in the log.
    pub fn counts(&self) -> (usize, usize, usize) {
        let users = self.by_name.keys().filter(|(user, _, _)| *user).count();
        (users, self.principals.len() - users, self.access_keys.len())
    }

    /// The user of that name: the one in `account`, else the one in the only other account.
    pub(crate) fn user(&self, account: &str, name: &str) -> Option<&Principal> {
        let key = (true, account.to_owned(), name.to_owned());
        if let Some(arn) = self.by_name.get(&key) {
            return self.principals.get(arn);
        }
        let mut named = self
            .by_name
            .iter()
            .filter(|((user, _, n), _)| *user && n == name)
            .filter_map(|(_, arn)| self.principals.get(arn));
        let one = named.next();
        named.next().is_none().then_some(one).flatten()
    }

    /// The role of that name in `account`.
    pub(crate) fn role(&self, account: &str, name: &str) -> Option<&Principal> {
        let key = (false, account.to_owned(), name.to_owned());
        self.principals.get(self.by_name.get(&key)?)
    }

    /// Adds a user or role.
    ///
    /// # Errors
    /// A sentence, if its ARN is none or is there already.
    pub(crate) fn add_principal(&mut self, principal: Principal) -> Result<(), String> {
        let arn = principal.arn.clone();
        let parsed =
            IamArn::parse(&arn).map_err(|_| format!("\"{arn}\" is no ARN of a user or role"))?;
        let key = (
            parsed.kind == IamKind::User,
            parsed.account.to_owned(),
            parsed.name.to_owned(),
        );
        if self.by_name.insert(key, arn.clone()).is_some() {
            return Err(format!("{arn} is there twice"));
        }
        self.principals.insert(arn, principal);
        Ok(())
    }

    /// Whether the policies of `principal` allow `action` on `resource`.
    ///
    /// # Errors
    /// [`Why`] not. A policy or group that no document holds counts as a deny.
    pub(crate) fn allow(
        &self,
        principal: &Principal,
        action: &str,
        resource: &str,
    ) -> Result<(), Why> {
        let mut policies: Vec<&Policy> = principal.inline.iter().collect();
        let mut attached: Vec<&String> = principal.attached.iter().collect();
        let account = IamArn::parse(&principal.arn).map_or("", |arn| arn.account);
        for name in &principal.groups {
            let key = (account.to_owned(), name.clone());
            let missing = || Why::Incomplete(format!("group {name}"));
            let group = self.groups.get(&key).ok_or_else(missing)?;
            policies.extend(&group.inline);
            attached.extend(&group.attached);
        }
        for arn in attached {
            policies.push(self.managed(arn)?);
        }
        match decide_all(policies, action, resource) {
            Decision::ExplicitDeny => return Err(Why::DeniedByIdentityPolicy),
            Decision::ImplicitDeny => return Err(Why::NoIdentityPolicy),
            Decision::Allow => {}
        }
        match &principal.boundary {
            None => Ok(()),
            Some(arn) => match self.managed(arn)?.decide(action, resource) {
                Decision::Allow => Ok(()),
                Decision::ExplicitDeny => Err(Why::DeniedByBoundary),
                Decision::ImplicitDeny => Err(Why::NoBoundary),
            },
        }
    }

    fn managed(&self, arn: &str) -> Result<&Policy, Why> {
        let missing = || Why::Incomplete(format!("policy {arn}"));
        self.policies.get(arn).ok_or_else(missing)
    }
}
