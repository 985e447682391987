//! The Principal and NotPrincipal elements of resource-based policies and trust policies.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>.

use super::effect::Effect;
use super::variable::refuse_template_variable;
use crate::arn::{Arn, SessionArn, account_of, is_account_id, is_unique_id};
use crate::json::{OneOrMany, Text, not_null};
use serde::de::{self, Deserialize, Deserializer};

/// The caller of a request: a user or a role session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPrincipal<'c> {
    /// The ARN of the user, or of the role session.
    pub arn: &'c str,
    /// The ARN of the session's role, path included.
    pub role_arn: Option<&'c str>,
    /// The unique id (`AIDA…`, `AROA…`) of the user, or of the session's role, if it is known.
    pub unique_id: Option<&'c str>,
}

impl<'c> RequestPrincipal<'c> {
    /// The account that the caller belongs to.
    pub fn account(&self) -> &'c str {
        account_of(self.arn)
    }

    /// Whether it is whoever an identity provider vouches for: `arn` is the provider's.
    fn is_federated(&self) -> bool {
        Arn::parse(self.arn).is_some_and(|arn| arn.resource.starts_with("oidc-provider/"))
    }

    /// Whether it is a session of a service-linked role, which only a service of AWS's can create.
    pub(crate) fn is_service_linked(&self) -> bool {
        let role = self.role_arn.and_then(Arn::parse);
        role.is_some_and(|role| role.resource.starts_with("role/aws-service-role/"))
    }
}

/// How closely a policy names the caller. In this order: the later the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PrincipalMatch {
    /// Not at all.
    None,
    /// By its account, which leaves it to the account's own policies.
    Account,
    /// By the role of the session.
    Role,
    /// Itself: by the ARN of the user or the session, or as everybody.
    RequestPrincipal,
}

/// A Principal or NotPrincipal element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principals {
    pub(crate) listed: Vec<Listed>,
    pub(crate) is_negated: bool,
}

/// One entry of the element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listed {
    /// `*`
    Everybody,
    /// Twelve digits, or the account's root.
    Account(String),
    /// The ARN of a user, a role or a session.
    Arn(String),
    /// The unique id of a user or role, which AWS writes in the place of the ARN of one that was deleted, and
    /// replaces by the ARN of one that exists.
    UniqueId(String),
    /// An identity provider, by its ARN or name: whoever it vouches for may be given a session.
    Federated(String),
    /// A service, such as `lambda.amazonaws.com`.
    Service(String),
    /// A canonical user: nobody who can log in.
    NoCaller,
}

impl Principals {
    /// How closely the list names the caller.
    fn principal_match(&self, caller: &RequestPrincipal<'_>) -> PrincipalMatch {
        let principal_match = |listed: &Listed| match listed {
            Listed::Everybody => PrincipalMatch::RequestPrincipal,
            Listed::Arn(arn) if arn == caller.arn => PrincipalMatch::RequestPrincipal,
            Listed::Arn(arn) if caller.role_arn == Some(arn) => PrincipalMatch::Role,
            Listed::UniqueId(id) if caller.unique_id == Some(id) => match caller.role_arn {
                Some(_) => PrincipalMatch::Role,
                None => PrincipalMatch::RequestPrincipal,
            },
            Listed::Account(account) if account == caller.account() => PrincipalMatch::Account,
            _ => PrincipalMatch::None,
        };
        self.listed
            .iter()
            .map(principal_match)
            .max()
            .unwrap_or(PrincipalMatch::None)
    }

    /// Whether the list has a unique id that may be the caller's, whose own no document has.
    fn may_have_id_of(&self, caller: &RequestPrincipal<'_>) -> bool {
        let prefix = match caller.role_arn {
            Some(_) => "AROA",
            None => "AIDA",
        };
        let mut listed = self.listed.iter();
        caller.unique_id.is_none()
            && listed.any(|listed| matches!(listed, Listed::UniqueId(id) if id.starts_with(prefix)))
    }

