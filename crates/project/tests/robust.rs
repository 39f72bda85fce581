//! No text makes the check panic, and every place that it names is in the text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use project::settings::Duration;
use project::{Overrides, Project, Rendering, template};
use proptest::prelude::*;

fn check(file: &str, text: &str) {
    let directory = tempfile::tempdir().unwrap();
    template::write(directory.path(), "shop").unwrap();
    std::fs::write(directory.path().join(file), text).unwrap();
    if let Err(errors) = Project::load(directory.path(), &Overrides::default()) {
        assert!(errors.error_count() > 0);
        assert!(!errors.render(Rendering::plain()).is_empty());
        for place in errors.problems().iter().filter_map(|problem| problem.place.as_ref()) {
            assert!(
                place.line >= 1
                    && place.column >= 1
                    && (place.end_line, place.end_column) >= (place.line, place.column)
            );
        }
    }
}

fn original(file: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("template").join(file)).unwrap()
}

fn files() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("tillstream.yaml"),
        1 => Just("schemas/order.avsc"),
        1 => Just("queries/sales_per_minute.sql"),
        1 => Just("reference/products.csv"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A part of a file is replaced by something else.
    #[test]
    fn damaged_files_are_explained(file in files(), at in 0.0..1.0_f64, length in 0..40_usize, put in "[\\PC\n]{0,12}") {
        let text: Vec<char> = original(file).chars().collect();
        let start = (at * text.len() as f64) as usize;
        let end = (start + length).min(text.len());
        let damaged: String = text[..start].iter().copied().chain(put.chars()).chain(text[end..].iter().copied()).collect();
        check(file, &damaged);
    }

    #[test]
    fn durations_are_read_as_they_are_written(micros in 0..31_622_400_000_000_000_u64) {
        let duration = Duration(std::time::Duration::from_micros(micros));
        prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
    }

    #[test]
    fn any_set_is_explained(path in "[a-z_.]{0,30}", value in "\\PC{0,20}") {
        let directory = tempfile::tempdir().unwrap();
        template::write(directory.path(), "shop").unwrap();
        let overrides = Overrides { sets: vec![(path, value)], ..Overrides::default() };
        if let Err(errors) = Project::load(directory.path(), &overrides) {
            prop_assert!(errors.error_count() > 0);
        }
    }
}
