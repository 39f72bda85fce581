//! A matcher that follows the definition: for each first row, all ways to map rows, tried in the order of preference, until one is a match.
//! It has nothing in common with the operator but the text of the pattern.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::pattern_common::{Event, PARTITION};

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Variable(u8),
    Sequence(Vec<Node>),
    Alternation(Vec<Node>),
    Permute(Vec<Node>),
    Exclusion(Box<Node>),
    Quantified { inner: Box<Node>, least: u32, most: Option<u32>, reluctant: bool },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    Any,
    Above(i64),
    Below(i64),
    /// `q > LAST(X.q)`
    AboveLast(u8),
    /// `count(X.*) < n`
    CountBelow(u8, i64),
    /// `sum(X.q) > n`
    SumAbove(u8, i64),
    AbovePrevious,
    BelowNext,
    /// `q >= FIRST(q)`
    AboveFirst,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Skip {
    PastLastRow,
    ToNextRow,
    ToFirst(u8),
    ToLast(u8),
}

#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) node: Node,
    /// By variable.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) skip: Skip,
    pub(crate) within_s: i64,
    pub(crate) all_rows: bool,
    /// Whether MATCH_NUMBER is a measure.
    pub(crate) numbered: bool,
}

/// A row of a match: its variable, and whether it is excluded.
type Mapped = (u8, bool);

impl Node {
    fn text(&self) -> String {
        let list = |nodes: &[Self], between: &str| nodes.iter().map(Self::text).collect::<Vec<_>>().join(between);
        match self {
            Self::Variable(variable) => NAMES[usize::from(*variable)].to_owned(),
            Self::Sequence(nodes) => format!("({})", list(nodes, " ")),
            Self::Alternation(nodes) => format!("({})", list(nodes, " | ")),
            Self::Permute(nodes) => format!("PERMUTE({})", list(nodes, ", ")),
            Self::Exclusion(node) => format!("{{- {} -}}", node.text()),
            Self::Quantified { inner, least, most, reluctant } => {
                let quantifier = match (least, most) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (least, None) => format!("{{{least},}}"),
                    (least, Some(most)) if least == most => format!("{{{least}}}"),
                    (least, Some(most)) => format!("{{{least},{most}}}"),
                };
                format!("({}){quantifier}{}", inner.text(), if *reluctant { "?" } else { "" })
            }
        }
    }

    fn variables(&self) -> Vec<u8> {
        match self {
            Self::Variable(variable) => vec![*variable],
            Self::Sequence(nodes) | Self::Alternation(nodes) | Self::Permute(nodes) => {
                nodes.iter().flat_map(Self::variables).collect()
            }
            Self::Exclusion(node) | Self::Quantified { inner: node, .. } => node.variables(),
        }
    }

    fn can_be_empty(&self) -> bool {
        match self {
            Self::Variable(_) => false,
            Self::Sequence(nodes) | Self::Permute(nodes) => nodes.iter().all(Self::can_be_empty),
            Self::Alternation(nodes) => nodes.iter().any(Self::can_be_empty),
            Self::Exclusion(node) => node.can_be_empty(),
            Self::Quantified { inner, least, .. } => *least == 0 || inner.can_be_empty(),
        }
    }
}

impl Pattern {
    /// A pattern that matches nothing, and places to go on that a match may not have, are refused: these are replaced.
    pub(crate) fn with_what_is_allowed(mut self) -> Self {
        if self.node.can_be_empty() {
            self.node = Node::Sequence(vec![Node::Variable(0), self.node]);
        }
        if let Skip::ToFirst(variable) | Skip::ToLast(variable) = self.skip {
            // In front of the rest stands another variable, behind it the one to go on at.
            let other = (variable + 1) % 4;
            let inner = self.node.variables().contains(&variable);
            let rest = if inner { Node::Variable(other) } else { self.node };
            self.node = Node::Sequence(vec![Node::Variable(other), rest, Node::Variable(variable)]);
        }
        let used = self.node.variables();
        for (at, condition) in self.conditions.iter_mut().enumerate() {
            let names = match condition {
                Condition::AboveLast(variable)
                | Condition::CountBelow(variable, _)
                | Condition::SumAbove(variable, _) => Some(*variable),
                _ => None,
            };
            if names.is_some_and(|name| !used.contains(&name)) || !used.contains(&(at as u8)) {
                *condition = Condition::Any;
            }
        }
        self
    }

