//! Figures from runs.

/// What a figure was in each run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// The figure of each run, in any order.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// A figure that is counted, not timed.
    pub(crate) fn once(value: f64) -> Self {
        Self(vec![value])
    }

    /// The runs of several as one.
    pub(crate) fn joined(parts: Vec<Self>) -> Self {
        Self::new(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// The same of one of `parts` equal parts.
    pub(crate) fn divided(self, parts: f64) -> Self {
        Self(self.0.into_iter().map(|value| value / parts).collect())
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one; of an even number the upper of the two.
    pub(crate) fn median(&self) -> f64 {
        self.at(self.0.len() / 2)
    }

    /// What 99 in a hundred do not exceed: of fewer than a hundred, the largest.
    pub(crate) fn p99(&self) -> f64 {
        self.at((self.0.len() * 99).div_ceil(100).saturating_sub(1))
    }

    /// The smallest.
    pub(crate) fn least(&self) -> f64 {
        self.at(0)
    }

    fn at(&self, place: usize) -> f64 {
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_runs_that_happened() {
        let runs = Runs::new((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            (runs.count(), runs.median(), runs.p99(), runs.least()),
            (200, 101.0, 198.0, 1.0)
        );
    }

    #[test]
    fn the_p99_of_few_runs_is_the_worst() {
        let runs = Runs::new(vec![3.0, 9.0, 1.0]);
        assert_eq!((runs.median(), runs.p99()), (3.0, 9.0));
        assert_eq!(Runs::once(5.0), Runs::new(vec![5.0]));
    }

    #[test]
    fn runs_are_joined_in_order() {
        let parts = vec![Runs::new(vec![5.0, 1.0]), Runs::once(3.0)];
        assert_eq!(Runs::joined(parts), Runs(vec![1.0, 3.0, 5.0]));
    }

    #[test]
    fn no_runs_give_no_number() {
        assert!(Runs::default().median().is_nan());
    }
}
