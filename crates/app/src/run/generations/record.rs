//! The record of generations: what follows from a change of the project, from catching up, from a swapped view.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sql::{Change, Query};

/// Compiles a text of a query again, if it can be and reads columns of the types that are recorded.
pub(crate) type Compile<'a> = dyn Fn(&str, &str, &str) -> Option<Arc<Query>> + 'a;

/// A query as the project has it now.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    pub(crate) query: Arc<Query>,
    /// What its meaning depends on besides its text.
    pub(crate) inputs: String,
}

/// What a generation is to its query's readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The view shows it.
    Shown,
    /// The view shows it until the one that fills has caught up.
    Retiring,
    /// It fills a table that the view doesn't show yet.
    Filling,
}

/// A generation that is to run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) query: Arc<Query>,
    pub(crate) number: u32,
    pub(crate) role: Role,
    /// Result columns that came after the generation's first rows.
    pub(crate) added: Vec<String>,
}

impl Run {
    /// A query that never ran before.
    pub(crate) fn first(query: Arc<Query>) -> Self {
        Self { query, number: 1, role: Role::Shown, added: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    number: u32,
    text: String,
    inputs: String,
    added: Vec<String>,
    /// End of each partition of the result topic when everything that was there before had been taken.
    caught_up: Option<Vec<i64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Generations {
    /// The last number given: none is given twice.
    newest: u32,
    shown: Generation,
    /// The state of the shown one is gone: its query wasn't in the project for a while.
    is_stopped: bool,
    filling: Option<Generation>,
}

/// Generations of all queries that there ever were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    queries: BTreeMap<String, Generations>,
}

impl Record {
    /// Takes the project's queries in, and gives what is to run.
    pub(crate) fn settle(&mut self, present: &[Present], compile: &Compile<'_>) -> Vec<Run> {
        for (name, known) in &mut self.queries {
            if !present.iter().any(|present| present.query.name == *name) {
                known.is_stopped = true;
                known.filling = None;
            }
        }
        present.iter().flat_map(|present| self.settle_query(present, compile)).collect()
    }

    fn settle_query(&mut self, present: &Present, compile: &Compile<'_>) -> Vec<Run> {
        let name = &present.query.name;
        let run = |generation: &Generation, role| Run {
            query: present.query.clone(),
            number: generation.number,
            role,
            added: generation.added.clone(),
        };
        let known = self.queries.entry(name.clone()).or_insert_with(|| Generations {
            newest: 1,
            shown: present.generation(1),
            is_stopped: false,
            filling: None,
        });
        let earlier = compile(name, &known.shown.text, &known.shown.inputs);
        match earlier.as_ref().map_or(Change::Other, |earlier| present.query.change_from(earlier)) {
            Change::None => known.shown.follow(present, Vec::new()),
            Change::Adds(columns) => known.shown.follow(present, columns),
            Change::Other => {
                let filling = known.filling.as_ref();
                let text = filling.and_then(|filling| compile(name, &filling.text, &filling.inputs));
                let is_same = text.is_some_and(|filling| present.query.change_from(&filling) == Change::None);
                match known.filling.as_mut().filter(|_| is_same) {
                    Some(filling) => filling.follow(present, Vec::new()),
                    None => {
                        known.newest += 1;
                        known.filling = Some(present.generation(known.newest));
                    }
                }
                let mut runs = Vec::new();
                if let Some(query) = earlier.filter(|_| !known.is_stopped) {
                    runs.push(Run { query, ..run(&known.shown, Role::Retiring) });
                }
                runs.extend(known.filling.iter().map(|filling| run(filling, Role::Filling)));
                return runs;
            }
        }
        known.is_stopped = false;
        known.filling = None;
        vec![run(&known.shown, Role::Shown)]
    }

    /// Notes that a generation has caught up.
    pub(crate) fn caught_up(&mut self, query: &str, number: u32, ends: &[i64]) {
        if let Some(filling) = self.filling_mut(query, number) {
            filling.caught_up.get_or_insert_with(|| ends.to_vec());
        }
    }

    /// The ends of its result topic when a filling generation had caught up; `None` before.
    pub(crate) fn caught_up_at(&self, query: &str, number: u32) -> Option<&[i64]> {
        let filling = self.queries.get(query)?.filling.as_ref()?;
        filling.caught_up.as_deref().filter(|_| filling.number == number)
    }

    /// Notes that readers are shown a generation that was filling.
    pub(crate) fn shown(&mut self, query: &str, number: u32) {
        if self.filling_mut(query, number).is_some()
            && let Some(known) = self.queries.get_mut(query)
            && let Some(filling) = known.filling.take()
        {
            known.shown = Generation { caught_up: None, ..filling };
            known.is_stopped = false;
        }
    }

    /// Number of the generation that readers are shown.
    pub(crate) fn shown_number(&self, query: &str) -> Option<u32> {
        self.queries.get(query).map(|known| known.shown.number)
    }

    /// Queries with a generation that fills.
    pub(crate) fn filling(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().filter(|(_, known)| known.filling.is_some()).map(|(name, _)| name.as_str())
    }

    fn filling_mut(&mut self, query: &str, number: u32) -> Option<&mut Generation> {
        self.queries.get_mut(query)?.filling.as_mut().filter(|filling| filling.number == number)
    }
}

impl Present {
    fn generation(&self, number: u32) -> Generation {
        Generation {
            number,
            text: self.query.text.clone(),
            inputs: self.inputs.clone(),
            added: Vec::new(),
            caught_up: None,
        }
    }
}

impl Generation {
    /// Goes on under the present text, which means the same or adds columns.
    fn follow(&mut self, present: &Present, added: Vec<String>) {
        self.text.clone_from(&present.query.text);
        self.inputs.clone_from(&present.inputs);
        self.added.extend(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    const WINDOWS: &str = "SELECT window(at, '1 minute'), id, count(*) AS n FROM s GROUP BY window(at, '1 minute'), id";
    const ROWS: &str = "SELECT id FROM s";

    fn compiled(text: &str) -> Arc<Query> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![Field::new("id", DataType::Utf8, false), Field::new("at", time, false)];
        let stream =
            sql::StreamTable { schema: Arc::new(Schema::new(fields)), event_time: "at".into(), key: "id".into() };
        let catalog = sql::Catalog { streams: [("s".into(), stream)].into(), ..sql::Catalog::default() };
        Arc::new(sql::compile("q", text, &catalog).unwrap())
    }

    /// What runs after a start with this text: number, role, whether it is the present text.
    fn start(record: &mut Record, text: &str) -> Vec<(u32, Role, bool)> {
        start_with(record, text, "4 partitions")
    }

    fn start_with(record: &mut Record, text: &str, inputs: &str) -> Vec<(u32, Role, bool)> {
        let present = [Present { query: compiled(text), inputs: inputs.into() }];
        let compile = |_: &str, text: &str, recorded: &str| (recorded == inputs).then(|| compiled(text));
        let runs = record.settle(&present, &compile);
        // Settling is done again after a lost race, and then changes nothing.
        let settled = record.clone();
        record.settle(&present, &compile);
        assert_eq!(*record, settled);
        runs.iter().map(|run| (run.number, run.role, run.query.text == text)).collect()
    }

    #[test]
    fn a_change_fills_beside_the_one_before_until_it_is_shown() {
        let mut record = Record::default();
        let changed = WINDOWS.replace("count(*)", "count(id)");
        assert_eq!(start(&mut record, WINDOWS), [(1, Role::Shown, true)]);
        assert_eq!(start(&mut record, &format!("-- by id\n{WINDOWS}")), [(1, Role::Shown, true)]);
        assert_eq!(start(&mut record, &changed), [(1, Role::Retiring, false), (2, Role::Filling, true)]);
        assert_eq!(start(&mut record, &changed), [(1, Role::Retiring, false), (2, Role::Filling, true)]);
        record.shown("q", 1);
        record.caught_up("q", 1, &[9]);
        assert_eq!((record.caught_up_at("q", 2), record.shown_number("q")), (None, Some(1)), "another's news");
        record.caught_up("q", 2, &[5, 7]);
        record.caught_up("q", 2, &[6, 8]);
        assert_eq!(record.caught_up_at("q", 2), Some(&[5, 7][..]), "the first word counts");
        assert_eq!(record.filling().collect::<Vec<_>>(), ["q"]);
        record.shown("q", 2);
        assert_eq!((record.shown_number("q"), record.filling().count()), (Some(2), 0));
        assert_eq!(start(&mut record, &changed), [(2, Role::Shown, true)]);
    }

    #[test]
    fn going_back_before_the_swap_drops_the_new_one_and_after_it_is_a_change_like_any() {
        let mut record = Record::default();
        let changed = WINDOWS.replace("1 minute", "2 minutes");
        start(&mut record, WINDOWS);
        start(&mut record, &changed);
        assert_eq!(start(&mut record, WINDOWS), [(1, Role::Shown, true)]);
        assert_eq!(
            start(&mut record, &changed),
            [(1, Role::Retiring, false), (3, Role::Filling, true)],
            "no number twice"
        );
        record.shown("q", 3);
        assert_eq!(start(&mut record, WINDOWS), [(3, Role::Retiring, false), (4, Role::Filling, true)]);
        // Changed once more before it had caught up.
        let third = WINDOWS.replace("1 minute", "3 minutes");
        assert_eq!(start(&mut record, &third), [(3, Role::Retiring, false), (5, Role::Filling, true)]);
    }

    #[test]
    fn columns_added_to_rows_stay_in_the_generation() {
        let mut record = Record::default();
        start(&mut record, ROWS);
        assert_eq!(start(&mut record, "SELECT id, upper(id) AS big FROM s"), [(1, Role::Shown, true)]);
        assert_eq!(record.queries["q"].shown.added, ["big"]);
        assert_eq!(start(&mut record, ROWS), [(1, Role::Retiring, false), (2, Role::Filling, true)], "columns that go");
    }

    #[test]
    fn a_query_that_was_away_goes_on_with_the_same_meaning_and_else_fills_alone() {
        let mut record = Record::default();
        let nothing = |_: &str, _: &str, _: &str| None;
        start(&mut record, WINDOWS);
        assert!(record.settle(&[], &nothing).is_empty());
        assert_eq!(start(&mut record, WINDOWS), [(1, Role::Shown, true)]);
        record.settle(&[], &nothing);
        assert_eq!(start(&mut record, ROWS), [(2, Role::Filling, true)]);
        assert_eq!(record.shown_number("q"), Some(1), "what the view shows until then");
    }

    #[test]
    fn a_column_that_is_read_with_another_type_stops_the_one_before() {
        let mut record = Record::default();
        start(&mut record, WINDOWS);
        assert_eq!(start_with(&mut record, WINDOWS, "8 partitions"), [(2, Role::Filling, true)]);
        record.shown("q", 2);
        assert_eq!(start_with(&mut record, WINDOWS, "8 partitions"), [(2, Role::Shown, true)]);
    }
}
