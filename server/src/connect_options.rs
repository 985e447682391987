//! What a client says about its cluster in the `options` of its connection string.

/// The cluster ids that a client without Server Name Indication sends in the `options` of its
/// connection string: `-c amzn-cluster-id=ID`, in each notation that PostgreSQL takes.
pub fn cluster_ids(options: &str) -> impl Iterator<Item = &str> {
    options.split_ascii_whitespace().filter_map(|word| {
        let word = word.strip_prefix("--").unwrap_or(word);
        let word = word.strip_prefix("-c").unwrap_or(word);
        let (name, id) = word.split_once('=')?;
        let name = name.replace('-', "_");
        name.eq_ignore_ascii_case("amzn_cluster_id").then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_found_in_options() {
        for (options, ids) in [
            ("", vec![]),
            ("-c amzn-cluster-id=abc", vec!["abc"]),
            ("-camzn-cluster-id=abc", vec!["abc"]),
            ("--amzn-cluster-id=abc", vec!["abc"]),
            ("-c AMZN_CLUSTER_ID=abc -c a=b", vec!["abc"]),
            (
                "-c a=b --amzn-cluster-id=a -c amzn_cluster_id=",
                vec!["a", ""],
            ),
            ("-c search_path=amzn-cluster-id", vec![]),
        ] {
            let found: Vec<&str> = cluster_ids(options).collect();
            assert_eq!(found, ids, "{options}");
        }
    }
}
