use crate::Identities;
use crate::credentials::{Authenticated, PresentedCredentials};
use crate::documents;
use crate::identity::Owner;
use crate::sts::{
    AssumeRole, Code, GetSessionToken, Grant, MfaCode, NewKey, StsEnvironment, StsError,
    assume_role, caller_with_secret, get_session_token,
};
use crate::{ConnectionFacts, LoginEnvironment, request_context};
use serde_json::{Value, json};
use time::UtcDateTime;
use time::macros::utc_datetime;

const ALICE: &str = "arn:aws:iam::012345678912:user/x/alice";
const ROLE: &str = "arn:aws:iam::012345678912:role/App";
const DEVICE: &str = "arn:aws:iam::012345678912:mfa/alice";
/// Of RFC 6238, with a time of its appendix B, and the code of that.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const NOW: UtcDateTime = utc_datetime!(2009-02-13 23:31:30);
const CODE: &str = "005924";

fn identities(more: &[Value]) -> Identities {
    let trust = json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": ALICE}, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}});
    let documents = [
        json!({
            "UserDetailList": [{"UserName": "alice", "UserId": "AIDAALICE", "Arn": ALICE},
                {"UserName": "bob", "Arn": "arn:aws:iam::012345678912:user/bob"}],
            "RoleDetailList": [{"RoleName": "App", "Arn": ROLE,
                "MaxSessionDuration": 7200, "AssumeRolePolicyDocument": trust}],
        }),
        json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIAALICE",
            "Status": "Active", "SecretAccessKey": "alice's"}}),
        json!({"AccessKey": {"UserName": "bob", "AccessKeyId": "AKIABOB",
            "Status": "Active", "SecretAccessKey": "bob's"}}),
        json!({"VirtualMFADevice": {"SerialNumber": DEVICE, "Base32StringSeed": SEED}}),
        json!({"MFADevices": [
            {"UserName": "alice", "SerialNumber": DEVICE, "EnableDate": "2009-01-01T00:00:00+00:00"},
            {"UserName": "alice", "SerialNumber": "arn:aws:iam::012345678912:u2f/user/alice/key"},
            {"UserName": "bob", "SerialNumber": "GAHT12345678"}]}),
        json!({"VirtualMFADevices": [
            {"SerialNumber": "arn:aws:iam::012345678912:mfa/nobody", "Base32StringSeed": SEED},
            {"SerialNumber": "arn:aws:iam::012345678912:mfa/root-account-mfa-device",
             "User": {"Arn": "arn:aws:iam::012345678912:root"}}]}),
    ];
    let parsed = documents.iter().chain(more).map(|document| {
        let parsed = documents::parse(&document.to_string());
        ("one", parsed.unwrap_or_else(|fault| panic!("{fault}")))
    });
    documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

fn environment(identities: &Identities) -> StsEnvironment<'_> {
    StsEnvironment {
        now: NOW,
        identities,
        stored: None,
        region: "us-east-1",
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    }
}

fn caller<'i>(identities: &'i Identities, id: &str, secret: &str) -> Authenticated<'i> {
    let session_token = id.starts_with("ASIA").then_some("token");
    let presented = PresentedCredentials {
        access_key_id: id,
        session_token,
    };
    caller_with_secret(presented, secret, &environment(identities)).unwrap()
}

fn mfa(serial_number: &str, token_code: &str) -> MfaCode {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    MfaCode {
        serial_number: given(serial_number),
        token_code: given(token_code),
    }
}

fn session(
    identities: &Identities,
    (id, secret): (&str, &str),
    duration_seconds: Option<u32>,
    mfa: MfaCode,
) -> Result<Grant, StsError> {
    let caller = caller(identities, id, secret);
    let request = GetSessionToken {
        duration_seconds,
        mfa,
    };
    get_session_token(&caller, &request, &environment(identities))
}

/// The session of the grant, as a document.
fn document(grant: &Grant) -> Value {
    grant.document(&NewKey {
        id: "ASIAALICE".into(),
        secret: "session's".into(),
        session_token: "token".into(),
    })
}

