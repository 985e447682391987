//! The clock skew that AWS allows, and the forms in which it writes a time.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, PrimitiveDateTime, UtcDateTime};

/// How far the clock of a signer may differ from ours. AWS's sentences in `sigv4` name the figure too.
pub const CLOCK_SKEW: Duration = Duration::minutes(5);

/// Reads a time as `X-Amz-Date` has it: `YYYYMMDDTHHMMSSZ`, and nothing else.
pub(crate) fn parse_amz_date(text: &str) -> Option<UtcDateTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    if text.len() != 16 {
        return None;
    }
    Some(PrimitiveDateTime::parse(text, format).ok()?.as_utc())
}

/// Writes a time as `X-Amz-Date` has it: `YYYYMMDDTHHMMSSZ`.
pub fn format_amz_date(at: UtcDateTime) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    at.format(format).unwrap_or_default()
}

/// Writes a time as condition keys have it, to the second: `2024-11-25T00:05:00Z`.
pub(crate) fn iso8601(at: UtcDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.format(format).unwrap_or_default()
}

/// Writes a time as AWS's command line prints it, to the second: `2024-11-25T00:05:00+00:00`.
pub(crate) fn with_offset(at: UtcDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
    at.format(format).unwrap_or_default()
}

/// Writes a time by RFC 3339, with the parts of a second that it has.
pub(crate) fn rfc3339(at: UtcDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// Reads a time by RFC 3339, with any offset.
pub(crate) fn parse_rfc3339(text: &str) -> Option<UtcDateTime> {
    UtcDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::utc_datetime;

    #[test]
    fn each_form() {
        let at = utc_datetime!(2024-11-25 00:05:07.5);
        assert_eq!(format_amz_date(at), "20241125T000507Z");
        assert_eq!(iso8601(at), "2024-11-25T00:05:07Z");
        assert_eq!(with_offset(at), "2024-11-25T00:05:07+00:00");
        assert_eq!(rfc3339(at), "2024-11-25T00:05:07.5Z");
        assert_eq!(parse_rfc3339("2024-11-25T01:05:07.5+01:00"), Some(at));
        let whole = utc_datetime!(2024-11-25 00:05:07);
        assert_eq!(parse_amz_date("20241125T000507Z"), Some(whole));
        for text in [
            "",
            "20241125T000507",
            "2024-11-25T00:05:07Z",
            "20241325T000507Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
    }
}
