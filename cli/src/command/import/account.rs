//! An account as it is put together from a plan or a template, and the documents that it becomes.

use std::collections::{BTreeMap, BTreeSet};

use dsql_iam_core::Cluster;
use dsql_iam_core::policy::Kind as PolicyKind;
use serde_json::{Value as Json, json};

use super::policy;
use super::summary::Summary;
use super::value::Value;

use crate::shared::error::Error;

/// The most users, groups, roles and policies of one import.
const MAX_ENTITIES: usize = 20_000;

/// The kinds of principal that a policy can be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// a user
    User,
    /// a group
    Group,
    /// a role
    Role,
}

impl Kind {
    /// The word for it, which stands in its ARN too.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        }
    }
}

/// A user, group or role.
pub(super) struct Entity {
    pub(super) arn: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) inline: BTreeMap<String, Json>,
    pub(super) attached: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) boundary: Option<String>,
    pub(super) trust: Option<Json>,
    pub(super) max_session_duration: Option<u32>,
}

/// An access key of a user.
pub(super) struct Key {
    pub(super) user: String,
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) is_active: bool,
}

/// The traits of a user, group or role besides its policies.
pub struct Traits<'v> {
    /// its name
    pub name: &'v str,
    /// its path, which begins and ends with a slash
    pub path: &'v str,
    /// an object of texts
    pub tags: Value,
    /// the ARN of its permissions boundary, or null
    pub boundary: Value,
    /// the trust policy of a role, or null
    pub trust: Value,
    /// how long a session of a role may last, in seconds, or null
    pub max_session_duration: Value,
    /// where it is in the input
    pub place: &'v str,
}

/// The account of an import.
pub struct Account {
    pub(super) id: String,
    pub(super) partition: String,
    pub(super) entities: BTreeMap<(Kind, String), Entity>,
    pub(super) policies: BTreeMap<String, Json>,
    pub(super) clusters: BTreeMap<String, (String, Json)>,
    /// each with the id of its cluster, if that is known
    pub(super) cluster_policies: Vec<(Option<String>, Json, String)>,
    pub(super) service_control: Vec<(String, Json)>,
    pub(super) keys: Vec<Key>,
    /// whether every user and role is refused, since something unknown could deny it
    pub(super) refuses_everybody: Option<String>,
    /// what was read and what was not
    pub summary: Summary,
}

