//! No bytes of an outsider do harm: they are an event that is written and read back the same, or
//! an error that names what is wrong.

use bellbuoy_domain::{Event, Kind};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn a_number_keeps_its_last_digit() {
    // Read with fewer digits of care, the last of each becomes another.
    for number in
        ["1.0715660391465828e-75", "-9.402755478146093e-301", "8.533937189803003e+190", "0.1", "439"]
    {
        let text = format!(
            r#"{{"specversion":"1.0","id":"1","source":"s","type":"tag_pull","subject":"acme","data":{{"n":{number}}}}}"#
        );
        let event = Event::from_json(text.as_bytes(), Timestamp::UNIX_EPOCH).expect("an event");
        let exact: f64 = number.parse().expect("a number");
        assert_eq!(event.data["n"].as_f64().map(f64::to_bits), Some(exact.to_bits()), "{number}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Event::from_json(&bytes, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn an_event_with_any_member_replaced_is_read_back_the_same_or_refused(
        kind in prop::sample::select(Kind::ALL),
        attribute in prop::sample::select(vec![
            "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64",
            "traceparent", "extension",
        ]),
        wrong in any_json(),
    ) {
        let mut value = json!({
            "specversion": "1.0", "id": "1", "source": "registry.example.com", "type": kind, "subject": "acme",
            "data": {"updated_tags": ["v1"]},
        });
        value[attribute] = wrong;
        match Event::from_json(value.to_string().as_bytes(), Timestamp::UNIX_EPOCH) {
            Ok(event) => prop_assert_eq!(Event::from_json(&event.to_json(), Timestamp::UNIX_EPOCH), Ok(event)),
            Err(error) => prop_assert!(error.to_string().len() < 2000),
        }
    }

    #[test]
    fn any_data_is_taken_and_kept_or_refused_by_a_member_it_has(kind in prop::sample::select(Kind::ALL), data in any_json()) {
        let value = json!({
            "specversion": "1.0", "id": "1", "source": "registry.example.com", "type": kind, "subject": "acme",
            "data": data.clone(),
        });
        if let Ok(event) = Event::from_json(value.to_string().as_bytes(), Timestamp::UNIX_EPOCH) {
            prop_assert_eq!(Value::Object(event.data), if data.is_null() { json!({}) } else { data });
        }
    }
}
