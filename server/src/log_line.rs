//! The line in the server's log that each decision gets, and the id that it has there.

use crate::refusal_log::{Omitted, Whose, Written};
use data_encoding::BASE32_NOPAD;
use dsql_iam_core::{LoginRecord, RefusalReason, is_hidden};
use serde_json::Value;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// The id of a session in its refusal and in the log: 26 characters of lower-case base32, as in Aurora
/// DSQL's refusals.
pub fn session_id(random: [u8; 16]) -> String {
    BASE32_NOPAD.encode(&random).to_ascii_lowercase()
}

/// One line for each decision, for machines as well: behind the colon `key=value`, the value as it is or
/// as a JSON string. A value that a client chose is such a string, so that no line break of theirs makes a line
/// of its own.
pub fn log_line(decision: &LoginRecord<'_>) -> String {
    // JSON leaves the control characters from DEL on as they are, and some of them are a terminal's. All hidden
    // characters have four digits.
    let escaped = |char: char| match is_hidden(char) {
        true => format!("\\u{:04x}", u32::from(char)),
        false => char.to_string(),
    };
    let quoted = |text: &str| {
        let json = Value::from(text).to_string();
        json.chars().map(escaped).collect::<String>()
    };
    let outcome = match decision.refused {
        None => "admitted",
        Some(_) => "refused",
    };
    let milliseconds = decision.time.truncate_to_millisecond();
    let mut line = format!(
        "dsql_iam: login {outcome}: time={} session_id={} outcome={outcome} role={} address={}",
        milliseconds.format(&Rfc3339).unwrap_or_default(),
        decision.session_id,
        quoted(decision.role),
        quoted(decision.address),
    );
    if let Some(caller) = decision.caller {
        line += &format!(" principal={}", quoted(&caller.arn));
    }
    if let Some(action) = decision.action {
        line += &format!(" action={}", action.iam_name());
    }
    if let Some(RefusalReason { check, reason }) = decision.refused {
        line += &format!(" check={check} reason={}", quoted(reason));
    }
    line
}

/// The line behind a refusal that is written, if others of its address or its principal, or of all, are not any more in
/// this minute.
pub fn last_line(written: Written, address: &str, principal: Option<&str>) -> Option<String> {
    let those = match (written, principal) {
        (Written::Last, _) => format!("from {}", Value::from(principal.unwrap_or(address))),
        (Written::LastOfAll, None) => "beyond the first of each address".to_owned(),
        (Written::LastOfAll, Some(_)) => "beyond the first of each principal".to_owned(),
        (Written::Whole | Written::Omitted, _) => return None,
    };
    Some(format!(
        "dsql_iam: further refused logins {those} are counted and not logged, for a minute at most \
         (dsql_iam.max_logged_refusals)"
    ))
}

/// The sentence for refusals that were not written. Their time is one of Unix, in microseconds.
pub fn omitted_sentence(omitted: &Omitted) -> String {
    let whose = match omitted.whose {
        Whose::Network(network) => Value::from(network.to_string()).to_string(),
        Whose::OtherNetworks => "other addresses".to_owned(),
        Whose::Principal(arn) => Value::from(arn.as_str()).to_string(),
        Whose::OtherPrincipals => "other principals".to_owned(),
    };
    let began = UtcDateTime::from_unix_timestamp(omitted.began.div_euclid(1_000_000));
    let began = began.ok().and_then(|time| time.format(&Rfc3339).ok());
    format!(
        "{} more logins from {whose} were refused in the minute from {} on; sys.iam_counts has the checks",
        omitted.count,
        began.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::{Action, Caller};
    use time::macros::utc_datetime;

    fn decision() -> LoginRecord<'static> {
        LoginRecord {
            time: utc_datetime!(2026-01-02 03:04:05.678_9),
            session_id: "rjr3mlilcro3neabuzlmss7zpy",
            role: "admin",
            address: "127.0.0.1",
            cluster: None,
            caller: None,
            action: None,
            refused: None,
        }
    }

    #[test]
    fn an_admission_and_a_refusal() {
        let user = Caller {
            arn: "arn:aws:iam::012345678912:user/dba".into(),
            mapped_arn: "arn:aws:iam::012345678912:user/dba".into(),
        };
        let admitted = LoginRecord {
            caller: Some(&user),
            action: Some(Action::DbConnectAdmin),
            ..decision()
        };
        assert_eq!(
            log_line(&admitted),
            "dsql_iam: login admitted: time=2026-01-02T03:04:05.678Z \
             session_id=rjr3mlilcro3neabuzlmss7zpy outcome=admitted role=\"admin\" \
             address=\"127.0.0.1\" principal=\"arn:aws:iam::012345678912:user/dba\" \
             action=dsql:DbConnectAdmin"
        );
        let refused = LoginRecord {
            refused: Some(RefusalReason {
                check: "tls",
                reason: "the connection is not encrypted",
            }),
            ..decision()
        };
        assert_eq!(
            log_line(&refused),
            "dsql_iam: login refused: time=2026-01-02T03:04:05.678Z \
             session_id=rjr3mlilcro3neabuzlmss7zpy outcome=refused role=\"admin\" \
             address=\"127.0.0.1\" check=tls reason=\"the connection is not encrypted\""
        );
    }

    #[test]
    fn a_client_cannot_make_a_line_of_its_own() {
        let role = "a\nLOG:  dsql_iam: login admitted: role=\"x\"\u{9b}2J\u{7f}\u{202e}\u{ffff}";
        let line = log_line(&LoginRecord { role, ..decision() });
        assert!(!line.contains(is_hidden), "{line}");
        let (_, value) = line.split_once(" role=").expect("it has a role");
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
        let read = values.next().expect("a value").expect("a JSON string");
        assert_eq!(read, role);
    }

    #[test]
    fn an_id_is_26_characters_of_lower_case_base32() {
        assert_eq!(session_id([0; 16]), "aaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(session_id([255; 16]), "77777777777777777777777774");
    }

    #[test]
    fn refusals_that_are_not_written_have_a_line_together() {
        let arn = "arn:aws:iam::012345678912:user/visitor";
        let told = |written, principal| last_line(written, "192.0.2.7", principal);
        assert_eq!(
            told(Written::Last, None).unwrap(),
            "dsql_iam: further refused logins from \"192.0.2.7\" are counted and not logged, for a minute at most \
             (dsql_iam.max_logged_refusals)"
        );
        for (written, principal, those) in [
            (
                Written::Last,
                Some(arn),
                " from \"arn:aws:iam::012345678912:user/visitor\" are ",
            ),
            (
                Written::LastOfAll,
                None,
                " beyond the first of each address are ",
            ),
            (
                Written::LastOfAll,
                Some(arn),
                " beyond the first of each principal are ",
            ),
        ] {
            assert!(told(written, principal).unwrap().contains(those));
        }
        assert_eq!(told(Written::Whole, None), None);
        assert_eq!(told(Written::Omitted, Some(arn)), None);
        let mut omitted = Omitted {
            whose: Whose::Network([192, 0, 2, 7].into()),
            began: 1_732_493_700_500_000,
            count: 12,
        };
        assert_eq!(
            omitted_sentence(&omitted),
            "12 more logins from \"192.0.2.7\" were refused in the minute from 2024-11-25T00:15:00Z on; \
             sys.iam_counts has the checks"
        );
        omitted.whose = Whose::OtherNetworks;
        assert!(omitted_sentence(&omitted).contains(" from other addresses were "));
        omitted.whose = Whose::OtherPrincipals;
        assert!(omitted_sentence(&omitted).contains(" from other principals were "));
    }
}
