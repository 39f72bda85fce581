//! The typed tree as DataFusion's physical expressions.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::kernel::{Kernel, KernelExpr, Operands, map1};
use crate::typed::{Comparison, Kind, Typed};
use crate::types;

type Physical = Arc<dyn PhysicalExpr>;

/// The expression over batches with exactly the columns of `schema`.
pub(crate) fn lower(tree: &Typed, schema: &Schema) -> Result<Physical> {
    let operands = |list: &[Typed]| list.iter().map(|item| lower(item, schema)).collect::<Result<Vec<_>>>();
    Ok(match &tree.kind {
        Kind::Column(name) => Arc::new(Column::new_with_schema(name, schema)?),
        Kind::Literal(value) => Arc::new(Literal::new(value.clone())),
        Kind::Compare(comparison, a, b) => {
            let operator = match comparison {
                Comparison::Equal => Operator::Eq,
                Comparison::NotEqual => Operator::NotEq,
                Comparison::Less => Operator::Lt,
                Comparison::LessOrEqual => Operator::LtEq,
                Comparison::Greater => Operator::Gt,
                Comparison::GreaterOrEqual => Operator::GtEq,
                Comparison::NullSafeEqual => Operator::IsNotDistinctFrom,
            };
            Arc::new(BinaryExpr::new(comparable(a, schema)?, operator, comparable(b, schema)?))
        }
        Kind::And(a, b) => Arc::new(BinaryExpr::new(lower(a, schema)?, Operator::And, lower(b, schema)?)),
        Kind::Or(a, b) => Arc::new(BinaryExpr::new(lower(a, schema)?, Operator::Or, lower(b, schema)?)),
        Kind::Not(a) => Arc::new(NotExpr::new(lower(a, schema)?)),
        Kind::IsNull { operand, negated: false } => Arc::new(IsNullExpr::new(lower(operand, schema)?)),
        Kind::IsNull { operand, negated: true } => Arc::new(IsNotNullExpr::new(lower(operand, schema)?)),
        Kind::Case { branches, otherwise } => {
            let branches = branches
                .iter()
                .map(|(when, then)| Ok((lower(when, schema)?, lower(then, schema)?)))
                .collect::<Result<Vec<_>>>()?;
            let otherwise = otherwise.as_ref().map(|otherwise| lower(otherwise, schema)).transpose()?;
            Arc::new(CaseExpr::try_new(None, branches, otherwise)?)
        }
        Kind::InList { value, list, negated } => {
            let list = list.iter().map(|item| comparable(item, schema)).collect::<Result<Vec<_>>>()?;
            Arc::new(InListExpr::try_new(comparable(value, schema)?, list, *negated, schema)?)
        }
        Kind::Like { value, pattern, negated, case_insensitive } => {
            let pattern = Arc::new(Literal::new(ScalarValue::Utf8(Some(pattern.clone()))));
            Arc::new(LikeExpr::new(*negated, *case_insensitive, lower(value, schema)?, pattern))
        }
        Kind::Cast(operand) => {
            kernel(Kernel::function("cast", crate::kernel::cast::cast), vec![lower(operand, schema)?], tree)
        }
        Kind::Kernel(function, arguments) => kernel(*function, operands(arguments)?, tree),
        Kind::Library(function, name, arguments) => {
            let field = Arc::new(Field::new(*name, tree.data_type.clone(), tree.nullable));
            let function = Arc::clone(function);
            Arc::new(ScalarFunctionExpr::new(name, function, operands(arguments)?, field, options()))
        }
        Kind::Call(_) | Kind::WindowStart | Kind::WindowEnd => {
            return Err(datafusion_common::DataFusionError::Internal(format!("`{tree}` stands outside a grouping")));
        }
    })
}

/// A kernel or cast of literals as the literal it gives; any other tree as it is.
///
/// Whole numbers stay computed: beside a decimal, Spark takes a written literal's digits for its precision and not a result's.
pub(crate) fn fold(tree: Typed) -> Typed {
    let foldable = match tree.kind {
        Kind::Kernel(..) | Kind::Library(..) => !types::is_integer(&tree.data_type),
        Kind::Cast(_) => true,
        _ => false,
    };
    if !foldable || !tree.children().iter().all(|child| child.as_literal().is_some()) {
        return tree;
    }
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let value = RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options)
        .ok()
        .and_then(|row| lower(&tree, &schema).and_then(|physical| physical.evaluate(&row)).ok())
        .and_then(|value| match value {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).ok(),
        });
    match value {
        Some(value) if value.data_type() == tree.data_type => Typed::literal(value, tree.span),
        _ => tree,
    }
}

fn kernel(function: Kernel, arguments: Vec<Physical>, tree: &Typed) -> Physical {
    Arc::new(KernelExpr::new(function, arguments, tree.data_type.clone(), tree.nullable))
}

fn options() -> Arc<ConfigOptions> {
    static OPTIONS: OnceLock<Arc<ConfigOptions>> = OnceLock::new();
    Arc::clone(OPTIONS.get_or_init(|| Arc::new(ConfigOptions::default())))
}

/// An operand of a comparison. Arrow orders doubles by their bits; Spark knows one zero and one NaN.
fn comparable(tree: &Typed, schema: &Schema) -> Result<Physical> {
    let operand = lower(tree, schema)?;
    if tree.data_type != DataType::Float64 {
        return Ok(operand);
    }
    if let Some(ScalarValue::Float64(Some(value))) = tree.as_literal() {
        return Ok(Arc::new(Literal::new(ScalarValue::Float64(Some(normal_double(*value))))));
    }
    Ok(kernel(NORMALIZE, vec![operand], tree))
}

/// A value whose equal doubles have equal bits.
pub(crate) fn normalized(tree: Typed) -> Typed {
    if tree.data_type != DataType::Float64 {
        return tree;
    }
    let (data_type, nullable, span) = (tree.data_type.clone(), tree.nullable, tree.span.clone());
    Typed { kind: Kind::Kernel(NORMALIZE, vec![tree]), data_type, nullable, span }
}

/// A double with one zero and one NaN.
pub(crate) const NORMALIZE: Kernel = Kernel::function("normalize_double", |operands: &Operands, _| {
    // A column without either needs no copy.
    let array = operands.array(0)?;
    let plain = |value: &f64| !value.is_nan() && value.to_bits() != (-0.0_f64).to_bits();
    if let Some(doubles) = array.as_primitive_opt::<Float64Type>()
        && doubles.values().iter().all(plain)
    {
        return Ok(Arc::clone(array));
    }
    Ok(Arc::new(map1::<Float64Type, Float64Type>(operands.rows, &operands.numbers(0)?, normal_double)))
});

fn normal_double(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}
