//! Checks the statements of all policies, whatever the request.

use super::lint::LoginFacts;
use super::{CLUSTER_POLICY, Checker, Place, is_user};
use crate::arn::is_aws_managed;
use crate::cluster::Cluster;
use crate::identity::Identities;
use crate::identity::Owner;
use crate::policy::Policy;
use crate::request_context::possible_keys;

impl Checker {
    pub(super) fn statements(&mut self, all: &Identities) {
        let (keys, lists) = possible_keys(all, self.cluster.as_ref());
        let mut clusters: Vec<String> = self.cluster.iter().map(Cluster::arn).collect();
        let own = clusters.first().map(String::as_str);
        let others = all.cluster_arns().filter(|arn| Some(*arn) != own);
        let mut others: Vec<String> = others.map(str::to_owned).collect();
        others.sort();
        clusters.extend(others);
        if clusters.is_empty() {
            self.report.not_checked.push(
                "whether the policies name a cluster that exists: the cluster is not known; \
                 name it with --cluster-arn, or add the output of aws dsql get-cluster"
                    .into(),
            );
        }
        let nameless = all.principals.values();
        let nameless = nameless.filter(|principal| principal.unique_id.is_none());
        let (users, roles): (Vec<_>, Vec<_>) = nameless.partition(|principal| is_user(principal));
        let facts = LoginFacts {
            clusters,
            keys,
            lists,
            without_id: (users.len(), roles.len()),
            now: self.now,
        };
        for principal in all.principals.values() {
            for inline in &principal.inline {
                let name = format!("{}, policy {}", principal.arn, inline.name);
                self.policy(&principal.arn, &name, &inline.policy, &facts);
            }
            if let Some(trust) = &principal.trust_policy {
                let name = format!("{}, trust policy", principal.arn);
                self.policy(&principal.arn, &name, trust, &facts);
            }
        }
        for group in all.groups.values() {
            for inline in &group.inline {
                let name = format!("{}, policy {}", group.arn, inline.name);
                self.policy(&group.arn, &name, &inline.policy, &facts);
            }
        }
        for (arn, policy) in all.policies.iter().chain(
            all.service_control
                .iter()
                .map(|(arn, policy)| (arn, policy)),
        ) {
            self.policy(arn, arn, policy, &facts);
        }
        if let Some(policy) = &all.cluster_policy {
            self.policy(CLUSTER_POLICY, CLUSTER_POLICY, policy, &facts);
        }
        for (id, key) in &all.access_keys {
            if let Owner::Session(session) = &key.owner
                && let Some(policy) = session.policies.as_ref().and_then(|p| p.inline.as_ref())
            {
                let name = format!("{}, session policy", session.arn);
                self.policy(id, &name, policy, &facts);
            }
        }
    }

    fn policy(&mut self, brought_as: &str, name: &str, policy: &Policy, facts: &LoginFacts) {
        // AWS's own, which nobody else can mend, and in which AWS uses new actions and keys before they are known here.
        if is_aws_managed(brought_as) {
            return;
        }
        for (index, statement) in policy.statements().iter().enumerate() {
            for fault in statement.faults(facts) {
                let sid = statement.sid().filter(|sid| !sid.is_empty());
                let subject = match sid {
                    Some(sid) => format!("{name}, statement {sid}"),
                    None => format!("{name}, statement {}", index + 1),
                };
                let file = self.file_of(brought_as);
                let place = Place {
                    file: Some(&file),
                    subject: Some(subject),
                };
                self.warn(place, fault.check, fault.found, fault.remedy);
            }
        }
    }
}
