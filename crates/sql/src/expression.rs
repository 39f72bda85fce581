//! Compiled expressions: evaluated per batch, column by column, and never failing on data.

use std::fmt;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use model::{Classified, Domain, Retry};

use crate::diagnostic::Diagnostic;
use crate::typed::{Kind, Typed};

/// Why an expression could not be evaluated over a batch. Never the data: a division by zero, an overflow or a failed cast gives NULL.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The batch lacks a column.
    #[error("the batch has no column `{column}`, which `{expression}` reads")]
    MissingColumn {
        /// Its name.
        column: String,
        /// The expression.
        expression: String,
    },
    /// A column of the batch has another type than the expression was compiled for.
    #[error("column `{column}` is {found} in the batch, and `{expression}` was compiled for {expected}")]
    ColumnType {
        /// Its name.
        column: String,
        /// Type at compile time.
        expected: DataType,
        /// Type in the batch.
        found: DataType,
        /// The expression.
        expression: String,
    },
    /// A kernel failed: a bug of ours or of a library.
    #[error("`{expression}` could not be computed: {message}")]
    Kernel {
        /// The expression.
        expression: String,
        /// The library's words.
        message: String,
    },
}

impl Classified for EvaluateError {
    fn domain(&self) -> Domain {
        Domain::Internal
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// An expression over the columns of a batch. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

struct Inner {
    tree: Typed,
    physical: Arc<dyn PhysicalExpr>,
    columns: Vec<String>,
    /// The columns that are read, in the order of `columns`; what the physical expression's indexes refer to.
    schema: SchemaRef,
}

impl Expression {
    pub(crate) fn new(tree: Typed) -> Result<Self, String> {
        let (columns, schema) = tree.read_columns();
        let physical = crate::lower::lower(&tree, &schema).map_err(|error| error.to_string())?;
        Ok(Self { inner: Arc::new(Inner { tree, physical, columns, schema }) })
    }

    /// The value for each row of the batch. Columns are found by name, so their order and further columns don't matter.
    ///
    /// # Errors
    /// When the batch lacks a column or has it in another type; never because of the data.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluateError> {
        let mut arrays = Vec::with_capacity(self.inner.columns.len());
        for (column, field) in self.inner.columns.iter().zip(self.inner.schema.fields()) {
            let array = batch
                .column_by_name(column)
                .ok_or_else(|| EvaluateError::MissingColumn { column: column.clone(), expression: self.to_string() })?;
            if array.data_type() != field.data_type() {
                return Err(EvaluateError::ColumnType {
                    column: column.clone(),
                    expected: field.data_type().clone(),
                    found: array.data_type().clone(),
                    expression: self.to_string(),
                });
            }
            arrays.push(Arc::clone(array));
        }
        if let (Kind::Column(_), Some(array)) = (&self.inner.tree.kind, arrays.first()) {
            return Ok(Arc::clone(array));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let read = RecordBatch::try_new_with_options(Arc::clone(&self.inner.schema), arrays, &options)
            .map_err(|error| self.kernel_error(&error))?;
        let value = self.inner.physical.evaluate(&read).map_err(|error| self.kernel_error(&error))?;
        value.into_array(batch.num_rows()).map_err(|error| self.kernel_error(&error))
    }

    fn kernel_error(&self, error: &dyn fmt::Display) -> EvaluateError {
        EvaluateError::Kernel { expression: self.to_string(), message: error.to_string() }
    }

    /// Type of the values.
    pub fn data_type(&self) -> &DataType {
        &self.inner.tree.data_type
    }

    /// Whether a value can be NULL.
    pub fn nullable(&self) -> bool {
        self.inner.tree.nullable
    }

    /// Names of the columns it reads, each once.
    pub fn columns(&self) -> &[String] {
        &self.inner.columns
    }

    /// The expression as Spark SQL, see [`crate::spark`].
    pub fn to_spark(&self) -> String {
        crate::spark::print(&self.inner.tree)
    }

    pub(crate) fn tree(&self) -> &Typed {
        &self.inner.tree
    }

    /// The name of the column if the expression is nothing but one.
    pub fn as_column(&self) -> Option<&str> {
        match &self.inner.tree.kind {
            Kind::Column(name) => Some(name),
            _ => None,
        }
    }
}

/// Canonical Spark SQL: fully parenthesised, all implicit casts written out.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.tree.fmt(f)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({self}: {})", self.data_type())
    }
}

/// Whether rows are true under a boolean expression; NULL counts as false.
pub(crate) fn truths(array: &BooleanArray) -> BooleanArray {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => BooleanArray::new(array.values() & nulls.inner(), None),
        None => BooleanArray::new(array.values().clone(), None),
    }
}

/// A validation rule: a condition over a stream's columns.
#[derive(Debug, Clone)]
pub struct Condition {
    expression: Expression,
}

impl Condition {
    /// Compiles the text of a rule, such as `amount > 0`, for a stream with this schema.
    ///
    /// # Errors
    /// All findings at once: what isn't SQL, unknown columns and functions, a value that isn't boolean.
    pub fn compile(text: &str, schema: &SchemaRef) -> Result<Self, Vec<Diagnostic>> {
        crate::compile::compile_condition(text, schema).map(|expression| Self { expression })
    }

    /// For each row whether the condition is true; false for NULL. The result has no NULL.
    ///
    /// # Errors
    /// When the batch lacks a column or has it in another type; never because of the data.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray, EvaluateError> {
        let values = self.expression.evaluate(batch)?;
        match values.as_any().downcast_ref::<BooleanArray>() {
            Some(array) => Ok(truths(array)),
            // A bare NULL literal is the only condition that isn't boolean.
            None => Ok(BooleanArray::new(BooleanBuffer::new_unset(batch.num_rows()), None)),
        }
    }

    /// The condition's expression.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Names of the columns it reads, each once.
    pub fn columns(&self) -> &[String] {
        self.expression.columns()
    }
}
