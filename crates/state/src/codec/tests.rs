use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;

use super::*;

fn columns() -> Vec<ArrayRef> {
    vec![
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(StringArray::from(vec![Some("a"), None, Some("")])),
        Arc::new(StringArray::from(Vec::<&str>::new())),
        Arc::new(BinaryArray::from(vec![&b"\xff"[..], &b""[..]])),
        Arc::new(Float64Array::from(vec![f64::NAN, -0.0])),
        Arc::new(Decimal128Array::from(vec![Some(-5), None]).with_precision_and_scale(20, 2).unwrap()),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
    ]
}

fn sample() -> Vec<u8> {
    let mut writer = SnapshotWriter::new("process", "payments");
    writer
        .section("query a", 2, "select 1", |inner| {
            inner.u64s(&[1, 2, u64::MAX]);
            inner.i128(-7);
            inner.text("grüße");
            inner.optional_i64(None);
            inner.optional_i64(Some(-1));
            inner.bools(&[true, false]);
            inner.f64s(&[1.5, f64::INFINITY]);
            for column in columns() {
                inner.column(&column)?;
            }
            Ok::<_, CodecError>(())
        })
        .unwrap();
    writer.section("query b", 1, "", |_| Ok::<_, CodecError>(())).unwrap();
    writer.finish()
}

fn read(bytes: &[u8]) -> Result<(), CodecError> {
    let mut reader = SnapshotReader::open(bytes, "process", "payments")?;
    reader.section("query a", 3, "select 1", |inner, version| {
        if version != 2 {
            return Err(CodecError::Invalid { what: "version", reason: version.to_string() });
        }
        let values =
            (inner.u64s()?, inner.i128()?, inner.text()?.to_owned(), inner.optional_i64()?, inner.optional_i64()?);
        let more = (inner.bools()?, inner.f64s()?);
        let mut read = Vec::new();
        for column in columns() {
            read.push(inner.column(column.data_type())?);
        }
        if values == (vec![1, 2, u64::MAX], -7, "grüße".into(), None, Some(-1))
            && more == (vec![true, false], vec![1.5, f64::INFINITY])
            && read == columns()
        {
            Ok(())
        } else {
            Err(CodecError::Invalid { what: "values", reason: "other than written".into() })
        }
    })?;
    reader.section("query b", 1, "", |_, _| Ok::<_, CodecError>(()))?;
    reader.finish()
}

#[test]
fn values_come_back() {
    read(&sample()).unwrap();
}

#[test]
fn a_slice_is_written_as_its_rows_alone() {
    let whole = StringArray::from((0..1000).map(|row| Some(format!("row {row}"))).collect::<Vec<_>>());
    let slice = whole.slice(500, 2);
    let mut writer = SnapshotWriter::new("a", "b");
    writer.column(&slice).unwrap();
    assert!(writer.byte_len() < 200, "{}", writer.byte_len());
    let bytes = writer.finish();
    let mut reader = SnapshotReader::open(&bytes, "a", "b").unwrap();
    let back = reader.column(&arrow_schema::DataType::Utf8).unwrap();
    assert_eq!(back.as_ref(), &slice as &dyn Array);
    reader.finish().unwrap();
}

#[test]
fn foreign_newer_and_left_over_are_told_apart() {
    let bytes = sample();
    assert!(matches!(SnapshotReader::open(&bytes, "validate", "payments"), Err(CodecError::Foreign { .. })));
    assert!(matches!(SnapshotReader::open(&bytes, "process", "shop"), Err(CodecError::Foreign { .. })));
    assert!(matches!(SnapshotReader::open(b"", "process", "payments"), Err(CodecError::NotASnapshot)));
    let open = || SnapshotReader::open(&bytes, "process", "payments").unwrap();
    let none = |_: &mut SnapshotReader<'_>, _| Ok::<_, CodecError>(());
    assert!(matches!(
        open().section("query a", 1, "select 1", none),
        Err(CodecError::Newer { found: 2, known: 1, .. })
    ));
    assert!(matches!(open().section("query a", 2, "select 2", none), Err(CodecError::Foreign { .. })));
    assert!(matches!(open().section("query c", 2, "select 1", none), Err(CodecError::Foreign { .. })));
    assert!(matches!(open().section("query a", 2, "select 1", none), Err(CodecError::Leftover { .. })));
    assert!(matches!(open().finish(), Err(CodecError::Leftover { .. })));
    let mut reader = open();
    assert_eq!(reader.next_section(), Ok(Some("query a")));
    reader.skip_section().unwrap();
    reader.skip_section().unwrap();
    assert_eq!(reader.next_section(), Ok(None));
    reader.finish().unwrap();
}

proptest! {
    #[test]
    fn any_cut_is_an_error(at: prop::sample::Index) {
        let bytes = sample();
        prop_assert!(read(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// A damaged byte is an error or other values; it never panics and never reserves more than what is there.
    #[test]
    fn damage_never_panics(at: prop::sample::Index, byte: u8) {
        let mut bytes = sample();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read(&bytes).ok();
    }

    #[test]
    fn huge_lengths_are_refused(length in 1_000u64..) {
        let mut writer = SnapshotWriter::new("a", "b");
        writer.u64(length);
        let bytes = writer.finish();
        let open = || SnapshotReader::open(&bytes, "a", "b").unwrap();
        prop_assert!(open().bytes().is_err());
        prop_assert!(open().i128s().is_err());
        prop_assert!(open().count(1).is_err());
    }
}

#[test]
fn a_buffer_that_ends_within_a_value_is_refused() {
    let mut writer = SnapshotWriter::new("process", "p");
    writer.text("Utf8");
    writer.u64(1);
    writer.bytes(&[]);
    writer.out.push(2);
    writer.bytes(&[0; 9]);
    writer.bytes(b"a");
    let bytes = writer.finish();
    let mut reader = SnapshotReader::open(&bytes, "process", "p").unwrap();
    let error = reader.column(&arrow_schema::DataType::Utf8).unwrap_err();
    assert!(error.to_string().contains("whole values of 4"), "{error}");
}
