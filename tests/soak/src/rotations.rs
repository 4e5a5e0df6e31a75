//! An administrator and the holder rotate a key while others validate its secrets. Then the key is revoked.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use harness::{Answer, Tenant, code};
use rand::{RngExt, seq::IndexedRandom};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Race, Random,
    round::{Expected, Round, all},
};

pub const RACE: Race = Race {
    name: "rotations",
    functions: &["rotate", "validate", "revoke", "onboard"],
    rounds_at_once: 4,
};

const ROTATED: [Expected; 7] = [
    (200, ""),
    (401, "invalid_key"),
    (401, "key_superseded"),
    (409, "key_superseded"),
    (409, "idempotency_in_progress"),
    (409, "idempotency_key_completed"),
    (409, "changed_meanwhile"),
];
const VALIDATED: [Expected; 4] = [
    (200, ""),
    (200, "invalid"),
    (200, "superseded"),
    (200, "revoked"),
];
const REVOKED: [Expected; 4] = [
    (204, ""),
    (401, "unauthenticated"),
    (401, "invalid_key"),
    (404, "not_found"),
];

/// Describes a rotation request: whether the holder sends it, the number of the request, and the requested overlap.
type Rotation = (bool, u64, u64);

struct Key {
    owner: String,
    id: String,
    first: String,
}

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let owner = round.name("owner");
    round.user(&owner, "editor").await?;
    let body = json!({ "name": "soak", "role": "editor", "max_clusters": 1, "self_rotate": true });
    let (id, first) = round.key_of(&owner, body).await?;
    let key = Arc::new(Key { owner, id, first });
    let onboard = |tenant: &Tenant<'_>| tenant.onboarding(&key.first, &key.owner);
    round.settle(onboard, &[(200, "")]).await?;
    let rotations = (0..random.random_range(2..6)).map(|number| {
        let overlap = *[0, 60].choose(random).expect("there are overlaps");
        (random.random_bool(0.5), number, overlap)
    });
    let rotations: Vec<Rotation> = rotations.collect();
    let tasks = rotations.into_iter().map(|rotation| {
        let (round, key) = (round.clone(), key.clone());
        async move { rotate(&round, &key, rotation).await }
    });
    let mut secrets = BTreeSet::from([key.first.clone()]);
    let mut rotated = 0;
    for answer in all(tasks).await? {
        if let Some(secret) = answer?["access_key"].as_str() {
            rotated += 1;
            secrets.insert(secret.to_owned());
        }
    }
    let (current, previous) = accepted(round, &secrets).await?;
    round.check(current <= 1 && previous <= 1, || {
        format!("{rotated} rotations left {current} current and {previous} previous secrets")
    });
    let latest = last_answered(round, &key, &secrets).await;
    round.check(!latest || current == 1, || {
        "the current secret is refused".into()
    });
    let all_keys = random.random_bool(0.5);
    let revoke = |tenant: &Tenant<'_>| revocation(tenant, &key, all_keys);
    round.settle(revoke, &REVOKED).await?;
    let (current, previous) = accepted(round, &secrets).await?;
    round.check((current, previous) == (0, 0), || {
        format!("{current} current and {previous} previous secrets survive a revocation")
    });
    let record = record(round, &key).await;
    round.check(record["clusters_used"]["N"] == "1", || {
        format!("the key has lost or doubled a slot: {record}")
    });
    Ok(())
}

async fn rotate(
    round: &Round,
    key: &Key,
    (by_holder, number, overlap): Rotation,
) -> Result<Answer> {
    let body = json!({ "role": "editor", "max_clusters": 1, "self_rotate": true, "overlap_seconds": overlap });
    let request = |tenant: &Tenant<'_>| {
        let request = if by_holder {
            tenant.self_rotation(&key.first, &json!({ "overlap_seconds": overlap }))
        } else {
            let path = format!("/v1/users/{}/access-keys/{}/rotate", key.owner, key.id);
            tenant.request("admin", "POST", &path).json(&body)
        };
        request.header("idempotency-key", format!("{number}"))
    };
    round.settle(request, &ROTATED).await
}

fn revocation(tenant: &Tenant<'_>, key: &Key, all_keys: bool) -> RequestBuilder {
    let keys = format!("/v1/users/{}/access-keys", key.owner);
    match all_keys {
        true => tenant.request("admin", "DELETE", &keys),
        false => tenant.request("admin", "DELETE", &format!("{keys}/{}", key.id)),
    }
}

/// Returns the number of secrets that are accepted as the current one, and the number of secrets that are accepted as
/// the previous one.
async fn accepted(round: &Round, secrets: &BTreeSet<String>) -> Result<(usize, usize)> {
    let (mut current, mut previous) = (0, 0);
    for secret in secrets {
        let validation = |tenant: &Tenant<'_>| tenant.validation(secret);
        let answer = round.settle(validation, &VALIDATED).await?;
        match (code(&answer.body), &answer["superseded"]) {
            ("active", Value::Null) => current += 1,
            ("active", _) => previous += 1,
            _ => {}
        }
    }
    Ok((current, previous))
}

/// Returns the item of the key.
async fn record(round: &Round, key: &Key) -> Value {
    let items = round
        .with(async |tenant| tenant.items(&key.owner).await)
        .await;
    let sk = format!("KEY#{}", key.id);
    let mut items = items.into_iter().filter(|item| item["sk"]["S"] == sk);
    items.next().unwrap_or_default()
}

/// Whether a response contained the secret whose hash is in the table.
async fn last_answered(round: &Round, key: &Key, secrets: &BTreeSet<String>) -> bool {
    let record = record(round, key).await;
    let hash = record["hash"]["B"].as_str().unwrap_or_default().to_owned();
    let of = |secret: &String| BASE64.encode(Sha256::digest(secret));
    secrets.iter().any(|secret| of(secret) == hash)
}
