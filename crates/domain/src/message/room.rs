//! How much a service shows of a message, and messages that fit. What has no room is left out whole, or before it is
//! escaped, so that no link, tag or entity is cut in two.

use super::{Message, Span};
use crate::Markup;

/// Stands for what was left out.
const DOTS: &str = "...";

/// How much a service shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    left: usize,
    width: fn(char) -> usize,
}

impl Room {
    /// Of so many characters.
    pub(crate) fn characters(most: usize) -> Self {
        Self::measured(most, |_| 1)
    }

    /// Of so much, where each letter takes what `width` says, which is 1 or more.
    pub(crate) fn measured(most: usize, width: fn(char) -> usize) -> Self {
        Self { left: most, width }
    }

    /// What is left beside `text`.
    #[must_use]
    pub(crate) fn beside(self, text: &str) -> Self {
        Self { left: self.left.saturating_sub(self.size(text)), ..self }
    }

    /// Each one's part, if so many share it.
    #[must_use]
    pub(crate) fn shared_by(self, many: usize) -> Self {
        Self { left: self.left / many.max(1), ..self }
    }

    /// `text` in a markup, or a beginning of it and [`DOTS`] if it has no room.
    pub(crate) fn fit(self, text: &str, markup: Markup) -> String {
        let whole = markup.escape(text);
        if self.holds(&whole) { whole } else { self.begin(text, markup) }
    }

    fn begin(self, text: &str, markup: Markup) -> String {
        let room = self.beside(DOTS);
        let ends: Vec<usize> = text.char_indices().map(|(place, _)| place).take(room.left + 1).collect();
        let fitting = ends.partition_point(|end| room.holds(&markup.escape(&text[..*end])));
        let end = fitting.checked_sub(1).map_or(0, |last| ends[last]);
        markup.escape(&text[..end]) + DOTS
    }

    /// Whether all of it has room.
    pub(crate) fn holds(self, text: &str) -> bool {
        self.size(text) <= self.left
    }

    fn size(self, text: &str) -> usize {
        text.chars().map(self.width).sum()
    }
}

impl Message {
    /// The message in the markup of a chat service, or a beginning of it and [`DOTS`] if it has no room.
    pub(crate) fn render_within(&self, markup: Markup, room: Room) -> String {
        let whole = self.render(markup);
        if room.holds(&whole) {
            return whole;
        }
        let (mut room, mut rendered) = (room, String::new());
        for span in &self.spans {
            let piece = markup.span(span, &mut Vec::new());
            if !room.beside(DOTS).holds(&piece) {
                return match span {
                    Span::Text(text) => rendered + &room.begin(text, markup),
                    Span::Bold(_) | Span::Link { .. } | Span::Break => rendered + DOTS,
                };
            }
            room = room.beside(&piece);
            rendered.push_str(&piece);
        }
        rendered + DOTS
    }
}
