//! Two keys onboard three clusters while an administrator deletes these clusters.

use std::sync::Arc;

use anyhow::Result;
use harness::{Answer, Tenant};
use rand::RngExt;

use crate::{
    Race, Random,
    round::{Expected, Round, all, is_unknown},
    snapshot::{Snapshot, Watched},
};

pub const RACE: Race = Race {
    name: "slots",
    functions: &["onboard", "clusters"],
    rounds_at_once: 4,
};

const CLUSTERS: usize = 3;
const PHASES: usize = 4;
const CALLS: usize = 10;

pub const JOINED: [Expected; 2] = [(200, ""), (409, "cluster_limit_reached")];
pub const DELETED: [Expected; 2] = [(204, ""), (404, "not_found")];

#[derive(Debug, Clone, Copy)]
struct Call {
    key: usize,
    cluster: usize,
    deletes: bool,
}

/// What happened to a cluster in a phase.
#[derive(Debug, Default, Clone)]
struct Seen {
    /// The keys whose onboarding was acknowledged.
    joined: Vec<usize>,
    has_joins: bool,
    has_deletes: bool,
    /// Whether a request may still take effect.
    is_unknown: bool,
}

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let owner = round.name("owner");
    round.user(&owner, "editor").await?;
    let limits = vec![random.random_range(1..=2), random.random_range(1..=3)];
    let mut keys = Vec::new();
    for limit in &limits {
        keys.push(round.key(&owner, "editor", *limit).await?);
    }
    let watched = Arc::new(Watched {
        owner,
        keys: keys.iter().map(|(id, _)| id.clone()).collect(),
        clusters: (0..CLUSTERS).map(|n| round.name(&n.to_string())).collect(),
        limits,
    });
    let mut before = watched.snapshot(round).await;
    let mut last = vec![Seen::default(); CLUSTERS];
    for _ in 0..PHASES {
        let calls = (0..CALLS).map(|_| Call {
            key: random.random_range(0..keys.len()),
            cluster: random.random_range(0..CLUSTERS),
            deletes: random.random_bool(0.3),
        });
        let calls: Vec<Call> = calls.collect();
        let sent = calls.iter().map(|call| {
            let (round, watched, call) = (round.clone(), watched.clone(), *call);
            let key = keys[call.key].1.clone();
            async move { send(&round, &watched, &key, call).await }
        });
        let answers = all(sent).await?;
        let seen = seen(&calls, &answers);
        let after = watched.snapshot(round).await;
        for cluster in 0..CLUSTERS {
            if !last[cluster].is_unknown {
                compare(round, cluster, &before, &seen[cluster], &after);
            }
        }
        (before, last) = (after, seen);
    }
    Ok(())
}

async fn send(round: &Round, watched: &Watched, key: &str, call: Call) -> Answer {
    let name = &watched.clusters[call.cluster];
    if call.deletes {
        let path = format!("/v1/clusters/{name}");
        let delete = |tenant: &Tenant<'_>| tenant.request("admin", "DELETE", &path);
        return round.call(delete, &DELETED).await;
    }
    let onboard = |tenant: &Tenant<'_>| tenant.onboarding(key, name);
    let answer = round.call(onboard, &JOINED).await;
    // Taking a snapshot also checks the conditions that must hold at every moment.
    watched.snapshot(round).await;
    answer
}

fn seen(calls: &[Call], answers: &[Answer]) -> Vec<Seen> {
    let mut seen = vec![Seen::default(); CLUSTERS];
    for (call, answer) in calls.iter().zip(answers) {
        let seen = &mut seen[call.cluster];
        seen.has_joins |= !call.deletes;
        seen.has_deletes |= call.deletes;
        seen.is_unknown |= is_unknown(answer);
        if !call.deletes && answer.status == 200 {
            seen.joined.push(call.key);
        }
    }
    seen
}

/// Compares how a cluster changed during a phase with what was acknowledged.
fn compare(round: &Round, cluster: usize, before: &Snapshot, seen: &Seen, after: &Snapshot) {
    let holders = |snapshot: &Snapshot| -> Vec<usize> {
        let holders = snapshot.holders.iter().filter(|pair| pair.1 == cluster);
        holders.map(|pair| pair.0).collect()
    };
    let (old, new) = (holders(before), holders(after));
    let holds = if seen.is_unknown {
        true
    } else if !seen.has_deletes {
        let expected = |key: &usize| old.contains(key) || seen.joined.contains(key);
        let kept = old.iter().chain(&seen.joined).all(|key| new.contains(key));
        kept && new.iter().all(expected)
    } else {
        seen.has_joins || !after.clusters.contains(&cluster)
    };
    round.check(holds, || {
        format!("cluster {cluster} had the holders {old:?}, and has {new:?} after {seen:?}")
    });
}
