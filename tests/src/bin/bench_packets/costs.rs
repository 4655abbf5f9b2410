//! What a packet costs.

/// What was measured of one class, once in each round: nanoseconds, or instructions where the clock counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    /// With what measuring costs.
    wholes: Vec<f64>,
    /// What measuring costs.
    floors: Vec<f64>,
}

impl Costs {
    /// Adds a round.
    pub(crate) fn add(&mut self, whole: f64, floor: f64) {
        self.wholes.push(whole);
        self.floors.push(floor);
    }

    fn of_rounds(&self) -> impl Iterator<Item = f64> {
        self.wholes.iter().zip(&self.floors).map(|(whole, floor)| whole - floor)
    }

    /// The least that there can be: interruptions make either larger. Where the clock counts instructions, this is their
    /// exact number.
    fn least(&self) -> f64 {
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        least(&self.wholes) - least(&self.floors)
    }

    /// A line of the report: `class`, the name, the least, and how many times the unit's least that is. The quartiles of
    /// this ratio within each round follow.
    pub(crate) fn line(&self, name: &str, unit: &Self) -> String {
        let ratios = self.of_rounds().zip(unit.of_rounds()).map(|(cost, unit)| cost / unit);
        let [low, median, high] = quartiles(ratios.collect());
        let (least, ratio) = (self.least(), self.least() / unit.least());
        format!("class\t{name}\t{least:.3}\t{ratio:.3}\t{low:.3}\t{median:.3}\t{high:.3}")
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
