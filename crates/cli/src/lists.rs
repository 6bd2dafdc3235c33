//! Lists in one flag, whose members may have options with commas of their own.

/// Cuts `random,prefix_hash:chars=20,cache_aware:wait=1,kappa=50` into its members. A comma separates members and also a
/// member's options, so a piece like `kappa=50`, which names nobody, belongs to the member before it.
pub(crate) fn members(text: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for piece in text.split(',') {
        match list.last_mut() {
            Some(member) if piece.contains('=') && !piece.contains(':') => {
                member.push(',');
                member.push_str(piece);
            }
            _ => list.push(piece.to_owned()),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stay_with_their_member() {
        assert_eq!(members("random,cache_aware"), ["random", "cache_aware"]);
        assert_eq!(members("cache_aware:wait=1,kappa=50"), ["cache_aware:wait=1,kappa=50"]);
        assert_eq!(
            members("rival:dynamo:temperature=1,weight=2,rival:lpwl"),
            ["rival:dynamo:temperature=1,weight=2", "rival:lpwl"]
        );
        assert_eq!(members(""), [""]);
    }
}
