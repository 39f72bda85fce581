//! Of several versions of one row in a batch, only the greatest goes to PostgreSQL: `ON CONFLICT DO UPDATE` refuses to touch a row
//! twice in one statement, and each version less is one less to send.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float64Array};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::Version;

/// Identity columns and versions of some rows.
pub(crate) struct Part<'a> {
    pub(crate) identity: Vec<ArrayRef>,
    pub(crate) versions: &'a [Version],
}

/// For each part, the rows that have the greatest version of their identity over all parts; of equal versions, the first. `None` means
/// that all rows of all parts stay.
pub(crate) fn greatest(parts: &[Part<'_>]) -> Result<Option<Vec<Vec<u32>>>, ArrowError> {
    let Some(first) = parts.iter().find(|part| !part.identity.is_empty()) else { return Ok(None) };
    let fields = first.identity.iter().map(|array| SortField::new(array.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let encoded: Vec<Rows> = parts
        .iter()
        .map(|part| {
            let columns: Vec<ArrayRef> = part.identity.iter().map(equal_as_postgresql).collect();
            converter.convert_columns(&columns)
        })
        .collect::<Result<_, _>>()?;
    let total: usize = encoded.iter().map(Rows::num_rows).sum();
    let mut best: HashMap<&[u8], (usize, u32, Version)> = HashMap::with_capacity(total);
    let mut repeated = false;
    for (part_index, (part, rows)) in parts.iter().zip(&encoded).enumerate() {
        for ((row, key), version) in (0_u32..).zip(rows.iter()).zip(part.versions) {
            match best.entry(key.data()) {
                Entry::Vacant(entry) => {
                    entry.insert((part_index, row, *version));
                }
                Entry::Occupied(mut entry) => {
                    repeated = true;
                    if entry.get().2 < *version {
                        entry.insert((part_index, row, *version));
                    }
                }
            }
        }
    }
    if !repeated {
        return Ok(None);
    }
    let mut selections = vec![Vec::new(); parts.len()];
    for (part, row, _) in best.into_values() {
        if let Some(selection) = selections.get_mut(part) {
            selection.push(row);
        }
    }
    for selection in &mut selections {
        selection.sort_unstable();
    }
    Ok(Some(selections))
}

/// PostgreSQL's unique index holds -0.0 and 0.0 to be equal, and all NaN; their bytes differ.
fn equal_as_postgresql(array: &ArrayRef) -> ArrayRef {
    if array.data_type() != &DataType::Float64 {
        return Arc::clone(array);
    }
    let canonical = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
    let values: Float64Array = array.as_primitive::<Float64Type>().unary(canonical);
    Arc::new(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};

    fn version(rows: u64) -> Version {
        Version { generation: 1, rows, is_final: false }
    }

    #[test]
    fn the_greatest_version_stays_and_null_is_one_group() {
        let keys = |keys: Vec<Option<&str>>| vec![Arc::new(StringArray::from(keys)) as ArrayRef];
        let rows = [version(1), version(5), version(2), version(5)];
        let deletes = [version(3), version(5)];
        let parts = [
            Part { identity: keys(vec![Some("a"), None, Some("a"), None]), versions: &rows },
            Part { identity: keys(vec![Some("a"), None]), versions: &deletes },
        ];
        assert_eq!(greatest(&parts).unwrap(), Some(vec![vec![1], vec![0]]));
    }

    #[test]
    fn nothing_is_selected_when_all_differ() {
        let versions = [version(1), version(1)];
        let parts = [Part { identity: vec![Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef], versions: &versions }];
        assert_eq!(greatest(&parts).unwrap(), None);
        assert_eq!(greatest(&[]).unwrap(), None);
    }

    #[test]
    fn floats_are_equal_as_in_an_index() {
        let versions = [version(1), version(2), version(1), version(2)];
        let values = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]);
        let parts = [Part { identity: vec![Arc::new(values) as ArrayRef], versions: &versions }];
        assert_eq!(greatest(&parts).unwrap(), Some(vec![vec![1, 3]]));
    }
}
