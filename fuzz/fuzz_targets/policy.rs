//! Policy documents, and what they decide: a limit only takes away, and a deny always counts.
#![no_main]

use dsql_iam_core::{DecisionKind, Policies, Request, Source, Sourced, authorize};
use dsql_iam_core::policy::{Context, Kind, Policy, RequestPrincipal};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// In the form of the cases in `iam/tests/data/policy_conformance/`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case<'a> {
    #[serde(default)]
    principal: Option<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Vec<String>>,
    #[serde(default, borrow)]
    identity: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    limit: Option<&'a RawValue>,
    #[serde(default, borrow)]
    resource_policy: Option<&'a RawValue>,
}

static DENY: LazyLock<Policy> = LazyLock::new(|| {
    Policy::parse(
        r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#,
        Kind::IdentityBased,
    )
    .expect("a policy")
});

fn sourced(policy: &Policy) -> Sourced<'_> {
    Sourced {
        source: Source::Other("fuzz"),
        policy,
    }
}

fuzz_target!(|text: &str| {
    for kind in [Kind::ServiceControl, Kind::Trust] {
        if let Ok(policy) = Policy::parse(text, kind) {
            policy.context_keys();
        }
    }
    let Ok(case) = serde_json::from_str::<Case<'_>>(text) else {
        return;
    };
    let mut identity = Vec::new();
    for document in &case.identity {
        let Ok(policy) = Policy::parse(document.get(), Kind::IdentityBased) else {
            return;
        };
        identity.push(policy);
    }
    let read = |document: Option<&RawValue>, kind| {
        document
            .map(|text| Policy::parse(text.get(), kind))
            .transpose()
    };
    let (Ok(limit), Ok(resource)) = (
        read(case.limit, Kind::IdentityBased),
        read(case.resource_policy, Kind::ResourceBased),
    ) else {
        return;
    };
    let mut context = Context::default();
    for (key, values) in case.context {
        context.set_all(&key, values);
    }
    let principal = case
        .principal
        .unwrap_or_else(|| "arn:aws:iam::012345678912:user/alice".into());
    let caller = RequestPrincipal {
        arn: &principal,
        role_arn: None,
        unique_id: None,
    };
    let request = Request {
        action: case.action.as_deref().unwrap_or("dsql:DbConnect"),
        resource: case
            .resource
            .as_deref()
            .unwrap_or("arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz"),
        resource_account: None,
        context: &context,
    };
    let plain = Policies {
        identity: identity.iter().map(sourced).collect(),
        resource: resource.as_ref().map(sourced),
        ..Policies::default()
    };
    let decide = |policies: &Policies<'_>| authorize(policies, &caller, &request).kind;
    let decision = decide(&plain);

    if let Some(limit) = &limit {
        let limited = [
            Policies {
                boundary: Some(sourced(limit)),
                ..plain.clone()
            },
            Policies {
                session: Some(vec![sourced(limit)]),
                ..plain.clone()
            },
            Policies {
                service_control: vec![vec![sourced(limit)]],
                ..plain.clone()
            },
        ];
        for policies in limited {
            let kind = decide(&policies);
            assert!(kind != DecisionKind::Allowed || decision == DecisionKind::Allowed);
        }
    }
    let mut denied = plain.clone();
    denied.identity.push(sourced(&DENY));
    assert_eq!(decide(&denied), DecisionKind::ExplicitDeny);
    // The order of policies does not matter.
    let mut reversed = plain.clone();
    reversed.identity.reverse();
    assert_eq!(decide(&reversed), decision);
    if plain.identity.is_empty() && plain.resource.is_none() {
        assert_eq!(decision, DecisionKind::ImplicitDeny);
    }
});
