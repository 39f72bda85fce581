//! Files through all three formats, whole and from every row on.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use ingest::files::{FileBatch, FileError, FileOptions, FileReader, Format, RejectedRow};
use ingest::key::key_text;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

fn timestamp() -> DataType {
    model::infer::timestamp_type()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        Field::new("ratio", DataType::Float64, true),
        Field::new("good", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", timestamp(), false),
    ]))
}

type Row = (i64, Option<String>, i64, Option<f64>, Option<bool>, Option<i32>, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let amounts: Decimal128Array = rows.iter().map(|row| Some(i128::from(row.2))).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.6)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
        Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.4).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.5).collect::<Date32Array>()),
        Arc::new(times.with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch, group_rows: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn write_csv(path: &Path, batch: &RecordBatch) {
    let mut writer = csv::Writer::from_path(path).unwrap();
    writer.write_record(batch.schema().fields().iter().map(|field| field.name().clone())).unwrap();
    for row in 0..batch.num_rows() {
        let fields = batch.columns().iter().map(|column| key_text(column.as_ref(), row).unwrap_or_default());
        writer.write_record(fields).unwrap();
    }
    writer.flush().unwrap();
}

fn write_json(path: &Path, batch: &RecordBatch) {
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        let members: Vec<String> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let value = match key_text(column.as_ref(), row) {
                    None => "null".to_owned(),
                    Some(value)
                        if matches!(
                            field.data_type(),
                            DataType::Int64 | DataType::Decimal128(..) | DataType::Float64 | DataType::Boolean
                        ) =>
                    {
                        value
                    }
                    Some(value) => serde_json::to_string(&value).unwrap(),
                };
                format!("\"{}\": {value}", field.name())
            })
            .collect();
        text.push_str(&format!("{{{}}}\n", members.join(", ")));
    }
    std::fs::write(path, text).unwrap();
}

fn write_all(dir: &Path, batch: &RecordBatch) -> [PathBuf; 3] {
    let paths = ["rows.csv", "rows.jsonl", "rows.parquet"].map(|name| dir.join(name));
    write_csv(&paths[0], batch);
    write_json(&paths[1], batch);
    write_parquet(&paths[2], batch, 3);
    paths
}

