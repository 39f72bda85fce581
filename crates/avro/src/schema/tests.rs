use super::*;

fn canonical(text: &str) -> String {
    Schema::parse(text).unwrap().canonical().to_owned()
}

fn error(text: &str) -> (String, String) {
    let error = Schema::parse(text).unwrap_err();
    (error.path, error.message)
}

#[test]
fn printing_is_avros_own() {
    for (given, expected) in [
        (r#"{"type":"string"}"#, r#""string""#),
        (r#" "long" "#, r#""long""#),
        (r#"{"logicalType":"uuid","type":"string"}"#, r#"{"type":"string","logicalType":"uuid"}"#),
        (
            r#"{"name":"T","namespace":"a.b","doc":"d","aliases":["Old","x.Y"],"my":{"z":1,"a":[1.0,null]},"type":"record","fields":[
              {"type":{"type":"int"},"name":"n","default":1,"order":"descending","doc":"é\u0001\n","aliases":["m"],"unit":"EUR"},
              {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},
              {"name":"e2","type":["null","a.b.E"],"default":null},
              {"name":"f","type":{"type":"fixed","namespace":"c","name":"F","size":4}},
              {"name":"f2","type":{"type":"array","items":"c.F"}},
              {"name":"d","type":"double","default":"1e10"},
              {"name":"i","type":{"type":"record","name":"I","namespace":"","fields":[{"name":"t","type":["null","a.b.T"]}]}}]}"#,
            concat!(
                r#"{"type":"record","name":"T","namespace":"a.b","doc":"d","fields":["#,
                r#"{"name":"n","type":"int","doc":"é\u0001\n","default":1,"order":"descending","aliases":["m"],"unit":"EUR"},"#,
                r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},"#,
                r#"{"name":"e2","type":["null","E"],"default":null},"#,
                r#"{"name":"f","type":{"type":"fixed","name":"F","namespace":"c","size":4}},"#,
                r#"{"name":"f2","type":{"type":"array","items":"c.F"}},"#,
                r#"{"name":"d","type":"double","default":1.0E10},"#,
                r#"{"name":"i","type":{"type":"record","name":"I","namespace":"","fields":[{"name":"t","type":["null","a.b.T"]}]}}],"#,
                r#""my":{"z":1,"a":[1.0,null]},"aliases":["Old","x.Y"]}"#
            ),
        ),
        ("// head\n{\"type\": /* x */ \"map\", \"values\": \"bytes\"}", r#"{"type":"map","values":"bytes"}"#),
    ] {
        assert_eq!(canonical(given), expected);
        assert_eq!(canonical(expected), expected, "printing is a fixed point");
    }
}

#[test]
fn names_follow_their_namespace() {
    let schema = Schema::parse(
        r#"{"type":"record","name":"a.b.T","namespace":"ignored","fields":[{"name":"x","type":{"type":"enum","name":"E","symbols":[]}}]}"#,
    )
    .unwrap();
    assert_eq!(schema.name(), "a.b.T");
    assert_eq!(schema.type_name(schema.fields()[0].node), "a.b.E");
    assert_eq!(Schema::parse(r#""int""#).unwrap().name(), "int");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let field =
        |field: &str| format!(r#"{{"type":"record","name":"T","fields":[{{"name":"a","type":"int"}},{field}]}}"#);
    for (text, path, words) in [
        ("{", "line 1 column 1", "not JSON"),
        ("\"int\" x", "line 1 column 7", "not JSON"),
        (r#""strng""#, "$", "did you mean `string`"),
        (r#"{"type":["null","int"]}"#, "$.type", "must be a word"),
        (r#"{"name":"x"}"#, "$", "`type` is missing"),
        (r#"["int",["null"]]"#, "$[1]", "union directly inside"),
        (r#"["int","string","int"]"#, "$[2]", "two branches of type `int`"),
        (r#"{"type":"record","name":"T"}"#, "$", "`fields`"),
        (r#"{"type":"record","name":"int","fields":[]}"#, "$", "one of Avro's own"),
        (r#"{"type":"record","name":"a-b","fields":[]}"#, "$", "no valid name"),
        (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "$", "twice"),
        (r#"{"type":"enum","name":"E","symbols":["1"]}"#, "$", "no valid name"),
        (r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#, "$", "none of its symbols"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "$", "number of bytes"),
        (&field(r#"{"name":"a","type":"int"}"#), "$.fields[1]", "two fields named `a`"),
        (&field(r#"{"name":"b","type":{"type":"array"}}"#), "$.fields[1].type", "`items`"),
        (&field(r#"{"name":"b","type":"int","default":"1"}"#), "$.fields[1].default", "no valid int"),
        (&field(r#"{"name":"b","type":"int","default":3000000000}"#), "$.fields[1].default", "no valid int"),
        (&field(r#"{"name":"b","type":["null","int"],"default":"x"}"#), "$.fields[1].default", "union of null, int"),
        (&field(r#"{"name":"b","type":"T2"}"#), "$.fields[1].type", "unknown type"),
        (&field(r#"{"name":"b","type":"int","order":"up"}"#), "$.fields[1]", "`order`"),
        (&field(r#"{"name":"b","type":{"type":"fixed","name":"T","size":1}}"#), "$.fields[1].type", "defined twice"),
    ] {
        let (found_path, message) = error(text);
        assert_eq!(found_path, path, "{text}: {message}");
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn a_default_may_be_of_any_branch_of_its_union() {
    canonical(r#"{"type":"record","name":"T","fields":[{"name":"a","type":["null","int"],"default":1}]}"#);
    canonical(r#"{"type":"record","name":"T","fields":[{"name":"a","type":["int","null"],"default":null}]}"#);
}

#[test]
fn nesting_is_capped_also_through_names() {
    let deep = |levels: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(levels), "}".repeat(levels));
    assert!(Schema::parse(&deep(63)).is_ok());
    assert!(error(&deep(64)).1.contains("deeper than 64"));
    let mut chain: Vec<_> = vec![r#"{"type":"record","name":"R0","fields":[]}"#.to_owned()];
    for level in 1..100 {
        let before = level - 1;
        chain.push(format!(r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":"R{before}"}}]}}"#));
    }
    assert!(error(&format!("[{}]", chain.join(","))).1.contains("deeper than 64"));
}

#[test]
fn recursion_by_name_is_allowed() {
    let text = r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"],"default":null}]}"#;
    assert_eq!(canonical(text), text);
    let endless = r#"{"type":"record","name":"L","fields":[{"name":"next","type":"L","default":{}}]}"#;
    assert!(error(endless).1.contains("nested deeper"));
}

#[test]
fn defaults_that_multiply_are_refused() {
    let mut types = vec![r#"{"type":"record","name":"R0","fields":[]}"#.to_owned()];
    for level in 1..50 {
        let before = level - 1;
        let field = |name| format!(r#"{{"name":"{name}","type":"R{before}","default":{{}}}}"#);
        types.push(format!(r#"{{"type":"record","name":"R{level}","fields":[{},{}]}}"#, field("a"), field("b")));
    }
    assert!(error(&format!("[{}]", types.join(","))).1.contains("too complex"));
}

#[test]
fn references_are_printed_by_name() {
    let money = Schema::parse(r#"{"type":"record","name":"p.Money","fields":[{"name":"c","type":"string"}]}"#).unwrap();
    let text = r#"{"type":"record","name":"T","namespace":"p","fields":[{"name":"m","type":"Money"}]}"#;
    let schema = Schema::parse_with_references(text, &[money]).unwrap();
    assert_eq!(schema.canonical(), text);
    assert_eq!(schema.type_name(schema.fields()[0].node), "p.Money");
    assert!(Schema::parse(text).is_err());
}

#[test]
fn lenient_takes_what_others_accepted() {
    let text = r#"{"type":"record","name":"a-b","fields":[{"name":"1","type":"int","default":"x"}]}"#;
    assert!(Schema::parse(text).is_err());
    assert_eq!(Schema::parse_lenient(text, &[]).unwrap().canonical(), text);
}

#[test]
fn logical_types_count_only_where_valid() {
    let logical = |text: &str| {
        let schema = Schema::parse(text).unwrap();
        schema.node(schema.root()).logical
    };
    assert_eq!(
        logical(r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#),
        Some(Logical::Decimal { precision: 10, scale: 2 })
    );
    assert_eq!(logical(r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#), None);
    assert_eq!(logical(r#"{"type":"string","logicalType":"decimal","precision":2}"#), None);
    assert_eq!(
        logical(r#"{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":9}"#),
        Some(Logical::Decimal { precision: 9, scale: 0 })
    );
    assert_eq!(logical(r#"{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":10}"#), None);
    assert_eq!(logical(r#"{"type":"long","logicalType":"timestamp-micros"}"#), Some(Logical::TimestampMicros));
    assert_eq!(logical(r#"{"type":"int","logicalType":"timestamp-micros"}"#), None);
}
