//! A receiver's URL, read once per request.

use http::Uri;
use url::Url;

/// Where a request goes: an absolute `http` or `https` URL with a host.
///
/// It is read as browsers read it ([WHATWG URL]), which brings every spelling of an IPv4 address
/// (`127.1`, `0x7f000001`, `2130706433`, full-width digits) to its one dotted form. Whether the
/// host may be dialled is judged later, on its addresses.
///
/// [WHATWG URL]: https://url.spec.whatwg.org/
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) url: Url,
    pub(crate) uri: Uri,
}

impl Target {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// When no request could be sent there. The error never repeats the URL.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let mut url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        if url.port() == Some(0) {
            return Err(TargetError::Port);
        }
        url.set_fragment(None);
        let uri = Uri::try_from(url.as_str()).map_err(|_| TargetError::Malformed)?;
        Ok(Self { url, uri })
    }

    /// Its host and port, in one spelling.
    pub(crate) fn authority(&self) -> String {
        authority(
            self.url.host_str().unwrap_or_default(),
            self.url.port_or_known_default().unwrap_or_default(),
        )
    }
}

/// A host and port in one spelling: `receiver.example.` is `receiver.example`, of which everything is counted together.
pub(super) fn authority(host: &str, port: u16) -> String {
    format!("{}:{port}", host.trim_end_matches('.'))
}

/// Why a text is not a receiver's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an absolute URL at all.
    #[error("the URL is malformed; give one such as https://receiver.example.com/hook")]
    Malformed,
    /// `file`, `ftp` and so on.
    #[error("the URL should begin with http:// or https://")]
    Scheme,
    /// It holds a user's name or password, which would end in logs.
    #[error("the URL should hold no user name or password; receivers know us by the signature")]
    UserInfo,
    /// Nobody listens on port 0.
    #[error("the URL's port should be from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_becomes_the_address() {
        for spelling in [
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "①②⑦.0.0.1",
        ] {
            let target = Target::parse(&format!("http://{spelling}:8080/x")).expect(spelling);
            assert_eq!(target.uri.host(), Some("127.0.0.1"), "{spelling}");
        }
        let mapped = Target::parse("http://[::ffff:127.0.0.1]/").expect("a URL");
        assert_eq!(mapped.uri.host(), Some("[::ffff:7f00:1]"));
    }

    #[test]
    fn what_is_sent_has_no_fragment_and_keeps_path_and_query() {
        let target = Target::parse("https://Receiver.example:443/a b?c=d|e&f=%2f#secret").expect("a URL");
        assert_eq!(target.uri.to_string(), "https://receiver.example/a%20b?c=d|e&f=%2f");
    }

    #[test]
    fn one_receiver_has_one_authority_however_it_is_written() {
        for spelling in [
            "http://receiver.example/a",
            "http://receiver.example./b",
            "http://RECEIVER.example:80/",
            "http://receiver%2eexample.:80?c",
        ] {
            assert_eq!(
                Target::parse(spelling).expect(spelling).authority(),
                "receiver.example:80",
                "{spelling}"
            );
        }
    }

    #[test]
    fn nothing_but_a_plain_web_address_is_taken() {
        use TargetError::{Malformed, Port, Scheme, UserInfo};
        for (text, error) in [
            ("", Malformed),
            ("receiver.example/hook", Malformed),
            ("http://", Malformed),
            ("http://a b/", Malformed),
            ("http://a:65536/", Malformed),
            ("http://[::1%25lo]/", Malformed),
            ("http://127.0.0.1%00.example/", Malformed),
            ("file:///etc/passwd", Scheme),
            ("gopher://a/", Scheme),
            ("javascript:alert(1)", Scheme),
            ("ws://a/", Scheme),
            ("http://public@127.0.0.1/", UserInfo),
            ("http://:secret@127.0.0.1/", UserInfo),
            ("http://a:0/", Port),
        ] {
            assert_eq!(Target::parse(text).map(|target| target.url), Err(error), "{text}");
        }
    }
}
