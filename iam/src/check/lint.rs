//! Finds statements that can never apply to a login, whatever the request, and says why.
//!
//! Says nothing of what other services' statements mean: only of those that can be about
//! connecting to a cluster, and of the actions of the services that [`actions`] knows. A finding holds for
//! every login; where that cannot be told, nothing is said.

use super::candidates::Candidates;
use super::counted;
use crate::actions::{self, Action};
use crate::cluster::SERVICE;
use crate::policy::budget::Budget;
use crate::policy::condition::Condition;
use crate::policy::context::ConditionKey;
use crate::policy::pattern::{
    ARN_COLONS, Token, is_anything, last_segment, matches, matches_resource, text, tokens,
};
use crate::policy::principal::Listed;
use crate::policy::variable::{Part, Template};
use crate::policy::{Effect, Policy, Statement};
use std::collections::{BTreeMap, HashSet};
use time::UtcDateTime;

/// How many letters an action may be off, to be taken for another one that was meant.
const MAX_TYPOS: usize = 3;
/// The same where the service's name is another too.
const MAX_TYPOS_OF_ALL: usize = 2;

/// The facts of all logins.
pub(crate) struct LoginFacts {
    /// The ARNs of the clusters that exist; empty if they are not known.
    pub(crate) clusters: Vec<String>,
    /// The condition keys that a login may have, in lower case.
    pub(crate) keys: HashSet<String>,
    /// Those of them that may have several values.
    pub(crate) lists: HashSet<String>,
    /// How many users and how many roles have no unique id in the documents.
    pub(crate) without_id: (usize, usize),
    /// The time.
    pub(crate) now: UtcDateTime,
}

/// Why a statement, or a part of it, never applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The element at fault: `action`, `resource`, `cluster`, `condition` or `condition_key`.
    pub(crate) check: &'static str,
    /// The fault: a clause that follows the name of the statement.
    pub(crate) found: String,
    /// The remedy.
    pub(crate) remedy: String,
}

impl Policy {
    /// Whether one of its statements allows to connect, to whatever and on whatever conditions.
    pub(crate) fn may_allow_connecting(&self) -> bool {
        let mut statements = self.statements.iter();
        statements.any(|s| s.effect == Effect::Allow && s.may_be_about_connecting())
    }
}

