//! Path expressions as Quay's templates have them: the language of jsonpath-rw 1.4.0.
//!
//! | Written | Means |
//! |---|---|
//! | `$` | the whole document |
//! | `name`, `'any name'` | that member |
//! | `*` | every member |
//! | `a,b` | these members |
//! | `[n]`, `[-1]` | that element |
//! | `[*]`, `[i:j]` | these elements; a value that is no array counts as an array of itself |
//! | `x.y`, `x..y` | `y` below each `x`; at any depth below |
//! | <code>x&#124;y</code> | both; binds tighter than `.` |
//! | `x where y` | each `x` that has a `y`; binds tightest |
//! | `` `this` ``, `` `parent` `` | where one stands; what it lies in |
//!
//! `&` is a word of the language that was never given a meaning, so it is refused.

use std::rc::Rc;

use serde_json::Value;

use super::{
    Budget, TooMuch,
    lexer::{Lexer, Token, Word},
};

/// Longest expression, in bytes. Bounds, with [`MAX_PARENTHESES`], how deep parsing and finding recurse.
const MAX_BYTES: usize = 1024;

/// Most parentheses within each other.
const MAX_PARENTHESES: usize = 32;

/// An expression, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Path {
    Root,
    This,
    Parent,
    /// A member called `*` stands for all.
    Fields(Vec<String>),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Child(Box<Path>, Box<Path>),
    Descendants(Box<Path>, Box<Path>),
    Union(Box<Path>, Box<Path>),
    Where(Box<Path>, Box<Path>),
}

/// Why an expression is not understood, in jsonpath-rw's words where it has any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PathError(String);

impl PathError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Path {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// When it is longer than 1024 bytes, nested deeper than 32 parentheses, or not of the grammar.
    pub(crate) fn parse(expression: &str) -> Result<Self, PathError> {
        if expression.len() > MAX_BYTES {
            return Err(PathError::new(format!("longer than {MAX_BYTES} bytes")));
        }
        let mut parser = Parser { lexer: Lexer::new(expression), ahead: None, parentheses: 0 };
        parser.advance()?;
        let path = parser.path(0)?;
        match parser.ahead {
            None => Ok(path),
            Some(token) => Err(token.unexpected()),
        }
    }

    /// What it matches in `document`, in the document's order.
    ///
    /// # Errors
    ///
    /// When it takes more steps than the budget holds.
    pub(crate) fn find<'a>(
        &self,
        document: &'a Value,
        budget: &mut Budget,
    ) -> Result<Vec<&'a Value>, TooMuch> {
        let found = self.find_from(&Place { value: document, parent: None }, budget)?;
        Ok(found.into_iter().map(|place| place.value).collect())
    }

    fn find_from<'a>(&self, place: &Place<'a>, budget: &mut Budget) -> Result<Vec<Place<'a>>, TooMuch> {
        budget.step()?;
        match self {
            Self::Root => Ok(vec![place.root()]),
            Self::This => Ok(vec![place.clone()]),
            Self::Parent => Ok(place.parent.as_deref().cloned().into_iter().collect()),
            Self::Fields(names) => place.fields(names, budget),
            Self::Index(index) => Ok(place.index(*index).into_iter().collect()),
            Self::Slice(start, end) => place.slice(*start, *end, budget),
            Self::Child(left, right) => {
                let mut found = Vec::new();
                for match_ in left.find_from(place, budget)? {
                    found.append(&mut right.find_from(&match_, budget)?);
                }
                Ok(found)
            }
            Self::Descendants(left, right) => {
                let mut found = Vec::new();
                for match_ in left.find_from(place, budget)? {
                    right.find_below(match_, &mut found, budget)?;
                }
                Ok(found)
            }
            Self::Union(left, right) => {
                let mut found = left.find_from(place, budget)?;
                found.append(&mut right.find_from(place, budget)?);
                Ok(found)
            }
            Self::Where(left, right) => {
                let mut found = left.find_from(place, budget)?;
                let mut kept = Vec::new();
                for match_ in found.drain(..) {
                    if !right.find_from(&match_, budget)?.is_empty() {
                        kept.push(match_);
                    }
                }
                Ok(kept)
            }
        }
    }

    /// Finds in `top` and in everything within it, each before what lies in it.
    fn find_below<'a>(
        &self,
        top: Place<'a>,
        found: &mut Vec<Place<'a>>,
        budget: &mut Budget,
    ) -> Result<(), TooMuch> {
        let mut waiting = vec![top];
        while let Some(place) = waiting.pop() {
            found.append(&mut self.find_from(&place, budget)?);
            let first = waiting.len();
            match place.value {
                Value::Array(items) => waiting.extend(place.within(items.iter(), budget)?),
                Value::Object(members) => waiting.extend(place.within(members.values(), budget)?),
                _ => {}
            }
            if let Some(children) = waiting.get_mut(first..) {
                children.reverse();
            }
        }
        Ok(())
    }
}

