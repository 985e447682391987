//! Finds references to what no document has, and principals that cannot exist.

use super::trust::{Trust, trusts_provider};
use super::{Checker, Place, Severity, is_user, keys_name, provider_name};
use crate::arn::{IamArn, account_of};
use crate::cluster::Cluster;
use crate::identity::{AccessKey, Identities, Owner, Principal, Session};
use crate::login::redacted_key_id;
use crate::policy::Policy;
use crate::time::rfc3339;

/// In the path of the roles that IAM Identity Center makes for its permission sets.
const IDENTITY_CENTER: &str = ":role/aws-reserved/sso.amazonaws.com/";

impl Checker {
    pub(super) fn references(&mut self, all: &Identities) {
        if all.principals.is_empty() && all.access_keys.is_empty() {
            self.warn(
                Place::default(),
                "empty",
                "the documents bring no identity: nobody can log in with a token".into(),
                "aws iam get-account-authorization-details > account.json".into(),
            );
        }
        let trusting = Trust::of(all, self.now);
        for principal in all.principals.values() {
            self.attachments(all, &principal.arn, &principal.attached);
            if let Some(boundary) = &principal.boundary {
                self.attachments(all, &principal.arn, std::slice::from_ref(boundary));
            }
            let account = account_of(&principal.arn);
            for name in &principal.groups {
                if !all.groups.contains_key(&(account.to_owned(), name.clone())) {
                    self.warn_of(
                        &principal.arn,
                        "group",
                        format!("is in the group {name}, which is in no document; it is refused"),
                        "export the account again, with its groups".into(),
                    );
                }
            }
            if !is_user(principal) {
                self.role(all, principal, &trusting);
            }
        }
        for group in all.groups.values() {
            self.attachments(all, &group.arn, &group.attached);
        }
        for (id, key) in &all.access_keys {
            match &key.owner {
                Owner::User { name, account } => {
                    self.access_key(all, id, key, (account.as_deref(), name));
                }
                Owner::Session(session) => self.session(all, id, key, session),
            }
        }
        self.identity_providers(all);
        self.mfa_devices(all);
    }

    /// A provider begins sessions if its account and its keys are known.
    fn identity_providers(&mut self, all: &Identities) {
        const CHECK: &str = "identity_provider";
        let mut issuers = Vec::new();
        for provider in &all.oidc_providers {
            let issuer = provider.issuer();
            let name = provider_name(&issuer);
            if all.account_of_provider(provider).is_none() {
                let found = "begins no session: its document does not name its account, and the users and roles are \
                             not of one account";
                let remedy = "add the member \"AccountId\" to it".to_owned();
                self.warn_of(&name, CHECK, found.to_owned(), remedy);
            }
            if !all.key_sets.contains_key(&issuer) {
                let found = "begins no session: its keys are in no document";
                let remedy = format!(
                    "add what its jwks_uri gives ({issuer}/.well-known/openid-configuration names it), with the \
                     member \"issuer\": \"{issuer}\""
                );
                self.warn_of(&name, CHECK, found.to_owned(), remedy);
            }
            issuers.push(issuer);
        }
        for issuer in all.key_sets.keys().filter(|one| !issuers.contains(one)) {
            let found = "have no effect: the identity provider is in no document";
            let remedy =
                "add the output of aws iam get-open-id-connect-provider, or correct \"issuer\"";
            self.warn_of(
                &keys_name(issuer),
                CHECK,
                found.to_owned(),
                remedy.to_owned(),
            );
        }
    }

    /// A code of a device counts if its secret and its user are known.
    fn mfa_devices(&mut self, all: &Identities) {
        for (serial, device) in &all.mfa_devices {
            let (found, remedy) = match (&device.user, &device.seed) {
                (Some((account, name)), Some(_)) => match all.user(Some(account), name) {
                    None => (
                        format!(
                            "is of the user {name} of {account}, who is in no document; no code of it counts"
                        ),
                        "add the export of the account, or take the device out",
                    ),
                    Some(user) if device.is_of_another(user.unique_id.as_deref()) => (
                        format!(
                            "is of another user than {}: their UserId differs; no code of it counts",
                            user.arn
                        ),
                        "export the account and its devices anew, or take the device out",
                    ),
                    Some(_) => continue,
                },
                (None, _) => (
                    "is nobody's; no code of it counts".to_owned(),
                    "add the output of aws iam list-mfa-devices, or the member User",
                ),
                (Some(_), None) => (
                    "has no secret in the documents; no code of it counts".to_owned(),
                    "add the member Base32StringSeed, as create-virtual-mfa-device writes it into its --outfile",
                ),
            };
            self.warn_of(serial, "mfa_device", found, remedy.to_owned());
        }
    }

    fn attachments(&mut self, all: &Identities, owner: &str, attached: &[String]) {
        for arn in attached.iter().filter(|arn| !all.has_managed(arn)) {
            self.warn_of(
                owner,
                "attached_policy",
                format!("has the policy {arn}, which is in no document; every login that it counts for is refused"),
                with_managed(arn),
            );
        }
    }