/// All rows that a file gives, as one batch, with their numbers and the rejected rows.
fn read(path: &Path, schema: &SchemaRef, options: &FileOptions) -> (RecordBatch, Vec<u64>, Vec<RejectedRow>) {
    let mut reader = FileReader::open(path, schema, options).unwrap();
    let (mut batches, mut rows, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = options.start_row;
    for part in &mut reader {
        let FileBatch { batch, rows: numbers, rejected: bad, next_row, .. } = part.unwrap();
        assert_eq!(batch.num_rows(), numbers.len());
        assert_eq!(u64::try_from(numbers.len() + bad.len()).unwrap(), next_row - next, "each row comes out once");
        next = next_row;
        batches.push(batch);
        rows.extend(numbers);
        rejected.extend(bad);
    }
    assert_eq!(reader.progress().bytes, reader.progress().bytes_total, "{}", path.display());
    (arrow_select::concat::concat_batches(schema, &batches).unwrap(), rows, rejected)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        any::<i64>(),
        // The empty text is left out: in CSV it is NULL.
        proptest::option::of("\\PC{1,12}|[\",\n;]{1,3}"),
        -999_999_999_999_i64..1_000_000_000_000,
        proptest::option::of(any::<f64>().prop_filter("finite", |value| value.is_finite())),
        any::<Option<bool>>(),
        proptest::option::of(-700_000..2_000_000),
        -60_000_000_000_000_000_i64..200_000_000_000_000_000,
    );
    proptest::collection::vec(row, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_formats_give_the_same_rows_from_every_row_on(rows in rows(), batch_rows in 1_usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let expected = batch(&rows);
        for path in write_all(dir.path(), &expected) {
            for start in 0..=rows.len() {
                let options = FileOptions { start_row: start as u64, batch_rows, ..FileOptions::default() };
                let (read, numbers, rejected) = read(&path, &schema(), &options);
                prop_assert!(rejected.is_empty(), "{}: {}", path.display(), rejected[0]);
                prop_assert_eq!(&read, &expected.slice(start, rows.len() - start));
                prop_assert_eq!(numbers, (start as u64..rows.len() as u64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":,a-z0-9\n ]{0,200}") {
        let dir = tempfile::tempdir().unwrap();
        for content in [&bytes[..], text.as_bytes()] {
            for format in [Format::Csv, Format::JsonLines, Format::Parquet] {
                let path = dir.path().join("any");
                std::fs::write(&path, content).unwrap();
                let options = FileOptions { format: Some(format), absent_is_null: true, ..FileOptions::default() };
                let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
                if let Ok(reader) = FileReader::open(&path, &schema, &options) {
                    let _rows: usize = reader.map_while(Result::ok).map(|batch| batch.rows.len()).sum();
                }
            }
        }
    }
}

fn small(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn bad_rows_of_csv_are_told_and_the_rest_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let content =
        b"\xef\xbb\xbfid,amount,note\n1,2.50,fine\n2,2.505,\n3,1\nx,NaN,\"two\nlines\"\n5,1,\xff\xfe\n\n6,3,last"
            .to_vec();
    let path = file(dir.path(), "rows.csv", content);
    let schema = small(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("amount", DataType::Decimal128(10, 2), false),
        Field::new("note", DataType::Utf8, true),
    ]);
    let (read, numbers, rejected) = read(&path, &schema, &FileOptions::default());
    assert_eq!(read.column(1).as_primitive::<Decimal128Type>().values()[..], [250, 300]);
    assert_eq!(numbers, [0, 5]);
    let told: Vec<String> = rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "row 1 (line 3): column amount: \"2.505\" has more than 2 decimal places, and money is never rounded",
            "row 2 (line 4): it has 2 fields, and the header names 3",
            "row 3 (line 5): column id: \"x\" is not a whole number; column amount: \"NaN\" is not a number",
            "row 4 (line 7): column note: it is not UTF-8 from byte 0 on",
        ]
    );
    assert_eq!(rejected[2].raw, "x,NaN,\"two\nlines\"");
    assert_eq!(
        rejected[1].to_json(),
        r#"{"row":2,"line":4,"faults":[{"message":"it has 2 fields, and the header names 3"}],"raw":"3,1"}"#
    );
}

#[test]
fn bad_lines_of_json_are_told_and_the_rest_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let content = "{\"id\":1,\"id\":2}\n\n  \nnonsense\n[1]\n{\"id\":null}\n{\"other\":{\"id\":7}}\n{\"id\":\"3\",\"other\":[1,{}]} \n{\"id\":4} x\n{\"\\u0069d\":9}";
    let path = file(dir.path(), "rows.ndjson", content);
    let schema = small(vec![Field::new("id", DataType::Int64, false)]);
    let (read, numbers, rejected) = read(&path, &schema, &FileOptions::default());
    assert_eq!(read.column(0).as_primitive::<Int64Type>().values()[..], [2, 3, 9]);
    assert_eq!(numbers, [0, 5, 7]);
    let places: Vec<_> = rejected.iter().map(|row| (row.row, row.line.unwrap())).collect();
    assert_eq!(places, [(1, 4), (2, 5), (3, 6), (4, 7), (6, 9)]);
    assert_eq!(rejected[0].raw, "nonsense");
    assert!(rejected[2].to_string().contains("column id: it is empty or NULL"));
}

#[test]
fn bad_values_of_parquet_are_told_and_the_rest_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let source = RecordBatch::try_from_iter([
        ("value", Arc::new(Float64Array::from(vec![Some(1.25), Some(f64::NAN), None, Some(0.305)])) as ArrayRef),
        ("time", Arc::new(TimestampNanosecondArray::from(vec![1_999, -1, 5, 6])) as ArrayRef),
        ("unused", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef),
    ])
    .unwrap();
    let path = dir.path().join("rows.parquet");
    write_parquet(&path, &source, 2);
    let schema =
        small(vec![Field::new("at", timestamp(), false), Field::new("amount", DataType::Decimal128(10, 2), false)]);
    let rename = [("at", "time"), ("amount", "value")].map(|(to, from)| (to.to_owned(), from.to_owned())).into();
    let options = FileOptions { rename, ..FileOptions::default() };
    let (read, numbers, rejected) = read(&path, &schema, &options);
    assert_eq!(read.column(0).as_primitive::<TimestampMicrosecondType>().values()[..], [1]);
    assert_eq!(numbers, [0]);
    assert_eq!(rejected.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rejected[0].raw, r#"{"value":"NaN","time":"1969-12-31T23:59:59.999999999"}"#);
    assert!(rejected[2].to_string().contains("column value: 0.305 has more than 2 decimal places"));
}

#[test]
fn noise_of_floating_point_is_taken_off_in_every_format_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let source = RecordBatch::try_from_iter([(
        "a",
        Arc::new(Float64Array::from(vec![0.1 + 0.2, 1.776_357e-15, 7.0])) as ArrayRef,
    )]);
    let parquet = dir.path().join("rows.parquet");
    write_parquet(&parquet, &source.unwrap(), 3);
    let csv = file(dir.path(), "rows.csv", "a\n0.30000000000000004\n1.776357e-15\n7\n");
    let json = file(dir.path(), "rows.jsonl", "{\"a\":0.30000000000000004}\n{\"a\":1.776357e-15}\n{\"a\":7.0}\n");
    let schema = small(vec![Field::new("a", DataType::Decimal128(10, 2), false)]);
    for path in [parquet, csv, json] {
        let read = FileReader::open(&path, &schema, &FileOptions::default()).unwrap().next().unwrap().unwrap();
        assert_eq!(
            read.batch.column(0).as_primitive::<Decimal128Type>().values()[..],
            [30, 0, 700],
            "{}",
            path.display()
        );
        assert_eq!((read.noisy_decimals, read.rejected.len()), (2, 0));
    }
}

