//! Thirty keys onboard the same cluster while it is being deleted.

use std::sync::Arc;

use anyhow::Result;
use harness::Tenant;
use rand::RngExt;

use crate::{
    Race, Random,
    round::{Round, all},
    slots::{DELETED, JOINED},
    snapshot::{Snapshot, Watched},
};

pub const RACE: Race = Race {
    name: "deletions",
    functions: &["clusters", "onboard"],
    rounds_at_once: 2,
};

const KEYS: usize = 30;
/// The number of clusters that a round onboards and deletes, one after the other.
const CLUSTERS: usize = 3;
/// How many times `empty` tries to delete a cluster. A request whose response was lost may still onboard the cluster
/// after a deletion.
const DELETIONS: usize = 5;

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let owner = round.name("owner");
    round.user(&owner, "editor").await?;
    let created = (0..KEYS).map(|_| {
        let (round, owner) = (round.clone(), owner.clone());
        async move { round.key(&owner, "cluster_onboarding", 1).await }
    });
    let keys: Vec<_> = all(created).await?.into_iter().collect::<Result<_>>()?;
    for number in 0..CLUSTERS {
        let cluster = round.name(&number.to_string());
        let watched = Watched {
            owner: owner.clone(),
            keys: keys.iter().map(|(id, _)| id.clone()).collect(),
            clusters: vec![cluster.clone()],
            limits: vec![1; KEYS],
        };
        let deletion_after = random.random_range(0..KEYS);
        let mut calls = Vec::new();
        for (position, (_, key)) in keys.iter().enumerate() {
            calls.push(tokio::spawn(join(
                round.clone(),
                key.clone(),
                cluster.clone(),
            )));
            if position == deletion_after {
                let (round, cluster) = (round.clone(), cluster.clone());
                calls.push(tokio::spawn(async move { delete(&round, &cluster).await }));
            }
        }
        for call in calls {
            call.await??;
        }
        watched.snapshot(round).await;
        empty(round, &watched, &cluster).await?;
    }
    Ok(())
}

async fn join(round: Arc<Round>, key: String, cluster: String) -> Result<()> {
    let onboard = |tenant: &Tenant<'_>| tenant.onboarding(&key, &cluster);
    let answer = round.call(onboard, &JOINED).await;
    // The key's only slot is free, so the key cannot have reached its limit.
    round.check(answer.status != 409, || {
        format!("a slot remained: {}", answer.text)
    });
    Ok(())
}

async fn delete(round: &Round, cluster: &str) -> Result<()> {
    let path = format!("/v1/clusters/{cluster}");
    let delete = |tenant: &Tenant<'_>| tenant.request("admin", "DELETE", &path);
    round.settle(delete, &DELETED).await.map(drop)
}

/// Deletes the cluster after all calls that onboard it have ended, and checks that nothing remains of the cluster.
async fn empty(round: &Round, watched: &Watched, cluster: &str) -> Result<()> {
    let is_empty = |snapshot: &Snapshot| {
        let slots = snapshot.counters.iter().sum::<u64>() + snapshot.slots.len() as u64;
        slots == 0 && snapshot.clusters.is_empty()
    };
    for _ in 0..DELETIONS {
        delete(round, cluster).await?;
        if is_empty(&watched.snapshot(round).await) {
            return Ok(());
        }
    }
    round.violation(format!("{cluster} remains after {DELETIONS} deletions"));
    Ok(())
}
