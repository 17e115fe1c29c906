//! The one bound over all logs, shared out fairly.

/// The size to cut every larger log down to, so that all `sizes` together have at most `bytes_max`: the small ones stay
/// whole and the large ones share what is left in equal parts (max-min fairness). A flood in one channel costs the
/// others nothing.
pub(crate) fn fair_level(mut sizes: Vec<usize>, bytes_max: usize) -> usize {
    sizes.sort_unstable();
    let mut left = bytes_max;
    for (i, &size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - i);
        if size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_pay_and_they_pay_alike() {
        assert_eq!(fair_level(vec![10, 20, 30], 60), usize::MAX);
        assert_eq!(fair_level(vec![10, 1000, 20], 130), 100);
        assert_eq!(fair_level(vec![500, 10, 500], 110), 50);
        assert_eq!(fair_level(vec![100; 4], 40), 10);
    }
}
