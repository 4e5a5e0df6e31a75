//! Writes metrics as log lines in CloudWatch's embedded metric format. CloudWatch Logs extracts the metrics from these
//! lines.
//!
//! Only the namespace is configurable. The names of the metrics, and the names and values of their dimensions, are
//! constants. A tenant, user or key can therefore never become a dimension.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::LazyLock,
};

use super::clock;

/// Each variant is a CloudWatch metric, and its fields are the dimensions of that metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `KeysCreated`: new keys. A key that is reissued for the same `Idempotency-Key` is not counted again.
    KeyCreated,
    /// `Rotations` by `Kind`: `key` (a user rotates a key) or `holder` (the presented key rotates itself). Repeated
    /// requests are not counted.
    Rotated(&'static str),
    /// `SupersededUses`: refusals of secrets that rotations have replaced.
    SupersededUse,
    /// `Revocations` by `Kind`: `key` (one key), `user` (all keys of a user, counted once), `holder` (the presented
    /// key), `matching` (one of the keys that a request selected) or `unused` (an unused key, by the system).
    Revoked(&'static str),
    /// `Notices` by `Action`: `access-key.expiring`, `access-key.expired` or `access-key.unused`.
    Notice(&'static str),
    /// `KeysExpired`: keys that were archived after they expired.
    KeyExpired,
    /// `Validations` by `Function` and `Code`.
    Validated(&'static str, &'static str),
    /// `Onboardings` by `Code`: `onboarded` (took a slot), `repeated` (already had a slot) or `limit_reached` (found no
    /// free slot).
    Onboarding(&'static str),
    /// `JoinTokens` by `Code`: `redeemed` or `replayed`.
    JoinToken(&'static str),
    /// `KmsFailures`: requests to KMS that failed despite retries.
    KmsFailed,
    /// `EventFailures`: failed attempts to publish a stream record or, with `republish`, a page of the audit trail.
    EventFailed,
    /// `UnreadableItems`: damaged items that were left out of lists.
    UnreadableItem,
}

/// The namespace of the metrics. Setting `METRICS_NAMESPACE` keeps the metrics of several stacks in one account apart.
static NAMESPACE: LazyLock<String> =
    LazyLock::new(|| std::env::var("METRICS_NAMESPACE").unwrap_or_else(|_| "access-keys".into()));

/// Increments a metric by writing a line to standard output, regardless of the log level.
pub fn count(metric: Metric) {
    let line = line(metric, &NAMESPACE, clock::now().as_millis());
    // As with a log line, a failure to write a metric does not fail the request.
    let _ = io::stdout().write_all(line.as_bytes());
}

fn line(metric: Metric, namespace: &str, timestamp: i64) -> String {
    let (name, dimensions): (_, &[(&str, &str)]) = match metric {
        Metric::KeyCreated => ("KeysCreated", &[]),
        Metric::Rotated(kind) => ("Rotations", &[("Kind", kind)]),
        Metric::SupersededUse => ("SupersededUses", &[]),
        Metric::Revoked(kind) => ("Revocations", &[("Kind", kind)]),
        Metric::Notice(action) => ("Notices", &[("Action", action)]),
        Metric::KeyExpired => ("KeysExpired", &[]),
        Metric::Validated(function, code) => {
            ("Validations", &[("Function", function), ("Code", code)])
        }
        Metric::Onboarding(code) => ("Onboardings", &[("Code", code)]),
        Metric::JoinToken(code) => ("JoinTokens", &[("Code", code)]),
        Metric::KmsFailed => ("KmsFailures", &[]),
        Metric::EventFailed => ("EventFailures", &[]),
        Metric::UnreadableItem => ("UnreadableItems", &[]),
    };
    let mut line = String::with_capacity(320);
    // Writing to a String cannot fail, and none of the values needs escaping.
    let _ = write!(
        line,
        r#"{{"_aws":{{"Timestamp":{timestamp},"CloudWatchMetrics":[{{"Namespace":"{namespace}""#
    );
    line.push_str(r#","Dimensions":[["#);
    for (n, (dimension, _)) in dimensions.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(line, r#"{comma}"{dimension}""#);
    }
    let _ = write!(
        line,
        r#"]],"Metrics":[{{"Name":"{name}","Unit":"Count"}}]}}]}}"#
    );
    for (dimension, value) in dimensions {
        let _ = write!(line, r#","{dimension}":"{value}""#);
    }
    let _ = writeln!(line, r#","{name}":1}}"#);
    line
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(metric: Metric) -> Value {
        let line = line(metric, "access-keys/prod", 1_700_000_000_123);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap()
    }

    #[test]
    fn a_line_matches_the_specification_exactly() {
        let with_dimensions = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "access-keys/prod",
                    "Dimensions": [["Function", "Code"]],
                    "Metrics": [{ "Name": "Validations", "Unit": "Count" }],
                }],
            },
            "Function": "validate",
            "Code": "expired",
            "Validations": 1,
        });
        assert_eq!(
            written(Metric::Validated("validate", "expired")),
            with_dimensions
        );
        let without = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "access-keys/prod",
                    "Dimensions": [[]],
                    "Metrics": [{ "Name": "KeysCreated", "Unit": "Count" }],
                }],
            },
            "KeysCreated": 1,
        });
        assert_eq!(written(Metric::KeyCreated), without);
    }

    /// The specification of the format requires a line to contain every member that is named in the line's metadata.
    #[test]
    fn every_metric_line_contains_the_members_that_its_metadata_lists() {
        for metric in [
            Metric::KeyCreated,
            Metric::Rotated("holder"),
            Metric::SupersededUse,
            Metric::Revoked("key"),
            Metric::KeyExpired,
            Metric::Validated("authorize", "active"),
            Metric::Onboarding("repeated"),
            Metric::JoinToken("replayed"),
            Metric::KmsFailed,
            Metric::EventFailed,
            Metric::Notice("access-key.expired"),
            Metric::UnreadableItem,
        ] {
            let line = written(metric);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            let dimensions = directive["Dimensions"][0].as_array().unwrap();
            assert!(
                dimensions
                    .iter()
                    .all(|name| line[name.as_str().unwrap()].is_string()),
                "{line}"
            );
            assert_eq!(
                line[directive["Metrics"][0]["Name"].as_str().unwrap()],
                1,
                "{line}"
            );
            assert_eq!(
                line.as_object().unwrap().len(),
                2 + dimensions.len(),
                "{line}"
            );
        }
    }
}