impl Statement {
    /// Everything that keeps the statement, or one of its actions, from ever applying.
    pub(crate) fn faults(&self, facts: &LoginFacts) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.action_faults().collect();
        // A trust policy has no Resource, and is about assuming its role.
        let is_trust = self.resources.is_none();
        if self.may_be_about_connecting() {
            faults.extend(self.resource_fault(facts));
            faults.extend(self.unknown_keys(facts));
        }
        if is_trust || self.may_be_about_connecting() {
            faults.extend(self.contradictions(facts));
            faults.extend(self.unknown_ids(facts));
        }
        faults
    }

    /// Which unique ids the statement counts against users or roles for, whose own no document has.
    fn unknown_ids(&self, facts: &LoginFacts) -> Vec<Fault> {
        let Some(principals) = &self.principals else {
            return Vec::new();
        };
        // A Deny for whoever has it, or an Allow for all but whoever has it.
        if (self.effect == Effect::Deny) == principals.is_negated {
            return Vec::new();
        }
        let ids = principals.listed.iter().filter_map(|listed| match listed {
            Listed::UniqueId(id) => Some(id),
            _ => None,
        });
        let (users, roles) = facts.without_id;
        let ids = ids.map(|id| match id.starts_with("AROA") {
            true => (id, roles, "role", "RoleId"),
            false => (id, users, "user", "UserId"),
        });
        let unknown = ids.filter(|(_, count, ..)| *count > 0);
        let fault = |(id, count, kind, member): (&String, usize, &str, &str)| Fault {
            check: "unique_id",
            found: format!(
                "names the {kind} with the id {id}, and the documents do not have the {member} of {}: it is taken \
                 to be theirs",
                counted(count, kind)
            ),
            remedy: format!("export the account again, with each {member}"),
        };
        unknown.map(fault).collect()
    }

    pub(super) fn has_action(&self, action: &str) -> bool {
        let action: Vec<char> = action.to_ascii_lowercase().chars().collect();
        self.fits_action(&action, &mut Budget::unlimited()) == Ok(true)
    }

    fn may_be_about_connecting(&self) -> bool {
        let is_one_of = |name: &&str| self.has_action(&format!("{SERVICE}:{name}"));
        self.resources.is_some() && Action::ALL.map(Action::name).iter().any(is_one_of)
    }

    /// Whether it names Aurora DSQL's action itself, and not just by `*`.
    fn names_connecting(&self) -> bool {
        let service: Vec<Token> = tokens(&format!("{SERVICE}:"));
        let mut actions = self.actions.any_of.iter();
        self.may_be_about_connecting()
            && !self.actions.is_negated
            && actions.any(|action| action.folded.starts_with(&service))
    }

    fn action_faults(&self) -> impl Iterator<Item = Fault> {
        let actions = self.actions.any_of.iter();
        actions.filter_map(|action| action_fault(&action.written))
    }

    /// Why no resource of the statement is a cluster that exists.
    fn resource_fault(&self, facts: &LoginFacts) -> Option<Fault> {
        let resources = self.resources.as_ref()?;
        let all = &resources.any_of;
        if resources.is_negated {
            let has_all = all
                .iter()
                .any(|resource| is_anything(&resource.at_widest()));
            return has_all.then(|| Fault {
                check: "resource",
                found: "NotResource is *, so that nothing is left".into(),
                remedy: "name what the statement is not about, or use Resource".into(),
            });
        }
        // Where only `*` makes it about connecting, it is about something else.
        if !self.names_connecting() {
            return None;
        }
        let is_cluster = |resource: &Template| why_no_cluster(resource).is_none();
        if !all.iter().any(is_cluster) {
            let reasons = whole(all).filter_map(|resource| {
                Some(format!(
                    "{} {}",
                    resource.written(),
                    why_no_cluster(resource)?
                ))
            });
            return Some(Fault {
                check: "resource",
                found: format!("no Resource is a cluster: {}", list(reasons)),
                remedy: "name a cluster: arn:aws:dsql:REGION:ACCOUNT:cluster/ID, or *".into(),
            });
        }
        let exists = |resource: &Template| facts.clusters.iter().any(|arn| may_be(resource, arn));
        if facts.clusters.is_empty() || all.iter().any(exists) {
            return None;
        }
        // A Deny may be there for clusters elsewhere, and for those that are still to come.
        let is_near = |resource: &Template| is_beside(resource, &facts.clusters);
        if self.effect == Effect::Deny && !all.iter().all(is_near) {
            return None;
        }
        let reasons = whole(all).map(|resource| {
            let written = resource.written();
            match why_another(resource, &facts.clusters) {
                Some(reason) => format!("{written} ({reason})"),
                None => written,
            }
        });
        Some(Fault {
            check: "cluster",
            found: format!("Resource names no cluster that exists: {}", list(reasons)),
            remedy: format!("name this one: {}", facts.clusters[0]),
        })
    }

    /// Conditions that need a key which no login has.
    fn unknown_keys(&self, facts: &LoginFacts) -> Vec<Fault> {
        let is_known = |key: &ConditionKey| facts.keys.contains(&key.folded);
        let mut faults = Vec::new();
        for condition in &self.conditions {
            let key = condition.key();
            if condition.needs_its_key() && !is_known(key) {
                faults.push(unknown_key(&key.written));
            }
        }
        let resources = self.resources.as_ref().filter(|list| !list.is_negated);
        let needed = resources.map_or(&[][..], |list| &list.any_of);
        let lacking: Vec<Option<&ConditionKey>> = needed
            .iter()
            .map(|resource| resource.needed_keys().find(|key| !is_known(key)))
            .collect();
        if let Some(Some(key)) = lacking.first()
            && lacking.iter().all(Option::is_some)
        {
            faults.push(unknown_key(&key.written));
        }
        faults
    }

    /// Conditions that cannot hold together, or not any more.
    fn contradictions(&self, facts: &LoginFacts) -> Vec<Fault> {
        let mut by_key: BTreeMap<&str, Vec<&Condition>> = BTreeMap::new();
        for condition in &self.conditions {
            let same = by_key.entry(&condition.key().folded).or_default();
            same.push(condition);
        }
        let mut faults = Vec::new();
        for (folded, conditions) in by_key {
            let key = &conditions[0].key().written;
            let mut needing = conditions.iter().filter(|c| c.needs_its_key());
            if needing.next().is_none() {
                continue;
            }
            let fault = |found: String, remedy: &str| Fault {
                check: "condition",
                found,
                remedy: remedy.to_owned(),
            };
            if conditions.iter().any(|c| c.needs_its_key_absent()) {
                faults.push(fault(
                    format!("Null wants {key} not to be there, and another condition needs it"),
                    "put them into two statements",
                ));
                continue;
            }
            if conditions.iter().any(|c| c.compares_with_nothing()) {
                faults.push(fault(
                    format!("a condition on {key} compares with an empty list"),
                    "list the values that are allowed",
                ));
                continue;
            }
            if facts.lists.contains(folded) {
                continue;
            }
            let is_time = ["aws:currenttime", "aws:epochtime"].contains(&folded);
            let now = is_time.then_some(facts.now);
            let Some(candidates) = Candidates::of(&conditions) else {
                continue;
            };
            if !candidates.any_holds(&conditions, None) {
                faults.push(fault(
                    format!("no value of {key} fulfils all of its conditions"),
                    "put them into two statements, or take out what contradicts",
                ));
            } else if now.is_some() && !candidates.any_holds(&conditions, now) {
                faults.push(fault(
                    format!("the time that {key} has to be in is over"),
                    "move its end, or take the statement out",
                ));
            }
        }
        faults
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// The remedy for a key that no login has: not every key is one that a document of ContextEntries can set.
fn unknown_key(key: &str) -> Fault {
    let (prefix, tag) = key.split_once('/').unwrap_or((key, ""));
    let remedy = match prefix.to_ascii_lowercase().as_str() {
        "aws:principaltag" => format!("add the tag {tag} to a user or role, if it is to count"),
        "aws:resourcetag" => format!(
            "add the tag {tag} to the cluster, in the output of aws dsql get-cluster, if it is to count"
        ),
        // A login has one of the two, and which, other keys decide.
        "aws:sourceip" => {
            "ask for aws:VpcSourceIp: ContextEntries name a VPC, and with that a login \
             has its address there"
                .to_owned()
        }
        "aws:vpcsourceip" => "ask for aws:SourceIp, or name aws:SourceVpc or aws:SourceVpce in a \
             document of ContextEntries"
            .to_owned(),
        key if !key.contains(':') => {
            "fill it in: it is a variable of a template; a condition key has a \
             prefix, such as aws:"
                .to_owned()
        }
        _ => "give the key a value in a document of ContextEntries, if it is to count".to_owned(),
    };
    Fault {
        check: "condition_key",
        found: format!("no login has {key}, which it needs"),
        remedy,
    }
}

/// The fault of an action.
fn action_fault(written: &str) -> Option<Fault> {
    let action = &written.to_ascii_lowercase();
    let has_wildcard = |text: &str| text.contains(['*', '?']);
    let (service, name) = action.split_once(':')?;
    if has_wildcard(service) {
        return None;
    }
    let meant = match actions::of_service(service) {
        Some(actions) => {
            let pattern = tokens(name);
            let is_it = |known: &&str| {
                let known: Vec<char> = known.to_ascii_lowercase().chars().collect();
                matches(&pattern, &known)
            };
            if actions.iter().any(is_it) {
                return None;
            }
            let distance = |known: &str| strsim::levenshtein(&known.to_ascii_lowercase(), name);
            let nearest = actions.iter().min_by_key(|known| distance(known));
            nearest
                .filter(|known| !has_wildcard(name) && distance(known) <= MAX_TYPOS)
                .map(|known| format!("{service}:{known}"))
        }
        // A misspelled service: only where all of it is nearly what a login asks for.
        None => {
            let whole = Action::ALL.map(Action::iam_name);
            let distance = |known: &str| strsim::levenshtein(&known.to_ascii_lowercase(), action);
            let nearest = whole.into_iter().min_by_key(|known| distance(known));
            Some(
                nearest
                    .filter(|known| distance(known) <= MAX_TYPOS_OF_ALL)?
                    .to_owned(),
            )
        }
    };
    Some(Fault {
        check: "action",
        found: format!("{written} is not a known action"),
        remedy: match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("{SERVICE}:DbConnect and {SERVICE}:DbConnectAdmin let connect"),
        },
    })
}

