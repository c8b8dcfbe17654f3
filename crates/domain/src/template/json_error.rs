//! What Python's `json.loads` says of a text that is not JSON (the wording of Python 3.5 to 3.12),
//! because Quay's API answers so.

/// Deepest nesting that is explained; `serde_json` stops at 128 too.
const MAX_DEPTH: usize = 128;

/// Python's message for the first fault. `None` where Python finds none or the text is nested
/// too deep: it takes `NaN` and halves of letters, which are not JSON.
pub(super) fn explain(text: &str) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let fault = Scanner { letters: &letters }.document()?;
    let before = letters.get(..fault.place).unwrap_or_default();
    let line = 1 + before.iter().filter(|letter| **letter == '\n').count();
    let column = 1 + before.iter().rev().take_while(|letter| **letter != '\n').count();
    Some(format!("{}: line {line} column {column} (char {})", fault.problem, fault.place))
}

struct Fault {
    problem: &'static str,
    place: usize,
}

/// Where reading stopped: behind a value, at a fault, or, `Err(None)`, too deep to say.
type Scan = Result<usize, Option<Fault>>;

fn fault(problem: &'static str, place: usize) -> Scan {
    Err(Some(Fault { problem, place }))
}

struct Scanner<'a> {
    letters: &'a [char],
}

impl Scanner<'_> {
    fn document(&self) -> Option<Fault> {
        if self.at(0) == Some('\u{feff}') {
            return Some(Fault { problem: "Unexpected UTF-8 BOM (decode using utf-8-sig)", place: 0 });
        }
        match self.value(self.skip(0), 0) {
            Ok(end) => {
                let end = self.skip(end);
                (end < self.letters.len()).then_some(Fault { problem: "Extra data", place: end })
            }
            Err(fault) => fault,
        }
    }

    fn at(&self, place: usize) -> Option<char> {
        self.letters.get(place).copied()
    }

    /// Behind any white space.
    fn skip(&self, place: usize) -> usize {
        let rest = self.letters.get(place..).unwrap_or_default();
        place + rest.iter().take_while(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r')).count()
    }

    fn value(&self, place: usize, depth: usize) -> Scan {
        if depth > MAX_DEPTH {
            return Err(None);
        }
        match self.at(place) {
            Some('"') => self.string(place),
            Some('{') => self.object(place + 1, depth + 1),
            Some('[') => self.array(place + 1, depth + 1),
            _ => self
                .word(place)
                .or_else(|| self.number(place))
                .map_or_else(|| fault("Expecting value", place), Ok),
        }
    }

    fn word(&self, place: usize) -> Option<usize> {
        let rest = self.letters.get(place..)?;
        ["null", "true", "false", "NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| rest.len() >= word.len() && word.chars().eq(rest.iter().copied().take(word.len())))
            .map(|word| place + word.len())
    }

    fn number(&self, start: usize) -> Option<usize> {
        let whole = start + usize::from(self.at(start) == Some('-'));
        let mut end = match self.at(whole)? {
            '0' => whole + 1,
            '1'..='9' => self.digits(whole),
            _ => return None,
        };
        if self.at(end) == Some('.') && self.digits(end + 1) > end + 1 {
            end = self.digits(end + 1);
        }
        if matches!(self.at(end), Some('e' | 'E')) {
            let digits = end + 1 + usize::from(matches!(self.at(end + 1), Some('+' | '-')));
            if self.digits(digits) > digits {
                end = self.digits(digits);
            }
        }
        Some(end)
    }

    fn digits(&self, place: usize) -> usize {
        let rest = self.letters.get(place..).unwrap_or_default();
        place + rest.iter().take_while(|letter| letter.is_ascii_digit()).count()
    }

    fn string(&self, start: usize) -> Scan {
        let mut place = start + 1;
        loop {
            match (self.at(place), self.at(place + 1)) {
                (None, _) | (Some('\\'), None) => return fault("Unterminated string starting at", start),
                (Some('"'), _) => return Ok(place + 1),
                (Some('\\'), Some('u')) => {
                    let digits = self.letters.get(place + 2..place + 6).unwrap_or_default();
                    let whole = digits.len() == 4 && digits.iter().all(char::is_ascii_hexdigit);
                    if !whole || self.at(place + 6).is_none() {
                        return fault("Invalid \\uXXXX escape", place + 1);
                    }
                    place += 6;
                }
                (Some('\\'), Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => place += 2,
                (Some('\\'), Some(_)) => return fault("Invalid \\escape", place),
                (Some('\0'..='\u{1f}'), _) => return fault("Invalid control character at", place),
                (Some(_), _) => place += 1,
            }
        }
    }

    fn array(&self, start: usize, depth: usize) -> Scan {
        let mut place = self.skip(start);
        if self.at(place) == Some(']') {
            return Ok(place + 1);
        }
        loop {
            place = self.skip(self.value(place, depth)?);
            match self.at(place) {
                Some(']') => return Ok(place + 1),
                Some(',') => place = self.skip(place + 1),
                _ => return fault("Expecting ',' delimiter", place),
            }
        }
    }

    fn object(&self, start: usize, depth: usize) -> Scan {
        let mut place = self.skip(start);
        if self.at(place) == Some('}') {
            return Ok(place + 1);
        }
        loop {
            if self.at(place) != Some('"') {
                return fault("Expecting property name enclosed in double quotes", place);
            }
            place = self.skip(self.string(place)?);
            if self.at(place) != Some(':') {
                return fault("Expecting ':' delimiter", place);
            }
            place = self.skip(self.value(self.skip(place + 1), depth)?);
            match self.at(place) {
                Some('}') => return Ok(place + 1),
                Some(',') => place = self.skip(place + 1),
                _ => return fault("Expecting ',' delimiter", place),
            }
        }
    }
}