#[test]
fn who_gets_none() {
    let role_session = json!({"Credentials": {"AccessKeyId": "ASIAAPP", "SecretAccessKey": "app's",
        "SessionToken": "token", "Expiration": "2009-02-14T00:00:00Z"},
        "AssumedRoleUser": {"Arn": "arn:aws:sts::012345678912:assumed-role/App/s"}});
    let identities = identities(&[role_session]);
    let alice = ("AKIAALICE", "alice's");
    let not_this_device = "unable to validate MFA code";
    for (who, duration, mfa, code, said) in [
        (
            ("ASIAAPP", "app's"),
            None,
            MfaCode::default(),
            Code::AccessDenied,
            "Cannot call GetSessionToken with session credentials",
        ),
        (
            alice,
            Some(899),
            MfaCode::default(),
            Code::ValidationError,
            "greater than or equal to 900",
        ),
        (
            alice,
            Some(129_601),
            MfaCode::default(),
            Code::ValidationError,
            "less than or equal to 129600",
        ),
        (
            alice,
            None,
            mfa(DEVICE, ""),
            Code::AccessDenied,
            "must provide both",
        ),
        (
            alice,
            None,
            mfa("", CODE),
            Code::AccessDenied,
            "must provide both",
        ),
        (
            alice,
            None,
            mfa("short", CODE),
            Code::ValidationError,
            "'serialNumber'",
        ),
        (
            alice,
            None,
            mfa(DEVICE, "00592"),
            Code::ValidationError,
            "'tokenCode'",
        ),
        (
            alice,
            None,
            mfa(DEVICE, "00592a"),
            Code::ValidationError,
            "'tokenCode'",
        ),
        (
            alice,
            None,
            mfa(DEVICE, "005925"),
            Code::AccessDenied,
            "invalid MFA one time pass code",
        ),
        (
            alice,
            None,
            mfa("arn:aws:iam::012345678912:mfa/none", CODE),
            Code::AccessDenied,
            not_this_device,
        ),
        (
            alice,
            None,
            mfa("arn:aws:iam::012345678912:mfa/nobody", CODE),
            Code::AccessDenied,
            not_this_device,
        ),
        (
            alice,
            None,
            mfa("arn:aws:iam::012345678912:u2f/user/alice/key", CODE),
            Code::AccessDenied,
            not_this_device,
        ),
        (
            ("AKIABOB", "bob's"),
            None,
            mfa(DEVICE, CODE),
            Code::AccessDenied,
            not_this_device,
        ),
        (
            ("AKIABOB", "bob's"),
            None,
            mfa("GAHT12345678", CODE),
            Code::AccessDenied,
            not_this_device,
        ),
    ] {
        let refusal = session(&identities, who, duration, mfa).unwrap_err();
        assert!(
            refusal.code == code && refusal.message.contains(said),
            "{refusal}"
        );
        assert!(!refusal.to_string().contains("00592"), "{refusal}");
    }
}

#[test]
fn a_session_is_the_user_and_has_its_mfa() {
    for (mfa, present, age) in [
        (MfaCode::default(), "false", None),
        (mfa(DEVICE, CODE), "true", Some("30")),
    ] {
        let plain = identities(&[]);
        let has_mfa = mfa.token_code.is_some();
        let grant = session(&plain, ("AKIAALICE", "alice's"), None, mfa).unwrap();
        assert_eq!(grant.expiration, NOW + time::Duration::hours(12));
        let step = grant.used_code.as_ref().map(|used| used.step.number());
        assert_eq!(step, has_mfa.then_some(1_234_567_890 / 30));
        let text = document(&grant).to_string();
        assert!(!text.contains(CODE), "{text}");
        let identities = identities(&[document(&grant)]);
        let caller = caller(&identities, "ASIAALICE", "session's");
        assert_eq!(
            (caller.arn(), caller.user_id().as_str()),
            (ALICE, "AIDAALICE")
        );
        let cluster =
            crate::Cluster::new("012345678912", "us-east-1", &"a".repeat(26), "").unwrap();
        let login = LoginEnvironment {
            now: NOW + time::Duration::seconds(30),
            cluster: &cluster,
            identities: &identities,
            connection: environment(&identities).connection,
        };
        let context = request_context(&login, caller.principal, caller.session);
        let value = |key: &str| context.values(key).map(|values| values.join(","));
        assert_eq!(
            value("aws:MultiFactorAuthPresent").as_deref(),
            Some(present)
        );
        assert_eq!(value("aws:MultiFactorAuthAge").as_deref(), age);
        assert_eq!(value("aws:PrincipalType").as_deref(), Some("User"));
        assert_eq!(value("aws:username").as_deref(), Some("alice"));
        assert_eq!(value("aws:userid").as_deref(), Some("AIDAALICE"));
        assert_eq!(
            value("aws:TokenIssueTime").as_deref(),
            Some("2009-02-13T23:31:30Z")
        );
        // It begins no further one, and a role that wants the device counts it.
        let refusal = get_session_token(
            &caller,
            &GetSessionToken::default(),
            &environment(&identities),
        );
        assert_eq!(refusal.unwrap_err().code, Code::AccessDenied);
        assert_eq!(assumes(&caller, MfaCode::default(), &identities), has_mfa);
    }
}

