//! Where a row stands among all rows: by event time, then by partition and offset.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array as _, Int32Array, Int64Array, RecordBatch};

/// The joined position of a row that isn't joined with one of another stream.
const NOT_JOINED: (i32, i64) = (-1, -1);

/// A row's place. The same row has the same place after any restart, and no two rows of a query have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Event time, microseconds since 1970.
    pub(crate) time_us: i64,
    /// Raw partition.
    pub(crate) partition: i32,
    /// Raw offset.
    pub(crate) offset: i64,
    /// Branch of UNION ALL: a row may be in several.
    pub(crate) branch: i32,
    /// Raw partition and offset of the second stream's row, where two are joined; [`NOT_JOINED`] without.
    pub(crate) joined: (i32, i64),
}

/// The places of a batch's rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places<'a> {
    pub(crate) times_us: &'a [i64],
    pub(crate) partition: i32,
    pub(crate) offsets: &'a [i64],
    pub(crate) branches: &'a [i32],
    /// Raw partition of each row, if they are of several.
    pub(crate) partitions: &'a [i32],
    pub(crate) joined: Option<(&'a Int32Array, &'a Int64Array)>,
}

impl<'a> Places<'a> {
    /// The places of rows of one partition, which have their raw offsets in a column.
    pub(crate) fn of(rows: &'a RecordBatch, partition: i32, times_us: &'a [i64]) -> Self {
        let ints = |name| rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let longs = |name| rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (branches, partitions) = (ints(sql::SOURCE_BRANCH), ints(sql::SOURCE_PARTITION));
        Self {
            times_us,
            partition,
            offsets: longs(sql::SOURCE_OFFSET).map_or(&[], |offsets| offsets.values()),
            branches: branches.map_or(&[], |branches| branches.values()),
            partitions: partitions.map_or(&[], |partitions| partitions.values()),
            joined: ints(sql::JOINED_PARTITION).zip(longs(sql::JOINED_OFFSET)),
        }
    }

    /// The place of a row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Place {
        Place {
            time_us: self.times_us.get(row).copied().unwrap_or_default(),
            partition: self.partitions.get(row).copied().unwrap_or(self.partition),
            offset: self.offsets.get(row).copied().unwrap_or(-1),
            branch: self.branches.get(row).copied().unwrap_or_default(),
            joined: match self.joined {
                Some((partitions, offsets)) if partitions.is_valid(row) => (partitions.value(row), offsets.value(row)),
                _ => NOT_JOINED,
            },
        }
    }
}

/// Places as columns of a snapshot.
pub(crate) mod columns {
    use state::{CodecError, SnapshotReader, SnapshotWriter};

    use super::{NOT_JOINED, Place};

    /// Branches stand above the partitions' 32 bits, and joined positions behind the offsets if there are any: without either, what is
    /// written is what it was before there were any.
    pub(crate) fn save(places: impl Iterator<Item = Place> + Clone, writer: &mut SnapshotWriter) {
        writer.i64s(&places.clone().map(|place| place.time_us).collect::<Vec<_>>());
        let packed = |place: Place| i64::from(place.branch) << 32 | i64::from(place.partition);
        writer.i64s(&places.clone().map(packed).collect::<Vec<_>>());
        let mut offsets: Vec<i64> = places.clone().map(|place| place.offset).collect();
        if places.clone().any(|place| place.joined != NOT_JOINED) {
            offsets.extend(places.clone().map(|place| i64::from(place.joined.0)));
            offsets.extend(places.map(|place| place.joined.1));
        }
        writer.i64s(&offsets);
    }

    pub(crate) fn load(reader: &mut SnapshotReader<'_>) -> Result<Vec<Place>, CodecError> {
        let (times, partitions, offsets) = (reader.i64s()?, reader.i64s()?, reader.i64s()?);
        let count = times.len();
        let invalid = |reason: String| CodecError::Invalid { what: "places", reason };
        let is_joined = offsets.len() != count;
        if partitions.len() != count || (is_joined && offsets.len() != 3 * count) {
            return Err(invalid("their lists differ in length".into()));
        }
        let small = |number: i64| i32::try_from(number).map_err(|_| invalid(format!("{number} isn't a partition")));
        let at = |row: usize| offsets.get(row).copied().unwrap_or(-1);
        let place = |(row, (time_us, packed)): (usize, (i64, i64))| {
            let joined = if is_joined { (small(at(count + row))?, at(2 * count + row)) } else { NOT_JOINED };
            let (branch, partition) = (small(packed >> 32)?, small(packed & 0xffff_ffff)?);
            Ok(Place { time_us, partition, offset: at(row), branch, joined })
        };
        times.into_iter().zip(partitions).enumerate().map(place).collect()
    }
}
