//! Records of one topic partition as columns of bytes.

/// A growable column of byte strings, each of which may be null (Kafka tells a null value from an empty one).
///
/// All bytes lie in one buffer, so that a batch of records costs a few allocations and not one per record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BytesColumn {
    data: Vec<u8>,
    /// End of row `i` in `data`; it starts where row `i - 1` ends.
    ends: Vec<usize>,
    /// Rows that are null, in ascending order. Null rows are rare in every column but keys.
    nulls: Vec<bool>,
}

impl BytesColumn {
    /// An empty column with room for `rows` rows of `bytes` bytes in all.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows), nulls: Vec::with_capacity(rows) }
    }

    /// Appends a row.
    pub fn push(&mut self, value: Option<&[u8]>) {
        if let Some(bytes) = value {
            self.data.extend_from_slice(bytes);
        }
        self.ends.push(self.data.len());
        self.nulls.push(value.is_none());
    }

    /// Appends a row that `write` appends to the buffer, which saves a copy. `write` must only append.
    pub fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.data.len();
        match write(&mut self.data) {
            Ok(()) => {
                self.ends.push(self.data.len());
                self.nulls.push(false);
                Ok(())
            }
            Err(error) => {
                self.data.truncate(start);
                Err(error)
            }
        }
    }

    /// Row `index`, or `None` if it is null or past the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if *self.nulls.get(index)? {
            return None;
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.data.get(start..self.ends[index])
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held, without the rows' bookkeeping.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Removes all rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
        self.nulls.clear();
    }
}

/// Consecutive records of one topic partition, as a reader takes them from Kafka.
///
/// All columns have one row per record. Offsets ascend but may have gaps (transaction markers, compaction).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordBlock {
    /// Topic name, as in Kafka (with its prefix).
    pub topic: std::sync::Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset of each record.
    pub offsets: Vec<i64>,
    /// Kafka timestamp of each record in milliseconds since 1970; -1 if it has none.
    pub timestamps_ms: Vec<i64>,
    /// Key of each record.
    pub keys: BytesColumn,
    /// Value of each record.
    pub values: BytesColumn,
    /// For each record, the end of its headers in `header_names` and `header_values`.
    header_ends: Vec<usize>,
    header_names: BytesColumn,
    header_values: BytesColumn,
}

impl RecordBlock {
    /// An empty block of a partition.
    pub fn new(topic: std::sync::Arc<str>, partition: i32) -> Self {
        Self { topic, partition, ..Self::default() }
    }

    /// Appends a record.
    pub fn push<'a>(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        self.offsets.push(offset);
        self.timestamps_ms.push(timestamp_ms);
        self.keys.push(key);
        self.values.push(value);
        for (name, header) in headers {
            self.header_names.push(Some(name.as_bytes()));
            self.header_values.push(header);
        }
        self.header_ends.push(self.header_names.len());
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Offset after the last record, or `None` if there is none.
    pub fn next_offset(&self) -> Option<i64> {
        self.offsets.last().map(|offset| offset + 1)
    }

    /// The headers of record `index` in order; names that aren't UTF-8 can't be made by Kafka clients and are skipped.
    pub fn headers(&self, index: usize) -> impl Iterator<Item = (&str, Option<&[u8]>)> + '_ {
        let end = self.header_ends.get(index).copied().unwrap_or(0);
        let start = if index == 0 { 0 } else { self.header_ends.get(index - 1).copied().unwrap_or(end) };
        (start..end).filter_map(|at| {
            let name = std::str::from_utf8(self.header_names.get(at)?).ok()?;
            Some((name, self.header_values.get(at)))
        })
    }

    /// The last header of record `index` with this name.
    pub fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.headers(index).filter(|(header, _)| *header == name).last().and_then(|(_, value)| value)
    }

    /// Bytes of keys, values and headers.
    pub fn byte_len(&self) -> usize {
        self.keys.byte_len() + self.values.byte_len() + self.header_names.byte_len() + self.header_values.byte_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_empty_strings_stay_apart() {
        let mut column = BytesColumn::default();
        column.push(Some(b""));
        column.push(None);
        column.push(Some(b"abc"));
        assert_eq!(column.iter().collect::<Vec<_>>(), [Some(&b""[..]), None, Some(&b"abc"[..])]);
        assert_eq!(column.get(3), None);
    }

    #[test]
    fn a_failed_write_leaves_no_trace() {
        let mut column = BytesColumn::default();
        column.push(Some(b"a"));
        let failed = column.push_with(|buffer| {
            buffer.extend_from_slice(b"half");
            Err("full")
        });
        assert_eq!(failed, Err("full"));
        column.push(Some(b"b"));
        assert_eq!(column.iter().collect::<Vec<_>>(), [Some(&b"a"[..]), Some(&b"b"[..])]);
    }

    #[test]
    fn headers_belong_to_their_record() {
        let mut block = RecordBlock::new("t".into(), 0);
        block.push(5, 0, None, Some(b"x"), [("a", Some(&b"1"[..])), ("a", Some(&b"2"[..]))]);
        block.push(6, 0, None, Some(b"y"), []);
        block.push(9, 0, None, Some(b"z"), [("b", None)]);
        assert_eq!(block.header(0, "a"), Some(&b"2"[..]));
        assert_eq!(block.headers(1).count(), 0);
        assert_eq!(block.headers(2).collect::<Vec<_>>(), [("b", None)]);
        assert_eq!(block.next_offset(), Some(10));
    }
}
