//! A decision as an event in the form that AWS CloudTrail gives its events.
//!
//! Follows <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>.
//! AWS documents that Aurora DSQL records connection attempts as data events, but not their fields: those
//! beyond CloudTrail's own are our choice.

use crate::actions::Action;
use crate::arn::{IamArn, IamKind, SessionArn, account_in};
use crate::cluster::Cluster;
use crate::login::{ADMIN, Caller};
use crate::time::rfc3339;
use serde_json::{Value, json};
use time::UtcDateTime;

/// The record of one decision.
pub struct LoginRecord<'a> {
    /// When it was made.
    pub time: UtcDateTime,
    /// The id that the client and the log have for it.
    pub session_id: &'a str,
    /// The database role asked for.
    pub role: &'a str,
    /// The client's address.
    pub address: &'a str,
    /// The cluster, if the settings describe one.
    pub cluster: Option<&'a Cluster>,
    /// The caller, if proven.
    pub caller: Option<&'a Caller>,
    /// The token's action, if it was well formed.
    pub action: Option<Action>,
    /// Why not; `None` for an admission.
    pub refused: Option<RefusalReason<'a>>,
}

/// Why a login was refused, by IAM or by the server that asked it.
#[derive(Debug, Clone, Copy)]
pub struct RefusalReason<'a> {
    /// The short name of the check that failed.
    pub check: &'a str,
    /// The sentence for the log, without secrets.
    pub reason: &'a str,
}

/// Refusals that have no record of their own.
pub struct OmittedRecord<'a> {
    /// When this is recorded.
    pub time: UtcDateTime,
    /// An id of its own.
    pub id: &'a str,
    /// The cluster, if the settings describe one.
    pub cluster: Option<&'a Cluster>,
    /// The clients' address, or the first one of their network, if they have one in common.
    pub address: Option<&'a str>,
    /// The ARN of the user or role, if it is one, and proven.
    pub principal: Option<&'a str>,
    /// How many there were.
    pub count: u64,
    /// The sentence for the log.
    pub sentence: &'a str,
}

/// The event of a decision: one JSON object, without secrets.
pub fn cloudtrail_event(decision: &LoginRecord<'_>) -> Value {
    let action = decision.action.unwrap_or(if decision.role == ADMIN {
        Action::DbConnectAdmin
    } else {
        Action::DbConnect
    });
    let mut event = event(decision.time, decision.session_id, decision.cluster);
    event["userIdentity"] = user_identity(decision.caller);
    event["eventName"] = action.name().into();
    event["sourceIPAddress"] = decision.address.into();
    event["requestParameters"] = json!({"user": decision.role});
    event["additionalEventData"] = json!({"sessionId": decision.session_id});
    if let Some(RefusalReason { check, reason }) = decision.refused {
        event["errorCode"] = "AccessDenied".into();
        event["errorMessage"] = reason.into();
        event["additionalEventData"]["check"] = check.into();
    }
    event
}

/// The event that stands for many refusals: one JSON object. Its name is not an action's, so that it is not counted as
/// one attempt.
pub fn cloudtrail_omitted(omitted: &OmittedRecord<'_>) -> Value {
    let mut event = event(omitted.time, omitted.id, omitted.cluster);
    event["userIdentity"] = match omitted.principal {
        None => json!({"type": "Unknown"}),
        Some(arn) => {
            let kind = match IamArn::parse(arn).map(|parsed| parsed.kind) {
                Ok(IamKind::User) => "IAMUser",
                Ok(IamKind::Role) => "Role",
                Err(_) => "Unknown",
            };
            json!({"type": kind, "arn": arn, "accountId": account_in(arn)})
        }
    };
    event["eventName"] = "OmittedRefusals".into();
    event["sourceIPAddress"] = omitted.address.into();
    event["errorCode"] = "AccessDenied".into();
    event["errorMessage"] = omitted.sentence.into();
    event["additionalEventData"] = json!({"count": omitted.count});
    event
}

/// The members that each event has; null where it has its own.
fn event(time: UtcDateTime, id: &str, cluster: Option<&Cluster>) -> Value {
    let resources = cluster.map(|cluster| {
        json!([{
            "accountId": cluster.account(),
            "type": "AWS::DSQL::Cluster",
            "ARN": cluster.arn(),
        }])
    });
    json!({
        "eventVersion": "1.11",
        "userIdentity": null,
        "eventTime": rfc3339(time.replace_nanosecond(0).unwrap_or(time)),
        "eventSource": "dsql.amazonaws.com",
        "eventName": null,
        "awsRegion": cluster.map(Cluster::region),
        "sourceIPAddress": null,
        "userAgent": null,
        "requestParameters": null,
        "responseElements": null,
        "additionalEventData": null,
        "requestID": id,
        "eventID": id,
        "readOnly": true,
        "resources": resources,
        "eventType": "AwsServiceEvent",
        "managementEvent": false,
        "recipientAccountId": cluster.map(Cluster::account),
        "eventCategory": "Data",
    })
}

