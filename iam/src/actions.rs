//! The actions that are known here, and the ARNs of their resources.
//!
//! By <https://docs.aws.amazon.com/service-authorization/latest/reference/list_dsql.html> and
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html>.

use crate::cluster::SERVICE;

/// The action of a login: what a token asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `DbConnect`: to connect as a custom role.
    DbConnect,
    /// `DbConnectAdmin`: to connect as `admin`.
    DbConnectAdmin,
}

impl Action {
    /// Both.
    pub const ALL: [Self; 2] = [Self::DbConnect, Self::DbConnectAdmin];

    /// The action that a token writes so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// The action as the token writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DbConnect => "DbConnect",
            Self::DbConnectAdmin => "DbConnectAdmin",
        }
    }

    /// The action as a policy writes it.
    pub fn iam_name(self) -> &'static str {
        match self {
            Self::DbConnect => "dsql:DbConnect",
            Self::DbConnectAdmin => "dsql:DbConnectAdmin",
        }
    }
}

/// To assume a role.
pub(crate) const ASSUME_ROLE: &str = "sts:AssumeRole";
/// To assume a role with the token of an identity provider.
pub(crate) const ASSUME_ROLE_WITH_WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
/// To give a session tags.
pub(crate) const TAG_SESSION: &str = "sts:TagSession";
/// To give a session a source identity.
pub(crate) const SET_SOURCE_IDENTITY: &str = "sts:SetSourceIdentity";

/// The resource of an action as AWS's policy simulator writes it, if it is known here. Whether letters
/// are upper or lower case does not count.
pub fn resource_template(action: &str) -> Option<&'static str> {
    const CLUSTER: &str = "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}";
    let templates = [
        (Action::DbConnect.iam_name(), CLUSTER),
        (Action::DbConnectAdmin.iam_name(), CLUSTER),
        (
            ASSUME_ROLE,
            "arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}",
        ),
        ("sts:GetCallerIdentity", "*"),
    ];
    let mut templates = templates.into_iter();
    templates
        .find(|(known, _)| known.eq_ignore_ascii_case(action))
        .map(|(_, template)| template)
}

/// Whether a role's trust policy has a say in the action. Whether letters are upper or lower case does
/// not count.
pub fn is_about_trust(action: &str) -> bool {
    let actions = [ASSUME_ROLE, TAG_SESSION, SET_SOURCE_IDENTITY];
    actions.iter().any(|of| of.eq_ignore_ascii_case(action))
}

/// The names of all actions of a service, given in lower case, if it is one that is known here.
pub(crate) fn of_service(service: &str) -> Option<&'static [&'static str]> {
    match service {
        SERVICE => Some(&DSQL),
        "sts" => Some(&STS),
        _ => None,
    }
}

/// The actions of Aurora DSQL.
const DSQL: [&str; 30] = [
    "AddPeerCluster",
    "CreateCluster",
    "CreateStream",
    "DbConnect",
    "DbConnectAdmin",
    "DeleteCluster",
    "DeleteClusterPolicy",
    "DeleteStream",
    "GetBackupJob",
    "GetCluster",
    "GetClusterPolicy",
    "GetRestoreJob",
    "GetStream",
    "GetVpcEndpointServiceName",
    "InjectError",
    "ListClusters",
    "ListStreams",
    "ListTagsForResource",
    "PutClusterPolicy",
    "PutMultiRegionProperties",
    "PutWitnessRegion",
    "RemovePeerCluster",
    "StartBackupJob",
    "StartRestoreJob",
    "StopBackupJob",
    "StopRestoreJob",
    "TagResource",
    "UntagResource",
    "UpdateCluster",
    "UpdateStream",
];

/// The actions of the Security Token Service.
const STS: [&str; 16] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetServiceBearerToken",
    "GetSessionToken",
    "GetWebIdentityToken",
    "SetContext",
    "SetSourceIdentity",
    "TagGetWebIdentityToken",
    "TagSession",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_named_here_is_one_of_its_services() {
        let named = [
            ASSUME_ROLE,
            ASSUME_ROLE_WITH_WEB_IDENTITY,
            TAG_SESSION,
            SET_SOURCE_IDENTITY,
            "sts:GetCallerIdentity",
        ];
        for action in named.into_iter().chain(Action::ALL.map(Action::iam_name)) {
            let (service, name) = action.split_once(':').unwrap();
            assert!(of_service(service).unwrap().contains(&name), "{action}");
        }
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
            assert!(resource_template(&action.iam_name().to_uppercase()).is_some());
        }
        assert_eq!(Action::named("dbconnect"), None);
        assert!(of_service("s3").is_none());
    }
}
