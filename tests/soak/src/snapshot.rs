//! The counters, slots and holders of some keys and clusters, read in one transaction.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::round::Round;

/// The keys and clusters of a round. `keys` contains the ids of the owner's keys.
pub struct Watched {
    pub owner: String,
    pub keys: Vec<String>,
    pub clusters: Vec<String>,
    /// The limit of each key.
    pub limits: Vec<u64>,
}

/// Each pair contains the positions of a key and of a cluster.
#[derive(Debug, PartialEq)]
pub struct Snapshot {
    pub counters: Vec<u64>,
    pub slots: BTreeSet<(usize, usize)>,
    pub holders: BTreeSet<(usize, usize)>,
    /// The positions of the clusters that exist.
    pub clusters: BTreeSet<usize>,
}

impl Watched {
    /// Reads a snapshot and checks what must hold at every moment: the counter of a key, its slots and the holders of
    /// the clusters agree, and no key has more slots than its limit.
    pub async fn snapshot(&self, round: &Round) -> Snapshot {
        let (count, width) = (self.keys.len(), self.clusters.len());
        let items = self.read(round).await;
        let (keys, rest) = items.split_at(count);
        let (slots, clusters) = rest.split_at(count * width);
        let counter = |item: &Value| number(&item["clusters_used"]);
        let pairs = || (0..count).flat_map(|key| (0..width).map(move |cluster| (key, cluster)));
        let is_holder = |&(key, cluster): &(usize, usize)| {
            let holders = clusters[cluster]["holders"]["SS"].as_array();
            holders.is_some_and(|holders| holders.contains(&json!(self.keys[key])))
        };
        let snapshot = Snapshot {
            counters: keys.iter().map(counter).collect(),
            slots: pairs()
                .filter(|(key, cluster)| !slots[key * width + cluster].is_null())
                .collect(),
            holders: pairs().filter(is_holder).collect(),
            clusters: (0..width).filter(|c| !clusters[*c].is_null()).collect(),
        };
        self.check(round, &snapshot);
        snapshot
    }

    fn check(&self, round: &Round, snapshot: &Snapshot) {
        round.check(snapshot.slots == snapshot.holders, || {
            format!("the slots differ from the holders: {snapshot:?}")
        });
        for (key, (counter, limit)) in snapshot.counters.iter().zip(&self.limits).enumerate() {
            let slots = snapshot.slots.iter().filter(|slot| slot.0 == key).count() as u64;
            round.check(slots == *counter && slots <= *limit, || {
                format!("key {key} with the limit {limit} has {slots} slots: {snapshot:?}")
            });
        }
    }

    /// Reads the items of the keys, of all possible slots, and of the clusters. If an item does not exist, its value is
    /// null.
    async fn read(&self, round: &Round) -> Vec<Value> {
        let (table, id) = round
            .with(async |tenant| (tenant.table().to_owned(), tenant.id.clone()))
            .await;
        let get = |pk: String, sk: String| {
            let key = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
            json!({ "Get": { "TableName": table, "Key": key } })
        };
        let mut gets = Vec::new();
        for key in &self.keys {
            gets.push(get(format!("U#{id}#{}", self.owner), format!("KEY#{key}")));
        }
        for key in &self.keys {
            for cluster in &self.clusters {
                gets.push(get(format!("K#{id}#{key}"), format!("SLOT#{cluster}")));
            }
        }
        for cluster in &self.clusters {
            gets.push(get(format!("C#{id}"), format!("CLUSTER#{cluster}")));
        }
        let body = json!({ "TransactItems": gets });
        let answer = round.dynamodb("TransactGetItems", body).await;
        let items = answer["Responses"].as_array().unwrap().iter();
        items.map(|response| response["Item"].clone()).collect()
    }
}

fn number(attribute: &Value) -> u64 {
    let number = attribute["N"].as_str().and_then(|n| n.parse().ok());
    number.unwrap_or(u64::MAX)
}
