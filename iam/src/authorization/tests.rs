use super::*;
use crate::policy::Kind;
use serde_json::{Value, json};

const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
const USER: RequestPrincipal<'_> = RequestPrincipal {
    arn: "arn:aws:iam::012345678912:user/alice",
    role_arn: None,
    unique_id: None,
};
const SESSION: RequestPrincipal<'_> = RequestPrincipal {
    arn: "arn:aws:sts::012345678912:assumed-role/App/s",
    role_arn: Some("arn:aws:iam::012345678912:role/App"),
    unique_id: None,
};

/// One policy of each type, or none. The letters: `+` allows, `-` denies, `±` does both, `0` says
/// nothing.
#[derive(Default)]
struct Setup {
    identity: Option<char>,
    boundary: Option<char>,
    session: Option<char>,
    service_control: Option<char>,
    resource: Option<(char, Value)>,
    must: bool,
}

fn policy(letter: char, principal: Option<&Value>) -> Policy {
    let (allow, deny) = (("Allow", "dsql:*"), ("Deny", "dsql:DbConnect"));
    let statements = match letter {
        '+' => vec![allow],
        '-' => vec![deny],
        '±' => vec![allow, deny],
        _ => vec![("Allow", "s3:*")],
    };
    let kind = principal.map_or(Kind::IdentityBased, |_| Kind::ResourceBased);
    let statement = |(effect, action)| {
        let mut statement = json!({"Effect": effect, "Action": action, "Resource": "*"});
        if let Some(principal) = principal {
            statement["Principal"] = principal.clone();
        }
        statement
    };
    let statements: Vec<Value> = statements.into_iter().map(statement).collect();
    Policy::parse(&json!({"Statement": statements}).to_string(), kind).unwrap()
}

fn decide(setup: &Setup, caller: &RequestPrincipal<'_>) -> (DecisionKind, Option<PolicyType>) {
    decision(setup, caller, |decision| {
        (decision.kind, decision.refused_by)
    })
}

