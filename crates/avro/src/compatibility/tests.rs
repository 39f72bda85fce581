use super::*;

fn record(fields: &str) -> Schema {
    Schema::parse(&format!(r#"{{"type":"record","name":"T","namespace":"n","fields":[{fields}]}}"#)).unwrap()
}

fn kinds(reader: &str, writer: &str) -> Vec<(&'static str, String)> {
    let findings = can_read(&Schema::parse(reader).unwrap(), &Schema::parse(writer).unwrap());
    findings.into_iter().map(|finding| (finding.kind.name(), finding.path)).collect()
}

fn reads(reader: &str, writer: &str) -> bool {
    kinds(reader, writer).is_empty()
}

#[test]
fn primitive_types_promote_as_java_does() {
    let words = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    let more = [
        ("long", "int"),
        ("float", "int"),
        ("float", "long"),
        ("double", "int"),
        ("double", "long"),
        ("double", "float"),
        ("bytes", "string"),
        ("string", "bytes"),
    ];
    for reader in words {
        for writer in words {
            let expected = reader == writer || more.contains(&(reader, writer));
            assert_eq!(reads(&format!("\"{reader}\""), &format!("\"{writer}\"")), expected, "{reader} reads {writer}");
        }
    }
}

#[test]
fn unions_need_a_branch_for_each_type_written() {
    assert!(reads(r#"["null","string"]"#, r#""string""#));
    assert!(reads(r#"["null","long"]"#, r#"["int","null"]"#));
    assert!(reads(r#""string""#, r#"["string"]"#));
    assert!(reads(r#"["string"]"#, r#""bytes""#));
    assert!(reads(r#""long""#, r#"["int","long"]"#));
    assert_eq!(kinds(r#""string""#, r#"["null","string"]"#), [("TYPE_MISMATCH", "/0".to_owned())]);
    assert_eq!(kinds(r#"["null","int"]"#, r#"["null","long"]"#), [("MISSING_UNION_BRANCH", "/1".to_owned())]);
    assert_eq!(kinds(r#"["null","int"]"#, r#""string""#), [("MISSING_UNION_BRANCH", "/".to_owned())]);
}

#[test]
fn names_compare_without_namespace_and_with_the_readers_aliases() {
    let fixed = |name: &str, more: &str| format!(r#"{{"type":"fixed","name":"{name}","size":2{more}}}"#);
    assert!(reads(&fixed("a.F", ""), &fixed("b.F", "")));
    assert_eq!(kinds(&fixed("a.F", ""), &fixed("a.G", "")), [("NAME_MISMATCH", "/name".to_owned())]);
    assert!(reads(&fixed("a.F", r#","aliases":["G"]"#), &fixed("a.G", "")));
    assert!(!reads(&fixed("a.F", r#","aliases":["G"]"#), &fixed("b.G", "")), "an alias counts in full");
    assert!(!reads(&fixed("a.F", ""), &fixed("a.G", r#","aliases":["F"]"#)), "the writer's aliases don't count");
    assert_eq!(
        kinds(r#"{"type":"fixed","name":"F","size":3}"#, r#"{"type":"fixed","name":"F","size":2}"#),
        [("FIXED_SIZE_MISMATCH", "/size".to_owned())]
    );
    assert!(!reads(&fixed("F", ""), "\"bytes\"") && !reads("\"bytes\"", &fixed("F", "")));
}

#[test]
fn an_enum_default_of_the_reader_excuses_missing_symbols() {
    let symbols = |list: &str, more: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{list}]{more}}}"#);
    assert!(reads(&symbols(r#""A","B""#, ""), &symbols(r#""B""#, "")));
    assert!(reads(&symbols(r#""A""#, r#","default":"A""#), &symbols(r#""A","B""#, "")));
    let found = can_read(
        &Schema::parse(&symbols(r#""A""#, "")).unwrap(),
        &Schema::parse(&symbols(r#""C","A","B""#, r#","default":"A""#)).unwrap(),
    );
    assert_eq!(found[0].detail, "[B, C]");
    assert_eq!(found[0].path, "/symbols");
}

#[test]
fn fields_need_a_default_or_a_counterpart() {
    let old = record(r#"{"name":"a","type":"int"}"#);
    let found = can_read(&record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#), &old);
    assert_eq!(
        found[0].to_string(),
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the reader \
         schema has no default value and is missing in the writer schema', additionalInfo:'b'}"
    );
    assert!(can_read(&record(r#"{"name":"b","type":"int","default":0}"#), &old).is_empty());
    assert!(can_read(&record(r#"{"name":"b","type":["null","int"],"default":null}"#), &old).is_empty());
    assert!(!can_read(&record(r#"{"name":"b","type":["null","int"]}"#), &old).is_empty(), "nullable is no default");
    assert!(can_read(&record(r#"{"name":"b","type":"long","aliases":["a"]}"#), &old).is_empty());
    assert!(can_read(&record(""), &old).is_empty());
    let enumeration = r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["A"],"default":"A"}}"#;
    assert_eq!(can_read(&record(enumeration), &old)[0].kind, IncompatibilityKind::TypeMismatch);
}

#[test]
fn logical_types_do_not_count() {
    let decimal = |scale: u32| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#);
    assert!(reads(&decimal(2), &decimal(4)));
    assert!(reads(r#"{"type":"long","logicalType":"timestamp-micros"}"#, r#""int""#));
}

#[test]
fn crossed_aliases_are_incompatible_as_in_confluents_registry() {
    let writer = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    let found = can_read(&record(r#"{"name":"a","aliases":["b"],"type":"int"}"#), &writer);
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("Unexpected exception during compatibility check: "));
}

#[test]
fn recursive_schemas_end() {
    let list = |kind: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{kind}"}},{{"name":"n","type":["null","L"]}}]}}"#
        )
    };
    assert!(reads(&list("long"), &list("int")));
    assert!(kinds(&list("int"), &list("long")).contains(&("TYPE_MISMATCH", "/fields/0/type".to_owned())));
}

#[test]
fn levels_look_where_they_should() {
    let (a, b) = (r#"{"name":"a","type":"int"}"#, r#"{"name":"b","type":"int"}"#);
    let with_default = r#"{"name":"b","type":"int","default":0}"#;
    let first = record(a);
    let second = record(&format!("{a},{with_default}"));
    // Reads `second` but not `first`; `first` and `second` read it.
    let candidate = record(&format!("{a},{b}"));
    let history = [first.clone(), second.clone()];
    let verdicts: Vec<_> = Level::ALL.map(|level| check(level, &candidate, &history).is_empty()).into();
    assert_eq!(verdicts, [true, true, false, true, true, true, false]);
    assert_eq!(check(Level::BackwardTransitive, &candidate, &history)[0].existing, Some(0));
    // A candidate that drops `a`: both read it not, it reads both.
    let dropped = record(with_default);
    let verdicts: Vec<_> = Level::ALL.map(|level| check(level, &dropped, &history).is_empty()).into();
    assert_eq!(verdicts, [true, true, true, false, false, false, false]);
    let message = check(Level::Forward, &dropped, &history)[0].message.clone();
    assert!(message.contains("in the old schema has no default value and is missing in the new schema"), "{message}");
    for level in Level::ALL {
        assert!(check(level, &candidate, &[]).is_empty());
        assert_eq!(level.to_string().parse(), Ok(level));
        assert_eq!(level.name().to_lowercase().parse(), Ok(level));
    }
    assert!("BACKWARDS".parse::<Level>().is_err());
}
