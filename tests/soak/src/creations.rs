//! An administrator and a user create keys for that user while one of the two is demoted, deactivated or deleted, or
//! while all keys of one of the two are revoked.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use harness::{Answer, Tenant};
use rand::{RngExt, seq::IndexedRandom};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    Race, Random,
    round::{During, Expected, Round, Stage, all, during, is_unknown},
};

pub const RACE: Race = Race {
    name: "creations",
    functions: &["create", "users", "revoke", "list"],
    rounds_at_once: 4,
};

const CREATORS: usize = 4;
const CREATIONS: usize = 3;
const CREATED: [Expected; 4] = [
    (201, ""),
    (403, "forbidden"),
    (404, "not_found"),
    (409, "owner_inactive"),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Demoted,
    Deactivated,
    Deleted,
    /// All keys of the user are revoked.
    KeysRevoked,
}

use Change::{Deactivated, Deleted, Demoted, KeysRevoked};

/// A change that affects the owner of the keys or, if `is_owner` is false, the administrator who creates some of them.
#[derive(Debug, Clone, Copy)]
struct Loss {
    change: Change,
    is_owner: bool,
}

const LOSSES: [Loss; 7] = [
    loss(Demoted, true),
    loss(Deactivated, true),
    loss(Deleted, true),
    loss(KeysRevoked, true),
    loss(Demoted, false),
    loss(Deactivated, false),
    loss(Deleted, false),
];

const fn loss(change: Change, is_owner: bool) -> Loss {
    Loss { change, is_owner }
}

#[derive(Debug, Clone, Copy)]
struct Creation {
    by_owner: bool,
    role: &'static str,
}

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let (boss, owner) = (round.name("boss"), round.name("owner"));
    round.user(&boss, "admin").await?;
    round.user(&owner, "editor").await?;
    let loss = *LOSSES.choose(random).expect("there are losses");
    let stage = Arc::new(Stage::default());
    let creators = (0..CREATORS).map(|_| {
        let creation = || Creation {
            by_owner: random.random_bool(0.5),
            role: ["editor", "viewer"][random.random_range(0..2)],
        };
        let creations: Vec<_> = std::iter::repeat_with(creation).take(CREATIONS).collect();
        let (round, stage) = (round.clone(), stage.clone());
        creator(round, stage, boss.clone(), owner.clone(), creations)
    });
    let running: Vec<_> = creators.map(tokio::spawn).collect();
    for _ in 0..random.random_range(0..4) {
        let read = |tenant: &Tenant<'_>| tenant.request(&boss, "GET", "/v1/users/me");
        round.settle(read, &[(200, "")]).await?;
    }
    stage.set(Stage::SENT);
    let user = if loss.is_owner { &owner } else { &boss };
    let gone = [(200, ""), (204, ""), (404, "not_found")];
    round
        .settle(|tenant| lose(tenant, user, loss.change), &gone)
        .await?;
    stage.set(Stage::ACKNOWLEDGED);
    let (_, before) = stored(round, &owner).await;
    let mut keys = Vec::new();
    for task in running {
        for (creation, answer, when) in task.await? {
            judge(round, loss, creation, &answer, when);
            if answer.status == 201 {
                keys.push((answer, when));
            }
        }
    }
    let (epoch, after) = stored(round, &owner).await;
    let late = after.difference(&before);
    for key in late.filter(|key| is_forbidden(loss, key, &boss, &epoch)) {
        round.violation(format!("{loss:?}: {key:?} was written afterwards"));
    }
    check_keys(round, loss, &owner, &keys).await
}

/// What the table contains about a key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StoredKey {
    id: String,
    role: String,
    created_by: String,
    epoch: String,
}

/// Reads the epoch and the keys of a user from the table.
async fn stored(round: &Round, user: &str) -> (String, BTreeSet<StoredKey>) {
    let items = round.with(async |tenant| tenant.items(user).await).await;
    let kind = |prefix| {
        let items = items.iter();
        items.filter(move |item| text(&item["sk"]).starts_with(prefix))
    };
    let epoch = kind("USER").map(|user| text(&user["epoch"])).collect();
    let keys = kind("KEY#").map(|key| StoredKey {
        id: text(&key["sk"]),
        role: text(&key["role"]),
        created_by: text(&key["created_by"]["M"]["id"]),
        epoch: text(&key["epoch"]),
    });
    (epoch, keys.collect())
}