/// A value and what it lies in.
#[derive(Debug, Clone)]
struct Place<'a> {
    value: &'a Value,
    parent: Option<Rc<Place<'a>>>,
}

impl<'a> Place<'a> {
    fn root(&self) -> Self {
        let mut place = self;
        while let Some(parent) = &place.parent {
            place = parent;
        }
        place.clone()
    }

    fn within<I: Iterator<Item = &'a Value>>(
        &self,
        values: I,
        budget: &mut Budget,
    ) -> Result<Vec<Self>, TooMuch> {
        let parent = Rc::new(self.clone());
        values
            .map(|value| {
                budget.step()?;
                Ok(Self { value, parent: Some(Rc::clone(&parent)) })
            })
            .collect()
    }

    fn fields(&self, names: &[String], budget: &mut Budget) -> Result<Vec<Self>, TooMuch> {
        let Value::Object(members) = self.value else { return Ok(Vec::new()) };
        if names.iter().any(|name| name == "*") {
            self.within(members.values(), budget)
        } else {
            self.within(names.iter().filter_map(|name| members.get(name)), budget)
        }
    }

    /// An element by its number, from the end if negative. In a text that is no element: Python
    /// would count its letters, which nobody means.
    fn index(&self, index: i64) -> Option<Self> {
        let Value::Array(items) = self.value else { return None };
        let from_end = index < 0;
        let distance = usize::try_from(index.unsigned_abs()).ok()?;
        let index = if from_end { items.len().checked_sub(distance)? } else { distance };
        let value = items.get(index)?;
        Some(Self { value, parent: Some(Rc::new(self.clone())) })
    }

    fn slice(&self, start: Option<i64>, end: Option<i64>, budget: &mut Budget) -> Result<Vec<Self>, TooMuch> {
        let items = match self.value {
            Value::Array(items) => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let start = start.map_or(0, |start| bound(start, items.len()));
        let end = end.map_or(items.len(), |end| bound(end, items.len()));
        self.within(items.get(start..end).unwrap_or_default().iter(), budget)
    }
}

/// A slice's bound as Python reads it: from the end if negative, and never outside.
fn bound(bound: i64, length: usize) -> usize {
    let distance = usize::try_from(bound.unsigned_abs()).unwrap_or(usize::MAX);
    if bound < 0 { length.saturating_sub(distance) } else { distance.min(length) }
}

/// How tightly an operator binds; all group from the left. A bracket binds least of all, which
/// shows only behind `..`: `a..b[0]` is `(a..b)[0]`.
fn binding(word: &Word) -> Option<u8> {
    match word {
        Word::DoubleDot => Some(2),
        Word::Sign('.') => Some(3),
        Word::Sign('|') => Some(4),
        Word::Sign('&') => Some(5),
        Word::Where => Some(6),
        _ => None,
    }
}

struct Parser {
    lexer: Lexer,
    ahead: Option<Token>,
    parentheses: usize,
}

impl Parser {
    /// Steps to the next word and gives back the one before.
    fn advance(&mut self) -> Result<Option<Token>, PathError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    fn ahead_is(&self, sign: char) -> bool {
        matches!(&self.ahead, Some(Token { word: Word::Sign(ahead), .. }) if *ahead == sign)
    }