/// The resources without those that are there in a completed form too, for people.
fn whole(resources: &[Template]) -> impl Iterator<Item = &Template> {
    let is_whole = |resource: &&Template| resource.colons() >= ARN_COLONS;
    resources.iter().filter(is_whole)
}

/// Why a resource can be no cluster at all; `None` if it can be one.
fn why_no_cluster(resource: &Template) -> Option<&'static str> {
    // A variable could stand for colons too.
    let Template::Fixed(pattern) = resource else {
        return None;
    };
    if is_anything(pattern) {
        return None;
    }
    let is_colon = |token: &Token| *token == Token::Char(':');
    let segments: Vec<&[Token]> = pattern.splitn(ARN_COLONS + 1, is_colon).collect();
    let crosses = |segment: &&[Token]| segment.last() == Some(&Token::AnyRun);
    let crossing = segments.iter().take(ARN_COLONS).position(crosses);
    // Up to the first star that may cross colons, and with it, each segment is that part of the ARN.
    let service = segments
        .get(2)
        .filter(|_| crossing.is_none_or(|at| at >= 2));
    let is_other = |service: &&[Token]| !matches(service, &SERVICE.chars().collect::<Vec<_>>());
    if service.is_some_and(is_other) {
        return Some("is of another service");
    }
    // No cluster has a colon in its last part: behind such a star the last segment is that.
    let name = match crossing {
        Some(_) => pattern.rsplit(is_colon).next().unwrap_or(pattern),
        None => &pattern[last_segment(pattern)..],
    };
    let is_fixed = |token: &&Token| matches!(token, Token::Char(_));
    let prefix = text(
        &name
            .iter()
            .take_while(is_fixed)
            .copied()
            .collect::<Vec<_>>(),
    );
    let fits = if prefix.len() == name.len() {
        prefix.starts_with("cluster/")
    } else {
        prefix.starts_with("cluster/") || "cluster/".starts_with(&prefix)
    };
    (!fits).then_some("is not cluster/ID")
}

