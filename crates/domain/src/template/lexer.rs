//! The words of a path expression, cut as jsonpath-rw 1.4.0 cuts them, with its messages.

use super::path::PathError;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    /// From 1.
    line: usize,
    /// From the last line feed; a quoted word's is that of its closing quote.
    column: usize,
    /// From the expression's start, likewise.
    pub(super) place: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// A field's name, bare or quoted.
    Name(String),
    Number(i64),
    /// In backquotes: `this`, `parent`.
    Operator(String),
    Where,
    DoubleDot,
    /// One of `*.[]()$,:|&`.
    Sign(char),
}

impl Token {
    /// The parser's message for a word that can't stand where it does.
    pub(super) fn unexpected(&self) -> PathError {
        let (value, name) = match &self.word {
            Word::Name(name) => (name.clone(), "ID".to_owned()),
            Word::Number(number) => (number.to_string(), "NUMBER".to_owned()),
            Word::Operator(name) => (name.clone(), "NAMED_OPERATOR".to_owned()),
            Word::Where => ("where".to_owned(), "WHERE".to_owned()),
            Word::DoubleDot => ("..".to_owned(), "DOUBLEDOT".to_owned()),
            Word::Sign(sign) => (sign.to_string(), sign.to_string()),
        };
        let (line, column) = (self.line, self.column);
        PathError::new(format!("Parse error at {line}:{column} near token {value} ({name})"))
    }

    pub(super) fn unknown_operator(&self, name: &str) -> PathError {
        PathError::new(format!("Unknown named operator `{name}` at {}:{}", self.line, self.place))
    }
}

/// Cuts words one at a time, so that a grammatical fault is found before a strange letter behind it.
pub(super) struct Lexer {
    letters: Vec<char>,
    place: usize,
    line: usize,
    latest_newline: usize,
}

impl Lexer {
    pub(super) fn new(expression: &str) -> Self {
        Self { letters: expression.chars().collect(), place: 0, line: 1, latest_newline: 0 }
    }

    /// The next word; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token>, PathError> {
        while let Some(letter) = self.peek(0) {
            match letter {
                ' ' | '\t' => self.place += 1,
                '\n' => {
                    self.line += 1;
                    self.latest_newline = self.place;
                    self.place += 1;
                }
                _ => return self.word(letter).map(Some),
            }
        }
        Ok(None)
    }

    fn word(&mut self, first: char) -> Result<Token, PathError> {
        let start = self.place;
        let word = match first {
            'a'..='z' | 'A'..='Z' | '_' | '@' => {
                let name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '-'));
                if name == "where" { Word::Where } else { Word::Name(name) }
            }
            '0'..='9' => self.number(),
            '-' if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '\'' => {
                return self
                    .quoted('\'', "singlequoted field")
                    .map(|(text, at)| self.at(Word::Name(text), at));
            }
            '"' => {
                return self
                    .quoted('"', "doublequoted field")
                    .map(|(text, at)| self.at(Word::Name(text), at));
            }
            '`' => {
                return self
                    .quoted('`', "backquoted operator")
                    .map(|(text, at)| self.at(Word::Operator(text), at));
            }
            '.' if self.peek(1) == Some('.') => {
                self.place += 2;
                Word::DoubleDot
            }
            '*' | '.' | '[' | ']' | '(' | ')' | '$' | ',' | ':' | '|' | '&' => {
                self.place += 1;
                Word::Sign(first)
            }
            _ => return Err(self.strange("", first)),
        };
        Ok(self.at(word, start))
    }

    fn at(&self, word: Word, place: usize) -> Token {
        Token { word, line: self.line, column: place - self.latest_newline, place }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.place + ahead).copied()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let rest = self.letters.get(self.place..).unwrap_or_default();
        let taken: String = rest.iter().copied().take_while(|letter| fits(*letter)).collect();
        self.place += taken.chars().count();
        taken
    }

    /// A whole number; one too large for any array stands for the end of its range.
    fn number(&mut self) -> Word {
        let negative = self.peek(0) == Some('-');
        self.place += usize::from(negative);
        let digits = self.take_while(|c| c.is_ascii_digit());
        let size: i64 = digits.parse().unwrap_or(i64::MAX);
        Word::Number(if negative { -size } else { size })
    }

    /// What stands between two `quote`s, where a backslash takes the next letter as it is, and
    /// where the closing one stands.
    fn quoted(&mut self, quote: char, what: &str) -> Result<(String, usize), PathError> {
        self.place += 1;
        let mut text = String::new();
        while let Some(letter) = self.peek(0) {
            match (letter, self.peek(1)) {
                ('\\', None | Some('\n')) => {
                    return Err(self.strange(&format!(" while lexing {what}"), letter));
                }
                ('\\', Some(escaped)) => {
                    text.push(escaped);
                    self.place += 2;
                }
                (letter, _) => {
                    self.place += 1;
                    if letter == quote {
                        return Ok((text, self.place - 1));
                    }
                    text.push(letter);
                }
            }
        }
        Err(PathError::new("Unexpected EOF in string literal or identifier"))
    }

    fn strange(&self, during: &str, letter: char) -> PathError {
        let (line, column) = (self.line, self.place - self.latest_newline);
        PathError::new(format!("Error on line {line}, col {column}{during}: Unexpected character: {letter} "))
    }
}
