//! Baseline of the counted figures. Only counts are compared, because timings depend on the
//! machine's load.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    figure::{Figure, Unit},
};

/// Counted figures of an accepted run.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// The machine of the run.
    machine: String,
    /// Instructions by figure.
    instructions: BTreeMap<String, f64>,
    /// Tolerated increase of each figure, as a fraction.
    #[serde(skip)]
    tolerances: BTreeMap<String, f64>,
}

impl Baseline {
    /// The baseline of the counted figures in `figures`.
    pub(crate) fn of(figures: &[Figure], machine: String) -> Self {
        let counted = || figures.iter().filter(|figure| figure.unit == Unit::Instructions);
        let instructions = counted().map(|figure| (figure.key(), figure.runs.median().round()));
        let tolerances = counted().map(|figure| (figure.key(), figure.tolerance));
        Self { machine, instructions: instructions.collect(), tolerances: tolerances.collect() }
    }

    /// Reads a baseline.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::file(path))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes the baseline. Figures that were not measured keep their value from `path`.
    pub(crate) fn write(mut self, path: &Path) -> Result<()> {
        if path.exists() {
            let older = Self::read(path)?.instructions;
            self.instructions = older.into_iter().chain(self.instructions).collect();
        }
        let text = serde_json::to_string_pretty(&self)?;
        fs::write(path, format!("{text}\n")).map_err(Error::file(path))
    }

    /// Describes the figures in `now` that exceed the tolerance, one per line.
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

    /// Number of figures in `now` that the baseline contains.
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
    fn an_increase_of_ten_percent_is_tolerated_and_more_is_not() {
        let before = baseline(1000.0);
        assert_eq!(before.worse(&baseline(1100.0)), Vec::<String>::new());
        assert_eq!(
            before.worse(&baseline(1101.0)),
            ["a: work: 1101 instructions, 10.1 % more than 1000"]
        );
    }

    #[test]
    fn unsteady_figures_may_grow_by_a_quarter() {
        let batch = |value| {
            let runs = Runs::once(value);
            let figure = Figure::new("a", "batch", Unit::Instructions, runs).unsteady();
            Baseline::of(&[figure], String::new())
        };
        assert_eq!(batch(1000.0).worse(&batch(1250.0)), Vec::<String>::new());
        assert_eq!(batch(1000.0).worse(&batch(1260.0)).len(), 1);
    }

    #[test]
    fn timings_are_not_compared() {
        assert_eq!(baseline(1.0).instructions.len(), 1);
    }

    #[test]
    fn a_new_figure_is_not_worse() {
        let nothing = Baseline::default();
        let now = baseline(1000.0);
        assert_eq!((nothing.worse(&now).len(), nothing.knows(&now), now.knows(&now)), (0, 0, 1));
    }
}
