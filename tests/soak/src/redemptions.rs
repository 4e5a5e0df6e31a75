//! Several services redeem the same join tokens, while another request may invalidate the tokens.

use std::sync::Arc;

use anyhow::Result;
use harness::{Answer, Tenant};
use rand::{
    RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use serde_json::json;

use crate::{
    Race, Random,
    round::{During, Expected, Round, Stage, all, during, is_unknown},
};

pub const RACE: Race = Race {
    name: "redemptions",
    functions: &["onboard", "onboard", "revoke", "clusters"],
    rounds_at_once: 4,
};

const TOKENS: usize = 4;
const REDEMPTIONS: usize = 4;
const REDEEMED: [Expected; 3] = [
    (200, ""),
    (409, "join_token_invalid"),
    (409, "join_token_redeemed"),
];

/// The possible refusals if the key may no longer onboard clusters.
const REFUSED: [Expected; 2] = [(401, "key_revoked"), (403, "forbidden")];

/// What invalidates the join tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Never,
    Revocation,
    RevocationOfAll,
    Demotion,
    ClusterDeletion,
}

use End::{ClusterDeletion, Demotion, Never, Revocation, RevocationOfAll};

const ENDS: [End; 5] = [
    Never,
    Revocation,
    RevocationOfAll,
    Demotion,
    ClusterDeletion,
];

pub async fn round(round: &Arc<Round>, random: &mut Random) -> Result<()> {
    let (owner, cluster) = (round.name("owner"), round.name("cluster"));
    round.user(&owner, "editor").await?;
    let (id, key) = round.key(&owner, "cluster_onboarding", 1).await?;
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        let onboard = |tenant: &Tenant<'_>| tenant.onboarding(&key, &cluster);
        let joined = round.settle(onboard, &[(200, "")]).await?;
        tokens.push(joined.string("join_token").to_owned());
    }
    let end = *ENDS.choose(random).expect("there are ends");
    let stage = Arc::new(Stage::default());
    let mut attempts: Vec<(usize, bool)> = (0..TOKENS)
        .flat_map(|token| [(token, true); REDEMPTIONS])
        .chain((0..TOKENS).map(|token| (token, false)))
        .collect();
    attempts.shuffle(random);
    let running: Vec<_> = attempts
        .chunks(TOKENS)
        .map(|attempts| {
            let (round, stage, cluster) = (round.clone(), stage.clone(), cluster.clone());
            let (attempts, tokens) = (attempts.to_vec(), tokens.clone());
            tokio::spawn(redeemer(round, stage, cluster, tokens, attempts))
        })
        .collect();
    if end != Never {
        for _ in 0..random.random_range(0..3) {
            round.validate(&key).await?;
        }
        stage.set(Stage::SENT);
        stop(round, end, &owner, &id, &cluster).await?;
        stage.set(Stage::ACKNOWLEDGED);
    }
    if matches!(end, Revocation | RevocationOfAll | Demotion) {
        let onboard = |tenant: &Tenant<'_>| tenant.onboarding(&key, &cluster);
        round.call(onboard, &REFUSED).await;
    }
    let mut done = Vec::new();
    for task in running {
        done.extend(task.await?);
    }
    let rest = tokens.clone().into_iter().enumerate().map(|(token, _)| {
        let (round, stage, cluster) = (round.clone(), stage.clone(), cluster.clone());
        redeemer(round, stage, cluster, tokens.clone(), vec![(token, true)])
    });
    done.extend(all(rest).await?.into_iter().flatten());
    for token in 0..TOKENS {
        judge(round, end, token, &done);
    }
    Ok(())
}

struct Redemption {
    token: usize,
    is_right: bool,
    answer: Answer,
    when: During,
}

/// Makes these redemption attempts, one after the other. Each attempt consists of the position of a token and whether
/// to redeem it for its own cluster or for another one.
async fn redeemer(
    round: Arc<Round>,
    stage: Arc<Stage>,
    cluster: String,
    tokens: Vec<String>,
    attempts: Vec<(usize, bool)>,
) -> Vec<Redemption> {
    let mut done = Vec::new();
    for (token, is_right) in attempts {
        let name = if is_right { &cluster } else { "another" };
        let body = json!({ "join_token": tokens[token], "cluster_name": name });
        let post = |tenant: &Tenant<'_>| {
            let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
            tenant.redemption(&platform, &body)
        };
        let (answer, when) = during(&stage, round.call(post, &REDEEMED)).await;
        done.push(Redemption {
            token,
            is_right,
            answer,
            when,
        });
    }
    done
}

async fn stop(round: &Round, end: End, owner: &str, id: &str, cluster: &str) -> Result<()> {
    let user = format!("/v1/users/{owner}");
    let request = |tenant: &Tenant<'_>| {
        let delete = |path: String| tenant.request("admin", "DELETE", &path);
        match end {
            Revocation => delete(format!("{user}/access-keys/{id}")),
            RevocationOfAll => delete(format!("{user}/access-keys")),
            ClusterDeletion => delete(format!("/v1/clusters/{cluster}")),
            Never | Demotion => {
                let viewer = json!({ "role": "viewer" });
                tenant.request("admin", "PATCH", &user).json(&viewer)
            }
        }
    };
    let ended = [(200, ""), (204, ""), (404, "not_found")];
    round.settle(request, &ended).await.map(drop)
}

/// Checks the redemptions of one token.
fn judge(round: &Round, end: End, token: usize, done: &[Redemption]) {
    let of_token: Vec<_> = done.iter().filter(|done| done.token == token).collect();
    let is_success = |done: &&&Redemption| done.answer.status == 200;
    let count = of_token.iter().filter(is_success).count();
    let is_certain = !of_token.iter().any(|done| is_unknown(&done.answer));
    let is_wrong = |done: &&Redemption| !done.is_right || done.when.is_after();
    let is_refused = !of_token
        .iter()
        .any(|done| is_success(&done) && is_wrong(done));
    round.check(is_refused, || {
        format!("{end:?}: a join token was redeemed for another cluster or too late")
    });
    let is_redeemed = end != Never || !is_certain || count == 1;
    round.check(count <= 1 && is_redeemed, || {
        format!("{end:?}: a join token was redeemed {count} times")
    });
}