impl Account {
    /// An empty one, of this id (twelve digits) in the partition that `region` is in.
    pub fn new(id: &str, region: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            partition: partition(region).to_owned(),
            entities: BTreeMap::new(),
            policies: BTreeMap::new(),
            clusters: BTreeMap::new(),
            cluster_policies: Vec::new(),
            service_control: Vec::new(),
            keys: Vec::new(),
            refuses_everybody: None,
            summary: Summary::default(),
        }
    }

    /// Adds a user, group or role.
    ///
    /// # Errors
    /// A sentence, if there is one of that name, or the trust policy is no policy.
    pub fn add(&mut self, kind: Kind, traits: Traits<'_>) -> Result<(), Error> {
        let (name, place) = (traits.name, traits.place);
        if self.entities.len() + self.policies.len() >= MAX_ENTITIES {
            return Err(format!(
                "there are more than {MAX_ENTITIES} users, groups, roles and policies"
            )
            .into());
        }
        let arn = arn(&self.partition, &self.id, kind.word(), traits.path, name);
        let mut attached = BTreeSet::new();
        let tags = match &traits.tags {
            Value::Object(members) => members.iter().filter(|(_, v)| **v != Value::Null).collect(),
            _ => Vec::new(),
        };
        if let Some(unknown) = traits.tags.first_unknown() {
            let line = format!("{place}: tag {unknown} is unknown, so {name} is refused");
            self.summary.unknown(line);
            attached.insert(self.missing(place));
        }
        let tags = tags.into_iter();
        let tags = tags.filter_map(|(key, value)| Some((key.clone(), value.as_text()?)));
        let boundary = match &traits.boundary {
            Value::Null => None,
            Value::Text(arn) if arn.is_empty() => None,
            boundary => Some(self.policy_arn(boundary, &format!("{place}: permissions boundary"))),
        };
        let trust = match &traits.trust {
            Value::Null => None,
            trust => {
                let place = format!("{place}: trust policy");
                Some(policy::closed(
                    trust,
                    PolicyKind::Trust,
                    &place,
                    &mut self.summary,
                )?)
            }
        };
        let duration = traits.max_session_duration.as_text();
        let entity = Entity {
            arn,
            tags: tags.collect(),
            inline: BTreeMap::new(),
            attached,
            groups: BTreeSet::new(),
            boundary,
            trust,
            max_session_duration: duration.and_then(|seconds| seconds.parse().ok()),
        };
        let key = (kind, name.to_owned());
        if self.entities.insert(key, entity).is_some() {
            return Err(format!("{place}: duplicate {} \"{name}\"", kind.word()).into());
        }
        Ok(())
    }

    /// The ARN of a managed policy; one that is in no document, and so counts as a deny, if it is unknown.
    fn policy_arn(&mut self, arn: &Value, place: &str) -> String {
        match arn.as_text() {
            Some(arn) => arn,
            None => {
                let name = arn
                    .first_unknown()
                    .map_or("a value that is not text", |name| name);
                let line = format!("{place}: {name} is unknown, so it counts as a deny");
                self.summary.unknown(line);
                self.missing(place)
            }
        }
    }

    /// The ARN of a policy that is in no document.
    fn missing(&self, place: &str) -> String {
        let name: String = place
            .chars()
            .map(|char| {
                if char.is_ascii_alphanumeric() {
                    char
                } else {
                    '-'
                }
            })
            .collect();
        format!(
            "arn:{}:iam::{}:policy/unknown/{name}",
            self.partition, self.id
        )
    }

    /// The users, groups or roles that `targets` name. All of that kind, as `None`, if one is unknown.
    fn targets(&mut self, kind: Kind, targets: &Value, place: &str) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let word = kind.word();
        for target in targets.elements() {
            let Some(name) = target.as_text() else {
                let name = target
                    .first_unknown()
                    .map_or("a value that is not text", |name| name);
                let line = format!("{place}: {word} {name} is unknown, so every {word} is refused");
                self.summary.unknown(line);
                return None;
            };
            if self.entities.contains_key(&(kind, name.clone())) {
                names.push(name);
            } else {
                let line = format!("{place}: {word} \"{name}\" is not in what was imported");
                self.summary.leave_out(line);
            }
        }
        Some(names)
    }

    /// Calls `change` with each of those that `targets` name; if one of these is unknown, refuses all of that
    /// kind.
    fn each(
        &mut self,
        kind: Kind,
        targets: &Value,
        place: &str,
        mut change: impl FnMut(&mut Entity),
    ) {
        let missing = self.missing(place);
        let Some(names) = self.targets(kind, targets, place) else {
            let all = self.entities.iter_mut().filter(|((k, _), _)| *k == kind);
            all.for_each(|(_, entity)| {
                entity.attached.insert(missing.clone());
            });
            return;
        };
        for name in names {
            if let Some(entity) = self.entities.get_mut(&(kind, name)) {
                change(entity);
            }
        }
    }

    /// Attaches managed policies (one ARN or a list) to all that `targets` name (one or a list).
    pub fn attach(&mut self, kind: Kind, targets: &Value, arns: &Value, place: &str) {
        for arn in arns.elements() {
            let arn = self.policy_arn(arn, place);
            self.each(kind, targets, place, |entity| {
                entity.attached.insert(arn.clone());
            });
        }
    }

    /// Writes a policy into all that `targets` name. One of that name is replaced.
    ///
    /// # Errors
    /// A sentence, if it is no policy.
    pub fn inline(
        &mut self,
        kind: Kind,
        targets: &Value,
        (name, document): (&Value, &Value),
        place: &str,
    ) -> Result<(), Error> {
        let closed = self.closed(document, PolicyKind::IdentityBased, place)?;
        // Nothing decides by the name of one.
        let name = name.as_text().unwrap_or_else(|| place.to_owned());
        self.each(kind, targets, place, |entity| {
            entity.inline.insert(name.clone(), closed.clone());
        });
        Ok(())
    }

    fn closed(&mut self, document: &Value, kind: PolicyKind, place: &str) -> Result<Json, Error> {
        policy::closed(document, kind, place, &mut self.summary)
    }

    /// Puts users (one or a list) into groups (one or a list).
    pub fn join(&mut self, users: &Value, groups: &Value, place: &str) {
        let mut names = Vec::new();
        for group in groups.elements() {
            match group.as_text() {
                Some(name) => names.push(name),
                None => {
                    let name = group
                        .first_unknown()
                        .map_or("a value that is not text", |name| name);
                    let line =
                        format!("{place}: group {name} is unknown, so its users are refused");
                    self.summary.unknown(line);
                    names.push(format!("unknown group of {place}"));
                }
            }
        }
        self.each(Kind::User, users, place, |user| {
            user.groups.extend(names.iter().cloned());
        });
    }

    /// Adds a managed policy.
    ///
    /// # Errors
    /// A sentence, if it is no policy, or there is another of that ARN.
    pub fn add_policy(&mut self, arn: &str, document: &Value, place: &str) -> Result<(), Error> {
        let closed = self.closed(document, PolicyKind::IdentityBased, place)?;
        match self.policies.insert(arn.to_owned(), closed) {
            Some(_) => Err(format!("{place}: duplicate policy {arn}").into()),
            None => Ok(()),
        }
    }

    /// Adds a cluster, of which the region is known. One whose id is not is named, and left out.
    ///
    /// # Errors
    /// A sentence, if account, region and id are none of a cluster.
    pub fn add_cluster(
        &mut self,
        id: Option<&str>,
        region: Option<&str>,
        tags: &Value,
        place: &str,
    ) -> Result<(), Error> {
        if let Some(unknown) = tags.first_unknown() {
            let unknown = format!("{place}: tag {unknown}");
            self.refuse_everybody(&unknown);
        }
        let (Some(id), Some(region)) = (id, region) else {
            let lacks = if id.is_none() { "id" } else { "region" };
            self.summary
                .unknown(format!("{place}: the {lacks} of the cluster is unknown"));
            return Ok(());
        };
        let cluster = Cluster::new(&self.id, region, id, "");
        let cluster = cluster.map_err(|fault| format!("{place}: {fault}"))?;
        let tags = match tags {
            Value::Object(members) => members.clone(),
            _ => BTreeMap::new(),
        };
        let tags: BTreeMap<String, String> = tags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_text()?)))
            .collect();
        let arn = cluster.arn();
        let document = json!({"identifier": id, "arn": arn, "status": "ACTIVE", "tags": tags});
        match self.clusters.insert(arn, (id.to_owned(), document)) {
            Some(_) => Err(format!("{place}: duplicate cluster {id}").into()),
            None => Ok(()),
        }
    }

    /// Adds the policy of a cluster.
    ///
    /// # Errors
    /// A sentence, if it is no policy.
    pub fn add_cluster_policy(
        &mut self,
        cluster: Option<String>,
        document: &Value,
        place: &str,
    ) -> Result<(), Error> {
        let mut closed = self.closed(document, PolicyKind::ResourceBased, place)?;
        if cluster.is_none() {
            let line = format!("{place}: its cluster is unknown, so only what it denies counts");
            self.summary.unknown(line);
            closed = policy::denials(&closed);
        }
        self.cluster_policies
            .push((cluster, closed, place.to_owned()));
        Ok(())
    }

    /// Adds a service control policy.
    ///
    /// # Errors
    /// A sentence, if it is no policy.
    pub fn add_service_control(
        &mut self,
        name: &str,
        document: &Value,
        place: &str,
    ) -> Result<(), Error> {
        let closed = self.closed(document, PolicyKind::ServiceControl, place)?;
        let (partition, account) = (&self.partition, &self.id);
        let arn = format!(
            "arn:{partition}:organizations::{account}:policy/o-imported/service_control_policy/{name}"
        );
        self.service_control.push((arn, closed));
        Ok(())
    }

    /// Adds the policy that AWS attaches wherever an organization has service control policies.
    pub fn add_full_aws_access(&mut self) {
        if self.service_control.is_empty() {
            return;
        }
        let arn = format!(
            "arn:{}:organizations::aws:policy/service_control_policy/p-FullAWSAccess",
            self.partition
        );
        let document = json!({"Version": "2012-10-17", "Statement":
            [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        self.service_control.push((arn, document));
        self.summary.fill_in("service control policy FullAWSAccess");
    }

    /// Whether a service control policy is among them.
    pub fn has_service_control(&self) -> bool {
        !self.service_control.is_empty()
    }

    /// Adds an access key of a user, with its secret.
    pub fn add_key(&mut self, user: &str, id: &str, secret: &str, is_active: bool) {
        self.keys.push(Key {
            user: user.to_owned(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            is_active,
        });
    }

    /// The names of the users that have no access key.
    pub fn users_without_key(&self) -> Vec<String> {
        let users = self.entities.keys().filter(|(kind, _)| *kind == Kind::User);
        users
            .map(|(_, name)| name.clone())
            .filter(|name| !self.keys.iter().any(|key| key.user == *name))
            .collect()
    }

    /// Refuses every user and role, since what is unknown could deny any of them.
    pub fn refuse_everybody(&mut self, unknown: &str) {
        let line = format!("{unknown} is unknown, and could deny anybody: everybody is refused");
        self.summary.unknown(line);
        self.refuses_everybody = Some(self.missing(unknown));
    }
}

/// The partition that a region is in; the first of them for one that is not known.
pub fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// `arn:PARTITION:iam::ACCOUNT:KIND/PATH/NAME`; a path begins and ends with a slash.
pub fn arn(partition: &str, account: &str, kind: &str, path: &str, name: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    format!("arn:{partition}:iam::{account}:{kind}{path}{name}")
}