    fn role(&mut self, all: &Identities, role: &Principal, trust: &Trust<'_>) {
        let policies = all
            .policies(role, None)
            .map_or(Vec::new(), |all| all.identity);
        let concerns_logins = policies.iter().any(|one| one.policy.may_allow_connecting());
        if !concerns_logins || trust.someone_may_be(role) || trusts_provider(all, role) {
            return;
        }
        let found = match IamArn::parse(&role.arn) {
            Ok(arn) => match trust.sessions.get(&(arn.account, arn.name)) {
                Some(false) => return,
                Some(true) => "nobody in the documents may assume it, and its session has expired",
                None => "nobody in the documents may assume it, and it has no session",
            },
            Err(_) => return,
        };
        let trust_policy = role.trust_policy.as_ref();
        let federated = trust_policy.map_or(Vec::new(), Policy::federated_commands);
        let services = trust_policy.map_or(Vec::new(), Policy::trusted_services);
        let arn = &role.arn;
        let remedy = if arn.contains(IDENTITY_CENTER) {
            // Nobody gets at the assertion with which IAM Identity Center begins its sessions.
            "write a session of it into a document, in the form that aws sts assume-role-with-saml \
             prints; aws sso get-role-credentials prints another"
                .to_owned()
        } else if let (true, [service, ..]) = (federated.is_empty(), &services[..]) {
            format!(
                "write a session of it into a document, in the form that aws sts assume-role prints: only \
                 {service} may begin one on AWS"
            )
        } else if federated.is_empty() {
            format!(
                "name a user in its trust policy, or add the output of aws sts assume-role \
                 --role-arn {arn}"
            )
        } else {
            let commands = federated.iter();
            let commands = commands.map(|command| format!("aws sts {command} --role-arn {arn}"));
            let commands = commands.collect::<Vec<_>>().join(" or ");
            format!("add the output of {commands}: its trust policy names an identity provider")
        };
        let found = format!("may connect, but {found}");
        self.warn_of(arn, "role", found, remedy);
    }

    fn access_key(
        &mut self,
        all: &Identities,
        id: &str,
        key: &AccessKey,
        (named_account, name): (Option<&str>, &str),
    ) {
        let file = self.file_of(id);
        let place = || Place {
            file: Some(&file),
            subject: Some(format!("access key {}", redacted_key_id(id))),
        };
        let account = self.cluster.as_ref().map_or("", Cluster::account);
        let account = account.to_owned();
        match all.user(named_account, name) {
            None if named_account.is_none() && all.is_of_several_accounts(name) => {
                let found = format!("opens nothing: several accounts have a user {name}");
                let remedy = format!("name its account: \"AccountId\": \"NUMBER\" in {file}");
                self.report(Severity::Error, place(), "access_key", found, remedy);
            }
            None => {
                let found = match named_account {
                    Some(account) => {
                        format!("belongs to the user {name} of {account}, who is in no document")
                    }
                    None => format!("belongs to the user {name}, who is in no document"),
                };
                let remedy = "add the export of the user's account, or take the key out";
                self.warn(place(), "access_key", found, remedy.into());
            }
            Some(user) if !account.is_empty() && account_of(&user.arn) != account => {
                let found = format!("belongs to {}, not to the cluster's account", user.arn);
                let remedy = format!("use a principal of {account}: others are refused");
                self.warn(place(), "access_key", found, remedy);
            }
            Some(_) => {}
        }
        if !key.is_active {
            self.warn(
                place(),
                "access_key",
                "is not active, and is refused".into(),
                format!("set Status to Active in {file}, or take the file out"),
            );
        }
    }

    fn session(&mut self, all: &Identities, id: &str, key: &AccessKey, session: &Session) {
        let file = self.file_of(id);
        let place = || Place {
            file: Some(&file),
            subject: Some(session.arn.clone()),
        };
        let (whose, again) = match session.is_of_user() {
            true => (
                "user",
                "get it again with aws sts get-session-token, or take the file out",
            ),
            false => (
                "role",
                "begin it again with dsql-iam assume-role, or take the file out",
            ),
        };
        match (all.named_by(session), session.principal_id()) {
            (None, _) => self.warn(
                place(),
                "session",
                format!("is of a {whose} that is in no document; it is refused"),
                format!("add the export of the {whose}'s account"),
            ),
            (Some(_), Some(id)) if all.principal_of(session).is_none() => self.warn(
                place(),
                "session",
                format!("is of a {whose} with the id {id}, and the one of that name has another; it is refused"),
                again.into(),
            ),
            _ => {}
        }
        if self.is_over(key) {
            self.warn(
                place(),
                "session",
                format!(
                    "ended at {}",
                    key.expiration.map_or_else(String::new, rfc3339)
                ),
                again.into(),
            );
        }
        if session.has_hidden_policies {
            self.warn(
                place(),
                "session",
                "was given policies or tags that the document does not show; it is refused".into(),
                "add the request as a member Request, in the form of --cli-input-json".into(),
            );
        }
        let attached = session
            .policies
            .iter()
            .flat_map(|policies| &policies.attached);
        for arn in attached.filter(|arn| !all.has_managed(arn)) {
            self.warn(
                place(),
                "attached_policy",
                format!("has the session policy {arn}, which is in no document; it is refused"),
                with_managed(arn),
            );
        }
    }
}

/// The way to bring a managed policy into the export.
fn with_managed(arn: &str) -> String {
    let filter = match account_of(arn) {
        "aws" => "AWSManagedPolicy",
        _ => "LocalManagedPolicy",
    };
    format!("export the account again, with {filter} in --filter if there is one")
}
