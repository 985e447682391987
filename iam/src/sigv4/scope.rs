//! The credential that a signature names: an access key id and its scope.

use std::borrow::Cow;

/// The longest date, region, service or terminator of a credential scope, in bytes. A part that differs from the
/// cluster's is told to the client and to the log, before it is known who asks.
const MAX_SCOPE_PART: usize = 64;
/// The end of every credential scope.
const TERMINATOR: &str = "aws4_request";

/// `ACCESS_KEY/DATE/REGION/SERVICE/aws4_request`, unchecked but for its five parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The access key id.
    pub access_key_id: Cow<'a, str>,
    /// The scope.
    pub scope: CredentialScope<'a>,
}

/// `DATE/REGION/SERVICE/aws4_request`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope<'a> {
    /// `YYYYMMDD`
    pub date: Cow<'a, str>,
    /// The region that the request was signed for.
    pub region: Cow<'a, str>,
    /// The service that the request was signed for.
    pub service: Cow<'a, str>,
    /// `aws4_request`
    pub terminator: Cow<'a, str>,
}

/// The first part of a credential scope that is not as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeFault {
    /// Not the date of `X-Amz-Date`, of which the signing key is made.
    Date,
    /// Another region.
    Region,
    /// Another service.
    Service,
    /// Not `aws4_request`.
    Terminator,
}

impl<'a> Credential<'a> {
    /// Takes the parts of a credential, decoded; `None` unless there are five, none of them empty.
    pub(crate) fn from_parts(parts: impl IntoIterator<Item = Cow<'a, str>>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let credential = Self {
            access_key_id: next()?,
            scope: CredentialScope {
                date: next()?,
                region: next()?,
                service: next()?,
                terminator: next()?,
            },
        };
        parts.next().is_none().then_some(credential)
    }
}

impl<'a> CredentialScope<'a> {
    /// The scope of a signature on this day (`YYYYMMDD`).
    pub fn new(date: &'a str, region: &'a str, service: &'a str) -> Self {
        Self {
            date: date.into(),
            region: region.into(),
            service: service.into(),
            terminator: TERMINATOR.into(),
        }
    }

    /// Checks the scope of a request with this `X-Amz-Date`, for a service. No `region` is any region.
    ///
    /// # Errors
    /// The first part that does not fit, in their order.
    pub fn check(
        &self,
        amz_date: &str,
        region: Option<&str>,
        service: &str,
    ) -> Result<(), ScopeFault> {
        self.faults(amz_date, region, service)
            .next()
            .map_or(Ok(()), Err)
    }

    /// Each part that does not fit, in their order.
    pub(crate) fn faults(
        &self,
        amz_date: &str,
        region: Option<&str>,
        service: &str,
    ) -> impl Iterator<Item = ScopeFault> + use<> {
        let parts = [
            (amz_date.get(..8) == Some(&self.date), ScopeFault::Date),
            (
                region.is_none_or(|region| region == self.region),
                ScopeFault::Region,
            ),
            (self.service == service, ScopeFault::Service),
            (self.terminator == TERMINATOR, ScopeFault::Terminator),
        ];
        let parts = parts.into_iter();
        parts.filter_map(|(fits, fault)| (!fits).then_some(fault))
    }

    /// Whether each part is short, and of ASCII characters that can be seen.
    pub(crate) fn is_printable(&self) -> bool {
        let parts = [&self.date, &self.region, &self.service, &self.terminator];
        parts.iter().all(|part| {
            part.len() <= MAX_SCOPE_PART && part.bytes().all(|byte| byte.is_ascii_graphic())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_parts_none_of_them_empty() {
        let parse = |text: &'static str| Credential::from_parts(text.split('/').map(Cow::from));
        let credential = parse("AKIA/20260101/us-east-1/dsql/aws4_request").unwrap();
        assert_eq!(credential.access_key_id, "AKIA");
        let scope = CredentialScope::new("20260101", "us-east-1", "dsql");
        assert_eq!(credential.scope, scope);
        for text in [
            "",
            "AKIA/20260101/us-east-1/dsql",
            "AKIA/20260101/us-east-1/dsql/",
            "/20260101/us-east-1/dsql/aws4_request",
            "AKIA/20260101//dsql/aws4_request",
            "AKIA/20260101/us-east-1/dsql/aws4_request/",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_part_that_does_not_fit() {
        let parse = |text: &'static str| Credential::from_parts(text.split('/').map(Cow::from));
        for (scope, fault) in [
            ("20260101/us-east-1/dsql/aws4_request", None),
            ("20260102/x/x/x", Some(ScopeFault::Date)),
            ("20260101/x/x/x", Some(ScopeFault::Region)),
            ("20260101/us-east-1/x/x", Some(ScopeFault::Service)),
            ("20260101/us-east-1/dsql/x", Some(ScopeFault::Terminator)),
        ] {
            let text: &'static str = format!("AKIA/{scope}").leak();
            let scope = parse(text).unwrap().scope;
            let checked = scope.check("20260101T000000Z", Some("us-east-1"), "dsql");
            assert_eq!(checked.err(), fault, "{text}");
        }
        let scope = parse("AKIA/20260101/x/dsql/aws4_request").unwrap().scope;
        assert_eq!(scope.check("20260101T000000Z", None, "dsql"), Ok(()));
        assert_eq!(scope.check("2026", None, "dsql"), Err(ScopeFault::Date));
    }
}