fn decision<T>(
    setup: &Setup,
    caller: &RequestPrincipal<'_>,
    look: impl FnOnce(&Decision<'_>) -> T,
) -> T {
    let plain = |letter: Option<char>| letter.map(|letter| policy(letter, None));
    let (identity, boundary) = (plain(setup.identity), plain(setup.boundary));
    let (session, service_control) = (plain(setup.session), plain(setup.service_control));
    let resource = setup.resource.as_ref().map(|(l, p)| policy(*l, Some(p)));
    let context = Context::default();
    let sourced = |policy| Sourced {
        source: Source::Other("it"),
        policy,
    };
    let policies = Policies {
        identity: identity.iter().map(sourced).collect(),
        boundary: boundary.as_ref().map(sourced),
        session: session.as_ref().map(|policy| vec![sourced(policy)]),
        resource: resource.as_ref().map(sourced),
        resource_must_allow: setup.must,
        resource_only_denies: false,
        service_control: service_control.iter().map(|p| vec![sourced(p)]).collect(),
    };
    let request = Request {
        action: "dsql:DbConnect",
        resource: CLUSTER,
        resource_account: None,
        context: &context,
    };
    look(&authorize(&policies, caller, &request))
}

#[test]
fn every_limit_has_to_allow_it() {
    use DecisionKind::*;
    use PolicyType::*;
    let all = || Setup {
        identity: Some('+'),
        boundary: Some('+'),
        session: Some('+'),
        service_control: Some('+'),
        ..Setup::default()
    };
    assert_eq!(decide(&all(), &SESSION), (Allowed, None));
    let one = |letter| Setup {
        identity: letter,
        ..Setup::default()
    };
    assert_eq!(decide(&one(Some('+')), &USER), (Allowed, None));
    assert_eq!(
        decide(&one(None), &USER),
        (ImplicitDeny, Some(IdentityBased))
    );
    type Change = fn(&mut Setup, char);
    let changes: [(Change, PolicyType); 4] = [
        (|setup, letter| setup.identity = Some(letter), IdentityBased),
        (
            |setup, letter| setup.boundary = Some(letter),
            PermissionsBoundary,
        ),
        (|setup, letter| setup.session = Some(letter), Session),
        (
            |setup, letter| setup.service_control = Some(letter),
            ServiceControl,
        ),
    ];
    for (change, policy_type) in changes {
        for (letter, kind) in [('0', ImplicitDeny), ('-', ExplicitDeny)] {
            let mut setup = all();
            change(&mut setup, letter);
            assert_eq!(decide(&setup, &SESSION), (kind, Some(policy_type)));
        }
    }
}

#[test]
fn how_far_a_resource_based_policy_goes() {
    use DecisionKind::*;
    use PolicyType::*;
    let root = json!({"AWS": "arn:aws:iam::012345678912:root"});
    let user = json!({"AWS": USER.arn});
    let role = json!({"AWS": SESSION.role_arn});
    let session = json!({"AWS": SESSION.arn});
    let everybody = json!("*");
    let yes = (Allowed, None);
    let no = |policy_type| (ImplicitDeny, Some(policy_type));
    for (caller, principal, identity, boundary, session_policy, expected) in [
        (&USER, &user, None, None, None, yes),
        (&USER, &user, Some('0'), Some('0'), None, yes),
        (&USER, &everybody, None, Some('0'), None, yes),
        (&USER, &root, None, None, None, no(IdentityBased)),
        (&USER, &root, Some('+'), None, None, yes),
        (
            &USER,
            &root,
            Some('+'),
            Some('0'),
            None,
            no(PermissionsBoundary),
        ),
        (&USER, &role, None, None, None, no(IdentityBased)),
        (&SESSION, &session, None, Some('0'), Some('0'), yes),
        (&SESSION, &everybody, None, Some('0'), Some('0'), yes),
        (&SESSION, &role, None, None, None, yes),
        (&SESSION, &role, None, Some('+'), Some('+'), yes),
        (
            &SESSION,
            &role,
            None,
            Some('0'),
            Some('+'),
            no(PermissionsBoundary),
        ),
        (&SESSION, &role, None, Some('+'), Some('0'), no(Session)),
        (&SESSION, &root, Some('0'), None, None, no(IdentityBased)),
    ] {
        let setup = |letter| Setup {
            identity,
            boundary,
            session: session_policy,
            resource: Some((letter, principal.clone())),
            ..Setup::default()
        };
        assert_eq!(decide(&setup('+'), caller), expected, "{principal}");
        let applies = !(caller == &USER && principal == &role);
        let denied = decide(&setup('-'), caller);
        assert_eq!(
            denied == (ExplicitDeny, Some(ResourceBased)),
            applies,
            "{principal}"
        );
    }
    let limited = Setup {
        resource: Some(('+', user.clone())),
        service_control: Some('0'),
        ..Setup::default()
    };
    assert_eq!(decide(&limited, &USER), no(ServiceControl));
    // As a trust policy has to.
    for (letter, principal, expected) in [('0', &user, no(ResourceBased)), ('+', &root, yes)] {
        let must = Setup {
            identity: Some('+'),
            resource: Some((letter, principal.clone())),
            must: true,
            ..Setup::default()
        };
        assert_eq!(decide(&must, &USER), expected);
    }
}

/// AWS: a permissions boundary that denies the action does not allow it.
#[test]
fn each_kind_says_one_thing() {
    use DecisionKind::*;
    use PolicyType::*;
    for (letter, said) in [
        (None, None),
        (Some('+'), Some(Allowed)),
        (Some('0'), Some(ImplicitDeny)),
        (Some('-'), Some(ExplicitDeny)),
        (Some('±'), Some(ExplicitDeny)),
    ] {
        let setup = Setup {
            identity: letter.or(Some('0')),
            boundary: letter,
            session: letter,
            service_control: letter,
            resource: letter.map(|letter| (letter, json!("*"))),
            must: false,
        };
        decision(&setup, &SESSION, |decision| {
            for kind in [PermissionsBoundary, Session, ServiceControl, ResourceBased] {
                assert_eq!(decision.says(kind), said, "{letter:?} {kind}");
            }
            let of_identity = said.unwrap_or(ImplicitDeny);
            assert_eq!(decision.says(IdentityBased), Some(of_identity));
        });
    }
}

#[test]
fn the_reason_is_the_first_in_order() {
    use DecisionKind::*;
    use PolicyType::*;
    let order = [
        ServiceControl,
        ResourceBased,
        IdentityBased,
        PermissionsBoundary,
        Session,
    ];
    for (letter, kind) in [('-', ExplicitDeny), ('0', ImplicitDeny)] {
        for (first, expected) in order.into_iter().enumerate() {
            // Those before it allow, and those behind it refuse as it does.
            let letters = |at: usize| Some(if at < first { '+' } else { letter });
            let setup = Setup {
                service_control: letters(0),
                resource: letters(1).map(|l| (l, json!({"AWS": "012345678912"}))),
                identity: letters(2),
                boundary: letters(3),
                session: letters(4),
                must: true,
            };
            assert_eq!(decide(&setup, &SESSION), (kind, Some(expected)));
        }
    }
    // A deny behind a lack is a deny.
    let setup = Setup {
        service_control: Some('0'),
        session: Some('-'),
        ..Setup::default()
    };
    assert_eq!(decide(&setup, &SESSION), (ExplicitDeny, Some(Session)));
}

#[test]
fn which_statements_decide() {
    use PolicyType::*;
    let account = json!({"AWS": "012345678912"});
    let role = json!({"AWS": SESSION.role_arn});
    // Of identity, boundary, session, service control and resource.
    for (letters, principal, deciding) in [
        ("+    ", None, &[IdentityBased][..]),
        (
            "++++ ",
            None,
            &[ServiceControl, IdentityBased, PermissionsBoundary, Session],
        ),
        ("+0   ", None, &[]),
        ("±+   ", None, &[IdentityBased]),
        (
            "±-+- ",
            None,
            &[ServiceControl, IdentityBased, PermissionsBoundary],
        ),
        ("++++±", Some(&account), &[ResourceBased]),
        ("+   +", Some(&account), &[IdentityBased]),
        ("0+  +", Some(&role), &[ResourceBased, PermissionsBoundary]),
        ("+++++", Some(&json!("*")), &[ServiceControl, ResourceBased]),
    ] {
        let letters: Vec<char> = letters.chars().collect();
        let letter = |at: usize| Some(letters[at]).filter(|letter| *letter != ' ');
        let setup = Setup {
            identity: letter(0),
            boundary: letter(1),
            session: letter(2),
            service_control: letter(3),
            resource: letter(4).map(|letter| (letter, principal.unwrap().clone())),
            must: false,
        };
        decision(&setup, &SESSION, |decision| {
            let kinds: Vec<_> = decision.deciding().map(|s| s.policy_type).collect();
            assert_eq!(kinds, deciding, "{letters:?}");
            let is_deny = decision.kind == DecisionKind::ExplicitDeny;
            let effect = if is_deny { Effect::Deny } else { Effect::Allow };
            assert!(decision.deciding().all(|s| s.effect == effect));
        });
    }
}

/// As a decision has them: whether it was given up, its kind, and how many statements it names.
fn of_hostile(documents: &[Value], context: &Context) -> (bool, DecisionKind, usize) {
    of_hostile_repeated(documents, &vec![1; documents.len()], context)
}

/// The same, each of the documents so often.
fn of_hostile_repeated(
    documents: &[Value],
    times: &[usize],
    context: &Context,
) -> (bool, DecisionKind, usize) {
    let policies: Vec<Policy> = documents
        .iter()
        .map(|text| Policy::parse(&text.to_string(), Kind::IdentityBased).unwrap())
        .collect();
    let repeated = policies.iter().zip(times);
    let repeated = repeated.flat_map(|(policy, times)| std::iter::repeat_n(policy, *times));
    let identity = repeated.map(|policy| Sourced {
        source: Source::Other("hostile"),
        policy,
    });
    let policies = Policies {
        identity: identity.collect(),
        ..Policies::default()
    };
    let request = Request {
        action: "dsql:DbConnect",
        resource: CLUSTER,
        resource_account: None,
        context,
    };
    let decision = authorize(&policies, &USER, &request);
    if decision.is_unfinished {
        assert_eq!(decision.refused_by, None);
    }
    (
        decision.is_unfinished,
        decision.kind,
        decision.matched.len(),
    )
}

#[test]
fn many_statements_are_counted_and_not_kept() {
    let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
    let mut statements = vec![allow; 999];
    let allowing = json!({ "Statement": statements });
    statements.push(deny);
    let denying = json!({ "Statement": statements });
    let context = Context::default();
    let (_, kind, named) = of_hostile(&[allowing.clone(), allowing.clone()], &context);
    assert_eq!((kind, named), (DecisionKind::Allowed, MAX_MATCHED));
    // The one that decides is named, wherever it stands.
    let (_, kind, named) = of_hostile(&[allowing, denying], &context);
    assert_eq!((kind, named), (DecisionKind::ExplicitDeny, MAX_MATCHED + 1));
}

#[test]
fn what_takes_too_much_is_given_up_and_refused() {
    let allow = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
    let mut context = Context::default();
    context.set("k", "a".repeat(4_000));
    context.set("v", "a".repeat(12_000));
    context.set_all("many", vec!["a".into(); 8_000]);
    context.set_all("empty", vec![String::new(); 16_000]);
    let with = |operator: &str, key: &str, values: &Value| {
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*",
            "Resource": "*", "Condition": {operator: {key: values}}}})
    };
    let list = |value: &str, count: usize| json!(vec![value; count]);
    let hostile = [
        with("StringLike", "v", &list("*${k}b", 1_000)),
        with("ForAllValues:StringEquals", "many", &list("${k}", 10_000)),
        with("ForAllValues:NumericEquals", "many", &list("1", 16_000)),
        with(
            "StringLike",
            "v",
            &list(&format!("*{}b", "a".repeat(1_900)), 30),
        ),
        // The first matches all there is.
        with("StringLike", "empty", &list("*", 30_000)),
        with(
            "Bool",
            "empty",
            &list(&format!("${{k}}{}", "a".repeat(90)), 30),
        ),
    ];
    for policy in hostile {
        for policies in [[allow.clone(), policy.clone()], [policy, allow.clone()]] {
            let (is_unfinished, kind, _) = of_hostile(&policies, &context);
            assert!(is_unfinished, "{kind:?}");
            assert_eq!(kind, DecisionKind::ImplicitDeny);
        }
    }
    // As many actions as a document may have, none of which is the one asked for.
    let statement = json!({"Effect": "Allow", "Action": vec!["a:b"; 300_000], "Resource": "*"});
    let many = json!({ "Statement": statement });
    assert!(of_hostile_repeated(&[many, allow.clone()], &[100, 1], &context).0);
    // The policies that an account can have take a fraction of it.
    let wide = json!({"Effect": "Allow", "Resource": vec!["arn:aws:s3:::a-bucket/*"; 20],
        "Action": vec!["dsql:*Something*"; 100]});
    let mut many = vec![json!({ "Statement": vec![wide; 10] }); 220];
    many.push(allow);
    let (is_unfinished, kind, _) = of_hostile(&many, &context);
    assert_eq!((is_unfinished, kind), (false, DecisionKind::Allowed));
}

