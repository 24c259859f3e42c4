//! Statistics over runs.

/// The values of a figure in all runs, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// Values in any order.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// A single value, for counted figures.
    pub(crate) fn once(value: f64) -> Self {
        Self(vec![value])
    }

    /// Combines the runs of several parts.
    pub(crate) fn joined(parts: Vec<Self>) -> Self {
        Self::new(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// Divides each value by `parts`.
    pub(crate) fn divided(self, parts: f64) -> Self {
        Self(self.0.into_iter().map(|value| value / parts).collect())
    }

    /// Number of runs.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The median; of an even number of runs, the upper one.
    pub(crate) fn median(&self) -> f64 {
        self.at(self.0.len() / 2)
    }

    /// The 99th percentile; of fewer than a hundred runs, the maximum.
    pub(crate) fn p99(&self) -> f64 {
        self.at((self.0.len() * 99).div_ceil(100).saturating_sub(1))
    }

    /// The minimum.
    pub(crate) fn least(&self) -> f64 {
        self.at(0)
    }

    fn at(&self, index: usize) -> f64 {
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_values_of_actual_runs() {
        let runs = Runs::new((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            (runs.count(), runs.median(), runs.p99(), runs.least()),
            (200, 101.0, 198.0, 1.0)
        );
    }

    #[test]
    fn the_p99_of_few_runs_is_the_maximum() {
        let runs = Runs::new(vec![3.0, 9.0, 1.0]);
        assert_eq!((runs.median(), runs.p99()), (3.0, 9.0));
        assert_eq!(Runs::once(5.0), Runs::new(vec![5.0]));
    }

    #[test]
    fn joined_runs_are_sorted() {
        let parts = vec![Runs::new(vec![5.0, 1.0]), Runs::once(3.0)];
        assert_eq!(Runs::joined(parts), Runs(vec![1.0, 3.0, 5.0]));
    }

    #[test]
    fn no_runs_have_no_median() {
        assert!(Runs::default().median().is_nan());
    }
}
