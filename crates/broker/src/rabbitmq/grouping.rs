//! Which acknowledgements can be said together. No IO here.
//!
//! RabbitMQ numbers the messages of a channel 1, 2, 3...; "everything up to N" costs it half of what N single
//! words do, but may only be said when nothing up to N is still in work, and N itself was not said before.

use std::collections::BTreeSet;

/// What was acknowledged on one channel.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    // Everything up to here is acknowledged.
    low: u64,
    // And these beyond.
    beyond: BTreeSet<u64>,
}

/// What to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Up to and including this one, all of them.
    pub(super) up_to: Option<u64>,
    /// Just these.
    pub(super) single: Vec<u64>,
}

impl Grouping {
    /// What to say so that `tags` are acknowledged, none of which was before.
    pub(super) fn words(&mut self, tags: impl IntoIterator<Item = u64>) -> Words {
        let mut fresh: BTreeSet<u64> = tags.into_iter().collect();
        let mut up_to = None;
        loop {
            let next = self.low + 1;
            if fresh.remove(&next) {
                up_to = Some(next);
            } else if !self.beyond.remove(&next) {
                break;
            }
            self.low = next;
        }
        self.beyond.extend(&fresh);
        Words { up_to, single: fresh.into_iter().collect() }
    }

    /// A tag was given back by a word of its own.
    pub(super) fn said(&mut self, tag: u64) {
        self.beyond.insert(tag);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(up_to: Option<u64>, single: &[u64]) -> Words {
        Words { up_to, single: single.to_vec() }
    }

    #[test]
    fn what_ends_in_order_is_said_at_once_and_the_rest_singly() {
        let mut grouping = Grouping::default();
        assert_eq!(grouping.words([2, 1, 3]), words(Some(3), &[]));
        assert_eq!(grouping.words([5, 7]), words(None, &[5, 7]));
        assert_eq!(grouping.words([4, 6, 9]), words(Some(6), &[9]));
    }

    #[test]
    fn the_last_word_of_a_group_was_not_said_before() {
        let mut grouping = Grouping::default();
        assert_eq!(grouping.words([2]), words(None, &[2]));
        // Up to 2 is settled now, but 2 is nothing the broker still knows.
        assert_eq!(grouping.words([1]), words(Some(1), &[]));
        grouping.said(4);
        assert_eq!(grouping.words([3, 5]), words(Some(5), &[]));
    }

    proptest! {
        #[test]
        fn every_tag_is_said_once_and_nothing_else(
            order in Just((1..60_u64).collect::<Vec<_>>()).prop_shuffle(),
            sizes in prop::collection::vec(1..7_usize, 60),
        ) {
            let mut grouping = Grouping::default();
            let (mut done, mut open) = (BTreeSet::new(), BTreeSet::new());
            let mut order = order.into_iter();
            for size in sizes {
                let batch: Vec<_> = order.by_ref().take(size).collect();
                open.extend(batch.iter().copied());
                let said = grouping.words(batch);
                if let Some(up_to) = said.up_to {
                    prop_assert!(open.contains(&up_to), "{} was said before", up_to);
                    let group: Vec<_> = open.range(..=up_to).copied().collect();
                    done.extend(group.iter().copied());
                    open.retain(|tag| *tag > up_to);
                    prop_assert_eq!(done.range(..=up_to).count() as u64, up_to, "an open one was included");
                }
                for tag in said.single {
                    prop_assert!(open.remove(&tag));
                    done.insert(tag);
                }
            }
            prop_assert!(open.is_empty() && done.len() == 59);
        }
    }
}