    /// How closely a statement of this effect names the caller; [`PrincipalMatch::None`] if it is not about it. Where
    /// it cannot be told, since no document has the caller's unique id, a Deny is about it and an Allow is not.
    pub(crate) fn apply(
        &self,
        caller: &RequestPrincipal<'_>,
        has_boundary: bool,
        effect: Effect,
    ) -> PrincipalMatch {
        if caller.is_federated() {
            return self.apply_to_federated(caller, effect);
        }
        let cannot_be_told = self.may_have_id_of(caller);
        if !self.is_negated {
            return match self.principal_match(caller) {
                PrincipalMatch::None if cannot_be_told && effect == Effect::Deny => {
                    PrincipalMatch::RequestPrincipal
                }
                found => found,
            };
        }
        if cannot_be_told && effect == Effect::Allow {
            return PrincipalMatch::None;
        }
        // AWS: a Deny with NotPrincipal denies whoever has a permissions boundary, always.
        if has_boundary || !self.exempts(caller) {
            PrincipalMatch::RequestPrincipal
        } else {
            PrincipalMatch::None
        }
    }

    /// The same for whoever an identity provider vouches for. An Allow is about them where it names the provider; a
    /// Deny also where it names everybody or the provider's account.
    fn apply_to_federated(&self, caller: &RequestPrincipal<'_>, effect: Effect) -> PrincipalMatch {
        let mut listed = self.listed.iter();
        let names_provider =
            |one: &Listed| matches!(one, Listed::Federated(arn) if arn == caller.arn);
        let is_about = match (effect, self.is_negated) {
            (Effect::Allow, false) => listed.any(names_provider),
            (Effect::Allow, true) => false,
            (Effect::Deny, false) => listed.any(|one| match one {
                Listed::Everybody => true,
                Listed::Account(account) => account == caller.account(),
                one => names_provider(one),
            }),
            (Effect::Deny, true) => !listed.any(names_provider),
        };
        match is_about {
            true => PrincipalMatch::RequestPrincipal,
            false => PrincipalMatch::None,
        }
    }

    /// Whether NotPrincipal takes the caller out. AWS may validate the account first, then the
    /// role, then the session, so each of them has to be listed.
    fn exempts(&self, caller: &RequestPrincipal<'_>) -> bool {
        let has = |wanted: &dyn Fn(&Listed) -> bool| self.listed.iter().any(wanted);
        let everybody = has(&|listed| *listed == Listed::Everybody);
        let account = has(
            &|listed| matches!(listed, Listed::Account(account) if account == caller.account()),
        );
        let arn = |arn: &str| has(&|listed| matches!(listed, Listed::Arn(a) if a == arn));
        let by_id =
            has(&|listed| matches!(listed, Listed::UniqueId(id) if caller.unique_id == Some(id)));
        // The id is the user's or the role's; a session has none.
        let caller_itself = arn(caller.arn) || by_id && caller.role_arn.is_none();
        let role = caller.role_arn.is_none_or(|role| arn(role) || by_id);
        everybody || account && caller_itself && role
    }
}

/// The principals that one of the lists names.
type Kind = fn(String) -> Listed;

/// The element as it is written: `"*"`, or lists by kind.
pub(crate) struct RawPrincipals(pub(crate) Vec<Listed>);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ByKind {
    #[serde(default, rename = "AWS", deserialize_with = "not_null")]
    aws: Option<OneOrMany<Text>>,
    #[serde(default, rename = "Service", deserialize_with = "not_null")]
    service: Option<OneOrMany<Text>>,
    #[serde(default, rename = "Federated", deserialize_with = "not_null")]
    federated: Option<OneOrMany<Text>>,
    #[serde(default, rename = "CanonicalUser", deserialize_with = "not_null")]
    canonical_user: Option<OneOrMany<Text>>,
}

