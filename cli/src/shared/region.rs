//! Which region a token is for.

use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_dsql::config::Region;
use regex_lite::Regex;

/// Takes the host name of a cluster, gives the region that the name holds, if it holds one.
///
/// AWS's connectors look for the region in the same way, names made for PrivateLink
/// (`….dsql-xxxx.REGION.on.aws`) included.
pub fn in_hostname(hostname: &str) -> Option<Region> {
    let pattern = Regex::new(r"\.dsql[^.]*\.([^.]+)\.on\.aws$").expect("the pattern is valid");
    let region = pattern.captures(hostname)?.get(1)?.as_str();
    Some(Region::new(region.to_owned()))
}

/// Takes the profile named on the command line, gives the region of the environment (`AWS_REGION`,
/// `AWS_DEFAULT_REGION`), else of that profile, else of `AWS_PROFILE`'s: AWS's order.
pub async fn configured(profile: Option<&str>) -> Option<Region> {
    let environment = aws_config::environment::EnvironmentVariableRegionProvider::new();
    let mut from_profile = ProfileFileRegionProvider::builder();
    if let Some(name) = profile {
        from_profile = from_profile.profile_name(name);
    }
    RegionProviderChain::first_try(environment)
        .or_else(from_profile.build())
        .region()
        .await
}

#[cfg(test)]
mod tests {
    use super::in_hostname;

    fn region(hostname: &str) -> Option<String> {
        in_hostname(hostname).map(|region| region.to_string())
    }

    #[test]
    fn a_cluster_s_name_holds_its_region() {
        let name = "abcdefghijklmnopqrstuvwxyz.dsql.eu-west-2.on.aws";
        assert_eq!(region(name).as_deref(), Some("eu-west-2"));
    }

    #[test]
    fn so_does_a_name_made_for_privatelink() {
        let name = "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws";
        assert_eq!(region(name).as_deref(), Some("us-east-1"));
    }

    #[test]
    fn other_names_hold_none() {
        for name in [
            "localhost",
            "dsql.us-east-1.on.aws",
            "a.dsql.us-east-1.on.aws.example",
        ] {
            assert_eq!(region(name), None, "{name}");
        }
    }
}