/// Returns the text of a string attribute or a number attribute.
fn text(attribute: &Value) -> String {
    let text = attribute["S"].as_str().or(attribute["N"].as_str());
    text.unwrap_or_default().to_owned()
}

/// Whether `key` must not be written any more once the change in `loss` has been acknowledged.
fn is_forbidden(loss: Loss, key: &StoredKey, boss: &str, epoch: &str) -> bool {
    match loss.change {
        _ if !loss.is_owner => key.created_by == boss,
        Demoted => key.role == "editor",
        Deactivated | Deleted => true,
        // A key from an earlier epoch would be invalid from the start.
        KeysRevoked => key.epoch != epoch,
    }
}

fn lose(tenant: &Tenant<'_>, user: &str, change: Change) -> RequestBuilder {
    let path = format!("/v1/users/{user}");
    let patch = |body: Value| tenant.request("admin", "PATCH", &path).json(&body);
    match change {
        Demoted => patch(json!({ "role": "viewer" })),
        Deactivated => patch(json!({ "status": "inactive" })),
        Deleted => tenant.request("admin", "DELETE", &path),
        KeysRevoked => tenant.request("admin", "DELETE", &format!("{path}/access-keys")),
    }
}

async fn creator(
    round: Arc<Round>,
    stage: Arc<Stage>,
    boss: String,
    owner: String,
    creations: Vec<Creation>,
) -> Vec<(Creation, Answer, During)> {
    let path = format!("/v1/users/{owner}/access-keys");
    let mut done = Vec::new();
    for creation in creations {
        let caller = if creation.by_owner { &owner } else { &boss };
        let body = json!({ "name": "soak", "role": creation.role });
        let post = |tenant: &Tenant<'_>| tenant.request(caller, "POST", &path).json(&body);
        let (answer, when) = during(&stage, round.call(post, &CREATED)).await;
        done.push((creation, answer, when));
    }
    done
}

/// Checks the response to a creation.
fn judge(round: &Round, loss: Loss, creation: Creation, answer: &Answer, when: During) {
    let Loss { change, is_owner } = loss;
    let is_forbidden = match change {
        KeysRevoked => false,
        Demoted if is_owner => creation.role == "editor",
        Deactivated | Deleted if is_owner => true,
        Demoted | Deactivated | Deleted => !creation.by_owner,
    };
    let holds = if is_unknown(answer) {
        true
    } else if when.is_before() || !is_forbidden {
        answer.status == 201
    } else {
        !(when.is_after() && answer.status == 201)
    };
    round.check(holds, || {
        format!(
            "{loss:?}, {creation:?}, {when:?}: {} {}",
            answer.status,
            answer.code()
        )
    });
}

/// Checks that each created key is listed, and that it is valid if and only if it should be.
async fn check_keys(
    round: &Arc<Round>,
    loss: Loss,
    owner: &str,
    keys: &[(Answer, During)],
) -> Result<()> {
    validate_all(round, loss, keys).await?;
    if loss.is_owner && loss.change == Deleted {
        // The keys of a deleted user stay revoked when the user is created again.
        round.user(owner, "editor").await?;
        validate_all(round, loss, keys).await?;
    }
    let path = format!("/v1/users/{owner}/access-keys?limit=100");
    let list = |tenant: &Tenant<'_>| tenant.request("admin", "GET", &path);
    let listed = round.settle(list, &[(200, "")]).await?;
    for (key, _) in keys {
        let is_listed = listed
            .array("items")
            .iter()
            .any(|item| item["id"] == key["id"]);
        round.check(is_listed, || {
            format!("{loss:?}: the key {} is not listed", key["id"])
        });
    }
    Ok(())
}

async fn validate_all(round: &Arc<Round>, loss: Loss, keys: &[(Answer, During)]) -> Result<()> {
    let validations = keys.iter().map(|(key, _)| {
        let (round, key) = (round.clone(), key.string("access_key").to_owned());
        async move { round.validate(&key).await }
    });
    for (answer, (_, when)) in all(validations).await?.into_iter().zip(keys) {
        let answer = answer?;
        let is_active = answer["active"] == true;
        let holds = match loss.change {
            Demoted if loss.is_owner => is_active && answer["role"] == "viewer",
            Deactivated | Deleted if loss.is_owner => !is_active,
            KeysRevoked if when.is_before() => !is_active,
            KeysRevoked if !when.is_after() => true,
            _ => is_active,
        };
        round.check(holds, || {
            format!("{loss:?}, created {when:?}: {}", answer.text)
        });
    }
    Ok(())
}
