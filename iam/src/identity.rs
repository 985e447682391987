//! The identities that were loaded: users, groups, roles, their policies, and access keys.

mod error;
mod session;

pub use error::IdentityError;
pub use session::{SIMULATED, Session, SessionPolicies};

use crate::arn::{Arn, IamArn, IamKind, SessionArn, is_unique_id};
use crate::authorization::{DenyReason, Policies, Source, Sourced};
use crate::identity_provider::{KeySet, OidcProvider};
use crate::mfa::MfaDevice;
use crate::policy::Policy;
use std::collections::{BTreeSet, HashMap, HashSet};
use time::UtcDateTime;

/// A user or a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The ARN of the user or role, path included.
    pub arn: String,
    /// `UserId` or `RoleId`, if the document holds it.
    pub unique_id: Option<String>,
    /// Key and value of each tag.
    pub tags: Vec<Tag>,
    /// Policies that are written into the user or role itself.
    pub inline: Vec<InlinePolicy>,
    /// ARNs of the managed policies that are attached.
    pub attached: Vec<String>,
    /// Names of the groups that the user is in.
    pub groups: Vec<String>,
    /// ARN of the managed policy that is the permissions boundary.
    pub boundary: Option<String>,
    /// The trust policy, if it is a role and the document holds it.
    pub trust_policy: Option<Policy>,
    /// How many seconds a session of the role may last, if the document says it.
    pub max_session_duration: Option<u32>,
}

/// Key and value of a tag.
pub type Tag = (String, String);

/// A policy that is written into a user, group or role.
#[derive(Debug, Clone, PartialEq)]
pub struct InlinePolicy {
    /// Its name.
    pub name: String,
    /// The document.
    pub policy: Policy,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The ARN of the group.
    pub arn: String,
    /// Policies that are written into the group itself.
    pub inline: Vec<InlinePolicy>,
    /// ARNs of the managed policies that are attached.
    pub attached: Vec<String>,
}

impl Principal {
    /// A user that is in one group and has nothing else: it stands for the group where somebody asks what the
    /// group may. `None` if `group` is not the ARN of one.
    pub(crate) fn simulated_member(group: &str) -> Option<Self> {
        let arn = Arn::parse(group)?;
        let path = arn.resource.strip_prefix("group/")?;
        let name = path.rsplit('/').next()?;
        let (partition, account) = (arn.partition, arn.account);
        Some(Self {
            arn: format!("arn:{partition}:iam::{account}:user/{SIMULATED}"),
            unique_id: None,
            tags: Vec::new(),
            inline: Vec::new(),
            attached: Vec::new(),
            groups: vec![name.to_owned()],
            boundary: None,
            trust_policy: None,
            max_session_duration: None,
        })
    }
}

/// A session of the documents, without its secrets.
#[derive(Debug, Clone, Copy)]
pub struct KnownSession<'i> {
    /// The session.
    pub session: &'i Session,
    /// When it ends.
    pub expiration: Option<UtcDateTime>,
    /// Whether the status of its access key is `Active`.
    pub is_active: bool,
}

/// A cluster as `aws dsql get-cluster` describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterDescription {
    /// `ACTIVE`, …; empty if the document does not say it.
    pub status: String,
    /// Key and value of each tag.
    pub tags: Vec<Tag>,
}

/// Whose access key it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Owner {
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its account, where the document says it: AWS does not.
        account: Option<String>,
    },
    /// A session of a role, or of a user.
    Session(Box<Session>),
}

/// An access key with its secret.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
#[derive(Clone, PartialEq)]
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
}

/// A user or role without its path: IAM allows one of each name in an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PrincipalName {
    pub(crate) kind: IamKind,
    pub(crate) account: String,
    pub(crate) name: String,
}

