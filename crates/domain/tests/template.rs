//! Quay's template language: its table row by row, what jsonpath-rw and Python answer to the same
//! questions, and what no input may do.

use bellbuoy_domain::{Template, TemplateError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn payload() -> Value {
    json!({
        "repository": "a/b", "tags": ["x", "y"], "one": ["only"], "nums": [1, 2], "n": 5, "b": true, "nul": null,
        "o": {"k": "v", "k2": "v2"}, "nested": {"deep": {"id": 7}}, "a-b": "dash",
    })
}

fn fill(template: &Value) -> Result<Value, TemplateError> {
    Template::parse(&template.to_string())?.apply(&payload())
}

#[test]
fn every_row_of_quays_table_holds() {
    let rows = [
        (json!("${repository}"), json!("a/b")),
        (json!("${n}"), json!(5)),
        (json!("n=${n}"), json!("n=5")),
        (json!("${b}"), json!(true)),
        (json!("v=${b}"), json!("v=True")),
        (json!("${nul}"), json!(null)),
        (json!("v=${nul}"), json!("v=(none)")),
        (json!("${missing}"), json!(null)),
        (json!("a ${missing} b"), json!("a (none) b")),
        (json!("${tags}"), json!(["x", "y"])),
        (json!("${tags[*]}"), json!(["x", "y"])),
        (json!("t ${tags}"), json!("t x,y")),
        (json!("t ${tags[*]}"), json!("t x,y")),
        (json!("${one}"), json!(["only"])),
        (json!("${one[*]}"), json!("only")),
        (json!("t ${one}"), json!("t ['only']")),
        (json!("t ${one[*]}"), json!("t only")),
        // Quay fails here at sending; we join the numbers' texts.
        (json!("t ${nums[*]}"), json!("t 1,2")),
        (json!("v=${o}"), json!("v={'k': 'v', 'k2': 'v2'}")),
        (json!("${o.*}"), json!(["v", "v2"])),
        (json!("${tags[0]}"), json!("x")),
        (json!("${tags[-1]}"), json!("y")),
        (json!("${tags[0:1]}"), json!("x")),
        (json!("${tags[9]}"), json!(null)),
        (json!("${$.repository}"), json!("a/b")),
        (json!("${ repository }"), json!("a/b")),
        (json!("${$..id}"), json!(7)),
        (json!("${a-b}"), json!("dash")),
        (json!("${'a-b'}"), json!("dash")),
        (json!("$${repository}"), json!("$a/b")),
        (json!("${o.k}|${o.k2}"), json!("v|v2")),
        (json!("${repository}${n}"), json!("a/b5")),
        (json!({"${repository}": 1}), json!({"a/b": 1})),
        (json!({"${n}": 1}), json!({"5": 1})),
        (json!({"${missing}": 1}), json!({"null": 1})),
    ];
    for (template, filled) in rows {
        assert_eq!(fill(&template), Ok(filled), "{template}");
    }
}

#[test]
fn what_is_no_expression_stays_as_it_is() {
    for plain in [
        json!(null),
        json!(1.5),
        json!([true, {"x": ["a ${ b", "$", "${", "{n}", "$n"]}]),
        json!(""),
        json!({}),
    ] {
        assert_eq!(fill(&plain), Ok(plain));
    }
    assert_eq!(fill(&json!("\\${n}")), Ok(json!("\\5")), "a backslash has no meaning");
}

#[test]
fn a_name_is_text_or_a_scalar() {
    assert_eq!(fill(&json!({"a ${n}": 1, "${b}": 2})), Ok(json!({"a 5": 1, "true": 2})));
    assert_eq!(
        fill(&json!({"${tags}": 1})),
        Err(TemplateError::NotAName { expression: "tags".to_owned() }),
        "Quay fails here too"
    );
}

#[test]
fn members_keep_the_templates_order() {
    let template = Template::parse(r#"{"z": 1, "${n}": 2, "a": "${o}"}"#).expect("a template");
    let filled = template.apply(&payload()).expect("fits");
    assert_eq!(filled.to_string(), r#"{"z":1,"5":2,"a":{"k":"v","k2":"v2"}}"#);
}

#[test]
fn a_fault_is_told_in_quays_words() {
    let rows = [
        ("nope", "Could not parse template: Expecting value: line 1 column 1 (char 0)"),
        (r#""${}""#, "Empty expression found"),
        (r#"{"a": ["x ${} y"]}"#, "Empty expression found"),
        (r#""${;;}""#, "For expression `;;`: Error on line 1, col 0: Unexpected character: ; "),
        (r#"{"${a b}": 1}"#, "For expression `a b`: Parse error at 1:2 near token b (ID)"),
        (r#""${a.}""#, "For expression `a.`: Parse error at the end: the expression is not complete"),
        (r#""${a & b}""#, "For expression `a & b`: the operator `&` has no meaning; use `where`"),
    ];
    for (template, message) in rows {
        assert_eq!(Template::parse(template).expect_err(template).to_string(), message);
    }
}

/// `template-oracle.jsonl`: what jsonpath-rw 1.4.0 and Python 3.11 answered.
fn oracle() -> impl Iterator<Item = Value> {
    include_str!("data/template-oracle.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON"))
}

#[test]
fn a_path_finds_what_jsonpath_rw_finds() {
    let mut document = Value::Null;
    let mut asked = 0;
    for row in oracle() {
        if let Some(given) = row.get("document") {
            document = given.clone();
        }
        let (Some(expression), Some(found)) = (row["expression"].as_str(), row["found"].as_array()) else {
            continue;
        };
        let expected = match found.as_slice() {
            [] => Value::Null,
            [one] => one.clone(),
            several => json!(several),
        };
        let template = Template::parse(&json!(format!("${{{expression}}}")).to_string());
        let answer = template.and_then(|template| template.apply(&document));
        assert_eq!(answer, Ok(expected), "{expression}");
        asked += 1;
    }
    assert!(asked > 100, "only {asked} expressions asked");
}

#[test]
fn a_faulty_path_is_told_as_jsonpath_rw_tells_it() {
    let mut asked = 0;
    for row in oracle().filter(|row| row.get("error").is_some()) {
        let expression = row["expression"].as_str().expect("text");
        let error = Template::parse(&json!(format!("${{{expression}}}")).to_string()).expect_err(expression);
        // At the end jsonpath-rw stumbles over its own message, so we have ours.
        let ours = "Parse error at the end: the expression is not complete";
        let problem = row["error"].as_str().unwrap_or(ours);
        assert_eq!(error.to_string(), format!("For expression `{expression}`: {problem}"));
        asked += 1;
    }
    assert!(asked > 60, "only {asked} expressions asked");
}

#[test]
fn a_text_that_is_no_json_is_explained_as_python_explains_it() {
    let mut asked = 0;
    for row in oracle() {
        let (Some(text), Some(explained)) = (row["text"].as_str(), row["explained"].as_str()) else {
            continue;
        };
        let error = Template::parse(text).expect_err(text).to_string();
        assert_eq!(error, format!("Could not parse template: {explained}"), "{text:?}");
        asked += 1;
    }
    assert!(asked > 50, "only {asked} texts asked");
}

#[test]
fn what_python_takes_for_json_but_is_none_is_refused() {
    for text in ["NaN", "[-Infinity]", r#""\ud800""#, &"[".repeat(100_000)] {
        let error = Template::parse(text).expect_err("no JSON").to_string();
        assert!(error.starts_with("Could not parse template: "), "{error}");
    }
}

#[test]
fn no_template_takes_more_than_its_budget() {
    let chain = (0..60).fold(Value::Null, |inner, _| json!({"in": inner}));
    let wide = json!({"a": vec![vec![0; 100]; 100], "chain": chain});
    for greedy in [
        "\"${$..`this`..`this`..`this`..`this`}\"".to_owned(),
        format!("\"${{{}}}\"", vec!["(*|*|*|*)"; 40].join(".")),
        format!("[{}\"\"]", "\"${$..*}\",".repeat(6000)),
    ] {
        let template = Template::parse(&greedy).expect("a template");
        assert_eq!(template.apply(&wide), Err(TemplateError::TooMuch), "{}", &greedy[..20]);
    }
}

#[test]
fn a_template_has_a_longest_length_and_a_deepest_nesting() {
    let parentheses = |count: usize| format!("\"${{{}a{}}}\"", "(".repeat(count), ")".repeat(count));
    assert!(Template::parse(&parentheses(32)).is_ok());
    assert!(Template::parse(&parentheses(33)).is_err());
    assert!(Template::parse(&format!("\"${{{}}}\"", "a".repeat(1024))).is_ok());
    assert!(Template::parse(&format!("\"${{{}}}\"", "a".repeat(1025))).is_err());
    let document = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert!(Template::parse(&document(64 * 1024)).is_ok());
    assert!(Template::parse(&document(64 * 1024 + 1)).is_err());
}

/// Texts that look like expressions more often than not.
fn expression() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "$",
        ".",
        "..",
        "*",
        "[",
        "]",
        "(",
        ")",
        ",",
        "|",
        "&",
        ":",
        "where",
        "'",
        "\"",
        "`",
        "`this`",
        "`parent`",
        "\\",
        "a",
        "tags",
        "o",
        "id",
        "0",
        "-1",
        "7",
        " ",
        "\n",
        "é",
        "9999999999999999999",
    ]);
    prop::collection::vec(words, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = Template::parse(&text);
        let _ = Template::parse(&json!(format!("${{{text}}}")).to_string());
    }

    #[test]
    fn no_expression_panics_and_whatever_is_put_in_the_result_is_json(
        expression in expression(),
        value in "\\PC*",
    ) {
        let text = json!({"a": format!("${{{expression}}}"), "b": format!("x ${{{expression}}}")}).to_string();
        let payload = json!({"a": value, "tags": [value, 1], "o": {"id": null}});
        if let Ok(filled) = Template::parse(&text).and_then(|template| template.apply(&payload)) {
            prop_assert!(serde_json::from_str::<Value>(&filled.to_string()).is_ok());
            prop_assert!(filled["b"].is_string());
        }
    }

    #[test]
    fn a_whole_value_keeps_its_type(n in any::<i64>(), text in "\\PC*", yes in any::<bool>()) {
        for value in [json!(n), json!(text), json!(yes), json!([n, text]), json!({"k": yes})] {
            let template = Template::parse("\"${it}\"").expect("a template");
            prop_assert_eq!(template.apply(&json!({"it": value.clone()})), Ok(value));
        }
    }
}
