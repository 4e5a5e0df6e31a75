//! Tables on standard output, and figures as JSON.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

/// Several measurements of one figure, sorted.
#[derive(Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// Returns the quantile `q` by the nearest-rank method, or NaN if there are no values.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let rank = (last as f64 * q).round() as usize;
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// Returns the difference between the largest and the smallest value, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / self.median()
    }

    pub fn json(&self) -> Value {
        json!({ "min": self.min(), "median": self.median(), "max": self.max() })
    }
}

/// Writes `min / median / max`.
impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (min, median, max) = (self.min(), self.median(), self.max());
        write!(f, "{min:.2} / {median:.2} / {max:.2}")
    }
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss)]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}

/// Prints a table in Markdown.
pub fn table(headings: &[impl ToString], rows: &[Vec<String>]) {
    let line = |cells: &[String]| println!("| {} |", cells.join(" | "));
    line(&headings.iter().map(ToString::to_string).collect::<Vec<_>>());
    line(&vec!["---".to_owned(); headings.len()]);
    rows.iter().for_each(|row| line(row));
    println!();
}

/// Writes the figures of a run to `<folder>/<name>.json`.
pub fn write(folder: &Path, name: &str, figures: &Value) -> Result<()> {
    fs::create_dir_all(folder)?;
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_string_pretty(figures)? + "\n")?;
    println!("written: {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        assert_eq!(Sample::new(vec![2.5, 2.0, 1.5]).spread(), 0.5);
        assert_eq!(Sample::new(vec![2.0]).spread(), 0.0);
    }
}