impl PrincipalName {
    fn new(kind: IamKind, account: &str, name: &str) -> Self {
        Self {
            kind,
            account: account.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// How much there is of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityCounts {
    /// Users.
    pub users: usize,
    /// Roles.
    pub roles: usize,
    /// Access keys, of users and of sessions.
    pub access_keys: usize,
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
    /// The ids of these versions, by ARN.
    pub(crate) policy_versions: HashMap<String, String>,
    /// Access keys by id.
    pub(crate) access_keys: HashMap<String, AccessKey>,
    /// ARNs by name, since sessions and keys show no path.
    pub(crate) by_name: HashMap<PrincipalName, String>,
    /// ARNs of users, roles and groups by kind, account and name in lower case: IAM has no two that differ by case.
    pub(crate) by_folded_name: HashMap<(&'static str, String, String), String>,
    /// ARNs of users and roles by unique id.
    pub(crate) by_unique_id: HashMap<String, String>,
    /// ARNs of users by name alone, `None` where several accounts have one of that name.
    pub(crate) users_by_name: HashMap<String, Option<String>>,
    /// Service control policies, each with its name.
    pub(crate) service_control: Vec<(String, Policy)>,
    /// The resource-based policy of the cluster.
    pub(crate) cluster_policy: Option<Policy>,
    /// Clusters by ARN.
    pub(crate) clusters: HashMap<String, ClusterDescription>,
    /// Condition keys that a document adds to the request context.
    pub(crate) context_entries: Vec<(String, Vec<String>)>,
    /// Providers of tokens that begin sessions.
    pub(crate) oidc_providers: Vec<OidcProvider>,
    /// The keys that verify these tokens, by issuer.
    pub(crate) key_sets: HashMap<String, KeySet>,
    /// Devices for multi-factor authentication, by serial number.
    pub(crate) mfa_devices: HashMap<String, MfaDevice>,
}

impl Identities {
    /// The access key with this id.
    pub fn access_key(&self, id: &str) -> Option<&AccessKey> {
        self.access_keys.get(id)
    }

    /// All access keys, in no order.
    pub(crate) fn access_keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.access_keys.values()
    }

    /// How many users, roles and access keys there are, for a line in the log.
    pub fn counts(&self) -> IdentityCounts {
        let is_user = |name: &&PrincipalName| name.kind == IamKind::User;
        let users = self.by_name.keys().filter(is_user).count();
        IdentityCounts {
            users,
            roles: self.principals.len() - users,
            access_keys: self.access_keys.len(),
        }
    }

    /// The user of that name in `account`; without one, the only user of that name in all accounts.
    /// A name that several accounts have is nobody's then: it does not say whose.
    pub fn user(&self, account: Option<&str>, name: &str) -> Option<&Principal> {
        let arn = match account {
            Some(account) => {
                let key = PrincipalName::new(IamKind::User, account, name);
                self.by_name.get(&key)?
            }
            None => self.users_by_name.get(name)?.as_ref()?,
        };
        self.principals.get(arn)
    }

    /// The user or role with this ARN.
    pub fn principal(&self, arn: &str) -> Option<&Principal> {
        self.principals.get(arn)
    }

    /// The role of that name in `account`.
    pub fn role(&self, account: &str, name: &str) -> Option<&Principal> {
        let key = PrincipalName::new(IamKind::Role, account, name);
        self.principals.get(self.by_name.get(&key)?)
    }

    /// All users and roles, sorted by ARN.
    pub fn principals(&self) -> Vec<&Principal> {
        let mut all: Vec<&Principal> = self.principals.values().collect();
        all.sort_unstable_by(|one, other| one.arn.cmp(&other.arn));
        all
    }

    /// All groups, sorted by ARN.
    pub fn groups(&self) -> Vec<&Group> {
        let mut all: Vec<&Group> = self.groups.values().collect();
        all.sort_unstable_by(|one, other| one.arn.cmp(&other.arn));
        all
    }

    /// All sessions, sorted by ARN and by their ends.
    pub fn sessions(&self) -> Vec<KnownSession<'_>> {
        let sessions = self
            .access_keys
            .values()
            .filter_map(|key| match &key.owner {
                Owner::User { .. } => None,
                Owner::Session(session) => Some(KnownSession {
                    session,
                    expiration: key.expiration,
                    is_active: key.is_active,
                }),
            });
        let mut all: Vec<KnownSession<'_>> = sessions.collect();
        all.sort_by(|one, other| {
            let key = |known: &KnownSession<'_>| (known.session.arn.clone(), known.expiration);
            key(one).cmp(&key(other))
        });
        all
    }

    /// The group with this ARN. Looks at one after the other.
    pub fn group(&self, arn: &str) -> Option<&Group> {
        self.groups.values().find(|group| group.arn == arn)
    }

    /// The role or user of this session's name; `None` if no document has it.
    pub(crate) fn named_by(&self, session: &Session) -> Option<&Principal> {
        match SessionArn::parse(&session.arn) {
            Some(arn) => self.role(arn.account, arn.role),
            None => self.principal(&session.arn),
        }
    }

    /// The role or user that a session is one of; `None` if no document has it. One of the same name that was made
    /// since has another unique id, and the sessions of the one before are not its own.
    pub(crate) fn principal_of(&self, session: &Session) -> Option<&Principal> {
        let principal = self.named_by(session)?;
        let id = principal.unique_id.as_deref();
        let is_another = |of_session| id.is_some_and(|id| id != of_session);
        (!session.principal_id().is_some_and(is_another)).then_some(principal)
    }

    /// The groups of a user, `None` for each that is in no document.
    pub(crate) fn groups_of<'i>(
        &'i self,
        user: &'i Principal,
    ) -> impl Iterator<Item = Option<&'i Group>> {
        let account = IamArn::parse(&user.arn).map_or("", |arn| arn.account);
        let key = |name: &String| (account.to_owned(), name.clone());
        user.groups
            .iter()
            .map(move |name| self.groups.get(&key(name)))
    }

    /// Whether several accounts have a user of that name.
    pub(crate) fn is_of_several_accounts(&self, name: &str) -> bool {
        self.users_by_name.get(name).is_some_and(Option::is_none)
    }

    /// Takes the name of a user, role or group, of which there is one in an account, in whatever case.
    ///
    /// # Errors
    /// [`IdentityError::Duplicate`] or [`IdentityError::DifferByCase`].
    pub(crate) fn add_name(
        &mut self,
        kind: &'static str,
        account: &str,
        name: &str,
        arn: &str,
    ) -> Result<(), IdentityError> {
        let key = (kind, account.to_owned(), name.to_ascii_lowercase());
        match self.by_folded_name.insert(key, arn.to_owned()) {
            None => Ok(()),
            Some(other) if other.rsplit('/').next() == Some(name) => {
                Err(IdentityError::Duplicate(arn.to_owned()))
            }
            Some(other) => Err(IdentityError::DifferByCase {
                arn: arn.to_owned(),
                other,
                kind,
            }),
        }
    }

    /// Adds a user or role.
    ///
    /// # Errors
    /// [`IdentityError`]: its ARN, its name or its unique id cannot be taken.
    pub(crate) fn add_principal(&mut self, principal: Principal) -> Result<(), IdentityError> {
        let arn = principal.arn.clone();
        let parsed = IamArn::parse(&arn).map_err(|_| IdentityError::Arn(arn.clone()))?;
        let kind = match parsed.kind {
            IamKind::User => "user",
            IamKind::Role => "role",
        };
        self.add_name(kind, parsed.account, parsed.name, &arn)?;
        if let Some(id) = principal.unique_id.as_ref().filter(|id| is_unique_id(id))
            && let Some(other) = self.by_unique_id.insert(id.clone(), arn.clone())
        {
            return Err(IdentityError::UniqueId {
                arn,
                id: id.clone(),
                other,
            });
        }
        let key = PrincipalName::new(parsed.kind, parsed.account, parsed.name);
        self.by_name.insert(key, arn.clone());
        if parsed.kind == IamKind::User {
            let named = self.users_by_name.entry(parsed.name.to_owned());
            named
                .and_modify(|several| *several = None)
                .or_insert_with(|| Some(arn.clone()));
        }
        self.principals.insert(arn, principal);
        Ok(())
    }

    /// The policies that have a say in what a user, or a session of a role, may do: all but those
    /// of the resource. Takes as long as these are many, however many others there are.
    ///
    /// # Errors
    /// [`DenyReason::Incomplete`] if one that counts is in no document.
    pub fn policies<'i>(
        &'i self,
        principal: &'i Principal,
        session: Option<&'i Session>,
    ) -> Result<Policies<'i>, DenyReason> {
        let mut identity = Vec::new();
        inline(&mut identity, &principal.arn, &principal.inline);
        let mut attached: Vec<&String> = principal.attached.iter().collect();
        // One that several groups have counts once.
        let mut known: HashSet<&String> = attached.iter().copied().collect();
        for (name, group) in principal.groups.iter().zip(self.groups_of(principal)) {
            let group = group.ok_or_else(|| DenyReason::Incomplete(format!("group {name}")))?;
            inline(&mut identity, &group.arn, &group.inline);
            let more = group.attached.iter().filter(|arn| known.insert(arn));
            attached.extend(more);
        }
        for arn in attached {
            identity.push(self.managed(arn)?);
        }
        let boundary = principal.boundary.as_ref();
        Ok(Policies {
            identity,
            boundary: boundary.map(|arn| self.managed(arn)).transpose()?,
            session: self.session_policies(session)?,
            service_control: self.service_control_policies(),
            ..Policies::default()
        })
    }

    /// The policies of a group, and those that limit whoever is in it.
    ///
    /// # Errors
    /// [`DenyReason::Incomplete`] if one of them is in no document.
    pub fn policies_of_group<'i>(&'i self, group: &'i Group) -> Result<Policies<'i>, DenyReason> {
        let mut identity = Vec::new();
        inline(&mut identity, &group.arn, &group.inline);
        for arn in &group.attached {
            identity.push(self.managed(arn)?);
        }
        Ok(Policies {
            identity,
            service_control: self.service_control_policies(),
            ..Policies::default()
        })
    }

    /// All of them as one level: no document tells what they are attached to.
    fn service_control_policies(&self) -> Vec<Vec<Sourced<'_>>> {
        let all = self.service_control.iter().map(|(name, policy)| Sourced {
            source: Source::Other(name),
            policy,
        });
        let level: Vec<_> = all.collect();
        if level.is_empty() {
            Vec::new()
        } else {
            vec![level]
        }
    }

    fn session_policies<'i>(
        &'i self,
        session: Option<&'i Session>,
    ) -> Result<Option<Vec<Sourced<'i>>>, DenyReason> {
        let Some(session) = session else {
            return Ok(None);
        };
        if session.has_hidden_policies {
            return Err(DenyReason::Incomplete(
                "the session policy of the session".into(),
            ));
        }
        let Some(policies) = &session.policies else {
            return Ok(None);
        };
        let mut all = Vec::new();
        if let Some(policy) = &policies.inline {
            let source = Source::Other("the session's inline policy");
            all.push(Sourced { source, policy });
        }
        for arn in &policies.attached {
            all.push(self.managed(arn)?);
        }
        Ok(Some(all))
    }

    /// The resource-based policy of the cluster, if a document holds one.
    pub fn cluster_policy(&self) -> Option<Sourced<'_>> {
        let policy = self.cluster_policy.as_ref()?;
        let source = Source::Other("the cluster's policy");
        Some(Sourced { source, policy })
    }

    /// The account of an identity provider: the one that its document says, or else the only account that there is.
    /// `None` where that is not known.
    pub(crate) fn account_of_provider<'i>(&'i self, provider: &'i OidcProvider) -> Option<&'i str> {
        let accounts = self.accounts();
        let only = accounts.first().filter(|_| accounts.len() == 1);
        provider.account.as_deref().or(only.copied())
    }

    /// The identity provider of `account` whose tokens have this `iss`.
    pub(crate) fn oidc_provider(&self, account: &str, issuer: &str) -> Option<&OidcProvider> {
        let url = issuer.strip_prefix("https://")?;
        let mut providers = self.oidc_providers.iter();
        providers.find(|one| one.url == url && self.account_of_provider(one) == Some(account))
    }

    /// The accounts of all users and roles, sorted.
    pub fn accounts(&self) -> BTreeSet<&str> {
        let keys = self.by_name.keys();
        keys.map(|key| key.account.as_str()).collect()
    }

    /// The ARNs of the clusters that documents describe.
    pub fn cluster_arns(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// The description of the cluster with this ARN.
    pub fn cluster(&self, arn: &str) -> Option<&ClusterDescription> {
        self.clusters.get(arn)
    }

    /// Condition keys that the documents add to the request context, with their values.
    pub fn context_entries(&self) -> &[(String, Vec<String>)] {
        &self.context_entries
    }

    /// Whether a document holds the managed policy with this ARN.
    pub(crate) fn has_managed(&self, arn: &str) -> bool {
        self.policies.contains_key(arn)
    }

    fn managed<'i>(&'i self, arn: &'i str) -> Result<Sourced<'i>, DenyReason> {
        let missing = || DenyReason::Incomplete(format!("policy {arn}"));
        Ok(Sourced {
            source: Source::Managed(arn),
            policy: self.policies.get(arn).ok_or_else(missing)?,
        })
    }
}

fn inline<'i>(all: &mut Vec<Sourced<'i>>, owner: &'i str, policies: &'i [InlinePolicy]) {
    all.extend(policies.iter().map(|inline| Sourced {
        source: Source::Inline {
            owner,
            name: &inline.name,
        },
        policy: &inline.policy,
    }));
}
