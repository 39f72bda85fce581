//! The row pattern as an automaton without empty steps: states that each take one row, and for each the states that may follow, best first.
//!
//! The order is SQL's order of preference: of an alternation the left branch first; of a greedy quantifier another round first, of a
//! reluctant one the end first. A round beyond the least number of rounds takes a row at least. What is preferred less than a match that
//! is reached without a further row can never win, and isn't listed.

use std::collections::BTreeSet;

use super::plan::VariableSet;
use super::syntax::RowPattern;

/// Most states: what `{n}`, groups and PERMUTE are written out to.
pub(crate) const STATES_MAX: usize = 2_000;
/// Most entries of all lists of followers.
const FOLLOWERS_MAX: usize = 200_000;

/// Which variable may follow which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automaton {
    /// States that may take the first row, best first.
    pub start: Vec<u16>,
    /// The states.
    pub states: Vec<State>,
}

/// A state: takes a row for a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Number of the variable.
    pub variable: u8,
    /// Whether the row is in an exclusion, so that ALL ROWS PER MATCH leaves it out.
    pub excluded: bool,
    /// States that may take the next row, best first.
    pub next: Vec<u16>,
    /// Whether a match may end here, which is preferred less than all of `next`.
    pub ends: bool,
}

/// Why a row pattern has no automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Impossible {
    /// It would have too many states.
    TooLarge,
    /// It can match without a row.
    Empty,
}

/// A step of the pattern written out.
#[derive(Debug)]
enum Step {
    /// Takes a row for a variable.
    Row {
        variable: u8,
        excluded: bool,
    },
    /// Goes on at one of these, best first.
    Split(Vec<usize>),
    /// Begins a round that must take a row.
    Enter(usize),
    /// Ends that round.
    Check(usize),
    Jump(usize),
    End,
}

impl Automaton {
    /// Writes a row pattern out.
    pub(crate) fn new(pattern: &RowPattern) -> Result<Self, Impossible> {
        let mut program = Program::default();
        program.write(pattern, false)?;
        program.steps.push(Step::End);
        let (start, ends) = program.followers(0);
        if ends {
            return Err(Impossible::Empty);
        }
        let mut states = Vec::new();
        let mut count = start.len();
        for (at, step) in program.steps.iter().enumerate() {
            if let Step::Row { variable, excluded } = *step {
                let (next, ends) = program.followers(at + 1);
                count += next.len();
                if count > FOLLOWERS_MAX {
                    return Err(Impossible::TooLarge);
                }
                states.push(State { variable, excluded, next, ends });
            }
        }
        Ok(Self { start, states })
    }

    fn state(&self, number: u16) -> Option<&State> {
        self.states.get(usize::from(number))
    }

    fn takes(&self, number: u16, set: VariableSet) -> bool {
        self.state(number).is_some_and(|state| set >> state.variable & 1 == 1)
    }

    /// Whether the first row of a match can be mapped to one of these variables.
    pub(crate) fn can_begin_with(&self, set: VariableSet) -> bool {
        self.start.iter().any(|state| self.takes(*state, set))
    }

    /// Whether there can be a match without a row of these variables.
    pub(crate) fn can_do_without(&self, set: VariableSet) -> bool {
        self.can_end_avoiding(self.start.iter().copied(), set)
    }

    /// Whether the first row of a match can be the last one that is mapped to one of these variables.
    pub(crate) fn can_end_after_first_of(&self, set: VariableSet) -> bool {
        let first = self.start.iter().filter(|state| self.takes(**state, set));
        first
            .filter_map(|state| self.state(*state))
            .any(|state| state.ends || self.can_end_avoiding(state.next.iter().copied(), set))
    }

