//! Functions of text.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::ScalarUDF;

use super::{Arguments, Function};
use crate::bind::Bound;
use crate::kernel::{Kernel, text as kernels};
use crate::lower::fold;
use crate::typed::{Kind, Typed};

pub(super) const FUNCTIONS: &[Function] = &[
    function("upper", &["ucase"], "upper(text)", "text", "in capitals", 1..=1, |arguments| {
        library(arguments, "upper", datafusion_functions::string::upper())
    }),
    function("lower", &["lcase"], "lower(text)", "text", "in small letters", 1..=1, |arguments| {
        library(arguments, "lower", datafusion_functions::string::lower())
    }),
    function(
        "length",
        &["char_length", "character_length", "len"],
        "length(text)",
        "int",
        "characters",
        1..=1,
        |mut arguments| {
            arguments.text(0)?;
            arguments.call(kernels::LENGTH, DataType::Int32)
        },
    ),
    function("trim", &[], "trim(text)", "text", "without spaces at both ends", 1..=1, |arguments| {
        texts(arguments, kernels::TRIM)
    }),
    function("ltrim", &[], "ltrim(text)", "text", "without spaces at the start", 1..=1, |arguments| {
        texts(arguments, kernels::TRIM_START)
    }),
    function("rtrim", &[], "rtrim(text)", "text", "without spaces at the end", 1..=1, |arguments| {
        texts(arguments, kernels::TRIM_END)
    }),
    function(
        "substring",
        &["substr"],
        "substring(text, position, length)",
        "text",
        "so many characters from a position, counted from 1, from the end if negative; the rest if no length is given",
        2..=3,
        |mut arguments| {
            arguments.text(0)?;
            for index in 1..arguments.list.len() {
                arguments.int(index)?;
            }
            arguments.call(kernels::SUBSTRING, DataType::Utf8)
        },
    ),
    function("left", &[], "left(text, n)", "text", "the first n characters", 2..=2, |arguments| {
        part(arguments, kernels::LEFT)
    }),
    function("right", &[], "right(text, n)", "text", "the last n characters", 2..=2, |arguments| {
        part(arguments, kernels::RIGHT)
    }),
    function(
        "concat",
        &[],
        "concat(text, …)",
        "text",
        "joined; NULL if one is NULL; the operator with two bars does the same",
        1..=64,
        |arguments| texts(arguments, kernels::CONCAT),
    ),
    function(
        "replace",
        &[],
        "replace(text, search, replacement)",
        "text",
        "each occurrence replaced",
        2..=3,
        |mut arguments| {
            if arguments.list.len() == 2 {
                let empty = Typed::literal(ScalarValue::Utf8(Some(String::new())), arguments.span.clone());
                arguments.list.push(empty);
            }
            texts(arguments, kernels::REPLACE)
        },
    ),
    function(
        "lpad",
        &[],
        "lpad(text, length, pad)",
        "text",
        "padded at the start to a length, cut if longer; at most 10,000 characters",
        2..=3,
        |arguments| pad(arguments, kernels::PAD_START),
    ),
    function(
        "rpad",
        &[],
        "rpad(text, length, pad)",
        "text",
        "padded at the end to a length, cut if longer; at most 10,000 characters",
        2..=3,
        |arguments| pad(arguments, kernels::PAD_END),
    ),
    function(
        "startswith",
        &[],
        "startswith(text, part)",
        "boolean",
        "whether it begins with the part",
        2..=2,
        |arguments| test(arguments, kernels::STARTS_WITH),
    ),
    function("endswith", &[], "endswith(text, part)", "boolean", "whether it ends with the part", 2..=2, |arguments| {
        test(arguments, kernels::ENDS_WITH)
    }),
    function("contains", &[], "contains(text, part)", "boolean", "whether the part is in it", 2..=2, |arguments| {
        test(arguments, kernels::CONTAINS)
    }),
    function(
        "instr",
        &[],
        "instr(text, part)",
        "int",
        "where the part begins, from 1; 0 if nowhere",
        2..=2,
        |mut arguments| {
            arguments.text(0)?;
            arguments.text(1)?;
            arguments.call(kernels::POSITION, DataType::Int32)
        },
    ),
    function("reverse", &[], "reverse(text)", "text", "its characters in the opposite order", 1..=1, |arguments| {
        library(arguments, "reverse", datafusion_functions::unicode::reverse())
    }),
];

/// A collected list as one text.
pub(crate) fn array_join(mut arguments: Arguments<'_, '_>) -> Bound {
    arguments.text(1)?;
    arguments.call(kernels::ARRAY_JOIN, DataType::Utf8)
}

const fn function(
    name: &'static str,
    aliases: &'static [&'static str],
    syntax: &'static str,
    result: &'static str,
    meaning: &'static str,
    arity: std::ops::RangeInclusive<usize>,
    build: fn(Arguments<'_, '_>) -> Bound,
) -> Function {
    Function { name, aliases, syntax, result, meaning, arity, build }
}

/// A function of DataFusion from text to text.
fn library(mut arguments: Arguments<'_, '_>, name: &'static str, function: Arc<ScalarUDF>) -> Bound {
    arguments.text(0)?;
    let nullable = arguments.nullable();
    let kind = Kind::Library(function, name, arguments.list);
    Ok(fold(Typed { kind, data_type: DataType::Utf8, nullable, span: arguments.span }))
}

/// All arguments are texts, and so is the result.
fn texts(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    for index in 0..arguments.list.len() {
        arguments.text(index)?;
    }
    arguments.call(kernel, DataType::Utf8)
}

fn part(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.text(0)?;
    arguments.int(1)?;
    arguments.call(kernel, DataType::Utf8)
}

fn pad(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    if arguments.list.len() == 2 {
        let space = Typed::literal(ScalarValue::Utf8(Some(" ".to_owned())), arguments.span.clone());
        arguments.list.push(space);
    }
    arguments.text(2)?;
    part(arguments, kernel)
}

fn test(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.text(0)?;
    arguments.text(1)?;
    arguments.call(kernel, DataType::Boolean)
}