fn user_identity(caller: Option<&Caller>) -> Value {
    let Some(caller) = caller else {
        return json!({"type": "Unknown"});
    };
    let Ok(owner) = IamArn::parse(&caller.mapped_arn) else {
        return json!({"type": "Unknown", "arn": caller.arn});
    };
    if owner.kind == IamKind::User && SessionArn::parse(&caller.arn).is_none() {
        return json!({
            "type": "IAMUser",
            "arn": caller.arn,
            "accountId": owner.account,
            "userName": owner.name,
        });
    }
    json!({
        "type": "AssumedRole",
        "arn": caller.arn,
        "accountId": owner.account,
        "sessionContext": {"sessionIssuer": {
            "type": "Role",
            "arn": caller.mapped_arn,
            "accountId": owner.account,
            "userName": owner.name,
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz";

    fn caller(arn: &str, mapped_arn: &str) -> Caller {
        Caller {
            arn: arn.into(),
            mapped_arn: mapped_arn.into(),
        }
    }

    #[test]
    fn an_admission_and_a_refusal() {
        let cluster = Cluster::new("012345678912", "us-east-1", ID, "").unwrap();
        let user = caller(
            "arn:aws:iam::012345678912:user/team/dba",
            "arn:aws:iam::012345678912:user/team/dba",
        );
        let mut decision = LoginRecord {
            time: UtcDateTime::from_unix_timestamp(1_732_493_700).unwrap(),
            session_id: "hrtcjl3zfmhx6gn4gr22mtatm4",
            role: "admin",
            address: "192.0.2.7",
            cluster: Some(&cluster),
            caller: Some(&user),
            action: Some(Action::DbConnectAdmin),
            refused: None,
        };
        let event = cloudtrail_event(&decision);
        assert_eq!(event["eventName"], "DbConnectAdmin");
        assert_eq!(event["eventTime"], "2024-11-25T00:15:00Z");
        assert_eq!(event["userIdentity"]["userName"], "dba");
        assert_eq!(event["resources"][0]["ARN"], cluster.arn());
        assert!(event.get("errorCode").is_none());

        decision.refused = Some(RefusalReason {
            check: "tls",
            reason: "the connection is not encrypted",
        });
        decision.caller = None;
        decision.action = None;
        decision.role = "example";
        let event = cloudtrail_event(&decision);
        assert_eq!(event["eventName"], "DbConnect");
        assert_eq!(event["userIdentity"], json!({"type": "Unknown"}));
        assert_eq!(event["errorCode"], "AccessDenied");
        assert_eq!(event["errorMessage"], "the connection is not encrypted");
        assert_eq!(event["additionalEventData"]["check"], "tls");
    }

    #[test]
    fn a_session_names_its_role() {
        let session = caller(
            "arn:aws:sts::012345678912:assumed-role/example/s",
            "arn:aws:iam::012345678912:role/path/example",
        );
        let identity = user_identity(Some(&session));
        assert_eq!(identity["type"], "AssumedRole");
        let issuer = &identity["sessionContext"]["sessionIssuer"];
        assert_eq!(issuer["arn"], session.mapped_arn);
        assert_eq!(issuer["userName"], "example");
    }

    #[test]
    fn refusals_that_are_left_out_have_an_event_together() {
        let mut omitted = OmittedRecord {
            time: UtcDateTime::from_unix_timestamp(1_732_493_700).unwrap(),
            id: "hrtcjl3zfmhx6gn4gr22mtatm4",
            cluster: None,
            address: Some("192.0.2.7"),
            principal: None,
            count: 12,
            sentence: "12 more logins",
        };
        let event = cloudtrail_omitted(&omitted);
        assert_eq!(event["eventName"], "OmittedRefusals");
        assert_eq!(event["eventTime"], "2024-11-25T00:15:00Z");
        assert_eq!(event["eventID"], omitted.id);
        assert_eq!(event["userIdentity"], json!({"type": "Unknown"}));
        assert_eq!(event["sourceIPAddress"], "192.0.2.7");
        assert_eq!(event["errorCode"], "AccessDenied");
        assert_eq!(event["errorMessage"], "12 more logins");
        assert_eq!(event["additionalEventData"], json!({"count": 12}));

        omitted.address = None;
        omitted.principal = Some("arn:aws:iam::012345678912:role/example");
        let event = cloudtrail_omitted(&omitted);
        assert_eq!(event["sourceIPAddress"], Value::Null);
        assert_eq!(
            event["userIdentity"]["arn"],
            "arn:aws:iam::012345678912:role/example"
        );
        assert_eq!(event["userIdentity"]["type"], "Role");
        assert_eq!(event["userIdentity"]["accountId"], "012345678912");
    }
}
