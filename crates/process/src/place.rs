//! Where a row stands among all rows: by event time, then by partition and offset.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;

/// A row's place. The same row has the same place after any restart, and no two rows of a stream have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Event time, microseconds since 1970.
    pub(crate) time_us: i64,
    /// Raw partition.
    pub(crate) partition: i32,
    /// Raw offset.
    pub(crate) offset: i64,
}

/// The places of a batch's rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places<'a> {
    pub(crate) times_us: &'a [i64],
    pub(crate) partition: i32,
    pub(crate) offsets: &'a [i64],
}

impl<'a> Places<'a> {
    /// The places of rows of one partition, which have their raw offsets in a column.
    pub(crate) fn of(rows: &'a RecordBatch, partition: i32, times_us: &'a [i64]) -> Self {
        let offsets = rows.column_by_name(sql::SOURCE_OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
        Self { times_us, partition, offsets: offsets.map_or(&[], |offsets| offsets.values()) }
    }

    /// The place of a row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Place {
        Place {
            time_us: self.times_us.get(row).copied().unwrap_or_default(),
            partition: self.partition,
            offset: self.offsets.get(row).copied().unwrap_or(-1),
        }
    }
}

/// Places as columns of a snapshot.
pub(crate) mod columns {
    use state::{CodecError, SnapshotReader, SnapshotWriter};

    use super::Place;

    pub(crate) fn save(places: impl Iterator<Item = Place> + Clone, writer: &mut SnapshotWriter) {
        writer.i64s(&places.clone().map(|place| place.time_us).collect::<Vec<_>>());
        writer.i64s(&places.clone().map(|place| i64::from(place.partition)).collect::<Vec<_>>());
        writer.i64s(&places.map(|place| place.offset).collect::<Vec<_>>());
    }

    pub(crate) fn load(reader: &mut SnapshotReader<'_>) -> Result<Vec<Place>, CodecError> {
        let (times, partitions, offsets) = (reader.i64s()?, reader.i64s()?, reader.i64s()?);
        let invalid = |reason: String| CodecError::Invalid { what: "places", reason };
        if partitions.len() != times.len() || offsets.len() != times.len() {
            return Err(invalid("their lists differ in length".into()));
        }
        let place = |((time_us, partition), offset): ((i64, i64), i64)| {
            let partition = i32::try_from(partition).map_err(|_| invalid(format!("{partition} isn't a partition")))?;
            Ok(Place { time_us, partition, offset })
        };
        times.into_iter().zip(partitions).zip(offsets).map(place).collect()
    }
}
