//! A session with temporary credentials.

use crate::arn::{IamArn, IamKind, SessionArn};
use crate::policy::Policy;
use time::UtcDateTime;

/// The name of sessions and users that stand for a role or a group, in questions about these.
pub const SIMULATED: &str = "simulated";

/// A session with temporary credentials, of a role or of a user, as far as its document tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The ARN of the role session, or of the user.
    pub arn: String,
    /// The role's id, a colon, and the session's name; or the user's id.
    pub user_id: Option<String>,
    /// When it began.
    pub issued_at: UtcDateTime,
    /// Whether it was begun with a device for multi-factor authentication.
    pub has_mfa: bool,
    /// The source identity that it was begun with.
    pub source_identity: Option<String>,
    /// Key and value of each session tag, which takes the place of the role's tag of that key.
    pub tags: Vec<(String, String)>,
    /// Keys of those tags that the next session gets too, if this one assumes a role.
    pub transitive_tag_keys: Vec<String>,
    /// The session policies, if it was given any.
    pub policies: Option<SessionPolicies>,
    /// Whether the session was narrowed by policies or tags that the document does not show.
    pub has_hidden_policies: bool,
}

impl Session {
    /// Whether it is a user's own, which acts as the user does, and not one of a role.
    pub(crate) fn is_of_user(&self) -> bool {
        IamArn::parse(&self.arn).is_ok_and(|arn| arn.kind == IamKind::User)
    }

    /// The unique id of its role or user, if its document has it.
    pub(crate) fn principal_id(&self) -> Option<&str> {
        self.user_id.as_deref()?.split(':').next()
    }

    /// A session of a role that nothing narrows and nobody began: it stands for the role where somebody asks what
    /// the role may, since nobody acts as a role but in a session of it.
    pub(crate) fn simulated(role: &str, now: UtcDateTime) -> Self {
        let arn = IamArn::parse(role).map_or_else(
            |_| role.to_owned(),
            |role| SessionArn::of(&role, SIMULATED).to_string(),
        );
        Self::plain(arn, now)
    }

    /// A session of this ARN that began then, and of which nothing else is known: nothing narrows it.
    pub(crate) fn plain(arn: String, issued_at: UtcDateTime) -> Self {
        Self {
            arn,
            user_id: None,
            issued_at,
            has_mfa: false,
            source_identity: None,
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
            policies: None,
            has_hidden_policies: false,
        }
    }
}

/// The session policies of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionPolicies {
    /// The one that was written into the request.
    pub inline: Option<Policy>,
    /// ARNs of the managed policies that the request named.
    pub attached: Vec<String>,
}
