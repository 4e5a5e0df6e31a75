//! The ratios of our throughput per CPU-second to that of the fastest peer, and the goals for these ratios.

/// A ratio to measure.
pub struct Goal {
    pub call: &'static str,
    /// Our mix, and the peers' mix that it is compared with.
    pub ours: &'static str,
    pub peers: &'static str,
    pub at_least: f64,
}

pub const GOALS: [Goal; 4] = [
    Goal::new("valid", "valid", "valid", 2.0),
    Goal::new("remembered", "remembered", "valid", 6.5),
    Goal::new("forged", "unknown", "unknown", 3.0),
    Goal::new("garbage", "garbage", "garbage", 4.0),
];

/// The median CPU time per call that one system needs for one mix in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Median {
    pub system: String,
    pub connections: usize,
    pub cpu: f64,
}

/// Our median CPU time per call and that of the fastest peer, in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    pub ours: f64,
    pub peer: Median,
}

impl Goal {
    const fn new(
        call: &'static str,
        ours: &'static str,
        peers: &'static str,
        at_least: f64,
    ) -> Self {
        Self {
            call,
            ours,
            peers,
            at_least,
        }
    }
}

impl Ratio {
    /// Compares our CPU time with the lowest CPU time of any peer with any number of connections. Returns `None` if no
    /// peer was measured.
    pub fn to_the_fastest(ours: f64, peers: impl IntoIterator<Item = Median>) -> Option<Self> {
        let peer = peers.into_iter().min_by(|a, b| a.cpu.total_cmp(&b.cpu))?;
        Some(Self { ours, peer })
    }

    pub fn times(&self) -> f64 {
        self.peer.cpu / self.ours
    }
}

/// Returns the run with the lowest ratio.
pub fn worst(runs: &[Ratio]) -> Option<&Ratio> {
    runs.iter().min_by(|a, b| a.times().total_cmp(&b.times()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(system: &str, connections: usize, cpu: f64) -> Median {
        Median {
            system: system.to_owned(),
            connections,
            cpu,
        }
    }

    #[test]
    fn the_ratio_uses_the_lowest_cpu_time_of_any_peer() {
        let peers = [
            median("a", 1, 0.6),
            median("a", 8, 0.5),
            median("b", 1, 0.4),
            median("b", 8, 0.7),
        ];
        let ratio = Ratio::to_the_fastest(0.1, peers).unwrap();
        assert_eq!(ratio.peer, median("b", 1, 0.4));
        assert_eq!(ratio.times(), 4.0);
    }

    #[test]
    fn the_worst_run_counts() {
        let ratio = |ours, cpu| Ratio {
            ours,
            peer: median("a", 1, cpu),
        };
        let runs = [ratio(0.1, 0.3), ratio(0.2, 0.5), ratio(0.05, 0.4)];
        assert_eq!(worst(&runs), Some(&runs[1]));
        assert_eq!(worst(&[]), None);
    }
}
