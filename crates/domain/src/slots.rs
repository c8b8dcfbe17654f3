//! How the processes of a fleet share what one receiver may have in flight.
//!
//! Nothing here reads a clock: whose turn it is where slots can't be divided is a number that the caller raises with
//! time.

/// One process at a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asker {
    /// So many slots it has; it alone can give them up.
    pub held: u32,
    /// So many it could use now.
    pub wanted: u32,
}

/// What one process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Granted {
    /// So many it has from now on, never fewer than before.
    pub held: u32,
    /// So many it should have. What it holds above that it gives up as its attempts end, for others ask for it.
    pub share: u32,
    /// Whether all together want more than there is.
    pub is_contended: bool,
}

/// What process number `me` of `askers` gets of a receiver that takes `cap` attempts at a time.
///
/// The shares are as equal as the wishes allow: nobody gets more than it wants while another gets less than that. What
/// can't be divided goes to the askers in turn, beginning with number `turn`, so that none goes without for ever. More
/// than `cap` are never held, whatever was held before: a share is granted as far as there are free slots.
pub fn grant(cap: u32, askers: &[Asker], me: usize, turn: u64) -> Granted {
    let Some(asker) = askers.get(me) else { return Granted::default() };
    let share = shares(cap, askers, turn).get(me).copied().unwrap_or(0);
    let taken = askers.iter().fold(0_u32, |taken, asker| taken.saturating_add(asker.held));
    let more = share.saturating_sub(asker.held).min(cap.saturating_sub(taken));
    let wanted = askers.iter().fold(0_u32, |wanted, asker| wanted.saturating_add(asker.wanted));
    Granted { held: asker.held + more, share, is_contended: wanted > cap }
}

/// The share of each.
fn shares(cap: u32, askers: &[Asker], turn: u64) -> Vec<u32> {
    let mut shares = vec![0_u32; askers.len()];
    let mut left = cap;
    loop {
        let open: Vec<usize> =
            (0..askers.len()).filter(|place| shares[*place] < askers[*place].wanted).collect();
        let Ok(count) = u32::try_from(open.len()) else { return shares };
        if count == 0 || left == 0 {
            return shares;
        }
        let each = left / count;
        if each == 0 {
            let first = usize::try_from(turn % u64::from(count)).unwrap_or(0);
            for place in open.iter().cycle().skip(first).take(left as usize) {
                shares[*place] += 1;
            }
            return shares;
        }
        for place in open {
            let more = each.min(askers[place].wanted - shares[place]);
            shares[place] += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanting<const N: usize>(wanted: [u32; N]) -> [Asker; N] {
        wanted.map(|wanted| Asker { held: 0, wanted })
    }

    #[test]
    fn shares_are_as_equal_as_the_wishes_allow() {
        for (cap, wanted, shared) in [
            (32, [32, 0, 0, 0], [32, 0, 0, 0]),
            (32, [32, 32, 32, 32], [8, 8, 8, 8]),
            (32, [4, 32, 32, 0], [4, 14, 14, 0]),
            (32, [1, 2, 3, 4], [1, 2, 3, 4]),
            (10, [10, 10, 10, 0], [4, 3, 3, 0]),
            (0, [1, 1, 1, 1], [0, 0, 0, 0]),
            (u32::MAX, [u32::MAX, u32::MAX, 1, 0], [(u32::MAX - 1) / 2, (u32::MAX - 1) / 2, 1, 0]),
        ] {
            assert_eq!(shares(cap, &wanting(wanted), 0), shared, "{cap} among {wanted:?}");
        }
    }

    #[test]
    fn what_can_not_be_divided_goes_round() {
        let askers = wanting([5, 0, 5, 5]);
        let turns: Vec<_> = (0..4).map(|turn| shares(1, &askers, turn)).collect();
        assert_eq!(turns, [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]);
        assert_eq!(shares(2, &askers, 2), [1, 0, 0, 1]);
    }

    #[test]
    fn nobody_is_granted_what_another_still_holds() {
        let askers = [Asker { held: 30, wanted: 32 }, Asker { held: 0, wanted: 32 }];
        assert_eq!(grant(32, &askers, 0, 0), Granted { held: 30, share: 16, is_contended: true });
        assert_eq!(grant(32, &askers, 1, 0), Granted { held: 2, share: 16, is_contended: true });
        let over = [Asker { held: 40, wanted: 40 }, Asker { held: 0, wanted: 1 }];
        assert_eq!(grant(32, &over, 1, 0).held, 0, "the cap was lowered");
    }

    #[test]
    fn however_they_ask_the_cap_is_kept_and_all_come_to_their_share() {
        for cap in 1..20_u32 {
            let mut askers = wanting([7, 20, 0, 3, 20]);
            for turn in 0..40_u64 {
                for me in 0..askers.len() {
                    let granted = grant(cap, &askers, me, turn / 20);
                    // It gives up what it should not have, as a process does whose attempts have ended.
                    askers[me].held = granted.held;
                    assert!(askers.iter().map(|asker| asker.held).sum::<u32>() <= cap, "{askers:?}");
                    askers[me].held = granted.held.min(granted.share);
                }
            }
            let held: Vec<_> = askers.iter().map(|asker| asker.held).collect();
            assert_eq!(held, shares(cap, &askers, 1));
        }
    }
}