#[test]
fn a_damaged_parquet_file_is_an_error_and_never_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Row> =
        (0..50).map(|id| (id, Some(format!("name {id}")), id * 100, None, Some(true), None, id)).collect();
    let sound = dir.path().join("sound.parquet");
    write_parquet(&sound, &batch(&rows), 20);
    let content = std::fs::read(&sound).unwrap();
    let path = dir.path().join("damaged.parquet");
    for at in (0..content.len()).step_by(7) {
        let mut damaged = content.clone();
        damaged[at] ^= [0x01, 0x80, 0xff][at % 3];
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(reader) = FileReader::open(&path, &schema(), &FileOptions::default()) {
            let rows: usize = reader.map_while(Result::ok).map(|batch| batch.rows.len() + batch.rejected.len()).sum();
            assert!(rows <= 50, "byte {at}");
        }
    }
    std::fs::write(&path, &content[..content.len() / 2]).unwrap();
    assert!(FileReader::open(&path, &schema(), &FileOptions::default()).is_err());
}

#[test]
fn what_concerns_the_whole_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, options: &FileOptions| FileReader::open(path, &schema(), options).map(|_| ()).unwrap_err();
    let plain = FileOptions::default();
    let csv = file(dir.path(), "a.csv", "id,name,amout,ratio,good,day,at\n");
    let error = open(&csv, &plain).to_string();
    assert!(error.contains("has no column amount (did you mean amout?)"), "{error}");
    let error = open(&csv, &FileOptions { rename: [("amout".to_owned(), "x".to_owned())].into(), ..plain.clone() });
    assert!(error.to_string().ends_with("did you mean amount?"), "{error}");
    let twice = file(dir.path(), "twice.csv", "id,id,name,amount,ratio,good,day,at\n");
    assert!(matches!(open(&twice, &plain), FileError::AmbiguousColumn { .. }));
    assert!(matches!(open(&file(dir.path(), "empty.csv", ""), &plain), FileError::Empty { .. }));
    assert!(matches!(open(&dir.path().join("none.csv"), &plain), FileError::Open { .. }));
    assert!(matches!(
        open(dir.path(), &FileOptions { format: Some(Format::Csv), ..plain.clone() }),
        FileError::Open { .. }
    ));
    assert!(matches!(open(&file(dir.path(), "rows.xlsx", ""), &plain), FileError::UnknownFormat { .. }));
    assert!(matches!(open(&file(dir.path(), "rows.json", " [{}]"), &plain), FileError::Malformed { .. }));
    assert!(matches!(open(&file(dir.path(), "rows.parquet", "PAR1 no"), &plain), FileError::Malformed { .. }));
    let path = dir.path().join("types.parquet");
    let floats = RecordBatch::try_from_iter([("name", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)]).unwrap();
    write_parquet(&path, &floats, 1);
    let names = small(vec![Field::new("name", DataType::Utf8, true)]);
    let error = FileReader::open(&path, &names, &plain).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("is double, which can't become string"), "{error}");
}

#[test]
fn absent_columns_are_null_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let schema = small(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Float64, true)]);
    let options = FileOptions { absent_is_null: true, null_text: Some("\\N".into()), ..FileOptions::default() };
    let path = file(dir.path(), "rows.tsv", "a\tc\n1\tx\n\\N\ty\n");
    let (batch, numbers, rejected) = read(&path, &schema, &options);
    assert_eq!((batch.num_rows(), numbers, rejected.len()), (1, vec![0], 1));
    assert!(batch.column(1).as_primitive::<Float64Type>().is_null(0));
}

#[test]
fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = b"a\n1\n\"".to_vec();
    content.resize(18 * 1024 * 1024, b'x');
    let path = file(dir.path(), "rows.csv", &content);
    let schema = small(vec![Field::new("a", DataType::Utf8, false)]);
    let mut reader =
        FileReader::open(&path, &schema, &FileOptions { batch_rows: 1, ..FileOptions::default() }).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().rows, [0]);
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("stopped at row 1") && error.contains("is a quote not closed?"), "{error}");
    assert!(reader.next().is_none());
    content.splice(.., b"{\"a\":\"".iter().copied().chain(std::iter::repeat_n(b'x', 18 * 1024 * 1024)));
    content.extend(b"\"}\n{\"a\":\"b\"}\n");
    let (batch, numbers, rejected) = read(&file(dir.path(), "rows.jsonl", &content), &schema, &FileOptions::default());
    assert_eq!((batch.num_rows(), numbers), (1, vec![1]));
    assert!(rejected[0].to_string().contains("longer than 16 MiB") && rejected[0].raw.len() == 4_096);
}
