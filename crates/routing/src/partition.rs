//! Search in what is ordered, where the ends are the likeliest answers.

/// How many of `0..count` satisfy `known`, where all that do come first. All or none, which is what mostly is, is found at once.
pub(crate) fn partition(count: usize, known: impl Fn(usize) -> bool) -> usize {
    if count == 0 || !known(0) {
        return 0;
    }
    if known(count - 1) {
        return count;
    }
    let (mut below, mut above) = (1, count - 1);
    while below < above {
        let middle = below.midpoint(above);
        if known(middle) {
            below = middle + 1;
        } else {
            above = middle;
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_point_is_found() {
        for count in 0..40 {
            for point in 0..=count {
                assert_eq!(partition(count, |place| place < point), point);
            }
        }
    }
}
