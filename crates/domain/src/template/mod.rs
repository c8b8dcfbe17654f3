//! Quay's webhook templates: a JSON document whose strings hold `${path}`.
//!
//! A string, a member's name among them, that is nothing but one `${path}` becomes what the path
//! finds, with its type: nothing is null, several are an array. Within a longer string it becomes text: `(none)` for
//! nothing and null, elements joined with `,` for an array of several, and otherwise what
//! Python's `str()` shows. There is no escape for `${`. Whatever is put in is written as JSON only
//! afterwards, so no value can break the document.
//!
//! Two things differ from Quay, both where Quay fails at sending: elements that are no strings
//! are joined as text (`t 1,2`), and a path into something that has no inside finds nothing.

mod json_error;
mod lexer;
mod path;

use serde_json::{Map, Value};

pub(crate) use path::Path;

use crate::python;

/// Longest template, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Longest template of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// Most values visited to fill one template: some tenths of a second, and twice as many as
/// the largest event can hold.
const MAX_STEPS: usize = 500_000;

/// Largest result, in bytes of its texts before they are escaped.
const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// A webhook's body as its owner wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    root: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Plain(Value),
    Text(Text),
    Array(Vec<Node>),
    Object(Vec<(Text, Node)>),
}

/// A string of the template.
#[derive(Debug, Clone, PartialEq)]
enum Text {
    /// Nothing but one expression.
    Whole { expression: String, path: Path },
    /// Text with expressions in it, or none.
    Inline(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
}

impl Template {
    /// Reads a template: a JSON document, in at most 64 KiB.
    ///
    /// # Errors
    ///
    /// With Quay's messages: when it is not JSON, or an expression is empty or not understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TemplateError::NotJson(format!("it is longer than {MAX_TEXT_BYTES} bytes")));
        }
        let document: Value = serde_json::from_str(text).map_err(|error| {
            TemplateError::NotJson(json_error::explain(text).unwrap_or(error.to_string()))
        })?;
        let template = Self { root: Node::read(document)? };
        template.apply(&Value::Object(Map::new()))?;
        Ok(template)
    }

    /// Fills it from `payload`.
    ///
    /// # Errors
    ///
    /// When a member's name would be an array or an object, or the result would take more than
    /// 500 000 steps or a mebibyte.
    pub fn apply(&self, payload: &Value) -> Result<Value, TemplateError> {
        self.root.fill(payload, &mut Budget { steps: MAX_STEPS, bytes: MAX_RESULT_BYTES })
    }
}

impl Node {
    fn read(document: Value) -> Result<Self, TemplateError> {
        Ok(match document {
            Value::String(text) => Self::Text(Text::read(&text)?),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::read).collect::<Result<_, _>>()?),
            Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, member)| Ok((Text::read(&name)?, Self::read(member)?)))
                    .collect::<Result<_, TemplateError>>()?,
            ),
            plain => Self::Plain(plain),
        })
    }

    fn fill(&self, payload: &Value, budget: &mut Budget) -> Result<Value, TemplateError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(text) => text.fill(payload, budget)?,
            Self::Array(items) => {
                Value::Array(items.iter().map(|item| item.fill(payload, budget)).collect::<Result<_, _>>()?)
            }
            Self::Object(members) => {
                let mut filled = Map::new();
                for (name, member) in members {
                    let name = name.fill_name(payload, budget)?;
                    filled.insert(name, member.fill(payload, budget)?);
                }
                Value::Object(filled)
            }
        })
    }
}

impl Text {
    fn read(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, expression, after)) = next_expression(rest) {
            let path = read_path(expression)?;
            if before.is_empty() && after.is_empty() && parts.is_empty() {
                return Ok(Self::Whole { expression: expression.to_owned(), path });
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Path(path));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self::Inline(parts))
    }

    fn fill(&self, payload: &Value, budget: &mut Budget) -> Result<Value, TemplateError> {
        match self {
            Self::Whole { path, .. } => budget.value(path, payload),
            Self::Inline(parts) => {
                let mut text = String::new();
                for part in parts {
                    let piece = match part {
                        Part::Text(piece) => piece.clone(),
                        Part::Path(path) => inline(&budget.value(path, payload)?),
                    };
                    budget.write(piece.len())?;
                    text.push_str(&piece);
                }
                Ok(Value::String(text))
            }
        }
    }

    /// A member's name: scalars as Python's `json.dumps` writes them there.
    fn fill_name(&self, payload: &Value, budget: &mut Budget) -> Result<String, TemplateError> {
        match (self.fill(payload, budget)?, self) {
            (Value::String(name), _) => Ok(name),
            (Value::Array(_) | Value::Object(_), Self::Whole { expression, .. }) => {
                Err(TemplateError::NotAName { expression: expression.clone() })
            }
            (scalar, _) => Ok(python::to_json(&scalar)),
        }
    }
}

