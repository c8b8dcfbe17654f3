//! What this process has seen of a receiver and the fleet has not heard yet.

use std::time::Duration;

use bellbuoy_domain::Sighting;
use tokio::time::Instant;

/// What is to be told of one receiver. Nothing is lost when the store does not answer: it is told again, and may then be
/// told twice.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Seen since it was last told; its peace stands below.
    fresh: Sighting,
    /// What is being told, and until when it says that the receiver wants peace.
    told: Option<(Sighting, Option<Instant>)>,
    /// Until when the receiver wants peace, as far as the fleet does not know.
    peace_until: Option<Instant>,
    /// Whether the fleet knows of failures, so that an answer is worth telling.
    is_doubted: bool,
}

impl News {
    pub(super) fn answered(&mut self) {
        self.fresh = self.fresh.and(Sighting { answered: true, ..Sighting::default() });
    }

    pub(super) fn failed(&mut self, probe_failed: bool) {
        self.fresh = self.fresh.and(Sighting { failures: 1, probe_failed, ..Sighting::default() });
    }

    pub(super) fn wants_peace(&mut self, until: Instant) {
        self.peace_until = self.peace_until.max(Some(until));
    }

    /// What is to be told now, if anything is worth it. An answer of a receiver that nobody doubts is not, then or later.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Sighting> {
        self.was_not_heard();
        self.peace_until = self.peace_until.filter(|until| *until > now);
        let peace = self.peace_until.map(|until| until.saturating_duration_since(now)).unwrap_or_default();
        let sighting = Sighting { peace, ..std::mem::take(&mut self.fresh) };
        let is_worth_it = sighting.failures > 0
            || sighting.probe_failed
            || !sighting.peace.is_zero()
            || (sighting.answered && self.is_doubted);
        is_worth_it.then(|| {
            self.told = Some((sighting, self.peace_until));
            sighting
        })
    }

    /// The fleet knows what was told.
    pub(super) fn was_heard(&mut self) {
        if let Some((_, peace_until)) = self.told.take()
            && self.peace_until == peace_until
        {
            self.peace_until = None;
        }
    }

    /// It may not.
    pub(super) fn was_not_heard(&mut self) {
        if let Some((told, _)) = self.told.take() {
            self.fresh = Sighting { peace: Duration::ZERO, ..told.and(self.fresh) };
        }
    }

    /// Whether there is nothing that the fleet should hear.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_none() && self.peace_until.is_none() && self.fresh.failures == 0
    }

    /// What the fleet thinks of the receiver is known here.
    pub(super) fn is_doubted(&mut self, is_doubted: bool) {
        self.is_doubted = is_doubted;
    }

    /// What was seen since it was last told.
    pub(super) fn fresh(&self) -> Sighting {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(failures: u32) -> Sighting {
        Sighting { failures, ..Sighting::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_heard_is_told_again_with_what_came_after_it() {
        let (mut news, now) = (News::default(), Instant::now());
        assert_eq!(news.tell(now), None);
        news.failed(false);
        assert_eq!(news.tell(now), Some(failures(1)));
        news.failed(false);
        news.was_not_heard();
        assert_eq!(news.tell(now), Some(failures(2)));
        news.failed(false);
        news.was_heard();
        assert_eq!(news.tell(now), Some(failures(1)));
        news.was_heard();
        assert_eq!(news.tell(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_news_where_the_receiver_is_doubted_alone() {
        let (mut news, now) = (News::default(), Instant::now());
        news.answered();
        assert_eq!(news.tell(now), None);
        news.is_doubted(true);
        assert_eq!(news.tell(now), None, "that one came before the doubt");
        news.answered();
        assert_eq!(news.tell(now), Some(Sighting { answered: true, ..Sighting::default() }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peace_is_told_as_what_is_left_of_it_and_a_longer_one_once_more() {
        let (mut news, now) = (News::default(), Instant::now());
        let seconds = Duration::from_secs;
        news.wants_peace(now + seconds(9));
        let told = |news: &mut News, after| news.tell(now + seconds(after)).map(|sighting| sighting.peace);
        assert_eq!(told(&mut news, 1), Some(seconds(8)));
        news.was_not_heard();
        assert_eq!(told(&mut news, 2), Some(seconds(7)));
        news.wants_peace(now + seconds(20));
        news.was_heard();
        assert_eq!(told(&mut news, 3), Some(seconds(17)));
        news.was_heard();
        assert_eq!(told(&mut news, 4), None);
    }
}
