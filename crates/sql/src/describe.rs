//! A plan as a tree for people.

use std::fmt::Write as _;

use crate::plan::{Aggregate, Branch, Emit, JoinKind, Query, Window};

impl Query {
    /// The plan as a tree for people, the last step first.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        // Writing to a String can't fail.
        _ = self.write_tree(&mut out);
        out
    }

    fn write_tree(&self, out: &mut String) -> std::fmt::Result {
        let emit = match self.options.emit {
            Emit::Changes => "changes",
            Emit::Final => "final",
        };
        let table = if self.options.table { "kept in a table" } else { "topic only" };
        writeln!(out, "{}: emit {emit}, {table}, identity ({})", self.name, self.identity.join(", "))?;
        writeln!(out, "└─ output")?;
        for ((name, expression), field) in self.output.iter().zip(self.schema.fields()) {
            let null = if field.is_nullable() { "" } else { " not null" };
            writeln!(out, "   │  {name} {}{null} = {expression}", crate::types::name(field.data_type()))?;
        }
        if let Some(having) = &self.having {
            writeln!(out, "   └─ having {having}")?;
        }
        if let Some(aggregate) = &self.aggregate {
            write_aggregate(out, aggregate)?;
        }
        if let Some(pattern) = &self.pattern {
            pattern.write_tree(out)?;
        }
        if let Some(inner) = &self.inner {
            write_aggregate(out, &inner.aggregate)?;
        }
        for (number, branch) in self.branches.iter().enumerate() {
            if let Some(columns) = &branch.columns {
                writeln!(out, "   └─ branch {number} of union")?;
                for (name, value) in columns {
                    writeln!(out, "      │  {name} {} = {value}", crate::types::name(value.data_type()))?;
                }
            }
            write_branch(out, branch)?;
        }
        Ok(())
    }
}

fn write_branch(out: &mut String, branch: &Branch) -> std::fmt::Result {
    if let Some(filter) = &branch.filter {
        writeln!(out, "   └─ filter {filter}")?;
    }
    for join in branch.joins.iter().rev() {
        let kind = match join.kind {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
        };
        let keys: Vec<String> = join.stream_keys.iter().map(ToString::to_string).collect();
        let columns = join.reference_columns.join(", ");
        let as_of = join.as_of.as_ref().map(|time| format!(" as of {time}")).unwrap_or_default();
        writeln!(out, "   └─ {kind} join {} by ({}){as_of}, appends ({columns})", join.reference, keys.join(", "))?;
    }
    if let Some(join) = &branch.stream_join {
        let kind = match join.kind {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
        };
        let show = crate::interval::display_us;
        let moved = |us: i64| match us {
            0 => join.left_time.to_string(),
            1.. => format!("{} + {}", join.left_time, show(us)),
            _ => format!("{} - {}", join.left_time, show(us.saturating_neg())),
        };
        let keys: Vec<String> = join.keys.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let (stream, columns) = (&join.stream, join.input_columns.join(", "));
        writeln!(out, "   └─ {kind} join with stream {stream} ({columns}) by {}", keys.join(", "))?;
        writeln!(out, "      │  {} from {} to {}", join.right_time, moved(join.lower_us), moved(join.upper_us))?;
    }
    writeln!(out, "   └─ stream {} ({})", branch.stream, branch.input_columns.join(", "))
}

fn write_aggregate(out: &mut String, aggregate: &Aggregate) -> std::fmt::Result {
    writeln!(out, "   └─ aggregate")?;
    if let Some(Window::Session(window)) = &aggregate.window {
        let gap = crate::interval::display_us(window.gap_us);
        writeln!(out, "      │  sessions over {} that end after {gap} without a row", window.time)?;
    }
    if let Some(Window::Fixed(window)) = &aggregate.window {
        let kind = if window.size_us == window.slide_us { "tumbling" } else { "hopping" };
        write!(out, "      │  {kind} window over {} of {}", window.time, crate::interval::display_us(window.size_us))?;
        if window.size_us != window.slide_us {
            write!(out, " every {}", crate::interval::display_us(window.slide_us))?;
        }
        if window.offset_us != 0 {
            write!(out, " shifted by {}", crate::interval::display_us(window.offset_us))?;
        }
        writeln!(out)?;
    }
    for (name, expression) in &aggregate.keys {
        writeln!(out, "      │  key {name} = {expression}")?;
    }
    for call in &aggregate.calls {
        writeln!(out, "      │  {} -> {}", call.name, crate::types::name(&call.result))?;
    }
    Ok(())
}
