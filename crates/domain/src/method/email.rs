//! Mail: an address, and what is written there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Settings, given, owners_text};
use crate::{
    Event, Format, Markup, Message, Registry, RepositoryName, Scope, TemplateError, TextTemplate,
    format::{quay, told},
    message::one_line,
};

/// Longest part before the `@`, in bytes (section 4.5.3.1.1 of the same).
const MAX_LOCAL_BYTES: usize = 64;

/// Longest subject, in characters: what readers show of one.
const MAX_SUBJECT: usize = 200;

/// One mail address, checked: it can't hold a second one, a comment, quotes or a line break.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl TryFrom<String> for EmailAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("`{text}` should be one mail address such as ann@example.com"))
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

impl EmailAddress {
    /// The longest, in bytes ([RFC 5321, section 4.5.3.1.3], without the brackets).
    ///
    /// [RFC 5321, section 4.5.3.1.3]: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.3
    pub const MAX_BYTES: usize = 254;

    /// Reads `local@domain`: letters, digits and the signs of [RFC 5321]'s dot-string before the `@`, a DNS
    /// name after it. Names outside ASCII have to be written in their `xn--` form.
    ///
    /// [RFC 5321]: https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let fits = text.len() <= Self::MAX_BYTES
            && local.len() <= MAX_LOCAL_BYTES
            && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
            && domain.split('.').all(is_label);
        fits.then(|| Self(text.to_owned()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_label(label: &str) -> bool {
    let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (1..=63).contains(&label.len()) && inside && !label.starts_with('-') && !label.ends_with('-')
}

/// Who gets a mail, and in which words.
#[derive(Debug, Clone, PartialEq)]
pub struct EmailConfig {
    /// To whom; nobody in particular where a namespace's mail goes to those to whom the namespace belongs by then.
    pub address: Option<EmailAddress>,
    /// The owner's own subject instead of ours.
    pub subject: Option<TextTemplate>,
    /// The owner's own text instead of ours, without markup.
    pub text: Option<TextTemplate>,
}

pub(super) fn parse(config: Settings<'_>, scope: &Scope) -> Result<EmailConfig, ConfigError> {
    let address = match (given(config, "email"), scope) {
        (Some(address), _) => Some(EmailAddress::parse(&address).ok_or(ConfigError::InvalidEmail)?),
        (None, Scope::Namespace(_)) => None,
        (None, Scope::Repository(_) | Scope::Registry) => return Err(ConfigError::MissingEmail),
    };
    Ok(EmailConfig { address, subject: owners_text(config, "subject")?, text: owners_text(config, "text")? })
}

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// For readers that show no HTML.
    pub text: String,
    /// The same in HTML.
    pub html: String,
}

impl EmailConfig {
    /// What is written of `event`.
    ///
    /// # Errors
    ///
    /// When the owner's subject or text can't be filled from this event.
    pub fn letter(
        &self,
        event: &Event,
        format: Format,
        registry: &Registry,
    ) -> Result<Letter, TemplateError> {
        let fill = |template: &TextTemplate| {
            template.apply(&told(event, format, registry), |put_in| Markup::Plain.escape(put_in))
        };
        let subject = self.subject.as_ref().map(fill).transpose()?;
        let subject = subject_line(&subject.unwrap_or_else(|| quay::summary(event)));
        if let Some(text) = self.text.as_ref().map(fill).transpose()? {
            let html = Markup::Html.escape(&text).replace("\r\n", "\n").replace('\n', "<br>\n");
            return Ok(Letter { subject, text, html });
        }
        let message = Message::of(event, registry);
        Ok(Letter { subject, text: message.render(Markup::Plain), html: message.render(Markup::Html) })
    }
}

impl Letter {
    /// The mail that asks the owner of an address whether they want the mails of `repository`, with
    /// Quay's subject. `link` is the page that confirms it.
    pub fn confirmation(repository: &RepositoryName, registry: &Registry, link: &str) -> Self {
        let title = &registry.title;
        let subject = format!("[{title}] Please verify your e-mail address for repository {repository}");
        let asked = format!(
            "Somebody asked {title} to send notifications about repository {repository} to this address."
        );
        let rest = "If it was not you, do nothing: without this no notifications are sent.";
        let (html_link, html_asked) = (Markup::Html.escape(link), Markup::Html.escape(&asked));
        Self {
            subject: subject_line(&subject),
            text: format!("{asked}\n\nTo get them, open this page:\n\n{link}\n\n{rest}\n"),
            html: format!(
                "<p>{html_asked}</p>\n<p>To get them, open this page: <a href=\"{html_link}\">{html_link}</a></p>\n<p>{rest}</p>\n"
            ),
        }
    }
}

/// A subject is one line, whatever it was made of.
fn subject_line(text: &str) -> String {
    let line = one_line(text);
    line.trim().chars().take(MAX_SUBJECT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_exactly_one_mailbox() {
        for good in ["kim@example.com", "kim+api.x@a-b.example", "k!#$%&'*+-/=?^_`{|}~@x.y", "kim@localhost"]
        {
            assert_eq!(EmailAddress::parse(good).map(|it| it.to_string()).as_deref(), Some(good));
        }
        let (local, label) = (format!("{}@example.com", "x".repeat(65)), format!("k@{}.com", "x".repeat(64)));
        let long = format!("kim@{}com", "abcdefgh.".repeat(30));
        for bad in [
            "",
            "kim",
            "@example.com",
            "kim@",
            "kim@example.com\r\nBcc: eve@example.com",
            "kim@example.com,eve@example.com",
            "kim@example.com eve@example.com",
            "<kim@example.com>",
            "Kim <kim@example.com>",
            "kim(comment)@example.com",
            "\"|sh\"@example.com",
            "kim@[127.0.0.1]",
            "kim@example..com",
            "kim@-example.com",
            "kim@example.com.",
            ".kim@example.com",
            "kim..x@example.com",
            "kim@exa mple.com",
            "kim@example.com\0",
            "kim@bücher.example",
            "kím@example.com",
            "kim@a@b.example",
            &local,
            &label,
            &long,
        ] {
            assert_eq!(EmailAddress::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_subject_is_one_line_whatever_it_was_made_of() {
        assert_eq!(subject_line(" a\r\nBcc: eve@example.com\n "), "a Bcc: eve@example.com");
        assert_eq!(subject_line(&"x".repeat(5000)).len(), MAX_SUBJECT);
    }

    #[test]
    fn the_mail_that_asks_for_confirmation_has_quays_subject_and_escapes_its_link() {
        let registry = Registry { title: "<Ours>".to_owned(), url: "https://r.example".to_owned() };
        let repository = RepositoryName::parse("acme/api").expect("a name");
        let letter = Letter::confirmation(&repository, &registry, "https://b.example/x?code=\"A&b");
        assert_eq!(letter.subject, "[<Ours>] Please verify your e-mail address for repository acme/api");
        assert!(letter.text.contains("\nhttps://b.example/x?code=\"A&b\n"), "{}", letter.text);
        assert!(letter.html.contains("href=\"https://b.example/x?code=&quot;A&amp;b\""), "{}", letter.html);
        assert!(letter.html.contains("&lt;Ours&gt;"), "{}", letter.html);
    }
}