/// The values of a key are looked at by each condition on it, even by one that compares them with
/// nothing, or asks only whether there are any.
#[test]
fn values_that_are_compared_with_nothing_are_work_too() {
    let bases = [
        "StringEquals",
        "StringLike",
        "ArnLike",
        "StringNotEquals",
        "ArnNotLike",
    ];
    let quantifiers = ["", "ForAllValues:", "ForAnyValue:"];
    let named = |base: &str| quantifiers.map(|quantifier| format!("{quantifier}{base}"));
    let empty = bases.iter().flat_map(|base| named(base));
    let empty: Value = empty.map(|name| (name, json!({"k": []}))).collect();
    let null = json!({"Null": {"k": false, "K2": true}});
    let mut context = Context::default();
    context.set_all("k", vec![String::new(); 16_000]);
    context.set_all("k2", vec![String::new(); 16_000]);
    for condition in [empty, null] {
        for effect in ["Allow", "Deny"] {
            let statement = json!({"Effect": effect, "Action": "*", "Resource": "*",
                "Condition": condition});
            let document = json!({"Statement": vec![statement; 1_000]});
            let (is_unfinished, kind, _) = of_hostile_repeated(&[document], &[2], &context);
            assert!(is_unfinished, "{effect} {condition}");
            assert_eq!(kind, DecisionKind::ImplicitDeny);
        }
    }
}

