//! Walking over a value of any schema without building anything, to skip it or to find what is wrong with it.
//!
//! No step allocates. Counts of items are held against the bytes that are left, items of no width against a cap of their
//! own, and nesting against a depth, so that the walk costs at most the record's length. The classic attack is an array
//! of null with a count of billions (avro-rs 581 and 639).

use model::limits::{NESTING_DEPTH_MAX, RECORD_BYTES_MAX};

use crate::cursor::{Cursor, is_plain};
use crate::schema::{Kind, NodeId, Schema};

/// Values visited for each byte of a record, beyond those of no width.
const STEPS_PER_BYTE: usize = 4;

/// What a record may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest value in bytes, header included.
    pub record_bytes_max: usize,
    /// Deepest nesting of a value.
    pub depth_max: usize,
    /// Most items of no width (nulls, empty records) in the arrays of one record.
    pub zero_width_items_max: usize,
    /// Whether floating-point numbers may be infinite or NaN, and times lie outside of the years 1 to 9999: in results of queries they may, in
    /// records that come in not.
    pub any_value: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: RECORD_BYTES_MAX,
            depth_max: NESTING_DEPTH_MAX,
            zero_width_items_max: 65_536,
            any_value: false,
        }
    }
}

/// Whether the contents of skipped values are looked at, or only their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Text must be UTF-8, symbols must exist, blocks must have the size they state.
    Full,
    /// Only what is needed to find the end.
    Structure,
}

/// A walk over one record.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) care: Care,
    pub(crate) depth_max: usize,
    /// Items of no width that are still allowed.
    pub(crate) zero_width_left: usize,
    /// Values that may still be visited: parts of no width can make a short record long to walk over.
    steps_left: usize,
}

impl<'a> Walk<'a> {
    /// A walk over a record of `bytes` bytes.
    pub(crate) fn new(schema: &'a Schema, care: Care, limits: &Limits, bytes: usize) -> Self {
        Self {
            schema,
            care,
            depth_max: limits.depth_max,
            zero_width_left: limits.zero_width_items_max,
            steps_left: bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(limits.zero_width_items_max),
        }
    }

    /// Walks over a value of the type `id`.
    pub(crate) fn value(&mut self, id: NodeId, cursor: &mut Cursor<'_>, depth: usize) -> Option<()> {
        if depth > self.depth_max {
            return cursor.malformed(cursor.at(), format!("values are nested deeper than {} levels", self.depth_max));
        }
        match self.steps_left.checked_sub(1) {
            Some(left) => self.steps_left = left,
            None => return cursor.malformed(cursor.at(), "the record has too many values for its size"),
        }
        let schema = self.schema;
        match &schema.node(id).kind {
            Kind::Null => Some(()),
            Kind::Boolean => cursor.boolean().map(drop),
            Kind::Int => cursor.int().map(drop),
            Kind::Long => cursor.long().map(drop),
            Kind::Float => cursor.take(4).map(drop),
            Kind::Double => cursor.take(8).map(drop),
            Kind::Bytes => cursor.prefixed().map(drop),
            Kind::String => self.text(cursor),
            Kind::Fixed(fixed) => cursor.take(fixed.size).map(drop),
            Kind::Enum(enumeration) => cursor.index(enumeration.symbols.len(), "there is no enum symbol").map(drop),
            Kind::Record(record) => {
                record.fields.iter().try_for_each(|field| self.value(field.node, cursor, depth + 1))
            }
            Kind::Union(branches) => {
                let index = cursor.index(branches.len(), "there is no union branch")?;
                match branches.get(index) {
                    Some(branch) => self.value(*branch, cursor, depth + 1),
                    None => None,
                }
            }
            Kind::Array(items) => {
                let width = min_width(schema, *items);
                self.blocks(cursor, width, |walk, cursor| walk.value(*items, cursor, depth + 1))
            }
            Kind::Map(values) => {
                let width = min_width(schema, *values) + 1;
                self.blocks(cursor, width, |walk, cursor| {
                    walk.text(cursor)?;
                    walk.value(*values, cursor, depth + 1)
                })
            }
        }
    }

    fn text(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        let start = cursor.at();
        let text = cursor.prefixed()?;
        if self.care == Care::Structure || is_plain(text) || std::str::from_utf8(text).is_ok() {
            return Some(());
        }
        cursor.malformed(start, "a text is not valid UTF-8")
    }

    fn blocks(
        &mut self,
        cursor: &mut Cursor<'_>,
        width: usize,
        mut item: impl FnMut(&mut Self, &mut Cursor<'_>) -> Option<()>,
    ) -> Option<()> {
        loop {
            let block = Block::read(cursor, width, &mut self.zero_width_left)?;
            if block.items == 0 {
                return Some(());
            }
            match block.bytes {
                Some(bytes) if self.care == Care::Structure => cursor.take(bytes).map(drop)?,
                // Items of no width take nothing, however many they are.
                _ if width > 0 => (0..block.items).try_for_each(|_| item(self, cursor))?,
                _ => {}
            }
            block.check_end(cursor)?;
        }
    }
}

/// The head of a block of an array's or map's items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// Number of items; 0 ends the list.
    pub(crate) items: usize,
    /// Length of the items in bytes, where it is stated.
    pub(crate) bytes: Option<usize>,
    start: usize,
}