    fn expect(&mut self, sign: char) -> Result<(), PathError> {
        if self.ahead_is(sign) { self.advance().map(drop) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> PathError {
        match &self.ahead {
            Some(token) => token.unexpected(),
            None => PathError::new("Parse error at the end: the expression is not complete"),
        }
    }

    /// An expression of operators that bind tighter than `least`.
    fn path(&mut self, least: u8) -> Result<Path, PathError> {
        let mut left = self.operand()?;
        loop {
            if least == 0 && self.ahead_is('[') {
                left = Path::Child(Box::new(left), Box::new(self.bracket()?));
                continue;
            }
            let Some(token) = &self.ahead else { return Ok(left) };
            let Some(strength) = binding(&token.word).filter(|strength| *strength > least) else {
                return Ok(left);
            };
            let operator = token.word.clone();
            self.advance()?;
            let (left_side, right) = (Box::new(left), Box::new(self.path(strength)?));
            left = match operator {
                Word::DoubleDot => Path::Descendants(left_side, right),
                Word::Sign('|') => Path::Union(left_side, right),
                Word::Sign('&') => {
                    return Err(PathError::new("the operator `&` has no meaning; use `where`"));
                }
                Word::Where => Path::Where(left_side, right),
                _ => Path::Child(left_side, right),
            };
        }
    }

    fn operand(&mut self) -> Result<Path, PathError> {
        match self.ahead.as_ref().map(|token| &token.word) {
            Some(Word::Name(_)) => self.fields(),
            Some(Word::Operator(_)) => self.named_operator(),
            Some(Word::Sign('[')) => self.bracket(),
            Some(Word::Sign('(')) => self.parenthesis(),
            Some(Word::Sign('$')) => self.advance().map(|_| Path::Root),
            Some(Word::Sign('*')) => self.advance().map(|_| Path::Fields(vec!["*".to_owned()])),
            _ => Err(self.unexpected()),
        }
    }

    fn parenthesis(&mut self) -> Result<Path, PathError> {
        self.parentheses += 1;
        if self.parentheses > MAX_PARENTHESES {
            return Err(PathError::new(format!("nested deeper than {MAX_PARENTHESES} parentheses")));
        }
        self.expect('(')?;
        let path = self.path(0)?;
        self.expect(')')?;
        self.parentheses -= 1;
        Ok(path)
    }

    fn named_operator(&mut self) -> Result<Path, PathError> {
        let Some(token) = self.ahead.clone() else { return Err(self.unexpected()) };
        let path = match &token.word {
            Word::Operator(name) if name == "this" => Path::This,
            Word::Operator(name) if name == "parent" => Path::Parent,
            Word::Operator(name) => return Err(token.unknown_operator(name)),
            _ => return Err(token.unexpected()),
        };
        self.advance()?;
        Ok(path)
    }

    fn fields(&mut self) -> Result<Path, PathError> {
        let mut names = Vec::new();
        loop {
            match self.ahead.as_ref().map(|token| &token.word) {
                Some(Word::Name(name)) => names.push(name.clone()),
                _ => return Err(self.unexpected()),
            }
            self.advance()?;
            if !self.ahead_is(',') {
                return Ok(Path::Fields(names));
            }
            self.advance()?;
        }
    }

    fn bracket(&mut self) -> Result<Path, PathError> {
        self.expect('[')?;
        let inside = match self.ahead.as_ref().map(|token| &token.word) {
            Some(Word::Name(_)) => self.fields()?,
            Some(Word::Sign('*')) => {
                self.advance()?;
                Path::Slice(None, None)
            }
            _ => self.index_or_slice()?,
        };
        self.expect(']')?;
        Ok(inside)
    }

    fn index_or_slice(&mut self) -> Result<Path, PathError> {
        let start = self.number()?;
        match start {
            Some(index) if !self.ahead_is(':') => Ok(Path::Index(index)),
            _ => {
                self.expect(':')?;
                Ok(Path::Slice(start, self.number()?))
            }
        }
    }

    fn number(&mut self) -> Result<Option<i64>, PathError> {
        let Some(Token { word: Word::Number(number), .. }) = self.ahead else { return Ok(None) };
        self.advance()?;
        Ok(Some(number))
    }
}