impl<'de> Deserialize<'de> for RawPrincipals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RawPrincipals;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"*\" or principals by kind")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "*" => Ok(RawPrincipals(vec![Listed::Everybody])),
                    _ => Err(E::custom(
                        "Principal is neither \"*\" nor principals by kind",
                    )),
                }
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let kinds = ByKind::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let mut listed = Vec::new();
                for Text(text) in kinds.aws.into_iter().flat_map(|list| list.0) {
                    refuse_template_variable("Principal", &text).map_err(de::Error::custom)?;
                    let one = aws_principal(&text).ok_or_else(|| {
                        de::Error::custom(format_args!("\"{text}\" is not a principal of AWS"))
                    })?;
                    listed.push(one);
                }
                let kinds: [(_, Kind); 3] = [
                    (kinds.service, Listed::Service),
                    (kinds.federated, Listed::Federated),
                    (kinds.canonical_user, |_| Listed::NoCaller),
                ];
                for (list, kind) in kinds {
                    for Text(text) in list.into_iter().flat_map(|list| list.0) {
                        if text.is_empty() {
                            return Err(de::Error::custom("a principal is empty"));
                        }
                        listed.push(kind(text));
                    }
                }
                if listed.is_empty() {
                    return Err(de::Error::custom("Principal is empty"));
                }
                Ok(RawPrincipals(listed))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// An entry under `AWS`. Wildcards are none of AWS's, but for the `*` alone.
