//! The search for a match from one first row: runs through the automaton, best first.
//!
//! All runs of an attempt have taken the same rows; they differ in the variables that the rows are mapped to. A run that ends the pattern
//! cuts off all that are preferred less. The match is certain once no run is left that is preferred more.

use sql::{Automaton, VariableSet};

/// Set on a row of a path that is in an exclusion.
const EXCLUDED: u8 = 0x80;
/// Bytes of a run beside its path.
const RUN_BYTES: usize = 64;

/// The variables of the rows of a match in order.
pub(crate) type Path = Vec<u8>;

/// The variable of a row of a path.
pub(crate) fn variable(step: u8) -> u8 {
    step & !EXCLUDED
}

/// Whether a row of a path is in an exclusion.
pub(crate) fn is_excluded(step: u8) -> bool {
    step & EXCLUDED != 0
}

/// A way to map the rows so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The state that takes the next row.
    pub(crate) state: u16,
    pub(crate) path: Path,
}

/// The search from one first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Number of the first row within its key.
    pub(crate) start: u64,
    /// Rows taken.
    pub(crate) taken: u64,
    /// Best first.
    pub(crate) runs: Vec<Run>,
    /// The best match so far, which is preferred less than what the runs may find.
    pub(crate) best: Option<Path>,
}

/// The runs became more than are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyRuns;

impl Attempt {
    pub(crate) fn new(start: u64, automaton: &Automaton) -> Self {
        let runs = automaton.start.iter().map(|state| Run { state: *state, path: Path::new() }).collect();
        Self { start, taken: 0, runs, best: None }
    }

    /// Number of the row that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.start + self.taken
    }

    pub(crate) fn bytes(&self) -> usize {
        let paths = self.runs.iter().map(|run| RUN_BYTES + run.path.len()).sum::<usize>();
        RUN_BYTES + paths + self.best.as_ref().map_or(0, Vec::len)
    }

    /// Takes the next row: `verdicts` says for each run whether the row may be mapped to its state's variable. Of runs that can't be told
    /// apart from here on, the best is kept: those in one state that agree where rows are mapped to the `observed` variables.
    pub(crate) fn take(
        &mut self,
        automaton: &Automaton,
        verdicts: &[bool],
        observed: VariableSet,
        runs_max: usize,
    ) -> Result<(), TooManyRuns> {
        let mut kept: Vec<Run> = Vec::new();
        // State and digest of each kept run: most runs that differ are told apart by these.
        let mut marks: Vec<(u16, u64)> = Vec::new();
        self.taken += 1;
        let passed = std::mem::take(&mut self.runs).into_iter().zip(verdicts).filter(|(_, passes)| **passes);
        for (run, _) in passed {
            let Some(state) = automaton.states.get(usize::from(run.state)) else { continue };
            let mut path = run.path;
            path.push(state.variable | if state.excluded { EXCLUDED } else { 0 });
            let digest = digest(&path, observed);
            for next in &state.next {
                let mark = (*next, digest);
                let alike = marks.iter().zip(&kept).filter(|(known, _)| **known == mark);
                if alike.map(|(_, run)| run).any(|run| agree(&run.path, &path, observed)) {
                    continue;
                }
                if kept.len() >= runs_max {
                    return Err(TooManyRuns);
                }
                marks.push(mark);
                kept.push(Run { state: *next, path: path.clone() });
            }
            if state.ends {
                self.best = Some(path);
                break;
            }
        }
        self.runs = kept;
        Ok(())
    }
}

/// What a condition can see of a row of a path.
fn seen(step: u8, observed: VariableSet) -> u8 {
    let variable = variable(step);
    if observed >> variable & 1 == 1 { variable } else { u8::MAX }
}

/// Whether two paths of one length map the same rows to the observed variables.
fn agree(a: &[u8], b: &[u8], observed: VariableSet) -> bool {
    observed == 0 || a.iter().zip(b).all(|(a, b)| seen(*a, observed) == seen(*b, observed))
}

/// A number that is the same for paths that agree.
fn digest(path: &[u8], observed: VariableSet) -> u64 {
    if observed == 0 {
        return 0;
    }
    let add = |digest: u64, step: &u8| (digest ^ u64::from(seen(*step, observed))).wrapping_mul(0x0000_0100_0000_01b3);
    path.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql::State;

    fn automaton(start: &[u16], states: &[(u8, &[u16], bool)]) -> Automaton {
        let state = |(variable, next, ends): &(u8, &[u16], bool)| State {
            variable: *variable,
            excluded: false,
            next: next.to_vec(),
            ends: *ends,
        };
        Automaton { start: start.to_vec(), states: states.iter().map(state).collect() }
    }

    /// `A+ B` and `A+? B`: a greedy run stays ahead of the match that the other found, until it fails.
    #[test]
    fn a_match_waits_for_what_is_preferred_to_it() {
        let greedy = automaton(&[0], &[(0, &[0], true)]);
        let mut attempt = Attempt::new(7, &greedy);
        attempt.take(&greedy, &[true], 0, 10).unwrap();
        assert_eq!((attempt.best.clone(), attempt.runs.len(), attempt.next()), (Some(vec![0]), 1, 8));
        attempt.take(&greedy, &[true], 0, 10).unwrap();
        assert_eq!(attempt.best, Some(vec![0, 0]));
        attempt.take(&greedy, &[false], 0, 10).unwrap();
        assert!(attempt.runs.is_empty());
        assert_eq!(attempt.best, Some(vec![0, 0]));
    }

    /// `(A | B)+ C`: two ways per row, which are one where nobody looks.
    #[test]
    fn runs_that_cannot_be_told_apart_are_one() {
        let either = automaton(&[0, 1], &[(0, &[0, 1, 2], false), (1, &[0, 1, 2], false), (2, &[], true)]);
        let mut alike = Attempt::new(0, &either);
        let mut apart = Attempt::new(0, &either);
        for _ in 0..20 {
            let verdicts = vec![true; alike.runs.len()];
            let verdicts: Vec<bool> = verdicts.iter().zip(&alike.runs).map(|(_, run)| run.state < 2).collect();
            alike.take(&either, &verdicts, 0, 10).unwrap();
            assert!(alike.runs.len() <= 3);
            assert!(alike.runs.iter().all(|run| run.path.iter().all(|step| *step == 0)), "the best is kept");
        }
        let failed = (0..20).any(|_| {
            let verdicts: Vec<bool> = apart.runs.iter().map(|run| run.state < 2).collect();
            apart.take(&either, &verdicts, 0b1, 10).is_err()
        });
        assert!(failed, "ways that a condition on A tells apart are kept, up to the cap");
    }
}
