//! Facts about the account that are arguments of the command.

/// The sentence for an account that is not known.
pub const NO_ACCOUNT: &str = "the account is not in the input: give --account-id";

/// The account and the cluster, as the command was told them.
#[derive(Default, Clone)]
pub struct Facts {
    /// the id of the account
    pub account: Option<String>,
    /// the region
    pub region: Option<String>,
    /// ids of clusters, each for the resource of that address, or for the only one
    pub cluster_ids: Vec<(Option<String>, String)>,
}

impl Facts {
    /// The id of the cluster that is at this address in the input, which has `count` of them.
    pub fn cluster_id(&self, address: &str, count: usize) -> Option<&str> {
        let ids = self.cluster_ids.iter();
        let mut ids = ids.filter(|(of, _)| match of {
            Some(of) => of == address,
            None => count == 1,
        });
        ids.next().map(|(_, id)| id.as_str())
    }
}
