//! State of windows out and in.
//!
//! Keys are written as columns and numbered anew on the way in, since their bytes mean nothing to another build.

use std::collections::BTreeMap;

use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::aggregation::WindowAggregation;
use super::plan::Plan;
use super::table::Window;
use crate::error::Cause;

impl WindowAggregation {
    pub(crate) fn save(&self, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        writer.optional_i64(self.watermark_us);
        writer.u64(self.windows.len() as u64);
        for (start_us, window) in &self.windows {
            writer.i64(*start_us);
            writer.u64s(&window.rows);
            writer.u64s(&window.settled);
            writer.bools(&window.is_visible);
            writer.u64s(&window.doubtful.iter().map(|group| u64::from(*group)).collect::<Vec<_>>());
            let keys = window.all();
            for column in self.plan.codec.decode(keys.iter().map(|group| window.keys.get(*group)))? {
                writer.column(&column)?;
            }
            for accumulator in &window.accumulators {
                accumulator.save(writer)?;
            }
        }
        Ok(())
    }

    /// Replaces the state by one in this version of the layout. On an error the state is as it was.
    pub(crate) fn load(&mut self, reader: &mut SnapshotReader<'_>, version: u32) -> Result<(), Cause> {
        let watermark_us = reader.optional_i64()?;
        let count = reader.count(size_of::<i64>())?;
        let mut windows = BTreeMap::new();
        let mut bytes = 0;
        for _ in 0..count {
            let start_us = reader.i64()?;
            let mut window = load_window(&self.plan, reader, version)?;
            bytes += window.count_bytes();
            if windows.insert(start_us, window).is_some() {
                return Err(invalid(format!("it occurs twice, from {start_us} µs")).into());
            }
        }
        (self.watermark_us, self.windows, self.window_bytes) = (watermark_us, windows, bytes);
        Ok(())
    }
}

fn load_window(plan: &Plan, reader: &mut SnapshotReader<'_>, version: u32) -> Result<Window, Cause> {
    let mut window = Window::new(plan.accumulators()?);
    window.rows = reader.u64s()?;
    window.settled = reader.u64s()?;
    window.is_visible = reader.bools()?;
    let groups = window.rows.len();
    if version > 1 {
        let group = |group: u64| u32::try_from(group).ok().filter(|group| (*group as usize) < groups);
        let doubtful: Option<Vec<u32>> = reader.u64s()?.into_iter().map(group).collect();
        window.doubtful = doubtful.ok_or_else(|| invalid("it has doubts about groups that aren't there".into()))?;
    }
    if window.settled.len() != groups || window.is_visible.len() != groups {
        return Err(invalid("its lists differ in length".into()).into());
    }
    let columns: Result<Vec<_>, CodecError> = plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
    let mut keys = plan.codec.keys();
    plan.codec.encode(&columns?, groups, &mut keys).map_err(|error| invalid(error.to_string()))?;
    for row in 0..groups {
        let group = window.keys.find_or_insert(keys.hashes[row], keys.get(row))?;
        if group as usize != row {
            return Err(invalid("a key occurs twice".into()).into());
        }
        if window.rows[row] > window.settled[row] {
            window.changed.push(group);
        }
    }
    for accumulator in &mut window.accumulators {
        accumulator.load(reader, groups)?;
    }
    Ok(window)
}

fn invalid(reason: String) -> CodecError {
    CodecError::Invalid { what: "window", reason }
}