/// A text of its owner's with `${path}` in it, for mails and chat messages: like a string inside a
/// [`Template`], but the result is always text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextTemplate {
    parts: Vec<Part>,
}

impl TextTemplate {
    /// Reads a template of at most 4 KiB.
    ///
    /// # Errors
    ///
    /// With Quay's messages, when an expression is empty or not understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let parts = match Text::read(text)? {
            Text::Whole { path, .. } => vec![Part::Path(path)],
            Text::Inline(parts) => parts,
        };
        Ok(Self { parts })
    }

    /// Fills it from `document`. What is put in passes through `escape`; the owner's own text does
    /// not, so that it can hold markup.
    ///
    /// # Errors
    ///
    /// When the result would take more than 500 000 steps or a mebibyte.
    pub fn apply(
        &self,
        document: &Value,
        mut escape: impl FnMut(&str) -> String,
    ) -> Result<String, TemplateError> {
        let mut budget = Budget { steps: MAX_STEPS, bytes: MAX_RESULT_BYTES };
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Path(path) => filled.push_str(&escape(&inline(&budget.value(path, document)?))),
            }
        }
        Ok(filled)
    }

    /// What the owner wrote around that which is put in.
    pub(crate) fn own_text(&self) -> String {
        let own = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Path(_) => None,
        });
        own.collect()
    }

    /// How often something is put in.
    pub(crate) fn expressions(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Path(_))).count()
    }
}

/// Splits at the first `${...}`: what stands before, within and after.
fn next_expression(text: &str) -> Option<(&str, &str, &str)> {
    let (before, opened) = text.split_once("${")?;
    let (expression, after) = opened.split_once('}')?;
    Some((before, expression, after))
}

fn read_path(expression: &str) -> Result<Path, TemplateError> {
    if expression.is_empty() {
        return Err(TemplateError::EmptyExpression);
    }
    Path::parse(expression).map_err(|error| TemplateError::Expression {
        expression: expression.chars().take(200).collect(),
        problem: error.to_string(),
    })
}

/// A value within a text.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::Array(items) if items.len() > 1 => items.iter().map(python::str).collect::<Vec<_>>().join(","),
        other => python::str(other),
    }
}

/// What filling a template may cost. No template can take more, whatever it says.
pub(crate) struct Budget {
    steps: usize,
    bytes: usize,
}

/// A budget is spent.
#[derive(Debug)]
pub(crate) struct TooMuch;

impl From<TooMuch> for TemplateError {
    fn from(_: TooMuch) -> Self {
        Self::TooMuch
    }
}

impl Budget {
    /// For one path that is only looked at, as in a filter.
    pub(crate) fn for_one_path() -> Self {
        Self { steps: MAX_STEPS, bytes: 0 }
    }

    pub(crate) fn step(&mut self) -> Result<(), TooMuch> {
        self.steps = self.steps.checked_sub(1).ok_or(TooMuch)?;
        Ok(())
    }

    fn write(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    }

    /// What `path` finds: null for nothing, the one value, or an array of several.
    fn value(&mut self, path: &Path, payload: &Value) -> Result<Value, TemplateError> {
        let found = path.find(payload, self)?;
        for value in &found {
            self.write(weight(value))?;
        }
        Ok(match found.as_slice() {
            [] => Value::Null,
            [one] => (*one).clone(),
            several => several.iter().map(|value| (*value).clone()).collect(),
        })
    }
}

/// About how many bytes a value takes when it is written.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| weight(item) + 2).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, member)| name.len() + weight(member) + 6).sum::<usize>()
        }
        _ => 5,
    }
}

/// Why a template will not do. The texts are Quay's where Quay has any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not JSON, with Python's explanation, or too long.
    #[error("Could not parse template: {0}")]
    NotJson(String),
    /// `${}`.
    #[error("Empty expression found")]
    EmptyExpression,
    /// An expression that is not understood.
    #[error("For expression `{expression}`: {problem}")]
    Expression {
        /// What stands between the braces.
        expression: String,
        /// The parser's message.
        problem: String,
    },
    /// A member's name that is an array or an object in this payload.
    #[error("`${{{expression}}}` is no text in this payload, so it can't name a member")]
    NotAName {
        /// What stands between the braces.
        expression: String,
    },
    /// A message's template of more than 4 KiB.
    #[error("the text is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// Filling it costs more than any message is worth.
    #[error(
        "the template makes too much of this payload: at most {MAX_RESULT_BYTES} bytes in {MAX_STEPS} steps"
    )]
    TooMuch,
}