/// Whether a resource can be this ARN, whatever its variables stand for.
fn may_be(resource: &Template, arn: &str) -> bool {
    let arn: Vec<char> = arn.chars().collect();
    match resource {
        Template::Fixed(pattern) => matches_resource(pattern, &arn),
        Template::Variable(_) => matches(&resource.at_widest(), &arn),
    }
}

/// Whether a resource, without wildcards, is a cluster in the region and account of one of these.
fn is_beside(resource: &Template, clusters: &[String]) -> bool {
    let Template::Fixed(pattern) = resource else {
        return false;
    };
    let is_fixed = |token: &Token| matches!(token, Token::Char(_));
    let written = text(pattern);
    let place = |arn: &str| arn.rsplit_once('/').map(|(place, _)| place.to_owned());
    let mut places = clusters.iter().map(|arn| place(arn));
    pattern.iter().all(is_fixed) && places.any(|own| own == place(&written))
}

/// The first part in which a resource is none of these clusters, if it is the same for all.
fn why_another(resource: &Template, clusters: &[String]) -> Option<String> {
    let (Template::Fixed(pattern), [cluster]) = (resource, clusters) else {
        return None;
    };
    // Of fewer segments it is not known which part each of them is.
    if resource.colons() < ARN_COLONS {
        return None;
    }
    let patterns = pattern.splitn(6, |t| *t == Token::Char(':'));
    let mut parts = patterns.zip(cluster.splitn(6, ':')).zip([
        "",
        "partition",
        "service",
        "region",
        "account",
        "cluster",
    ]);
    let differs =
        parts.find(|((pattern, part), _)| !matches(pattern, &part.chars().collect::<Vec<char>>()));
    let ((_, part), name) = differs?;
    (name != "cluster").then(|| format!("the cluster's {name} is {part}"))
}

