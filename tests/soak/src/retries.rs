//! A client repeats a creation with the same `Idempotency-Key`, both concurrently and after the created key has been
//! used.

use std::sync::Arc;

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use harness::{Answer, KEYS, Tenant};
use rand::{RngExt, seq::IndexedRandom};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Race, Random,
    round::{Expected, Round, all, is_unknown},
};

pub const RACE: Race = Race {
    name: "retries",
    functions: &["create", "create", "validate"],
    rounds_at_once: 4,
};

const WAVES: usize = 4;
const CREATED: [Expected; 4] = [
    (201, ""),
    (409, "idempotency_in_progress"),
    (409, "idempotency_key_completed"),
    (409, "idempotency_key_reused"),
];

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let owner = round.name("owner");
    round.user(&owner, "editor").await?;
    let (mut created, mut used): (Vec<Answer>, Option<String>) = (Vec::new(), None);
    let mut is_certain = true;
    for _ in 0..WAVES {
        let requests = (0..random.random_range(2..=5)).map(|_| {
            // A few requests have a different body.
            let name = if random.random_bool(0.1) { "b" } else { "a" };
            let (round, owner) = (round.clone(), owner.clone());
            async move { create(&round, &owner, name).await }
        });
        let answers = all(requests.collect::<Vec<_>>()).await?;
        is_certain &= !answers.iter().any(is_unknown);
        let succeeded = answers.into_iter().filter(|answer| answer.status == 201);
        let succeeded: Vec<Answer> = succeeded.collect();
        round.check(used.is_none() || succeeded.is_empty(), || {
            "a retry issued a new secret for a key that was used".into()
        });
        if let Some(key) = succeeded.choose(random)
            && random.random_bool(0.3)
        {
            let key = key.string("access_key");
            if use_key(round, &owner, key).await? {
                used = Some(key.to_owned());
            }
        }
        created.extend(succeeded);
    }
    check_keys(round, &owner, &created, used, is_certain).await
}

async fn create(round: &Round, owner: &str, name: &str) -> Answer {
    let body = json!({ "name": name, "role": "viewer" });
    let post = |tenant: &Tenant<'_>| {
        let request = tenant.creation(owner, &body);
        request.header("idempotency-key", "soak")
    };
    round.call(post, &CREATED).await
}

/// Validates a key. Returns true if this use of the key was recorded. Once a use is recorded, no retry may replace the
/// key.
async fn use_key(round: &Round, owner: &str, key: &str) -> Result<bool> {
    let is_active = round.validate(key).await?["active"] == true;
    let hash = json!(STANDARD.encode(Sha256::digest(key)));
    let items = keys_of(round, owner).await;
    let is_recorded =
        |item: &Value| item["hash"]["B"] == hash && item["last_used_at"]["N"].is_string();
    Ok(is_active && items.iter().any(is_recorded))
}

/// Returns the items of the owner's keys.
async fn keys_of(round: &Round, owner: &str) -> Vec<Value> {
    let mut items = round.with(async |tenant| tenant.items(owner).await).await;
    items.retain(|item| {
        item["sk"]["S"]
            .as_str()
            .unwrap_or_default()
            .starts_with("KEY#")
    });
    items
}

async fn check_keys(
    round: &Round,
    owner: &str,
    created: &[Answer],
    used: Option<String>,
    is_certain: bool,
) -> Result<()> {
    let list = |tenant: &Tenant<'_>| tenant.request(owner, "GET", KEYS);
    let listed = round.settle(list, &[(200, "")]).await?;
    let count = listed.array("items").len();
    let ids: Vec<_> = created.iter().map(|answer| answer.string("id")).collect();
    let is_one = count <= 1 && ids.iter().all(|id| listed["items"][0]["id"] == *id);
    round.check(is_one, || {
        format!("{count} keys are listed, and {ids:?} were created")
    });
    let mut active = Vec::new();
    for answer in created {
        let key = answer.string("access_key");
        if round.validate(key).await?["active"] == true {
            active.push(key);
        }
    }
    let is_exact = !is_certain || created.is_empty() || active.len() == 1;
    round.check(active.len() <= 1 && is_exact, || {
        format!("{} of {} secrets are valid", active.len(), created.len())
    });
    let is_kept = used.is_none_or(|used| active.contains(&used.as_str()));
    round.check(is_kept, || {
        "a secret that was used is no longer valid".into()
    });
    Ok(())
}