    pub(crate) fn text(&self) -> String {
        let name = |variable: u8| NAMES[usize::from(variable)];
        let used = self.node.variables();
        let first = name(used[0]);
        let definition = |(at, condition): (usize, &Condition)| {
            let own = NAMES[at];
            let condition = match *condition {
                Condition::Any => return None,
                Condition::Above(n) => format!("q > {n}"),
                Condition::Below(n) => format!("{own}.q < {n}"),
                Condition::AboveLast(variable) => format!("q > LAST({}.q)", name(variable)),
                Condition::CountBelow(variable, n) => format!("count({}.*) < {n}", name(variable)),
                Condition::SumAbove(variable, n) => format!("sum({}.q) > {n}", name(variable)),
                Condition::AbovePrevious => "q > PREV(q)".to_owned(),
                Condition::BelowNext => format!("{own}.q < NEXT({own}.q)"),
                Condition::AboveFirst => "q >= FIRST(q)".to_owned(),
            };
            Some(format!("{own} AS {condition}"))
        };
        let mut definitions: Vec<String> = self.conditions.iter().enumerate().filter_map(definition).collect();
        if definitions.is_empty() {
            definitions.push(format!("{first} AS true"));
        }
        let rows = if self.all_rows { "ALL ROWS PER MATCH" } else { "ONE ROW PER MATCH" };
        let skip = match self.skip {
            Skip::PastLastRow => "PAST LAST ROW".to_owned(),
            Skip::ToNextRow => "TO NEXT ROW".to_owned(),
            Skip::ToFirst(variable) => format!("TO FIRST {}", name(variable)),
            Skip::ToLast(variable) => format!("TO LAST {}", name(variable)),
        };
        let (number, shown) = if self.numbered { (", MATCH_NUMBER() AS number", ", number") } else { ("", "") };
        format!(
            "SELECT account, part, n, total, summed, first_q, before_last, before, after{shown} FROM events MATCH_RECOGNIZE (PARTITION BY account ORDER BY event_time
             MEASURES CLASSIFIER() AS part, count(*) AS n, FINAL count(*) AS total, sum({first}.q) AS summed, FIRST({first}.q) AS first_q,
                      LAST({first}.q, 1) AS before_last, PREV(FIRST(q)) AS before, NEXT(LAST({first}.q)) AS after{number}
             {rows} AFTER MATCH SKIP {skip} PATTERN ({}) WITHIN INTERVAL '{} seconds' DEFINE {})",
            self.node.text(),
            self.within_s,
            definitions.join(", ")
        )
    }

    /// All matches as the operator shows them, sorted.
    pub(crate) fn matches(&self, events: &[Event]) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for account in ["a", "b"] {
            let mut rows: Vec<&Event> = events.iter().filter(|event| event.account == account).collect();
            rows.sort_by_key(|row| (row.time_s, row.offset));
            let (mut start, mut number) = (0, 0);
            while start < rows.len() {
                let Some(mapped) = self.preferred(&rows, start) else {
                    start += 1;
                    continue;
                };
                number += 1;
                self.show(&rows, start, &mapped, number, &mut found);
                let mapped = &mapped;
                let place = |variable: u8| (0..mapped.len()).filter(move |at| mapped[*at].0 == variable);
                start += match self.skip {
                    Skip::PastLastRow => mapped.len(),
                    Skip::ToNextRow => 1,
                    Skip::ToFirst(variable) => place(variable).next().unwrap(),
                    Skip::ToLast(variable) => place(variable).next_back().unwrap(),
                };
            }
        }
        found.sort();
        found
    }

    fn preferred(&self, rows: &[&Event], start: usize) -> Option<Vec<Mapped>> {
        let mut best = None;
        let mut mapped = Vec::new();
        self.ways(&self.node, rows, start, false, &mut mapped, &mut |mapped| {
            best = Some(mapped.clone());
            true
        });
        best
    }

    /// Tries the ways to match a node from where `mapped` stands, best first, each followed by what comes after it; until that says stop.
    fn ways(
        &self,
        node: &Node,
        rows: &[&Event],
        start: usize,
        excluded: bool,
        mapped: &mut Vec<Mapped>,
        after: &mut dyn FnMut(&mut Vec<Mapped>) -> bool,
    ) -> bool {
        match node {
            Node::Variable(variable) => {
                mapped.push((*variable, excluded));
                let stop = self.holds(rows, start, mapped) && after(mapped);
                mapped.pop();
                stop
            }
            Node::Sequence(nodes) => {
                self.sequence(&nodes.iter().collect::<Vec<_>>(), rows, start, excluded, mapped, after)
            }
            Node::Alternation(nodes) => nodes.iter().any(|node| self.ways(node, rows, start, excluded, mapped, after)),
            Node::Permute(nodes) => {
                let orders = orders(&nodes.iter().collect::<Vec<_>>());
                orders.iter().any(|order| self.sequence(order, rows, start, excluded, mapped, after))
            }
            Node::Exclusion(node) => self.ways(node, rows, start, true, mapped, after),
            Node::Quantified { inner, least, most, reluctant } => {
                let rounds = Rounds { inner, least: *least, most: *most, reluctant: *reluctant };
                self.rounds(&rounds, 0, rows, start, excluded, mapped, after)
            }
        }
    }

    fn sequence(
        &self,
        nodes: &[&Node],
        rows: &[&Event],
        start: usize,
        excluded: bool,
        mapped: &mut Vec<Mapped>,
        after: &mut dyn FnMut(&mut Vec<Mapped>) -> bool,
    ) -> bool {
        match nodes {
            [] => after(mapped),
            [first, rest @ ..] => self.ways(first, rows, start, excluded, mapped, &mut |mapped| {
                self.sequence(rest, rows, start, excluded, mapped, after)
            }),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a recursion that carries all it knows")]
    fn rounds(
        &self,
        rounds: &Rounds<'_>,
        done: u32,
        rows: &[&Event],
        start: usize,
        excluded: bool,
        mapped: &mut Vec<Mapped>,
        after: &mut dyn FnMut(&mut Vec<Mapped>) -> bool,
    ) -> bool {
        let may_end = done >= rounds.least;
        if may_end && rounds.reluctant && after(mapped) {
            return true;
        }
        if rounds.most.is_none_or(|most| done < most) {
            let before = mapped.len();
            let stop = self.ways(rounds.inner, rows, start, excluded, mapped, &mut |mapped| {
                // A round beyond the least number takes a row.
                if may_end && mapped.len() == before {
                    return false;
                }
                self.rounds(rounds, done + 1, rows, start, excluded, mapped, after)
            });
            if stop {
                return true;
            }
        }
        may_end && !rounds.reluctant && after(mapped)
    }

    /// Whether the last row that is mapped is there, in time, and fulfils its variable's condition.
    fn holds(&self, rows: &[&Event], start: usize, mapped: &[Mapped]) -> bool {
        let at = start + mapped.len() - 1;
        let Some(row) = rows.get(at) else { return false };
        if row.time_s - rows[start].time_s > self.within_s {
            return false;
        }
        let (variable, _) = mapped[mapped.len() - 1];
        let of =
            |wanted: u8| (0..mapped.len()).filter(move |row| mapped[*row].0 == wanted).map(|row| rows[start + row]);
        let above = |a: Option<i64>, b: Option<i64>| a.zip(b).is_some_and(|(a, b)| a > b);
        match self.conditions[usize::from(variable)] {
            Condition::Any => true,
            Condition::Above(n) => row.q.is_some_and(|q| q > n),
            Condition::Below(n) => row.q.is_some_and(|q| q < n),
            Condition::AboveLast(wanted) => above(row.q, of(wanted).next_back().and_then(|row| row.q)),
            Condition::CountBelow(wanted, n) => (of(wanted).count() as i64) < n,
            Condition::SumAbove(wanted, n) => sum(of(wanted)).is_some_and(|sum| sum > n),
            Condition::AbovePrevious => above(row.q, self.neighbour(rows, at, -1)),
            Condition::BelowNext => above(self.neighbour(rows, at, 1), row.q),
            Condition::AboveFirst => row.q.zip(rows[start].q).is_some_and(|(q, first)| q >= first),
        }
    }

    /// The quantity of the row so many rows on, if it lies within the time.
    fn neighbour(&self, rows: &[&Event], at: usize, step: isize) -> Option<i64> {
        let other = rows.get(at.checked_add_signed(step)?)?;
        if (other.time_s - rows[at].time_s).abs() <= self.within_s { other.q } else { None }
    }

    fn show(&self, rows: &[&Event], start: usize, mapped: &[Mapped], number: usize, found: &mut Vec<(String, u64)>) {
        let first = self.node.variables()[0];
        let text = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let last = start + mapped.len() - 1;
        for at in 0..mapped.len() {
            let is_shown = if self.all_rows { !mapped[at].1 } else { at == mapped.len() - 1 };
            if !is_shown {
                continue;
            }
            let own: Vec<usize> = (0..=at).filter(|at| mapped[*at].0 == first).map(|at| start + at).collect();
            let mut cells = vec![
                rows[start].account.to_owned(),
                NAMES[usize::from(mapped[at].0)].to_owned(),
                (at + 1).to_string(),
                mapped.len().to_string(),
                text(sum(own.iter().map(|row| rows[*row]))),
                text(own.first().and_then(|row| rows[*row].q)),
                text(own.iter().rev().nth(1).and_then(|row| rows[*row].q)),
                text(self.neighbour(rows, start, -1)),
                text(own.last().and_then(|row| self.neighbour(rows, *row, 1))),
            ];
            if self.numbered {
                cells.push(number.to_string());
            }
            cells.extend([PARTITION.to_string(), rows[start].offset.to_string(), rows[last].offset.to_string()]);
            if self.all_rows {
                cells.push(rows[start + at].offset.to_string());
            }
            found.push((cells.join(" "), mapped.len() as u64));
        }
    }
}

struct Rounds<'n> {
    inner: &'n Node,
    least: u32,
    most: Option<u32>,
    reluctant: bool,
}

fn sum<'e>(rows: impl Iterator<Item = &'e Event>) -> Option<i64> {
    let known: Vec<i64> = rows.filter_map(|row| row.q).collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

/// All orders, in lexicographic order.
fn orders<'n>(nodes: &[&'n Node]) -> Vec<Vec<&'n Node>> {
    if nodes.is_empty() {
        return vec![Vec::new()];
    }
    let begin = |at: usize| {
        let mut rest = nodes.to_vec();
        let first = rest.remove(at);
        orders(&rest).into_iter().map(move |order| std::iter::once(first).chain(order).collect())
    };
    (0..nodes.len()).flat_map(begin).collect()
}
