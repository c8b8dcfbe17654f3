//! One verb at one path, as the contract has it.

use std::borrow::Cow;

use axum::routing::MethodFilter;
use schemars::JsonSchema;

use super::shape::Shape;

/// A verb that is served; HEAD goes with GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }

    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// What is sent or answered, and as what.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) shape: Shape,
}

/// A body that a request has, or may have.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) contents: Vec<Content>,
    pub(super) is_required: bool,
}

/// An answer that is no refusal.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None` for no body.
    pub(super) content: Option<Content>,
}

/// What the contract says of one verb at one path. What follows from the path (who may ask, in which form it is refused)
/// is not said again.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(super) verb: Verb,
    /// As the router has it: `{*name}` takes the rest of a path.
    pub(super) path: Cow<'static, str>,
    /// Another spelling that is served as well.
    pub(super) also: Option<String>,
    pub(super) summary: &'static str,
    pub(super) queries: Vec<Shape>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) refusals: Vec<u16>,
}

const JSON: &str = "application/json";

impl Operation {
    pub(crate) fn get(path: impl Into<Cow<'static, str>>, summary: &'static str) -> Self {
        Self::new(Verb::Get, path.into(), summary)
    }

    pub(crate) fn post(path: impl Into<Cow<'static, str>>, summary: &'static str) -> Self {
        Self::new(Verb::Post, path.into(), summary)
    }

    pub(crate) fn put(path: impl Into<Cow<'static, str>>, summary: &'static str) -> Self {
        Self::new(Verb::Put, path.into(), summary)
    }

    pub(crate) fn delete(path: impl Into<Cow<'static, str>>, summary: &'static str) -> Self {
        Self::new(Verb::Delete, path.into(), summary)
    }

    fn new(verb: Verb, path: Cow<'static, str>, summary: &'static str) -> Self {
        Self {
            verb,
            path,
            also: None,
            summary,
            queries: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Is served with a slash at its end as well: producers that follow a redirect lose their body.
    #[must_use]
    pub(crate) fn or_with_slash(mut self) -> Self {
        self.also = Some(format!("{}/", self.path));
        self
    }

    /// Reads the members of `T` from the query.
    #[must_use]
    pub(crate) fn asks<T: JsonSchema>(mut self) -> Self {
        self.queries.push(Shape::of_members::<T>());
        self
    }

    /// Takes a body of JSON.
    #[must_use]
    pub(crate) fn takes<T: JsonSchema>(self) -> Self {
        self.takes_as::<T>(JSON)
    }

    /// Takes a body of JSON, and does without.
    #[must_use]
    pub(crate) fn may_take<T: JsonSchema>(mut self) -> Self {
        let content = Content { media_type: JSON, shape: Shape::of::<T>() };
        self.body = Some(Body { contents: vec![content], is_required: false });
        self
    }

    /// Takes a body of another media type, beside those that were named before.
    #[must_use]
    pub(crate) fn takes_as<T: JsonSchema>(mut self, media_type: &'static str) -> Self {
        let body = self.body.get_or_insert(Body { contents: Vec::new(), is_required: true });
        body.contents.push(Content { media_type, shape: Shape::of::<T>() });
        self
    }

    /// Answers with JSON.
    #[must_use]
    pub(crate) fn answers<T: JsonSchema>(self, status: u16) -> Self {
        self.answers_as::<T>(status, JSON)
    }

    /// Answers with a body of that media type.
    #[must_use]
    pub(crate) fn answers_as<T: JsonSchema>(mut self, status: u16, media_type: &'static str) -> Self {
        let content = Some(Content { media_type, shape: Shape::of::<T>() });
        self.answers.push(Answer { status, content });
        self
    }

    /// Answers without a body.
    #[must_use]
    pub(crate) fn answers_nothing(mut self, status: u16) -> Self {
        self.answers.push(Answer { status, content: None });
        self
    }

    /// Refuses with these, beside what any request of its kind can be refused with: see `refusals` in `openapi`.
    #[must_use]
    pub(crate) fn refuses<const N: usize>(mut self, statuses: [u16; N]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// The path as a template of the contract.
    pub(super) fn template(&self) -> String {
        self.path.replace("{*", "{")
    }
}
