//! The question that is asked about everybody.

use std::net::IpAddr;

use dsql_iam_core::access::Survey;
use dsql_iam_core::{Cluster, ConnectionFacts, Identities, LoginEnvironment};
use time::UtcDateTime;

use crate::shared::mappings::Mapping;

/// The cluster, mappings, time and address that everybody is judged by.
pub struct Question<'q> {
    pub cluster: &'q Cluster,
    pub mappings: Option<&'q [Mapping]>,
    pub now: UtcDateTime,
    pub source_ip: Option<IpAddr>,
}

impl Question<'_> {
    /// Asks for everybody in these documents, or for one ARN.
    pub fn survey(&self, identities: &Identities, only: Option<&str>) -> Survey {
        let environment = LoginEnvironment {
            now: self.now,
            cluster: self.cluster,
            identities,
            connection: ConnectionFacts {
                source_ip: self.source_ip,
                is_tls: true,
            },
        };
        let pairs = self.mappings.map(|mappings| {
            let pairs = mappings.iter();
            pairs.map(|mapping| (mapping.arn.as_str(), mapping.role.as_str()))
        });
        match only {
            None => Survey::new(&environment, pairs),
            Some(arn) => Survey::of(arn, &environment, pairs),
        }
    }
}
