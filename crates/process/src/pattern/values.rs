//! Values of matches: what conditions and measures read of rows other than the one at hand.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow_schema::{Field, Schema};
use arrow_select::take::take;
use sql::{AggregateCall, End, Expression, MatchValue, MatchValueKind, Pattern, RowPlace, RowValue, VariableSet};

use super::attempt::variable;
use super::key::KeyState;
use super::store::{Place, RowStore};
use crate::accumulator::{Input, accumulator};
use crate::error::Cause;
use crate::place::Places;

/// A match, or what there is of one, seen from one of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) key: &'a KeyState,
    /// Number of the first row within the key.
    pub(crate) start: u64,
    /// Variables of the rows up to the one it is seen from.
    pub(crate) path: &'a [u8],
    /// Variable of a further row that is being tested.
    pub(crate) tested: Option<u8>,
    /// Variables of all rows of the match, for FINAL.
    pub(crate) whole: &'a [u8],
    /// Number of the match.
    pub(crate) number: u64,
}

impl View<'_> {
    /// Number within the key of the row it is seen from.
    fn here(&self) -> u64 {
        self.start + self.path.len() as u64 + u64::from(self.tested.is_some()) - 1
    }

    /// The rows that are mapped to one of these variables, by their place in the match.
    fn rows_of(&self, set: VariableSet, is_final: bool) -> impl DoubleEndedIterator<Item = u64> {
        let path = if is_final { self.whole } else { self.path };
        let tested = if is_final { None } else { self.tested };
        let count = path.len() as u64;
        let rows = (0_u64..).zip(path).filter(move |(_, step)| set >> variable(**step) & 1 == 1).map(|(row, _)| row);
        rows.collect::<Vec<_>>().into_iter().chain(tested.filter(|tested| set >> tested & 1 == 1).map(|_| count))
    }

    /// The variable of a row of the match.
    fn variable_at(&self, row: u64, is_final: bool) -> Option<u8> {
        let path = if is_final { self.whole } else { self.path };
        let at = usize::try_from(row.checked_sub(self.start)?).ok()?;
        let tested = if at == path.len() && !is_final { self.tested } else { None };
        path.get(at).map(|step| variable(*step)).or(tested)
    }

    /// Number within the key of the row at a place.
    fn row_at(&self, place: RowPlace, is_final: bool, within_us: i64) -> Option<u64> {
        let skip = place.skip as usize;
        let mut rows = self.rows_of(place.of, is_final);
        let base = match place.end {
            End::First => rows.nth(skip)?,
            End::Last => rows.nth_back(skip)?,
        };
        let base = self.start + base;
        if place.step == 0 {
            return Some(base);
        }
        let number = base.checked_add_signed(i64::from(place.step))?;
        let (from, to) = (self.key.row(base)?, self.key.row(number)?);
        (from.time_us.abs_diff(to.time_us) <= within_us.unsigned_abs()).then_some(number)
    }
}

/// The columns that an expression reads, for each of the views: values of the match by their names, and columns of the row at hand.
pub(crate) fn columns(
    expressions: &[&Expression],
    values: &[MatchValue],
    views: &[View<'_>],
    pattern: &Pattern,
    store: &RowStore,
) -> Result<RecordBatch, Cause> {
    let mut fields: Vec<Field> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for name in expressions.iter().flat_map(|expression| expression.columns()) {
        if fields.iter().any(|field| field.name() == name) {
            continue;
        }
        let column = match values.iter().find(|value| value.name == *name) {
            Some(value) => column_of(value, views, pattern, store)?,
            None => {
                let places: Vec<Option<Place>> =
                    views.iter().map(|view| view.key.row(view.here()).map(|row| row.place)).collect();
                store.gather(store.schema().index_of(name)?, &places)?
            }
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(views.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

fn column_of(value: &MatchValue, views: &[View<'_>], pattern: &Pattern, store: &RowStore) -> Result<ArrayRef, Cause> {
    match &value.kind {
        MatchValueKind::MatchNumber => {
            let numbers = views.iter().map(|view| i64::try_from(view.number).unwrap_or(i64::MAX));
            Ok(Arc::new(numbers.collect::<Int64Array>()))
        }
        MatchValueKind::Row(place, RowValue::Classifier) => {
            let names = views.iter().map(|view| {
                let row = view.row_at(*place, value.is_final, pattern.within_us)?;
                let variable = view.variable_at(row, value.is_final)?;
                pattern.variables.get(usize::from(variable)).map(|variable| variable.name.as_str())
            });
            Ok(Arc::new(names.collect::<StringArray>()))
        }
        MatchValueKind::Row(place, RowValue::Expression(expression)) => {
            let rows = views.iter().map(|view| {
                let number = view.row_at(*place, value.is_final, pattern.within_us)?;
                view.key.row(number).map(|row| row.place)
            });
            of_rows(expression, &rows.collect::<Vec<_>>(), store)
        }
        MatchValueKind::Aggregate(set, call) => aggregate(call, *set, value.is_final, views, store),
    }
}

/// An expression over each of these rows; NULL where there is none.
fn of_rows(expression: &Expression, places: &[Option<Place>], store: &RowStore) -> Result<ArrayRef, Cause> {
    if let Some(column) = expression.as_column() {
        return store.gather(store.schema().index_of(column)?, places);
    }
    let there: Vec<Place> = places.iter().flatten().copied().collect();
    let values = expression.evaluate(&store.batch(expression.columns(), &there)?)?;
    if there.len() == places.len() {
        return Ok(values);
    }
    let mut next = 0_u32;
    let indices: UInt32Array = places
        .iter()
        .map(|place| {
            place.map(|_| {
                next += 1;
                next - 1
            })
        })
        .collect();
    Ok(take(&values, &indices, None)?)
}

fn aggregate(
    call: &AggregateCall,
    set: VariableSet,
    is_final: bool,
    views: &[View<'_>],
    store: &RowStore,
) -> Result<ArrayRef, Cause> {
    let (mut places, mut groups) = (Vec::new(), Vec::new());
    for (group, view) in (0_u32..).zip(views) {
        for row in view.rows_of(set, is_final) {
            let row = view.key.row(view.start + row);
            places.push(row.ok_or_else(|| Cause::Internal("a row of a match isn't kept".into()))?.place);
            groups.push(group);
        }
    }
    let mut accumulator = accumulator(call)?;
    accumulator.resize(views.len());
    let argument = match &call.argument {
        Some(argument) => Some(argument.evaluate(&store.batch(argument.columns(), &places)?)?),
        None => None,
    };
    // The check lets no aggregate through that goes by the places of rows.
    let input = Input { argument: argument.as_ref(), order: None, places: &Places::default() };
    accumulator.update(&input, &groups)?;
    let all: Vec<u32> = (0..).take(views.len()).collect();
    accumulator.evaluate(&all)
}
