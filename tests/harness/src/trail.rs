//! Compares a tenant's audit trail with the tenant's items in the table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Tenant;

/// The action, the actor and the target of an entry.
type Entry = (String, String, String);

/// The items of a tenant and the entries of its audit trail, including entries that still wait in other items.
struct Trail {
    items: Vec<Value>,
    entries: BTreeSet<Entry>,
    /// The number of entries for each action and target.
    counts: BTreeMap<(String, String), usize>,
    /// Maps the partition key of each user to the number of times that all keys of that user were revoked.
    epochs: BTreeMap<String, usize>,
}

/// Returns the contradictions between the items and the audit trail: each key, user, revocation, slot or deletion that
/// has too few or too many entries.
pub async fn contradictions(tenant: &Tenant<'_>) -> Vec<String> {
    let trail = Trail::read(tenant).await;
    let mut found = Vec::new();
    for item in &trail.items {
        let (pk, sk) = (text(&item["pk"]), text(&item["sk"]));
        let owner = pk.splitn(3, '#').nth(2).unwrap_or_default();
        let (kind, id) = sk.split_once('#').unwrap_or((sk, ""));
        let mut expect = |action: &str, target: &str, times: usize| {
            let entered = trail.count(action, target);
            if entered != times {
                found.push(format!(
                    "{entered} instead of {times} times {action} of {target}"
                ));
            }
        };
        match kind {
            "KEY" => {
                let target = format!("access_key:{id}");
                expect("access-key.created", &target, 1);
                let is_revoked = item.get("revoked_at").is_some();
                expect("access-key.revoked", &target, usize::from(is_revoked));
                let generation = item["generation"]["N"].as_str().unwrap_or("0");
                expect("access-key.rotated", &target, generation.parse().unwrap());
            }
            "USER" => {
                let target = format!("user:{owner}");
                let epochs = trail.epochs.get(pk).copied().unwrap_or_default();
                let count = |action| trail.count(action, &target);
                let ended = count("user.keys-revoked") + count("user.deleted");
                let created = count("user.created");
                if ended != epochs || created == 0 {
                    found.push(format!("{epochs} epochs of {target}, {ended} entered"));
                }
            }
            "SLOT" => {
                let (by, target) = (format!("key:{owner}"), format!("cluster:{id}"));
                let entry = ("cluster.onboarded".to_owned(), by, target);
                if !trail.entries.contains(&entry) {
                    found.push(format!("not entered: {entry:?}"));
                }
            }
            _ => {}
        }
    }
    found.extend(trail.clusters());
    found.extend(trail.without_item());
    found
}

impl Trail {
    async fn read(tenant: &Tenant<'_>) -> Self {
        let (mut items, mut start) = (Vec::new(), Value::Null);
        loop {
            let body = match &start {
                Value::Null => json!({}),
                start => json!({ "ExclusiveStartKey": start }),
            };
            let mut page = tenant.dynamodb("Scan", body).await;
            let of_tenant = |item: &Value| text(&item["pk"]).split('#').nth(1) == Some(&tenant.id);
            let found = page["Items"].as_array_mut().unwrap();
            found.retain(of_tenant);
            items.append(found);
            start = page["LastEvaluatedKey"].take();
            if start.is_null() {
                break;
            }
        }
        let entries = items
            .iter()
            .filter_map(|item| match item.get("pending_audit") {
                Some(waiting) => Some(&waiting["M"]),
                None => text(&item["pk"]).starts_with("A#").then_some(item),
            });
        // An entry can be in the audit trail while it still waits in another item, so duplicates are removed.
        let entries: BTreeMap<&str, &Value> =
            entries.map(|entry| (text(&entry["sk"]), entry)).collect();
        let entries: Vec<Entry> = entries.into_values().map(entry).collect();
        let mut counts = BTreeMap::new();
        for (action, _, target) in entries.iter().cloned() {
            *counts.entry((action, target)).or_default() += 1;
        }
        let mut epochs = BTreeMap::new();
        for item in &items {
            if text(&item["sk"]).starts_with("EPOCH#") {
                *epochs.entry(text(&item["pk"]).to_owned()).or_default() += 1;
            }
        }
        let entries = entries.into_iter().collect();
        Self {
            items,
            entries,
            counts,
            epochs,
        }
    }

    fn count(&self, action: &str, target: &str) -> usize {
        let key = (action.to_owned(), target.to_owned());
        self.counts.get(&key).copied().unwrap_or_default()
    }

    /// Returns the keys and users that do not exist although an entry records their creation.
    fn without_item(&self) -> Vec<String> {
        let mut existing = BTreeSet::new();
        for item in &self.items {
            let (pk, sk) = (text(&item["pk"]), text(&item["sk"]));
            if let Some(id) = sk.strip_prefix("KEY#") {
                existing.insert(format!("access_key:{id}"));
            } else if sk == "USER" {
                let user = pk.splitn(3, '#').nth(2).unwrap_or_default();
                existing.insert(format!("user:{user}"));
            }
        }
        let created = self.counts.keys().filter(|(action, _)| {
            ["access-key.created", "user.created"].contains(&action.as_str())
        });
        let missing = created.filter(|(_, target)| !existing.contains(target));
        missing
            .map(|(_, target)| format!("{target} was created and does not exist"))
            .collect()
    }

    /// Returns the clusters that are gone although no entry records their deletion, and the clusters that exist
    /// although no entry records their onboarding.
    fn clusters(&self) -> Vec<String> {
        let onboarded = self
            .entries
            .iter()
            .filter(|entry| entry.0 == "cluster.onboarded");
        let onboarded: BTreeSet<&str> = onboarded.map(|entry| &*entry.2).collect();
        let items = self
            .items
            .iter()
            .filter_map(|item| text(&item["sk"]).strip_prefix("CLUSTER#"));
        let existing: BTreeSet<String> = items.map(|name| format!("cluster:{name}")).collect();
        let is_lost = |target: &&&str| {
            !existing.contains(**target) && self.count("cluster.deleted", target) == 0
        };
        let lost = onboarded.iter().filter(is_lost);
        let lost = lost.map(|target| format!("the deletion of {target} was not entered"));
        let unknown = existing
            .iter()
            .filter(|target| !onboarded.contains(&***target));
        let unknown = unknown.map(|target| format!("nobody onboarded {target}"));
        lost.chain(unknown).collect()
    }
}

fn entry(item: &Value) -> Entry {
    let named = |name: &str| {
        let named = &item[name]["M"];
        format!("{}:{}", text(&named["kind"]), text(&named["id"]))
    };
    (
        text(&item["action"]).to_owned(),
        named("actor"),
        named("target"),
    )
}

fn text(attribute: &Value) -> &str {
    attribute["S"].as_str().unwrap_or_default()
}
