//! The documents that an account becomes, in the form that the loader has: those of the AWS CLI.

use std::collections::BTreeSet;

use dsql_iam_core::documents::{self, Document};
use serde_json::{Value as Json, json};

use super::account::{Account, Entity, Kind};
use super::managed_policies;

use crate::shared::error::Error;

/// A document to be written.
pub struct Output {
    /// the name of its file
    pub name: String,
    /// what it holds
    pub json: Json,
}

impl Account {
    /// The documents. `chosen` is the id of the cluster whose policy counts, if several have one.
    ///
    /// # Errors
    /// A sentence, if it cannot be told which cluster's policy counts, or the loader would not take them.
    pub fn documents(&mut self, chosen: Option<&str>) -> Result<Vec<Output>, Error> {
        if let Some(missing) = self.refuses_everybody.clone() {
            let all = self.entities.iter_mut();
            all.for_each(|(_, entity)| {
                entity.attached.insert(missing.clone());
            });
        }
        self.add_managed_policies();
        let mut all = vec![Output {
            name: "account.json".into(),
            json: self.export(),
        }];
        let mut add = |name: String, json: Json| all.push(Output { name, json });
        for (id, document) in self.clusters.values() {
            add(format!("cluster-{id}.json"), document.clone());
        }
        for (number, (arn, content)) in self.service_control.iter().enumerate() {
            let json = json!({"Policy": {
                "PolicySummary": {"Arn": arn, "Type": "SERVICE_CONTROL_POLICY"},
                "Content": content.to_string(),
            }});
            add(format!("service-control-{}.json", number + 1), json);
        }
        for key in &self.keys {
            let status = if key.is_active { "Active" } else { "Inactive" };
            let json = json!({"AccessKey": {"UserName": key.user, "AccessKeyId": key.id,
                "Status": status, "SecretAccessKey": key.secret}});
            add(format!("key-{}.json", key.id), json);
        }
        if let Some(policy) = self.cluster_policy(chosen)? {
            let json = json!({"policy": policy.to_string(), "policyVersion": "1"});
            all.push(Output {
                name: "cluster-policy.json".into(),
                json,
            });
        }
        // The loader's refusals come better here, where the input is at hand.
        let texts: Vec<_> = all
            .iter()
            .map(|one| (one.name.as_str(), one.json.to_string()))
            .collect();
        let parsed: Result<Vec<(&str, Document)>, _> = texts
            .iter()
            .map(|(name, text)| documents::parse(text).map(|document| (*name, document)))
            .collect();
        let parsed = parsed.map_err(Error::of)?;
        documents::merge(parsed).map_err(|(name, fault)| format!("{name}: {fault}"))?;
        Ok(all)
    }

    /// The one policy of a cluster that a directory of documents can hold.
    fn cluster_policy(&mut self, chosen: Option<&str>) -> Result<Option<Json>, Error> {
        let (counting, others): (Vec<_>, Vec<_>) = match (chosen, self.cluster_policies.len()) {
            (None, 0 | 1) => (self.cluster_policies.iter().collect(), Vec::new()),
            (None, _) => {
                let places = self
                    .cluster_policies
                    .iter()
                    .map(|(.., place)| place.as_str());
                return Err(format!(
                    "several clusters have a policy ({}), and the documents are for one cluster: \
                     say which with --cluster",
                    places.collect::<Vec<_>>().join(", ")
                )
                .into());
            }
            (Some(chosen), _) => self
                .cluster_policies
                .iter()
                .partition(|(id, ..)| id.as_deref().is_none_or(|id| id == chosen)),
        };
        for (_, _, place) in others {
            self.summary
                .leave_out(format!("{place}: it is another cluster's"));
        }
        let mut counting = counting.into_iter();
        let Some((_, first, _)) = counting.next() else {
            return Ok(None);
        };
        let mut policy = first.clone();
        for (_, more, place) in counting {
            let (Some(Json::Array(all)), Json::Array(more)) =
                (policy.get_mut("Statement"), &more["Statement"])
            else {
                return Err(format!("{place}: the cluster has two policies").into());
            };
            all.extend(more.iter().cloned());
        }
        Ok(Some(policy))
    }

    /// Adds the managed policies of AWS that are attached and come with the command; names the others.
    fn add_managed_policies(&mut self) {
        let entities = self.entities.values();
        let wanted: BTreeSet<String> = entities
            .flat_map(|entity| entity.attached.iter().chain(&entity.boundary))
            .filter(|arn| !self.policies.contains_key(*arn))
            .cloned()
            .collect();
        for arn in wanted {
            if let Some(known) = managed_policies::find(&arn) {
                self.summary.fill_in(known.line());
                self.policies.insert(arn, known.document.clone());
            } else if !arn.contains(":policy/unknown/") {
                let line = format!("policy {arn}: it is in no document, and counts as a deny");
                self.summary.leave_out(line);
            }
        }
    }

    /// The output that `aws iam get-account-authorization-details` would print.
    fn export(&self) -> Json {
        let of = |kind| {
            let all = self.entities.iter();
            all.filter(move |((k, _), _)| *k == kind)
                .map(|((_, name), entity)| (name, entity))
        };
        let users = of(Kind::User).map(|(name, user)| {
            let mut json = entity(user, "User", name);
            json["GroupList"] = json!(user.groups);
            json
        });
        let groups = of(Kind::Group).map(|(name, group)| entity(group, "Group", name));
        let roles = of(Kind::Role).map(|(name, role)| {
            let mut json = entity(role, "Role", name);
            if let Some(trust) = &role.trust {
                json["AssumeRolePolicyDocument"] = trust.clone();
            }
            if let Some(seconds) = role.max_session_duration {
                json["MaxSessionDuration"] = seconds.into();
            }
            json
        });
        let policies = self.policies.iter().map(|(arn, document)| {
            let name = arn.rsplit('/').next();
            json!({"PolicyName": name, "Arn": arn, "DefaultVersionId": "v1",
                "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": true, "Document": document}]})
        });
        json!({
            "UserDetailList": users.collect::<Vec<_>>(),
            "GroupDetailList": groups.collect::<Vec<_>>(),
            "RoleDetailList": roles.collect::<Vec<_>>(),
            "Policies": policies.collect::<Vec<_>>(),
        })
    }
}

/// A user, group or role as the export has it; `word` is the first of its members' names.
fn entity(entity: &Entity, word: &str, name: &str) -> Json {
    let inline = entity.inline.iter();
    let inline = inline.map(|(name, doc)| json!({"PolicyName": name, "PolicyDocument": doc}));
    let attached = entity.attached.iter().map(|arn| {
        let name = arn.rsplit('/').next();
        json!({"PolicyName": name, "PolicyArn": arn})
    });
    let tags = entity
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}));
    let mut json = json!({
        format!("{word}Name"): name,
        "Arn": entity.arn,
        format!("{word}PolicyList"): inline.collect::<Vec<_>>(),
        "AttachedManagedPolicies": attached.collect::<Vec<_>>(),
    });
    if word != "Group" {
        json["Tags"] = tags.collect();
    }
    if let Some(arn) = &entity.boundary {
        json["PermissionsBoundary"] =
            json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn});
    }
    json
}