/// Whether the caller may assume the role that wants a device.
fn assumes(caller: &Authenticated<'_>, mfa: MfaCode, identities: &Identities) -> bool {
    let request = AssumeRole {
        role_arn: ROLE.into(),
        role_session_name: "me".into(),
        // No role chaining: a session of a user may ask for more than an hour.
        duration_seconds: Some(7200),
        mfa,
        ..AssumeRole::default()
    };
    match assume_role(caller, &request, &environment(identities)) {
        Ok(grant) => {
            let has_mfa = request.mfa.serial_number.is_some();
            assert_eq!(grant.used_code.is_some(), has_mfa);
            assert_eq!(
                document(&grant)["Request"].get("SerialNumber").is_some(),
                has_mfa
            );
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.code, Code::AccessDenied);
            false
        }
    }
}

#[test]
fn a_role_may_want_a_device() {
    let identities = identities(&[]);
    let alice = caller(&identities, "AKIAALICE", "alice's");
    assert!(!assumes(&alice, MfaCode::default(), &identities));
    assert!(!assumes(&alice, mfa(DEVICE, "005925"), &identities));
    assert!(assumes(&alice, mfa(DEVICE, CODE), &identities));
}

/// A device of a user who was deleted is none of a new one of that name.
#[test]
fn a_device_is_of_the_user_with_its_id() {
    let serial = "arn:aws:iam::012345678912:mfa/own";
    for (key, name, user_id, counts) in [
        (("AKIAALICE", "alice's"), "x/alice", Some("AIDAALICE"), true),
        (("AKIAALICE", "alice's"), "x/alice", None, true),
        (
            ("AKIAALICE", "alice's"),
            "x/alice",
            Some("AIDABEFORE"),
            false,
        ),
        (("AKIAALICE", "alice's"), "x/alice", Some(""), false),
        // Whose id the export does not have.
        (("AKIABOB", "bob's"), "bob", Some("AIDABOB"), true),
    ] {
        let mut user = json!({"Arn": format!("arn:aws:iam::012345678912:user/{name}")});
        if let Some(id) = user_id {
            user["UserId"] = json!(id);
        }
        let printed = json!({"VirtualMFADevices": [{"SerialNumber": serial, "User": user}]});
        let seed = json!({"VirtualMFADevice": {"SerialNumber": serial, "Base32StringSeed": SEED}});
        for documents in [[printed.clone(), seed.clone()], [seed, printed]] {
            let outcome = session(&identities(&documents), key, None, mfa(serial, CODE));
            match outcome {
                Ok(grant) => assert!(counts && grant.used_code.is_some(), "{user_id:?}"),
                Err(refusal) => {
                    assert!(!counts, "{refusal}");
                    let said = format!("{serial} is a device of another user of that name");
                    assert_eq!(refusal.reason, Some(said));
                    assert!(refusal.message.contains("unable to validate MFA code"));
                }
            }
        }
    }
}

#[test]
fn a_session_does_not_outlive_its_user() {
    let plain = identities(&[]);
    let grant = session(
        &plain,
        ("AKIAALICE", "alice's"),
        Some(900),
        MfaCode::default(),
    )
    .unwrap();
    let mut document = document(&grant);
    document["UserId"] = json!("AIDAANOTHER");
    let identities = identities(&[document]);
    let key = identities.access_key("ASIAALICE").unwrap();
    let Owner::Session(session) = &key.owner else {
        panic!("a session")
    };
    assert!(identities.principal_of(session).is_none());
}
