//! Validators use two keys while an administrator revokes one or both.

use std::sync::Arc;

use anyhow::Result;
use harness::{Answer, Tenant};
use rand::{RngExt, seq::IndexedRandom};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::{
    Race, Random,
    round::{During, Expected, Round, Stage, VALIDATED, during},
};

pub const RACE: Race = Race {
    name: "revocations",
    functions: &["validate", "revoke", "users"],
    rounds_at_once: 4,
};

const VALIDATORS: usize = 4;
const VALIDATIONS: usize = 8;

/// How the first key is revoked. `AllKeys`, `Deactivation` and `Deletion` also invalidate the second key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Revocation {
    ById,
    ByHolder,
    AllKeys,
    Deactivation,
    Deletion,
}

use Revocation::{AllKeys, ByHolder, ById, Deactivation, Deletion};

const REVOCATIONS: [Revocation; 5] = [ById, ByHolder, AllKeys, Deactivation, Deletion];
const REVOKED: [Expected; 3] = [(200, ""), (204, ""), (404, "not_found")];

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let owner = round.name("owner");
    round.user(&owner, "editor").await?;
    let keys = [
        round.key(&owner, "editor", 1).await?,
        round.key(&owner, "viewer", 1).await?,
    ];
    let revocation = *REVOCATIONS.choose(random).expect("there are revocations");
    let stage = Arc::new(Stage::default());
    let validators = (0..VALIDATORS).map(|_| {
        let choices = (0..VALIDATIONS).map(|_| random.random_range(0..keys.len()));
        let (choices, keys) = (choices.collect(), keys.clone());
        let (round, stage) = (round.clone(), stage.clone());
        validator(round, revocation, stage, keys, choices)
    });
    let running: Vec<_> = validators.map(tokio::spawn).collect();
    for _ in 0..random.random_range(0..4) {
        round.validate(&keys[1].1).await?;
    }
    stage.set(Stage::SENT);
    let [(id, key), _] = &keys;
    let sent = round.settle(
        |tenant| request(tenant, revocation, &owner, id, key),
        &REVOKED,
    );
    sent.await?;
    stage.set(Stage::ACKNOWLEDGED);
    for task in running {
        task.await?;
    }
    let last = (0..keys.len()).collect();
    validator(round.clone(), revocation, stage, keys, last).await;
    Ok(())
}

fn request(
    tenant: &Tenant<'_>,
    revocation: Revocation,
    owner: &str,
    id: &str,
    key: &str,
) -> RequestBuilder {
    let user = format!("/v1/users/{owner}");
    let keys = format!("{user}/access-keys");
    let inactive = json!({ "status": "inactive" });
    match revocation {
        ById => tenant.request("admin", "DELETE", &format!("{keys}/{id}")),
        ByHolder => tenant.revocation(key),
        AllKeys => tenant.request("admin", "DELETE", &keys),
        Deactivation => tenant.request("admin", "PATCH", &user).json(&inactive),
        Deletion => tenant.request("admin", "DELETE", &user),
    }
}

/// Validates the keys at these positions, one after the other.
async fn validator(
    round: Arc<Round>,
    revocation: Revocation,
    stage: Arc<Stage>,
    keys: [(String, String); 2],
    choices: Vec<usize>,
) {
    for choice in choices {
        let key = &keys[choice].1;
        let call = round.call(|tenant| tenant.validation(key), &VALIDATED);
        let (answer, when) = during(&stage, call).await;
        let is_revoked = choice == 0 || !matches!(revocation, ById | ByHolder);
        judge(&round, revocation, is_revoked, &answer, when);
    }
}

fn judge(round: &Round, revocation: Revocation, is_revoked: bool, answer: &Answer, during: During) {
    if answer.status != 200 {
        return;
    }
    let is_active = answer["active"] == true;
    let holds = if !is_revoked || during.is_before() {
        is_active
    } else {
        !(during.is_after() && is_active)
    };
    round.check(holds, || {
        format!("{revocation:?}, {during:?}: {}", answer.text)
    });
    let reason = answer.code();
    let reasons: &[&str] = match revocation {
        Deactivation | Deletion => &["", "owner_inactive", "revoked"],
        _ => &["", "revoked"],
    };
    round.check(reasons.contains(&reason), || {
        format!("{revocation:?} with the reason {reason}")
    });
}
