//! What a receiver can be told to answer.

use std::time::Duration;

use bytes::Bytes;

/// One answer, honest or not. The request has been read and recorded before, but where it says so.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer; the connection stays open for more.
    Whole(Reply),
    /// A whole answer that promises to keep the connection open, and then closes it.
    ThenClose(Reply),
    /// A whole answer, but not before [`super::Receiver::release`].
    OnRelease(Reply),
    /// A whole answer as soon as the head of the request is there, whose body is never recorded; then the connection is
    /// closed.
    Early(Reply),
    /// No answer: the connection is reset as soon as the head of the request is there.
    ResetEarly,
    /// `status` for about one request in `one_in`, otherwise an empty 200. Which ones depends on the
    /// seed and the request's place among all that this receiver got.
    FailSome {
        /// What the unlucky get.
        status: u16,
        /// How many share one failure.
        one_in: u64,
        /// Another seed picks others.
        seed: u64,
    },
    /// Nothing, with the connection open.
    Never,
    /// The head of a 200, a byte at a time.
    DripHead {
        /// The time between two bytes.
        every: Duration,
    },
    /// The head of a 200 at once, the body a byte at a time.
    DripBody {
        /// The time between two bytes.
        every: Duration,
    },
    /// A 200 and a body of 10 GB, as fast as it is taken: with its length announced, or chunked.
    Endless {
        /// Whether there is a `content-length`.
        announced: bool,
    },
    /// A 200 with this many headers.
    ManyHeaders(usize),
    /// A 200 with one header of this many bytes.
    LongHeader(usize),
    /// A 200 whose head has no end, as fast as it is taken.
    EndlessHead,
    /// No answer: the connection is closed.
    CloseUnanswered,
    /// No answer: the connection is reset.
    ResetUnanswered,
    /// Half a head, then the connection is closed.
    HalfHead,
    /// A 200 and half of its body, then the connection is closed.
    CloseMidBody,
    /// A 200 and half of its body, then the connection is reset.
    ResetMidBody,
    /// A 200 whose last chunk never comes, then the connection is closed.
    CloseMidChunks,
    /// These bytes, then the connection is closed.
    Raw(Bytes),
    /// These bytes, then nothing more, with the connection open.
    RawThenNever(Bytes),
}

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, beside `content-length`.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// An empty answer.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

impl Answer {
    /// An empty answer.
    pub fn status(status: u16) -> Self {
        Self::Whole(Reply::new(status))
    }

    /// An answer with text.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Whole(Reply { body: body.into(), ..Reply::new(status) })
    }

    /// A 302 that leads to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::status(302).with("location", location)
    }

    /// Bytes that need not be HTTP.
    pub fn raw(bytes: &'static [u8]) -> Self {
        Self::Raw(Bytes::from_static(bytes))
    }

    /// The same with one more header, where it has headers of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole(reply) | Self::ThenClose(reply) | Self::OnRelease(reply) | Self::Early(reply) =
            &mut self
        {
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Whether it does not wait for the body of the request.
    pub(super) fn is_early(&self) -> bool {
        matches!(self, Self::Early(_) | Self::ResetEarly)
    }

    /// The status that the request gets which came `place` requests after the first; `None` where the
    /// answer is no proper one.
    pub(super) fn status_at(&self, place: usize) -> Option<u16> {
        match self {
            Self::Whole(reply) | Self::ThenClose(reply) | Self::OnRelease(reply) | Self::Early(reply) => {
                Some(reply.status)
            }
            Self::FailSome { status, one_in, seed } => Some(Self::lot(*status, *one_in, *seed, place)),
            _ => None,
        }
    }

    /// The status that [`Self::FailSome`] has for the request that came `place` requests after the first.
    pub(super) fn lot(status: u16, one_in: u64, seed: u64, place: usize) -> u16 {
        if mixed(seed ^ place as u64).is_multiple_of(one_in.max(1)) { status } else { 200 }
    }
}

/// `SplitMix64`'s finalizer: turns neighbours into strangers.
fn mixed(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