impl Template {
    /// The pattern with a `*` for each variable: whatever they stand for, it is matched.
    fn at_widest(&self) -> Vec<Token> {
        match self {
            Self::Fixed(tokens) => tokens.clone(),
            Self::Variable(parts) => {
                let tokens = parts.iter().map(|part| match part {
                    Part::Fixed(tokens) => tokens.as_slice(),
                    Part::Variable(..) => &[Token::AnyRun],
                });
                tokens.collect::<Vec<_>>().concat()
            }
        }
    }

    /// The text, for people: nearly as it was written.
    fn written(&self) -> String {
        match self {
            Self::Fixed(tokens) => text(tokens),
            Self::Variable(parts) => {
                let texts = parts.iter().map(|part| match part {
                    Part::Fixed(tokens) => text(tokens),
                    Part::Variable(key, None) => format!("${{{}}}", key.written),
                    Part::Variable(key, Some(or)) => format!("${{{}, '{or}'}}", key.written),
                });
                texts.collect()
            }
        }
    }

    /// The keys of its variables that have no default.
    fn needed_keys(&self) -> impl Iterator<Item = &ConditionKey> {
        let parts: &[Part] = match self {
            Self::Fixed(_) => &[],
            Self::Variable(parts) => parts,
        };
        parts.iter().filter_map(|part| match part {
            Part::Variable(key, None) => Some(key),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resource that is reported to match no cluster matches none, and one that matches is not reported.
    #[test]
    fn a_resource_is_no_cluster_only_where_it_matches_none() {
        let cluster = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
        for (pattern, why) in [
            ("*", None),
            (cluster, None),
            ("arn:aws:dsql:*:cluster/*", None),
            ("arn:aws:*:cluster/*", None),
            ("arn:aws:ds*:012345678912:cluster/*", None),
            ("arn:*:abc*", Some("is not cluster/ID")),
            ("arn:*", None),
            ("arn:aws:dsql:*:*:*:*", None),
            ("arn:aws:s3*:cluster/*", Some("is of another service")),
            ("arn:aws:s3:*", Some("is of another service")),
            ("arn:aws:dsql:*:table/*", Some("is not cluster/ID")),
            ("arn:aws:dsql:*:*:Cluster/*", Some("is not cluster/ID")),
            (
                "arn:aws:dsql:us-east-1:012345678912:x/y",
                Some("is not cluster/ID"),
            ),
        ] {
            let resource = Template::fixed(pattern, true);
            assert_eq!(why_no_cluster(&resource), why, "{pattern}");
            let matches = may_be(&resource, cluster);
            assert!(!(matches && why.is_some()), "{pattern}");
        }
        for pattern in ["arn:aws:dsql:*:cluster/*", "arn:aws:*:cluster/*", "arn:*"] {
            assert!(
                may_be(&Template::fixed(pattern, true), cluster),
                "{pattern}"
            );
        }
    }
}
