//! JSON and text as Python writes them, because Quay does: receivers that compare bytes, and
//! templates that print a value within a text, see what they saw before.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

/// Writes `value` as `json.dumps` does: `", "` and `": "` between, everything outside
/// printable ASCII as `\uXXXX`, members in their order.
pub(crate) fn to_json(value: &Value) -> String {
    let mut text = String::with_capacity(256);
    write_json(&mut text, value);
    text
}

fn write_json(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(yes) => text.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number_text(number)),
        Value::String(string) => write_json_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index);
                write_json(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                separate(text, index);
                write_json_string(text, name);
                text.push_str(": ");
                write_json(text, member);
            }
            text.push('}');
        }
    }
}

fn separate(text: &mut String, index: usize) {
    if index > 0 {
        text.push_str(", ");
    }
}

fn write_json_string(text: &mut String, string: &str) {
    text.push('"');
    let mut rest = string;
    while let Some(plain) = rest.bytes().position(|byte| !stands_as_it_is(byte)) {
        text.push_str(&rest[..plain]);
        let mut letters = rest[plain..].chars();
        if let Some(letter) = letters.next() {
            write_escaped(text, letter);
        }
        rest = letters.as_str();
    }
    text.push_str(rest);
    text.push('"');
}

/// How many bytes [`to_json`] takes for a letter within a string.
pub(crate) fn json_bytes(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        ' '..='~' => 1,
        _ => 6 * letter.len_utf16(),
    }
}

fn stands_as_it_is(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn write_escaped(text: &mut String, letter: char) {
    match letter {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        _ => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
}

/// What `str()` gives: a string as it is, everything else as `repr()` shows it.
pub(crate) fn str(value: &Value) -> String {
    if let Value::String(string) = value {
        return string.clone();
    }
    let mut text = String::new();
    write_repr(&mut text, value);
    text
}

fn write_repr(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(yes) => text.push_str(if *yes { "True" } else { "False" }),
        Value::Number(number) => text.push_str(&number_text(number)),
        Value::String(string) => write_repr_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index);
                write_repr(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => write_repr_object(text, members),
    }
}

fn write_repr_object(text: &mut String, members: &Map<String, Value>) {
    text.push('{');
    for (index, (name, member)) in members.iter().enumerate() {
        separate(text, index);
        write_repr_string(text, name);
        text.push_str(": ");
        write_repr(text, member);
    }
    text.push('}');
}

/// `repr()` of a string: single quotes, unless it holds one and no double quote. Letters outside
/// ASCII stand as they are, except those that have no shape.
fn write_repr_string(text: &mut String, string: &str) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for letter in string.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if letter == quote => {
                text.push('\\');
                text.push(letter);
            }
            _ if is_printable(letter) => text.push(letter),
            _ => {
                let code = u32::from(letter);
                let _ = match code {
                    0..=0xff => write!(text, "\\x{code:02x}"),
                    0x100..=0xffff => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
        }
    }
    text.push(quote);
}

/// Python's `str.isprintable`, but for rare unassigned code points, which are shown as they are.
fn is_printable(letter: char) -> bool {
    letter == ' '
        || !(letter.is_control()
            || letter.is_whitespace()
            || matches!(letter,
                '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
                | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{10ffff}'))
}

/// A number as Python prints it: whole numbers plain, floats as [`float_text`].
fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    }
}

/// `repr()` of a float: the fewest digits that read back the same; with an exponent of at least
/// two digits below 1e-4 and from 1e16 on; always with a `.0` or an exponent.
fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{float}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_spaced_and_escaped_as_python_does() {
        let value = json!({"b": [1, 2.0, null], "a": "é😀\u{7f}\u{8}\u{c}\n\r\t\"\\/\u{1}", "": {}, "e": []});
        // python3: json.dumps({"b": [1, 2.0, None], "a": "é😀\x7f\x08\x0c\n\r\t\"\\/\x01", "": {}, "e": []})
        assert_eq!(
            to_json(&value),
            r#"{"b": [1, 2.0, null], "a": "\u00e9\ud83d\ude00\u007f\b\f\n\r\t\"\\/\u0001", "": {}, "e": []}"#
        );
    }

    #[test]
    fn a_value_is_shown_as_python_shows_it() {
        let rows = [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!(false), "False"),
            (json!("as it is"), "as it is"),
            (json!(["only"]), "['only']"),
            (json!({"k": "v", "n": [1, null, {"x": 1.5}]}), "{'k': 'v', 'n': [1, None, {'x': 1.5}]}"),
            (json!(["it's"]), "[\"it's\"]"),
            (json!(["it's \"so\""]), r#"['it\'s "so"']"#),
            (json!(["\"q\""]), "['\"q\"']"),
            (json!(["a\nb\\c\u{1}\u{7f}"]), r"['a\nb\\c\x01\x7f']"),
            (json!(["é😀\u{a0}\u{200b}\u{e0001}"]), r"['é😀\xa0\u200b\U000e0001']"),
            (json!([]), "[]"),
            (json!({}), "{}"),
        ];
        for (value, shown) in rows {
            assert_eq!(str(&value), shown);
        }
    }

    #[test]
    fn floats_have_the_digits_that_python_gives_them() {
        let rows = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.234e-7, "1.234e-07"),
            (123_456_789.125, "123456789.125"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (5e-324, "5e-324"),
        ];
        for (float, shown) in rows {
            assert_eq!(float_text(float), shown);
        }
    }
}
