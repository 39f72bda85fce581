//! Kernels of our own: whole columns in, a column out, with Spark's meaning. None fails because of data.

pub(crate) mod arithmetic;
pub(crate) mod cast;
pub(crate) mod choose;
pub(crate) mod decimal;
pub(crate) mod mathematics;
pub(crate) mod number_text;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod time_text;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, Schema};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// Computes a column of the given type from operands.
pub(crate) type Compute = fn(&Operands, &DataType) -> Result<ArrayRef>;

/// A function or operator of ours. Two with the same name are the same.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Name in Spark SQL.
    pub(crate) name: &'static str,
    /// Whether it is written between or before its operands.
    pub(crate) infix: bool,
    pub(crate) compute: Compute,
}

impl Kernel {
    pub(crate) const fn function(name: &'static str, compute: Compute) -> Self {
        Self { name, infix: false, compute }
    }

    pub(crate) const fn operator(name: &'static str, compute: Compute) -> Self {
        Self { name, infix: true, compute }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.infix == other.infix
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The evaluated operands of a kernel. A literal is an array of one row that stands for all rows.
pub(crate) struct Operands {
    arrays: Vec<ArrayRef>,
    scalar: Vec<bool>,
    /// Rows of the result.
    pub(crate) rows: usize,
}

/// A column of numbers, or one number for all rows.
pub(crate) struct Numbers<'a, T: ArrowPrimitiveType> {
    values: &'a [T::Native],
    nulls: Option<&'a NullBuffer>,
    /// 0 for one number for all rows, else 1.
    stride: usize,
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    /// The number of a row, unspecified if it is NULL.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> T::Native {
        self.values.get(row * self.stride).copied().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row * self.stride))
    }

    /// The number of a row unless it is NULL.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<T::Native> {
        if self.is_null(row) { None } else { Some(self.value(row)) }
    }

    /// NULLs of `rows` rows; `Err` if all of them are.
    fn expanded(&self, rows: usize) -> Option<NullBuffer> {
        match self.nulls {
            Some(nulls) if self.stride == 0 => nulls.is_null(0).then(|| NullBuffer::new_null(rows)),
            Some(nulls) => Some(nulls.clone()),
            None => None,
        }
    }
}

/// A column of text, or one text for all rows.
pub(crate) struct Texts<'a> {
    array: &'a StringArray,
    stride: usize,
}

impl<'a> Texts<'a> {
    /// The text of a row unless it is NULL.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        let row = row * self.stride;
        if self.array.is_null(row) { None } else { Some(self.array.value(row)) }
    }
}

fn wrong_type(index: usize, array: &ArrayRef) -> DataFusionError {
    DataFusionError::Internal(format!("operand {index} has type {}", array.data_type()))
}

impl Operands {
    pub(crate) fn len(&self) -> usize {
        self.arrays.len()
    }

    pub(crate) fn array(&self, index: usize) -> Result<&ArrayRef> {
        self.arrays.get(index).ok_or_else(|| DataFusionError::Internal(format!("there is no operand {index}")))
    }

    pub(crate) fn data_type(&self, index: usize) -> Result<&DataType> {
        Ok(self.array(index)?.data_type())
    }

    pub(crate) fn is_scalar(&self, index: usize) -> bool {
        self.scalar.get(index).copied().unwrap_or(false)
    }

    /// The operand as a column of all rows.
    pub(crate) fn expanded(&self, index: usize) -> Result<ArrayRef> {
        let array = self.array(index)?;
        if self.is_scalar(index) && self.rows != 1 {
            ScalarValue::try_from_array(array, 0)?.to_array_of_size(self.rows)
        } else {
            Ok(Arc::clone(array))
        }
    }

    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Numbers<'_, T>> {
        let array = self.array(index)?;
        let typed = array.as_any().downcast_ref::<PrimitiveArray<T>>().ok_or_else(|| wrong_type(index, array))?;
        Ok(Numbers { values: typed.values(), nulls: typed.nulls(), stride: usize::from(!self.is_scalar(index)) })
    }

    pub(crate) fn texts(&self, index: usize) -> Result<Texts<'_>> {
        let array = self.array(index)?;
        let array = array.as_any().downcast_ref::<StringArray>().ok_or_else(|| wrong_type(index, array))?;
        Ok(Texts { array, stride: usize::from(!self.is_scalar(index)) })
    }

    pub(crate) fn booleans(&self, index: usize) -> Result<BooleanArray> {
        let array = self.expanded(index)?;
        array.as_any().downcast_ref::<BooleanArray>().cloned().ok_or_else(|| wrong_type(index, &array))
    }
}

