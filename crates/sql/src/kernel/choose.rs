//! Functions that choose one of their operands, of any one type.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BooleanArray};
use arrow_ord::cmp;
use arrow_schema::DataType;
use arrow_select::zip::zip;
use datafusion_common::Result;

use super::{Kernel, Operands};

/// The first operand that isn't NULL.
pub(crate) const COALESCE: Kernel = Kernel::function("coalesce", |operands, _| {
    let mut result = operands.expanded(0)?;
    for index in 1..operands.len() {
        match result.nulls() {
            Some(nulls) if nulls.null_count() > 0 => {
                let present = BooleanArray::new(nulls.inner().clone(), None);
                result = zip(&present, &result, &operands.expanded(index)?)?;
            }
            _ => break,
        }
    }
    Ok(result)
});

/// The greatest operand; NULLs are skipped.
pub(crate) const GREATEST: Kernel =
    Kernel::function("greatest", |operands, to| extreme(operands, to, |a, b| Ok(cmp::gt_eq(a, b)?)));

/// The least operand; NULLs are skipped.
pub(crate) const LEAST: Kernel =
    Kernel::function("least", |operands, to| extreme(operands, to, |a, b| Ok(cmp::lt_eq(a, b)?)));

fn extreme(
    operands: &Operands,
    to: &DataType,
    first_wins: impl Fn(&ArrayRef, &ArrayRef) -> Result<BooleanArray>,
) -> Result<ArrayRef> {
    // Doubles are compared with one zero and one NaN; of equal ones the first is taken as it is.
    let compared = |array: &ArrayRef| if *to == DataType::Float64 { normal(array) } else { Ok(Arc::clone(array)) };
    let mut result = operands.expanded(0)?;
    for index in 1..operands.len() {
        let other = operands.expanded(index)?;
        let wins = first_wins(&compared(&result)?, &compared(&other)?)?;
        // Where the comparison is NULL, the first is taken unless it is NULL itself.
        let keep: BooleanArray = (0..operands.rows)
            .map(|row| Some(if wins.is_null(row) { result.is_valid(row) } else { wins.value(row) }))
            .collect();
        result = zip(&keep, &result, &other)?;
    }
    Ok(result)
}

/// One zero and one NaN that is greater than all numbers, also where its sign bit is set.
fn normal(array: &ArrayRef) -> Result<ArrayRef> {
    let rows = array.len();
    let operands = Operands { arrays: vec![Arc::clone(array)], scalar: vec![false], rows };
    (crate::lower::NORMALIZE.compute)(&operands, &DataType::Float64)
}