fn aws_principal(text: &str) -> Option<Listed> {
    if text == "*" {
        return Some(Listed::Everybody);
    }
    if is_account_id(text) {
        return Some(Listed::Account(text.to_owned()));
    }
    if text.contains(['*', '?']) {
        return None;
    }
    if is_unique_id(text) {
        return Some(Listed::UniqueId(text.to_owned()));
    }
    let Arn {
        partition,
        service,
        region,
        account,
        resource,
    } = Arn::parse(text)?;
    if partition.is_empty() || !region.is_empty() || resource.is_empty() {
        return None;
    }
    match (service, resource) {
        ("iam", "root") if is_account_id(account) => Some(Listed::Account(account.to_owned())),
        ("sts", _) if resource.starts_with("assumed-role/") => {
            SessionArn::parse(text).map(|_| Listed::Arn(text.to_owned()))
        }
        // Compared as a whole, so that whatever it is, it names nobody else.
        ("iam" | "sts", _) => Some(Listed::Arn(text.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const USER: RequestPrincipal<'_> = RequestPrincipal {
        arn: "arn:aws:iam::012345678912:user/a/alice",
        role_arn: None,
        unique_id: Some("AIDACKCEVSQ6C2EXAMPLE"),
    };
    const SESSION: RequestPrincipal<'_> = RequestPrincipal {
        arn: "arn:aws:sts::012345678912:assumed-role/App/s",
        role_arn: Some("arn:aws:iam::012345678912:role/x/App"),
        unique_id: Some("AROACKCEVSQ6C2EXAMPLE"),
    };

    #[test]
    fn which_roles_are_linked_to_a_service() {
        for (role_arn, is_linked) in [
            (None, false),
            (SESSION.role_arn, false),
            (
                Some("arn:aws:iam::012345678912:role/aws-service-role/dsql.amazonaws.com/X"),
                true,
            ),
            (
                Some("arn:aws-cn:iam::012345678912:role/aws-service-role/dsql.amazonaws.com/X"),
                true,
            ),
            (
                Some("arn:aws:iam::012345678912:role/aws-service-role"),
                false,
            ),
            (
                Some("arn:aws:iam::012345678912:role/x/aws-service-role/X"),
                false,
            ),
            (Some("arn:aws:iam::012345678912:role/service-role/X"), false),
        ] {
            let caller = RequestPrincipal {
                role_arn,
                ..SESSION
            };
            assert_eq!(caller.is_service_linked(), is_linked, "{role_arn:?}");
        }
        // A user has no such path's privilege.
        let user = RequestPrincipal {
            arn: "arn:aws:iam::012345678912:user/aws-service-role/x/alice",
            role_arn: None,
            unique_id: None,
        };
        assert!(!user.is_service_linked());
    }

    fn principals(value: serde_json::Value, is_negated: bool) -> Principals {
        let RawPrincipals(listed) = serde_json::from_value(value).unwrap();
        Principals { listed, is_negated }
    }

    #[test]
    fn how_closely_a_caller_is_named() {
        for (value, user, session) in [
            (
                json!("*"),
                PrincipalMatch::RequestPrincipal,
                PrincipalMatch::RequestPrincipal,
            ),
            (
                json!({"AWS": "*"}),
                PrincipalMatch::RequestPrincipal,
                PrincipalMatch::RequestPrincipal,
            ),
            (
                json!({"AWS": "012345678912"}),
                PrincipalMatch::Account,
                PrincipalMatch::Account,
            ),
            (
                json!({"AWS": ["arn:aws:iam::012345678912:root", USER.arn]}),
                PrincipalMatch::RequestPrincipal,
                PrincipalMatch::Account,
            ),
            (
                json!({"AWS": SESSION.role_arn.unwrap()}),
                PrincipalMatch::None,
                PrincipalMatch::Role,
            ),
            (
                json!({"AWS": SESSION.arn}),
                PrincipalMatch::None,
                PrincipalMatch::RequestPrincipal,
            ),
            (
                json!({"AWS": "arn:aws:sts::012345678912:assumed-role/App/t"}),
                PrincipalMatch::None,
                PrincipalMatch::None,
            ),
            (
                json!({"AWS": "210987654321"}),
                PrincipalMatch::None,
                PrincipalMatch::None,
            ),
            (
                json!({"Service": ["ec2.amazonaws.com"], "Federated": "x", "CanonicalUser": "y"}),
                PrincipalMatch::None,
                PrincipalMatch::None,
            ),
            (
                json!({"AWS": "AIDACKCEVSQ6C2EXAMPLE"}),
                PrincipalMatch::RequestPrincipal,
                PrincipalMatch::None,
            ),
            (
                json!({"AWS": "AROACKCEVSQ6C2EXAMPLE"}),
                PrincipalMatch::None,
                PrincipalMatch::Role,
            ),
            (
                json!({"AWS": ["AIDAOFSOMEBODYDELETED", "AROAOFSOMEBODYDELETED"]}),
                PrincipalMatch::None,
                PrincipalMatch::None,
            ),
        ] {
            let named = principals(value.clone(), false);
            for effect in [Effect::Allow, Effect::Deny] {
                assert_eq!(named.apply(&USER, false, effect), user, "{value}");
                assert_eq!(named.apply(&SESSION, false, effect), session, "{value}");
            }
        }
    }

    #[test]
    fn whom_an_identity_provider_vouches_for() {
        let arn = "arn:aws:iam::012345678912:oidc-provider/oidc.example.com:8443/id";
        let caller = RequestPrincipal {
            arn,
            role_arn: None,
            unique_id: None,
        };
        let other = format!("{arn}/x");
        for (value, allows, denies, denies_all_but) in [
            (json!({"Federated": arn}), true, true, false),
            (json!({"Federated": [other, arn]}), true, true, false),
            (json!({ "Federated": other }), false, false, true),
            (json!("*"), false, true, true),
            (json!({"AWS": "*"}), false, true, true),
            (json!({"AWS": "012345678912"}), false, true, true),
            (json!({"AWS": "210987654321"}), false, false, true),
            (json!({ "AWS": arn }), false, false, true),
            (json!({ "Service": arn }), false, false, true),
        ] {
            let is_about = |is_negated, effect| {
                let named = principals(value.clone(), is_negated);
                named.apply(&caller, false, effect) != PrincipalMatch::None
            };
            assert_eq!(is_about(false, Effect::Allow), allows, "{value}");
            assert_eq!(is_about(false, Effect::Deny), denies, "{value}");
            assert_eq!(is_about(true, Effect::Deny), denies_all_but, "{value}");
            assert!(!is_about(true, Effect::Allow), "{value}");
        }
    }

    #[test]
    fn not_principal_takes_out_who_is_listed_with_role_and_account() {
        let root = "arn:aws:iam::012345678912:root";
        let role = SESSION.role_arn.unwrap();
        for (value, user_is_out, session_is_out) in [
            (json!({"AWS": [USER.arn, root]}), true, false),
            (json!({"AWS": USER.arn}), false, false),
            (json!({"AWS": root}), false, false),
            (json!({"AWS": [SESSION.arn, role, root]}), false, true),
            (json!({"AWS": [role, root]}), false, false),
            (json!({"AWS": ["AIDACKCEVSQ6C2EXAMPLE", root]}), true, false),
            (
                json!({"AWS": ["AROACKCEVSQ6C2EXAMPLE", root]}),
                false,
                false,
            ),
            (
                json!({"AWS": ["AROACKCEVSQ6C2EXAMPLE", SESSION.arn, root]}),
                false,
                true,
            ),
            (json!("*"), true, true),
        ] {
            let others = principals(value.clone(), true);
            assert_eq!(
                others.apply(&USER, false, Effect::Deny) == PrincipalMatch::None,
                user_is_out,
                "{value}"
            );
            assert_eq!(
                others.apply(&SESSION, false, Effect::Deny) == PrincipalMatch::None,
                session_is_out,
                "{value}"
            );
            assert_eq!(
                others.apply(&USER, true, Effect::Deny),
                PrincipalMatch::RequestPrincipal,
                "{value}"
            );
        }
    }

    /// Where no document has the caller's id, an id in a list may be the caller's: that of a user a user's, that of a
    /// role a session's.
    #[test]
    fn an_identity_that_is_ambiguous_is_nobodys_a_unique_id_that_is_not_known() {
        let nameless = |caller: RequestPrincipal<'static>| RequestPrincipal {
            unique_id: None,
            ..caller
        };
        let (user, session) = (nameless(USER), nameless(SESSION));
        let root = "arn:aws:iam::012345678912:root";
        for (value, caller, may_be) in [
            (json!({"AWS": "AIDACKCEVSQ6C2EXAMPLE"}), user, true),
            (json!({"AWS": "AROACKCEVSQ6C2EXAMPLE"}), user, false),
            (json!({"AWS": "AIDACKCEVSQ6C2EXAMPLE"}), session, false),
            (json!({"AWS": "AROACKCEVSQ6C2EXAMPLE"}), session, true),
            (json!({"AWS": "AIDAOFSOMEBODYDELETED"}), USER, false),
        ] {
            let named = principals(value.clone(), false);
            assert_eq!(
                named.apply(&caller, false, Effect::Allow),
                PrincipalMatch::None
            );
            let is_denied = named.apply(&caller, false, Effect::Deny) != PrincipalMatch::None;
            assert_eq!(is_denied, may_be, "{value}");
            let list = json!({"AWS": [value["AWS"], root, caller.arn]});
            let others = principals(list, true);
            let is_allowed = others.apply(&caller, false, Effect::Allow) != PrincipalMatch::None;
            // A session's role is not in the list.
            assert_eq!(is_allowed, !may_be && caller.role_arn.is_some(), "{value}");
        }
        // One that is named otherwise too is named.
        let list = json!({"AWS": ["AIDACKCEVSQ6C2EXAMPLE", USER.arn]});
        let named = principals(list, false);
        let closely = PrincipalMatch::RequestPrincipal;
        assert_eq!(named.apply(&user, false, Effect::Allow), closely);
    }

    #[test]
    fn what_names_nobody_is_an_error() {
        for value in [
            json!("alice"),
            json!({}),
            json!({"AWS": []}),
            json!({"AWS": "alice"}),
            json!({"AWS": "arn:aws:iam::012345678912:user/*"}),
            json!({"AWS": "arn:aws:sts::012345678912:assumed-role/App"}),
            json!({"AWS": "arn:aws:s3:::bucket"}),
            json!({"AWS": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}),
            json!({"AWS": {"Fn::GetAtt": ["Role", "Arn"]}}),
            json!({"Aws": "*"}),
            json!({"Service": ""}),
            json!(["*"]),
            json!(7),
        ] {
            assert!(
                serde_json::from_value::<RawPrincipals>(value.clone()).is_err(),
                "{value}"
            );
        }
    }
}