/// `map` of each number; it is also called for NULL slots, with any value, and must not panic.
pub(crate) fn map1<A, O>(rows: usize, a: &Numbers<'_, A>, map: impl Fn(A::Native) -> O::Native) -> PrimitiveArray<O>
where
    A: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let values: Vec<O::Native> = (0..rows).map(|row| map(a.value(row))).collect();
    PrimitiveArray::new(values.into(), a.expanded(rows))
}

/// `map` of each pair of numbers; it is also called for NULL slots, with any value, and must not panic.
pub(crate) fn map2<A, B, O>(
    rows: usize,
    a: &Numbers<'_, A>,
    b: &Numbers<'_, B>,
    map: impl Fn(A::Native, B::Native) -> O::Native,
) -> PrimitiveArray<O>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let values: Vec<O::Native> = match (a.stride, b.stride) {
        // The common shapes without index arithmetic, so that they vectorise.
        (1, 1) => a.values.iter().zip(b.values).map(|(a, b)| map(*a, *b)).collect(),
        (1, 0) => {
            let b = b.value(0);
            a.values.iter().map(|a| map(*a, b)).collect()
        }
        _ => (0..rows).map(|row| map(a.value(row), b.value(row))).collect(),
    };
    let nulls = NullBuffer::union(a.expanded(rows).as_ref(), b.expanded(rows).as_ref());
    PrimitiveArray::new(values.into(), nulls)
}

/// A column of what `row` gives for each row, `None` being NULL.
pub(crate) fn collect<O: ArrowPrimitiveType>(
    rows: usize,
    row: impl Fn(usize) -> Option<O::Native>,
) -> PrimitiveArray<O> {
    let mut values: Vec<O::Native> = Vec::with_capacity(rows);
    let mut valid = BooleanBufferBuilder::new(rows);
    for index in 0..rows {
        let value = row(index);
        valid.append(value.is_some());
        values.push(value.unwrap_or_else(|| O::Native::usize_as(0)));
    }
    let nulls = Some(NullBuffer::new(valid.finish())).filter(|nulls| nulls.null_count() > 0);
    PrimitiveArray::new(values.into(), nulls)
}

/// A kernel applied to argument expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KernelExpr {
    kernel: Kernel,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    data_type: DataType,
    nullable: bool,
}

impl KernelExpr {
    pub(crate) fn new(
        kernel: Kernel,
        arguments: Vec<Arc<dyn PhysicalExpr>>,
        data_type: DataType,
        nullable: bool,
    ) -> Self {
        Self { kernel, arguments, data_type, nullable }
    }
}

impl fmt::Display for KernelExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.kernel.name)?;
        for (index, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if index > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

impl PhysicalExpr for KernelExpr {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _input_schema: &Schema) -> Result<bool> {
        Ok(self.nullable)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut operands = Operands { arrays: Vec::new(), scalar: Vec::new(), rows: batch.num_rows() };
        for argument in &self.arguments {
            let (array, scalar) = match argument.evaluate(batch)? {
                ColumnarValue::Array(array) => (array, false),
                ColumnarValue::Scalar(value) => (value.to_array_of_size(1)?, true),
            };
            operands.arrays.push(array);
            operands.scalar.push(scalar);
        }
        let constant = operands.scalar.iter().all(|scalar| *scalar);
        if constant {
            operands.rows = 1;
        }
        let result = (self.kernel.compute)(&operands, &self.data_type)?;
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.arguments.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { arguments: children, ..(*self).clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
