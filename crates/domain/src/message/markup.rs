//! The markups of mail and chat services, and what each needs escaped.

use url::Url;

use super::Span;

/// A markup that a [`super::Message`] can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// HTML without a frame, as Quay's mails, `HipChat` and Flowdock.
    Html,
    /// No markup; links are numbered and stand at the end.
    Plain,
    /// Slack's `mrkdwn`.
    Slack,
    /// Markdown as Discord, Mattermost, Rocket.Chat and the cards of Teams read it.
    Markdown,
}

impl Markup {
    pub(super) fn render(self, spans: &[Span]) -> String {
        let mut links = Vec::new();
        let mut rendered: String = spans.iter().map(|span| self.span(span, &mut links)).collect();
        if !links.is_empty() {
            rendered.push('\n');
        }
        let notes = links.iter().enumerate().map(|(place, url)| format!("\n[{}] {url}", place + 1));
        rendered.extend(notes);
        rendered
    }

    pub(super) fn span<'a>(self, span: &'a Span, links: &mut Vec<&'a Url>) -> String {
        match (span, self) {
            (Span::Text(text), _) => self.escape(text),
            (Span::Bold(text), Self::Html) => format!("<b>{}</b>", self.escape(text)),
            (Span::Bold(text), Self::Plain) => text.clone(),
            (Span::Bold(text), Self::Slack) => format!("*{}*", self.escape(text)),
            (Span::Bold(text), Self::Markdown) => format!("**{}**", self.escape(text)),
            (Span::Link { text, url }, Self::Html) => {
                format!("<a href=\"{}\">{}</a>", self.escape(url.as_str()), self.escape(text))
            }
            (Span::Link { text, url }, Self::Plain) => {
                let known = links.iter().position(|known| *known == url);
                let place = known.unwrap_or_else(|| {
                    links.push(url);
                    links.len() - 1
                });
                format!("{text} [{}]", place + 1)
            }
            (Span::Link { text, url }, Self::Slack) => {
                format!("<{}|{}>", self.escape(&url.as_str().replace('|', "%7C")), self.escape(text))
            }
            (Span::Link { text, url }, Self::Markdown) => {
                let url = url.as_str().replace('(', "%28").replace(')', "%29");
                format!("[{}]({url})", self.escape(text))
            }
            (Span::Break, Self::Html) => "<br>".to_owned(),
            (Span::Break, _) => "\n".to_owned(),
        }
    }

    /// `text` so that this markup shows it as it is.
    ///
    /// Slack asks for [three letters to be escaped] and knows no other escape, so `*` and `_` may still
    /// make a text bold there. In Markdown, `@channel`, `@kim` and their like get an invisible letter, so
    /// that they call nobody.
    ///
    /// [three letters to be escaped]: https://docs.slack.dev/messaging/formatting-message-text#escaping
    pub fn escape(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Html => escaped(text, |letter| match letter {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                '"' => Some("&quot;"),
                '\'' => Some("&#39;"),
                _ => None,
            }),
            Self::Slack => escaped(text, |letter| match letter {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                _ => None,
            }),
            Self::Markdown => silenced(&escaped(text, |letter| match letter {
                '\\' => Some("\\\\"),
                '`' => Some("\\`"),
                '*' => Some("\\*"),
                '_' => Some("\\_"),
                '~' => Some("\\~"),
                '|' => Some("\\|"),
                '<' => Some("\\<"),
                '>' => Some("\\>"),
                '[' => Some("\\["),
                ']' => Some("\\]"),
                '#' => Some("\\#"),
                _ => None,
            })),
        }
    }
}

fn escaped(text: &str, escape: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match escape(letter) {
            Some(escape) => out.push_str(escape),
            None => out.push(letter),
        }
    }
    out
}

/// Words after an `@` that call everybody in a channel.
const CALLS: &[&str] = &["all", "channel", "here", "everyone"];

/// With an invisible letter after each `@` that calls somebody. One that ends a word, as in `api@sha256:`, calls nobody by
/// name.
fn silenced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (place, piece) in text.split('@').enumerate() {
        if place > 0 {
            let ends_word = out.ends_with(char::is_alphanumeric);
            out.push('@');
            let names = piece.starts_with(|letter: char| !letter.is_whitespace());
            let calls =
                |call: &&str| piece.get(..call.len()).is_some_and(|start| start.eq_ignore_ascii_case(call));
            if (names && !ends_word) || CALLS.iter().any(calls) {
                out.push('\u{200b}');
            }
        }
        out.push_str(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<!channel> & <a href='x'>*b*</a> [x](http://y) @Channel `c`";

    fn spans() -> Vec<Span> {
        let url = Url::parse("https://a.example/x(1)?q=a|b&c='\"<>").expect("a URL");
        vec![
            Span::Text(HOSTILE.to_owned()),
            Span::Break,
            Span::Link { text: "a>|]b".to_owned(), url: url.clone() },
            Span::Bold("<b>".to_owned()),
            Span::Link { text: "again".to_owned(), url },
        ]
    }

    #[test]
    fn each_markup_shows_what_came_from_outside_as_it_is() {
        let rows = [
            (
                Markup::Html,
                "&lt;!channel&gt; &amp; &lt;a href=&#39;x&#39;&gt;*b*&lt;/a&gt; [x](http://y) @Channel `c`<br>\
                 <a href=\"https://a.example/x(1)?q=a|b&amp;c=%27%22%3C%3E\">a&gt;|]b</a><b>&lt;b&gt;</b>\
                 <a href=\"https://a.example/x(1)?q=a|b&amp;c=%27%22%3C%3E\">again</a>",
            ),
            (
                Markup::Plain,
                "<!channel> & <a href='x'>*b*</a> [x](http://y) @Channel `c`\na>|]b [1]<b>again [1]\n\n\
                 [1] https://a.example/x(1)?q=a|b&c=%27%22%3C%3E",
            ),
            (
                Markup::Slack,
                "&lt;!channel&gt; &amp; &lt;a href='x'&gt;*b*&lt;/a&gt; [x](http://y) @Channel `c`\n\
                 <https://a.example/x(1)?q=a%7Cb&amp;c=%27%22%3C%3E|a&gt;|]b>*&lt;b&gt;*\
                 <https://a.example/x(1)?q=a%7Cb&amp;c=%27%22%3C%3E|again>",
            ),
            (
                Markup::Markdown,
                "\\<!channel\\> & \\<a href='x'\\>\\*b\\*\\</a\\> \\[x\\](http://y) @\u{200b}Channel \\`c\\`\n\
                 [a\\>\\|\\]b](https://a.example/x%281%29?q=a|b&c=%27%22%3C%3E)**\\<b\\>**\
                 [again](https://a.example/x%281%29?q=a|b&c=%27%22%3C%3E)",
            ),
        ];
        for (markup, shown) in rows {
            assert_eq!(markup.render(&spans()), shown, "{markup:?}");
        }
    }

    #[test]
    fn whatever_calls_somebody_is_silenced_and_a_digest_is_as_it_was() {
        assert_eq!(
            silenced("api@sha256:1 @kim (@all. a@here @@ann"),
            "api@sha256:1 @\u{200b}kim (@\u{200b}all. a@\u{200b}here @@\u{200b}ann"
        );
        for plain in ["@", "@ ", "kim@example.com"] {
            assert_eq!(silenced(plain), plain);
        }
        assert_eq!(silenced("@hé"), "@\u{200b}hé");
    }
}
