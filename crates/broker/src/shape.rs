//! A walk over a request's bytes before it is decoded: are the lengths that it claims true?
//!
//! The decoder makes room for an array by the length that the request claims, so that one of 40 bytes could ask for all memory. Each
//! served request is described here field by field; an array may claim only as many items as there are.

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::ApiKey;

/// More items than any client has reason to send, over all arrays of a request.
const ITEMS_MAX: usize = 1_000_000;

/// A field of a request.
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// Text that may be null; its length has two bytes, or is a variable-length number.
    Text,
    /// Bytes that may be null; their length has four bytes, or is a variable-length number.
    Blob,
    /// An array that may be null.
    Array(&'static [Field]),
    /// Not a field: says that the items of this array are plain values, which have no tagged fields.
    Items,
}

/// A field, and the versions that have it.
struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

const fn always(kind: Kind) -> Field {
    Field { from: 0, to: i16::MAX, kind }
}

const fn since(from: i16, kind: Kind) -> Field {
    Field { from, to: i16::MAX, kind }
}

const fn until(to: i16, kind: Kind) -> Field {
    Field { from: 0, to, kind }
}

const fn between(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

use Kind::{Array, Blob, Fixed, Items, Text};

const INT8: Field = always(Fixed(1));
const INT16: Field = always(Fixed(2));
const INT32: Field = always(Fixed(4));
const INT64: Field = always(Fixed(8));
const TEXT: Field = always(Text);
const BLOB: Field = always(Blob);
const UUID: Kind = Fixed(16);
/// An array of plain numbers has no tagged fields in its items.
const INTS: Field = always(Array(&[always(Items), INT32]));
const TEXTS: Kind = Array(&[always(Items), TEXT]);

/// The first flexible version and the fields of a request, as constants.
macro_rules! shape {
    ($flexible_from:expr, $fields:expr $(,)?) => {{
        const FIELDS: &[Field] = $fields;
        ($flexible_from, FIELDS)
    }};
}

/// The first flexible version and the fields of a request.
fn fields(api: ApiKey) -> Option<(i16, &'static [Field])> {
    Some(match api {
        ApiKey::Produce => {
            shape!(9, &[since(3, Text), INT16, INT32, always(Array(&[TEXT, always(Array(&[INT32, BLOB]))]))])
        }
        ApiKey::Fetch => shape!(12, FETCH),
        ApiKey::ListOffsets => shape!(
            6,
            &[INT32, since(2, Fixed(1)), always(Array(&[TEXT, always(Array(&[INT32, since(4, Fixed(4)), INT64]))])),],
        ),
        ApiKey::Metadata => shape!(
            9,
            &[
                always(Array(&[since(10, UUID), TEXT])),
                since(4, Fixed(1)),
                between(8, 10, Fixed(1)),
                since(8, Fixed(1)),
            ],
        ),
        ApiKey::OffsetCommit => shape!(
            8,
            &[
                TEXT,
                INT32,
                TEXT,
                since(7, Text),
                between(2, 4, Fixed(8)),
                always(Array(&[TEXT, always(Array(&[INT32, INT64, since(6, Fixed(4)), TEXT]))])),
            ],
        ),
        ApiKey::OffsetFetch => shape!(6, OFFSET_FETCH),
        ApiKey::FindCoordinator => shape!(3, &[until(3, Text), since(1, Fixed(1)), since(4, TEXTS)]),
        ApiKey::JoinGroup => shape!(
            6,
            &[
                TEXT,
                INT32,
                since(1, Fixed(4)),
                TEXT,
                since(5, Text),
                TEXT,
                always(Array(&[TEXT, BLOB])),
                since(8, Text),
            ],
        ),
        ApiKey::Heartbeat => shape!(4, &[TEXT, INT32, TEXT, since(3, Text)]),
        ApiKey::LeaveGroup => shape!(4, &[TEXT, until(2, Text), since(3, Array(&[TEXT, TEXT, since(5, Text)]))]),
        ApiKey::SyncGroup => shape!(
            4,
            &[TEXT, INT32, TEXT, since(3, Text), since(5, Text), since(5, Text), always(Array(&[TEXT, BLOB]))],
        ),
        ApiKey::DescribeGroups => shape!(5, &[always(TEXTS), since(3, Fixed(1))]),
        ApiKey::ListGroups => shape!(3, &[since(4, TEXTS), since(5, TEXTS)]),
        ApiKey::ApiVersions => shape!(3, &[since(3, Text), since(3, Text)]),
        _ => return admin_fields(api),
    })
}

const FETCH: &[Field] = &[
    until(14, Fixed(4)),
    INT32,
    INT32,
    INT32,
    INT8,
    since(7, Fixed(8)),
    always(Array(&[
        until(12, Text),
        since(13, UUID),
        always(Array(&[INT32, since(9, Fixed(4)), INT64, since(12, Fixed(4)), since(5, Fixed(8)), INT32])),
    ])),
    since(7, Array(&[until(12, Text), since(13, UUID), INTS])),
    since(11, Text),
];

const OFFSET_FETCH: &[Field] = &[
    until(7, Text),
    until(7, Array(&[TEXT, INTS])),
    since(8, Array(&[TEXT, since(9, Text), since(9, Fixed(4)), always(Array(&[TEXT, INTS]))])),
    since(7, Fixed(1)),
];

fn admin_fields(api: ApiKey) -> Option<(i16, &'static [Field])> {
    Some(match api {
        ApiKey::CreateTopics => shape!(
            5,
            &[
                always(Array(&[TEXT, INT32, INT16, always(Array(&[INT32, INTS])), always(Array(&[TEXT, TEXT])),])),
                INT32,
                INT8,
            ],
        ),
        ApiKey::DeleteTopics => shape!(4, &[since(6, Array(&[TEXT, always(UUID)])), until(5, TEXTS), INT32]),
        ApiKey::DeleteRecords => shape!(2, &[always(Array(&[TEXT, always(Array(&[INT32, INT64]))])), INT32]),
        ApiKey::InitProducerId => shape!(2, &[TEXT, INT32, since(3, Fixed(10))]),
        ApiKey::OffsetForLeaderEpoch => {
            shape!(4, &[since(3, Fixed(4)), always(Array(&[TEXT, always(Array(&[INT32, INT32, INT32]))]))])
        }
        ApiKey::DescribeConfigs => shape!(4, &[always(Array(&[INT8, TEXT, always(TEXTS)])), INT8, since(3, Fixed(1))]),
        ApiKey::AlterConfigs => shape!(2, &[always(Array(&[INT8, TEXT, always(Array(&[TEXT, TEXT]))])), INT8]),
        ApiKey::CreatePartitions => shape!(2, &[always(Array(&[TEXT, INT32, always(Array(&[INTS]))])), INT32, INT8]),
        ApiKey::DeleteGroups => shape!(2, &[always(TEXTS)]),
        ApiKey::IncrementalAlterConfigs => {
            shape!(1, &[always(Array(&[INT8, TEXT, always(Array(&[TEXT, INT8, TEXT]))])), INT8])
        }
        ApiKey::OffsetDelete => shape!(i16::MAX, &[TEXT, always(Array(&[TEXT, always(Array(&[INT32]))]))]),
        ApiKey::DescribeCluster => shape!(0, &[INT8, since(1, Fixed(1)), since(2, Fixed(1))]),
        _ => return None,
    })
}

/// Whether the lengths in the body of a request are true.
pub(crate) fn check(api: ApiKey, version: i16, body: &Bytes) -> Result<(), &'static str> {
    let Some((flexible_from, fields)) = fields(api) else { return Err("its shape isn't known") };
    let mut walk = Walk { rest: body, version, flexible: version >= flexible_from, items: 0 };
    // Bytes behind the last field are ignored, as Apache Kafka does: librdkafka 2.12 sends one in Metadata.
    walk.fields(fields).ok_or("a length in it is wrong")
}

