//! One figure: a line of JSON on standard output.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What the same run gave for the thing that `baseline_name` says.
    baseline: Option<f64>,
    baseline_name: Option<String>,
    /// value / baseline.
    ratio: Option<f64>,
    /// Samples that the value stands on.
    runs: usize,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, runs: usize) -> Figure {
        let name = name.into();
        Figure { name, value: rounded(value), unit, baseline: None, baseline_name: None, ratio: None, runs }
    }

    pub(crate) fn beside(mut self, name: &str, baseline: f64) -> Figure {
        self.ratio = (baseline > 0.0).then(|| rounded(self.value / baseline));
        (self.baseline, self.baseline_name) = (Some(rounded(baseline)), Some(name.to_owned()));
        self
    }

    pub(crate) fn print(&self) {
        line(self);
    }
}

/// Prints one line of JSON.
pub(crate) fn line(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).unwrap_or_default());
}

/// Three places: more would claim what was not measured.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle of the samples; the mean of the middle two when their number is even.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The sample below which this share of them lies.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_unsorted_samples() {
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
        assert!((median(&[9.0, 1.0, 5.0, 7.0]) - 6.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
        let hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert!((percentile(&hundred, 0.99) - 99.0).abs() < 1e-9 && percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_figure_carries_its_ratio() {
        let shown = serde_json::to_value(Figure::new("x", 10.0, "1/s", 3).beside("fdatasync", 4.0)).unwrap();
        assert_eq!(shown["ratio"], 2.5);
        assert_eq!(shown["runs"], 3);
        assert!(serde_json::to_value(Figure::new("x", 1.0, "ms", 1)).unwrap()["baseline"].is_null());
    }
}