    fn can_end_avoiding(&self, from: impl Iterator<Item = u16>, set: VariableSet) -> bool {
        let mut seen = vec![false; self.states.len()];
        let mut open: Vec<u16> = from.collect();
        while let Some(number) = open.pop() {
            let (Some(seen), Some(state)) = (seen.get_mut(usize::from(number)), self.state(number)) else { continue };
            if *seen || self.takes(number, set) {
                continue;
            }
            if state.ends {
                return true;
            }
            *seen = true;
            open.extend(&state.next);
        }
        false
    }
}

#[derive(Debug, Default)]
struct Program {
    steps: Vec<Step>,
    rows: u16,
    /// Number of the state of each step that takes a row.
    states: Vec<u16>,
    rounds: usize,
}

impl Program {
    fn push(&mut self, step: Step) -> Result<usize, Impossible> {
        if self.steps.len() >= 8 * STATES_MAX {
            return Err(Impossible::TooLarge);
        }
        self.states.push(self.rows);
        if matches!(step, Step::Row { .. }) {
            if usize::from(self.rows) >= STATES_MAX {
                return Err(Impossible::TooLarge);
            }
            self.rows += 1;
        }
        self.steps.push(step);
        Ok(self.steps.len() - 1)
    }

    fn set(&mut self, at: usize, step: Step) {
        if let Some(place) = self.steps.get_mut(at) {
            *place = step;
        }
    }

    fn write(&mut self, pattern: &RowPattern, excluded: bool) -> Result<(), Impossible> {
        match pattern {
            RowPattern::Variable(variable) => self.push(Step::Row { variable: *variable, excluded }).map(|_| ()),
            RowPattern::Sequence(parts) => parts.iter().try_for_each(|part| self.write(part, excluded)),
            RowPattern::Alternation(branches) => {
                self.branches(branches.len(), |program, branch| match branches.get(branch) {
                    Some(branch) => program.write(branch, excluded),
                    None => Ok(()),
                })
            }
            RowPattern::Permute(parts) => self.permute(&[], &parts.iter().collect::<Vec<_>>(), excluded),
            RowPattern::Exclusion(inner) => self.write(inner, true),
            RowPattern::Quantified { inner, least, most, reluctant } => {
                for _ in 0..*least {
                    self.write(inner, excluded)?;
                }
                match most {
                    None => {
                        let head = self.push(Step::End)?;
                        self.round(inner, excluded)?;
                        self.push(Step::Jump(head))?;
                        self.branch_off(head, *reluctant);
                        Ok(())
                    }
                    Some(most) => {
                        let mut heads = Vec::new();
                        for _ in *least..*most {
                            heads.push(self.push(Step::End)?);
                            self.round(inner, excluded)?;
                        }
                        heads.into_iter().for_each(|head| self.branch_off(head, *reluctant));
                        Ok(())
                    }
                }
            }
        }
    }

    /// A round that takes a row at least.
    fn round(&mut self, inner: &RowPattern, excluded: bool) -> Result<(), Impossible> {
        let number = self.rounds;
        self.rounds += 1;
        self.push(Step::Enter(number))?;
        self.write(inner, excluded)?;
        self.push(Step::Check(number)).map(|_| ())
    }

    /// Makes the step at `head` choose between the round after it and the present end.
    fn branch_off(&mut self, head: usize, reluctant: bool) {
        let (round, end) = (head + 1, self.steps.len());
        self.set(head, Step::Split(if reluctant { vec![end, round] } else { vec![round, end] }));
    }

    fn branches(
        &mut self,
        count: usize,
        mut write: impl FnMut(&mut Self, usize) -> Result<(), Impossible>,
    ) -> Result<(), Impossible> {
        let head = self.push(Step::End)?;
        let (mut begins, mut jumps) = (Vec::new(), Vec::new());
        for branch in 0..count {
            begins.push(self.steps.len());
            write(self, branch)?;
            jumps.push(self.push(Step::End)?);
        }
        let end = self.steps.len();
        jumps.into_iter().for_each(|jump| self.set(jump, Step::Jump(end)));
        self.set(head, Step::Split(begins));
        Ok(())
    }

