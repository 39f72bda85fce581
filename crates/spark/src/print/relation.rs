//! Relations from their parts. Expressions are Spark SQL that was printed, never the user's text.

use arrow_array::RecordBatch;
use bytes::Bytes;
use spark_connect_proto::expression::{ExprType, ExpressionString};
use spark_connect_proto::join::JoinType;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::set_operation::SetOpType;
use spark_connect_proto::{Expression, Filter, Hint, Join, LocalRelation, Project, Relation, SetOperation};
use sql::JoinKind;

use crate::client::to_arrow_stream;
use crate::error::Result;

/// An expression of Spark SQL.
pub(crate) fn expression(text: &str) -> Expression {
    let text = ExpressionString { expression: text.to_owned() };
    Expression { expr_type: Some(ExprType::ExpressionString(text)), ..Expression::default() }
}

/// A relation of a kind.
pub(crate) fn relation(kind: RelType) -> Relation {
    Relation { rel_type: Some(kind), ..Relation::default() }
}

/// The columns `(name, expression)` of an input.
pub fn project(input: Relation, columns: &[(String, String)]) -> Relation {
    let expressions = columns.iter().map(|(name, text)| named(name, text)).collect();
    relation(RelType::Project(Box::new(Project { input: Some(Box::new(input)), expressions })))
}

/// An expression under a name.
pub(crate) fn named(name: &str, text: &str) -> Expression {
    expression(&format!("{text} AS {}", sql::spark::name(name)))
}

/// The rows for which a condition is true.
pub(crate) fn filter(input: Relation, condition: &str) -> Relation {
    let filter = Filter { input: Some(Box::new(input)), condition: Some(expression(condition)) };
    relation(RelType::Filter(Box::new(filter)))
}

/// The rows of both inputs, which have the same columns in the same order.
pub(crate) fn union_all(first: Relation, second: Relation) -> Relation {
    let union = SetOperation {
        left_input: Some(Box::new(first)),
        right_input: Some(Box::new(second)),
        set_op_type: SetOpType::Union.into(),
        is_all: Some(true),
        by_name: Some(false),
        allow_missing_columns: Some(false),
    };
    relation(RelType::SetOp(Box::new(union)))
}

/// A join whose inputs have no column in common.
pub(crate) fn join(left: Relation, right: Relation, kind: JoinKind, condition: &str) -> Relation {
    let kind = match kind {
        JoinKind::Inner => JoinType::Inner,
        JoinKind::Left => JoinType::LeftOuter,
    };
    let join = Join {
        left: Some(Box::new(left)),
        right: Some(Box::new(right)),
        join_condition: Some(expression(condition)),
        join_type: kind.into(),
        ..Join::default()
    };
    relation(RelType::Join(Box::new(join)))
}

/// A join with a small table, which each task gets whole.
pub(crate) fn join_small(left: Relation, right: Relation, kind: JoinKind, condition: &str) -> Relation {
    let hint = Hint { input: Some(Box::new(right)), name: "broadcast".to_owned(), parameters: Vec::new() };
    join(left, relation(RelType::Hint(Box::new(hint))), kind, condition)
}

/// Rows that travel within the plan.
///
/// # Errors
/// When they can't be written as Arrow.
pub fn local(batch: &RecordBatch) -> Result<Relation> {
    let columns: Vec<String> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| format!("{} {}", sql::spark::name(field.name()), sql::spark::type_name(field.data_type())))
        .collect();
    let data = Some(Bytes::from(to_arrow_stream(batch)?));
    Ok(relation(RelType::LocalRelation(LocalRelation { data, schema: Some(columns.join(", ")) })))
}