/// Reads the part of the header behind the correlation id; returns the client's id.
pub(crate) fn rest_of_header(frame: &mut Bytes, header_version: i16) -> Option<String> {
    let mut client_id = String::new();
    let before = frame.len();
    let mut walk = Walk { rest: frame, version: header_version, flexible: false, items: 0 };
    if header_version >= 1 {
        let length = i16::from_be_bytes(*walk.rest.first_chunk()?);
        walk.skip(2)?;
        if let Ok(length) = usize::try_from(length) {
            client_id = String::from_utf8_lossy(walk.rest.get(..length)?).into_owned();
            walk.skip(length)?;
        }
    }
    if header_version >= 2 {
        walk.tagged_fields()?;
    }
    let used = before - walk.rest.len();
    frame.advance(used);
    Some(client_id)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    items: usize,
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    fn fields(&mut self, fields: &'static [Field]) -> Option<()> {
        let mut has_tags = self.flexible;
        let version = self.version;
        for field in fields.iter().filter(|field| (field.from..=field.to).contains(&version)) {
            match field.kind {
                Kind::Fixed(bytes) => self.skip(bytes)?,
                Kind::Text => {
                    let length = self.length(2)?;
                    self.skip(length.unwrap_or(0))?;
                }
                Kind::Blob => {
                    let length = self.length(4)?;
                    self.skip(length.unwrap_or(0))?;
                }
                Kind::Array(item) => {
                    let items = self.length(4)?.unwrap_or(0);
                    self.items = self.items.checked_add(items).filter(|items| *items <= ITEMS_MAX)?;
                    for _ in 0..items {
                        self.fields(item)?;
                    }
                }
                Kind::Items => has_tags = false,
            }
        }
        if has_tags { self.tagged_fields() } else { Some(()) }
    }

    /// A length that is negative, or 0 in flexible versions, for null.
    fn length(&mut self, bytes: usize) -> Option<Option<usize>> {
        if self.flexible {
            return Some(self.varint()?.checked_sub(1));
        }
        let length = if bytes == 2 {
            i32::from(i16::from_be_bytes(*self.rest.first_chunk()?))
        } else {
            i32::from_be_bytes(*self.rest.first_chunk()?)
        };
        self.skip(bytes)?;
        Some(usize::try_from(length).ok())
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0u32;
        for shift in (0..32).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return usize::try_from(number).ok();
            }
        }
        None
    }

    fn tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