    /// All orders of the parts, in lexicographic order: an alternation of the orders, each with `before` in front.
    ///
    /// Orders share their first part where it can be matched in one way only. Where there are several, all ways of one order are preferred to
    /// those of the next, so each order has it for itself.
    fn permute(&mut self, before: &[&RowPattern], parts: &[&RowPattern], excluded: bool) -> Result<(), Impossible> {
        if parts.len() < 2 {
            return before.iter().chain(parts).try_for_each(|part| self.write(part, excluded));
        }
        self.branches(parts.len(), |program, first| {
            let mut rest = parts.to_vec();
            let first = rest.remove(first);
            if before.is_empty() && first.has_one_way() {
                program.write(first, excluded)?;
                return program.permute(&[], &rest, excluded);
            }
            program.permute(&[before, &[first]].concat(), &rest, excluded)
        })
    }

    /// States reached from a step without a row, best first, up to the end of the match; and whether that is reached.
    fn followers(&self, from: usize) -> (Vec<u16>, bool) {
        let mut found: Vec<u16> = Vec::new();
        // What follows a step depends on how many of the rounds around it were entered since the last row: those are left by a row alone.
        let mut seen = BTreeSet::new();
        // Steps to visit, best on top, each with the rounds entered on the way to it.
        let mut open = vec![(from, Vec::new())];
        while let Some((at, mut entered)) = open.pop() {
            if !seen.insert((at, entered.len())) {
                continue;
            }
            match self.steps.get(at) {
                Some(Step::Row { .. }) => {
                    let state = self.states.get(at).copied();
                    found.extend(state.filter(|state| !found.contains(state)));
                }
                Some(Step::Split(targets)) => {
                    open.extend(targets.iter().rev().map(|target| (*target, entered.clone())));
                }
                Some(Step::Enter(round)) => {
                    entered.push(*round);
                    open.push((at + 1, entered));
                }
                Some(Step::Check(round)) if entered.contains(round) => {}
                Some(Step::Check(_)) => open.push((at + 1, entered)),
                Some(Step::Jump(target)) => open.push((*target, entered)),
                Some(Step::End) | None => return (found, true),
            }
        }
        (found, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A (A*?)*`: the inner quantifier would rather take nothing, but then the outer round would be empty, and the outer one wants another.
    #[test]
    fn a_round_that_must_take_a_row_takes_one_where_its_content_would_not() {
        let variable = || RowPattern::Variable(0);
        let many = |inner: RowPattern, reluctant| RowPattern::Quantified {
            inner: Box::new(inner),
            least: 0,
            most: None,
            reluctant,
        };
        let pattern = RowPattern::Sequence(vec![variable(), many(many(variable(), true), false)]);
        let automaton = Automaton::new(&pattern).unwrap();
        assert_eq!(automaton.start, [0]);
        for state in &automaton.states {
            assert_eq!((state.next.as_slice(), state.ends), (&[1][..], true), "another row is preferred to the end");
        }
    }

    /// `PERMUTE(A+, B)`: `A+` stands in both orders, so that it can be long in one and short in the other; `PERMUTE(A, B, C)` shares.
    #[test]
    fn orders_share_what_can_be_matched_in_one_way_only() {
        let plus =
            RowPattern::Quantified { inner: Box::new(RowPattern::Variable(0)), least: 1, most: None, reluctant: false };
        let states = |parts: Vec<RowPattern>| Automaton::new(&RowPattern::Permute(parts)).unwrap().states.len();
        let single = |count: u8| (0..count).map(RowPattern::Variable).collect::<Vec<_>>();
        // A A* B C, A A* C B, B A A* C, B C A A*, C A A* B, C B A A*, of which two begin with the same B and two with the same C.
        assert_eq!(states([vec![plus], single(3).split_off(1)].concat()), 6 * 4 - 2);
        assert_eq!(states(single(3)), 3 + 6 + 6);
    }
}
