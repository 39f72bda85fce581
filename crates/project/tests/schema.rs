//! The JSON schema for editors is what the settings' types say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// `TILLSTREAM_UPDATE=1` writes the file.
#[test]
fn the_schema_file_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/tillstream.schema.json");
    let now = format!("{:#}\n", project::settings::json_schema());
    if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).unwrap();
        std::fs::write(path, &now).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == now,
        "crates/project/schema/tillstream.schema.json is out of date: run this test with TILLSTREAM_UPDATE=1"
    );
}

/// Every setting has its documentation, which is the editor's help.
#[test]
fn every_setting_is_documented() {
    let schema = project::settings::json_schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut missing = Vec::new();
    for (name, definition) in definitions.iter().chain([(&"Settings".to_owned(), &schema)]) {
        for (property, value) in definition["properties"].as_object().into_iter().flatten() {
            if value["description"].as_str().is_none() {
                missing.push(format!("{name}.{property}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
