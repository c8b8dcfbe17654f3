//! An event in words for people: what mails and chat services show.
//!
//! The words follow Quay's templates, event by event. A message is kept as [`Span`]s, not as
//! markup, and each service's markup is written from them with everything that came from outside
//! escaped for it, so no tag, commit or error text can bring markup, a mention or a line of its
//! own along.
//!
//! Other than Quay, on purpose: no avatars (in Quay, their letters leak into the text), whole branch names (Quay
//! cuts `feature/x` to `feature`), and links to web pages only.

mod markup;
mod room;
mod words;

use url::Url;

pub use markup::Markup;
pub(crate) use room::Room;

use crate::{Event, Registry};

/// Longest text from outside that is shown whole, in characters.
const MAX_TEXT: usize = 500;

/// Longest URL that becomes a link, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    spans: Vec<Span>,
}

/// A piece of a [`Message`]. Its texts are single lines without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Span {
    Text(String),
    Bold(String),
    Link { text: String, url: Url },
    Break,
}

impl Message {
    /// What happened, in words; links lead to the registry's pages.
    pub fn of(event: &Event, registry: &Registry) -> Self {
        let mut message = Self { spans: Vec::new() };
        words::write(&mut message, event, registry);
        message
    }

    /// The message in a service's markup.
    pub fn render(&self, markup: Markup) -> String {
        markup.render(&self.spans)
    }

    fn text(&mut self, text: &str) {
        let text = one_line(text);
        if let Some(Span::Text(before)) = self.spans.last_mut() {
            before.push_str(&text);
        } else {
            self.spans.push(Span::Text(text));
        }
    }

    fn bold(&mut self, text: &str) {
        self.spans.push(Span::Bold(one_line(text)));
    }

    /// A link, or its bare text where `url` is no web page's.
    fn link(&mut self, text: &str, url: &str) {
        let web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let url = Some(url).filter(|url| url.len() <= MAX_URL_BYTES).and_then(|url| Url::parse(url).ok());
        match url.filter(web) {
            Some(url) => self.spans.push(Span::Link { text: one_line(text), url }),
            None => self.text(text),
        }
    }

    fn line_break(&mut self) {
        self.spans.push(Span::Break);
    }
}

/// A text from outside as one line: whitespace runs and control characters become one space, letters that
/// turn the direction of writing are dropped, and a long text is cut.
pub(crate) fn one_line(text: &str) -> String {
    let mut letters = text.chars().filter(|letter| !turns_direction(*letter));
    let mut line = joined(letters.by_ref().take(MAX_TEXT));
    if letters.next().is_some() {
        line.push_str("...");
    }
    line
}

/// The same of a text that is not cut.
pub(crate) fn whole_line(text: &str) -> String {
    joined(text.chars().filter(|letter| !turns_direction(*letter)))
}

fn joined(letters: impl Iterator<Item = char>) -> String {
    let mut line = String::new();
    for letter in letters {
        let blank = letter.is_whitespace() || letter.is_control();
        match (blank, line.ends_with(' ')) {
            (true, true) => {}
            (true, false) => line.push(' '),
            (false, _) => line.push(letter),
        }
    }
    line
}

/// Unicode's explicit directional marks ([UAX 9, section 2]): with them a name can be shown as another.
///
/// [UAX 9, section 2]: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_is_one_line_without_controls() {
        let rows = [
            ("a\r\n\tb", "a b"),
            ("a \u{202e}b", "a b"),
            ("  x  ", " x "),
            ("\u{0}\u{1b}[31mred", " [31mred"),
            ("a\u{2028}b\u{85}c", "a b c"),
        ];
        for (text, line) in rows {
            assert_eq!(one_line(text), line, "{text:?}");
        }
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), MAX_TEXT + 3);
    }

    #[test]
    fn only_a_web_page_becomes_a_link() {
        let mut message = Message { spans: Vec::new() };
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES));
        for url in
            ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "x", "", "http://", &long]
        {
            message.link("x", url);
        }
        assert_eq!(message.spans, [Span::Text("x".repeat(7))]);
        message.link("x", "https://a.example/?a=b c|d>e");
        assert!(matches!(&message.spans[1], Span::Link { .. }));
    }
}
