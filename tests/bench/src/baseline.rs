//! What the counted figures were, and whether they have become worse. Counted, not timed: a
//! busy machine changes none of them.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    figure::{Figure, Unit},
};

/// The counted figures of a run that was good.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// What it was taken on.
    machine: String,
    /// Instructions by figure.
    instructions: BTreeMap<String, f64>,
    /// How much more than the baseline each may be.
    #[serde(skip)]
    tolerances: BTreeMap<String, f64>,
}

impl Baseline {
    /// The counted of `figures`.
    pub(crate) fn of(figures: &[Figure], machine: String) -> Self {
        let counted = || figures.iter().filter(|figure| figure.unit == Unit::Instructions);
        let instructions = counted().map(|figure| (figure.key(), figure.runs.median().round()));
        let tolerances = counted().map(|figure| (figure.key(), figure.tolerance));
        Self { machine, instructions: instructions.collect(), tolerances: tolerances.collect() }
    }

    /// Reads one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::file(path))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes this one; what was not measured this time stays as it was in `path`.
    pub(crate) fn write(mut self, path: &Path) -> Result<()> {
        if path.exists() {
            let older = Self::read(path)?.instructions;
            self.instructions = older.into_iter().chain(self.instructions).collect();
        }
        let text = serde_json::to_string_pretty(&self)?;
        fs::write(path, format!("{text}\n")).map_err(Error::file(path))
    }

    /// What `now` needs more of than it should, one line each.
    pub(crate) fn worse(&self, now: &Self) -> Vec<String> {
        let tolerance = |key: &String| now.tolerances.get(key).copied().unwrap_or_default();
        let worse = |(key, now): (&String, &f64)| {
            let before = self.instructions.get(key)?;
            let more = now / before - 1.0;
            let line = format!(
                "{key}: {now:.0} instructions, {:.1} % more than {before:.0}",
                more * 100.0
            );
            (*now > before * (1.0 + tolerance(key))).then_some(line)
        };
        now.instructions.iter().filter_map(worse).collect()
    }

    /// How many of the figures in `now` this one knows.
    pub(crate) fn knows(&self, now: &Self) -> usize {
        now.instructions.keys().filter(|key| self.instructions.contains_key(*key)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Runs;

    fn baseline(value: f64) -> Baseline {
        let counted = Figure::new("a", "work", Unit::Instructions, Runs::once(value));
        let timed = Figure::new("a", "time", Unit::Milliseconds, Runs::once(value));
        Baseline::of(&[counted, timed], String::new())
    }

    #[test]
    fn a_tenth_more_is_tolerated_and_more_is_not() {
        let before = baseline(1000.0);
        assert_eq!(before.worse(&baseline(1100.0)), Vec::<String>::new());
        assert_eq!(
            before.worse(&baseline(1101.0)),
            ["a: work: 1101 instructions, 10.1 % more than 1000"]
        );
    }

    #[test]
    fn what_depends_on_what_comes_first_may_grow_by_a_quarter() {
        let batch = |value| {
            let runs = Runs::once(value);
            let figure = Figure::new("a", "batch", Unit::Instructions, runs).unsteady();
            Baseline::of(&[figure], String::new())
        };
        assert_eq!(batch(1000.0).worse(&batch(1250.0)), Vec::<String>::new());
        assert_eq!(batch(1000.0).worse(&batch(1260.0)).len(), 1);
    }

    #[test]
    fn times_are_not_compared() {
        assert_eq!(baseline(1.0).instructions.len(), 1);
    }

    #[test]
    fn what_is_new_is_not_worse() {
        let nothing = Baseline::default();
        let now = baseline(1000.0);
        assert_eq!((nothing.worse(&now).len(), nothing.knows(&now), now.knows(&now)), (0, 0, 1));
    }
}