impl Block {
    /// Reads a block's head for items of at least `width` bytes and holds its count against what is left.
    pub(crate) fn read(cursor: &mut Cursor<'_>, width: usize, zero_width_left: &mut usize) -> Option<Self> {
        let start = cursor.at();
        let count = cursor.long()?;
        let bytes = if count < 0 {
            let size = cursor.long()?;
            match usize::try_from(size) {
                Ok(size) if size <= cursor.left() => Some(size),
                _ => {
                    return cursor
                        .malformed(start, format!("a block of {size} bytes where {} are left", cursor.left()));
                }
            }
        } else {
            None
        };
        let room = bytes.unwrap_or(cursor.left());
        let Ok(items) = usize::try_from(count.unsigned_abs()) else {
            return cursor.malformed(start, format!("a block of {count} items"));
        };
        if width == 0 {
            match zero_width_left.checked_sub(items) {
                Some(left) => *zero_width_left = left,
                None => return cursor.malformed(start, format!("a block of {items} items of no width is too many")),
            }
        } else if items.checked_mul(width).is_none_or(|least| least > room) {
            return cursor.malformed(start, format!("a block of {items} items where {room} bytes are left"));
        }
        Some(Self { items, bytes, start: cursor.at() })
    }

    /// Whether the block ended where it said.
    pub(crate) fn check_end(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        match self.bytes {
            Some(bytes) if cursor.at() != self.start + bytes => cursor
                .malformed(self.start, format!("a block states {bytes} bytes and has {}", cursor.at() - self.start)),
            _ => Some(()),
        }
    }
}

/// The fewest bytes of a value; 0 only for values that never have any. A record with too many parts to be counted has at
/// least one byte here, so that its items are walked over and not taken for nothing.
pub(crate) fn min_width(schema: &Schema, id: NodeId) -> usize {
    fn width(schema: &Schema, id: NodeId, budget: &mut usize) -> usize {
        match &schema.node(id).kind {
            Kind::Null => 0,
            Kind::Float => 4,
            Kind::Double => 8,
            Kind::Fixed(fixed) => fixed.size,
            Kind::Record(record) => {
                let mut sum = 0_usize;
                for field in &record.fields {
                    let Some(left) = budget.checked_sub(1) else { return sum.max(1) };
                    *budget = left;
                    sum = sum.saturating_add(width(schema, field.node, budget));
                }
                sum
            }
            _ => 1,
        }
    }
    width(schema, id, &mut 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Fault;

    fn walk(schema: &str, bytes: &[u8]) -> Result<usize, (usize, String)> {
        let schema = Schema::parse(schema).unwrap();
        let mut cursor = Cursor::new(bytes, 0);
        let mut walk = Walk::new(&schema, Care::Full, &Limits::default(), bytes.len());
        match (walk.value(schema.root(), &mut cursor, 1), cursor.fault.take()) {
            (Some(()), None) => Ok(cursor.at()),
            (None, Some(Fault::Malformed { offset, message })) => Err((offset, message.into_owned())),
            other => panic!("{other:?}"),
        }
    }

    const INTS: &str = r#"{"type":"array","items":"int"}"#;
    const NULLS: &str = r#"{"type":"array","items":"null"}"#;

    #[test]
    fn lists_are_walked_in_blocks() {
        assert_eq!(walk(INTS, &[4, 2, 4, 2, 6, 0]), Ok(6));
        assert_eq!(walk(INTS, &[3, 4, 2, 4, 0]), Ok(5));
        assert_eq!(walk(r#"{"type":"map","values":"boolean"}"#, &[2, 2, b'k', 1, 0]), Ok(5));
        assert_eq!(walk(NULLS, &[0x80, 0x80, 4, 0]), Ok(4));
    }

    #[test]
    fn counts_are_held_against_what_is_left() {
        let many = [0x80, 0xad, 0xe2, 0x04, 0];
        assert!(walk(INTS, &many).unwrap_err().1.contains("5000000 items where 1 bytes are left"));
        assert!(walk(NULLS, &many).unwrap_err().1.contains("items of no width"));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0];
        assert!(walk(INTS, &most).is_err());
        assert!(walk(INTS, &[3, 6, 2, 4, 0]).unwrap_err().1.contains("states 3 bytes"));
        assert!(walk(INTS, &[3, 40, 2, 4, 0]).unwrap_err().1.contains("20 bytes where 3 are left"));
        assert_eq!(walk(INTS, &[4, 2, 4]).unwrap_err().0, 3);
    }

    #[test]
    fn items_of_no_width_are_counted_over_the_whole_record() {
        let nested = format!(r#"{{"type":"array","items":{NULLS}}}"#);
        // 2^15 nulls in each of three arrays.
        let inner = [0x80, 0x80, 4, 0];
        let bytes = [&[6][..], &inner, &inner, &inner, &[0]].concat();
        assert!(walk(&nested, &bytes).unwrap_err().1.contains("items of no width"));
    }

    #[test]
    fn recursion_in_the_data_ends() {
        let schema = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
        assert_eq!(walk(schema, &[2, 2, 2, 0]), Ok(4));
        assert!(walk(schema, &[2; 1_000]).unwrap_err().1.contains("deeper than 64"));
    }

    #[test]
    fn indexes_and_text_are_checked() {
        assert!(walk(r#"["null","int"]"#, &[4, 0]).unwrap_err().1.contains("branch 2 of 2"));
        assert!(walk(r#"["null","int"]"#, &[1]).unwrap_err().1.contains("branch -1 of 2"));
        assert!(walk(r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[2]).unwrap_err().1.contains("symbol 1 of 1"));
        assert!(walk(r#""string""#, &[4, 0xc3, 0x28]).unwrap_err().1.contains("UTF-8"));
        assert!(walk(r#""boolean""#, &[2]).unwrap_err().1.contains("instead of 0 or 1"));
        assert_eq!(walk(r#"{"type":"fixed","name":"F","size":9}"#, &[0; 8]).unwrap_err().0, 0);
    }
}