#[test]
fn what_it_rests_on_is_told() {
    let text = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Other", "Effect": "Allow", "Action": "s3:*", "Resource": "*",
         "Condition": {"StringEquals": {"s3:prefix": "x"}}},
        {"Sid": "Conditional", "Effect": "Allow", "Action": "dsql:*", "Resource": "*",
         "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1", "AWS:sourcevpc": "${aws:x}"}}},
        {"Effect": "Allow", "Action": "dsql:*", "Resource": "*"}]});
    let policy = Policy::parse(&text.to_string(), Kind::IdentityBased).unwrap();
    let mut context = Context::default();
    let policies = Policies {
        identity: vec![Sourced {
            source: Source::Managed("arn:aws:iam::aws:policy/P"),
            policy: &policy,
        }],
        ..Policies::default()
    };
    let request = Request {
        action: "DSQL:dbconnect",
        resource: CLUSTER,
        resource_account: None,
        context: &context,
    };
    let decision = authorize(&policies, &USER, &request);
    assert_eq!(decision.kind, DecisionKind::Allowed);
    let [matched] = decision.matched.as_slice() else {
        panic!("{:?}", decision.matched)
    };
    assert_eq!((matched.index, matched.sid), (2, None));
    assert_eq!(matched.source.to_string(), "arn:aws:iam::aws:policy/P");
    assert_eq!(
        decision.missing_context,
        ["aws:PrincipalOrgID", "AWS:sourcevpc", "aws:x"]
    );
    // Keys that others than the organization's policies name are told apart, whatever they are about.
    let own = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*",
        "Resource": "*", "Condition": {"StringEquals": {"aws:userid": "x", "aws:x": "y"}}}});
    let own = Policy::parse(&own.to_string(), Kind::IdentityBased).unwrap();
    let source = Source::Other("own");
    let policies = Policies {
        identity: vec![Sourced {
            source,
            policy: &own,
        }],
        service_control: vec![policies.identity.clone()],
        ..Policies::default()
    };
    let decision = authorize(&policies, &USER, &request);
    assert_eq!(
        decision.missing_context,
        ["aws:PrincipalOrgID", "AWS:sourcevpc", "aws:userid", "aws:x"]
    );
    assert_eq!(policies.missing_keys(&context), ["aws:userid", "aws:x"]);
    context.set("AWS:X", "z");
    assert_eq!(policies.missing_keys(&context), ["aws:userid"]);
    let keys = ["AWS:sourcevpc", "aws:PrincipalOrgID", "aws:x", "s3:prefix"];
    assert_eq!(policy.context_keys().into_iter().collect::<Vec<_>>(), keys);
}
