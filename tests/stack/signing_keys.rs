//! Signing keys: restarts, rotation, and other algorithms.

use std::collections::BTreeSet;

use harness::{Options, Tenant, eventually, options, send, strings};
use serde_json::json;

use crate::{crashes::is_alive, own_stack, start};

/// Returns the algorithms of the published keys.
async fn published(tenant: &Tenant<'_>) -> Vec<String> {
    let keys = send(tenant.call("GET", "/.well-known/jwks.json")).await;
    let algorithms = strings(keys.array("keys"), "alg").into_iter();
    algorithms.map(str::to_owned).collect()
}

fn header(key: &str) -> &str {
    key.split('.').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_active_after_a_restart_and_a_rotation_of_the_signing_key() {
    let directory = tempfile::tempdir().unwrap();
    let kept = |parameters: &[(&str, &str)]| Options {
        data: Some(directory.path().to_owned()),
        ..options(parameters)
    };
    let stack = start(kept(&[])).await;
    let (_, es256) = Tenant::acme(&stack).key("admin", "viewer").await;
    let stack_key = stack.signing_key().to_owned();
    let ed25519_key = stack.create_key("ECC_NIST_EDWARDS25519").await.unwrap();
    let functions = "create list revoke validate authorize jwks users cleanup".split(' ');
    let processes = functions.flat_map(|function| stack.process_ids(function));
    let processes: Vec<u32> = processes.collect();
    assert_eq!(processes.len(), 8);
    stack.stop().await;
    assert!(processes.into_iter().all(|pid| !is_alive(pid)));

    // The new key is published before it is used to sign. Each restart simulates a deployment, which does not move
    // aliases.
    let stack = start(kept(&[])).await;
    stack.set_alias("alias/local/next", &ed25519_key).unwrap();
    stack.stop().await;
    let stack = start(kept(&[])).await;
    let tenant = Tenant::acme(&stack);
    let (_, announced) = tenant.key("admin", "viewer").await;
    assert_eq!(header(&announced), header(&es256));
    assert_eq!(published(&tenant).await, ["ES256", "EdDSA"]);
    stack
        .set_alias("alias/local/previous-1", &stack_key)
        .unwrap();
    stack
        .set_alias("alias/local/current", &ed25519_key)
        .unwrap();
    stack.stop().await;

    let stack = start(kept(&[])).await;
    let tenant = Tenant::acme(&stack);
    assert_eq!(tenant.verdict(&es256).await, "active");
    let (_, eddsa) = tenant.key("admin", "viewer").await;
    assert_ne!(header(&eddsa), header(&es256));
    assert_eq!(tenant.verdict(&eddsa).await, "active");
    assert_eq!(published(&tenant).await, ["EdDSA", "ES256"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_signing_key_signs_with_rs256() {
    let stack = own_stack(&[("SigningKeySpec", "RSA_2048")]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    let header = jsonwebtoken::decode_header(&key).unwrap();
    assert_eq!(header.alg, jsonwebtoken::Algorithm::RS256);
    assert_eq!(tenant.verdict(&key).await, "active");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_fails_while_the_current_signing_key_is_disabled_and_then_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let kept = |parameters: &[(&str, &str)]| Options {
        data: Some(directory.path().to_owned()),
        ..options(parameters)
    };
    let stack = start(kept(&[])).await;
    let (_, es256) = Tenant::acme(&stack).key("admin", "viewer").await;
    let first = stack.create_key("ECC_NIST_EDWARDS25519").await.unwrap();
    stack.set_key_enabled(&first, false).unwrap();
    stack.set_alias("alias/local/current", &first).unwrap();
    stack.stop().await;

    let stack = start(kept(&[])).await;
    let tenant = Tenant::acme(&stack);
    assert_eq!(tenant.verdict(&es256).await, "active");
    assert_eq!(published(&tenant).await, ["ES256"]);
    let create = || tenant.creation("admin", &json!({ "name": "k", "role": "viewer" }));
    send(create()).await.expect_problem(503, "unavailable");
    stack.set_key_enabled(&first, true).unwrap();
    let created = eventually("create signs again", || async {
        let answer = send(create()).await;
        (answer.status == 201).then_some(answer)
    });
    assert_ne!(
        header(created.await.string("access_key")),
        header(&es256),
        "the second key signed"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_resolves_an_alias_and_signs_with_the_arn_of_its_key() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    assert_eq!(tenant.verdict(&key).await, "active");
    assert_eq!(published(&tenant).await, ["ES256"]);
    let asked = |action: &str| {
        let requests = stack.requests().into_iter();
        let requests = requests.filter(|r| r.function == "create" && r.action == action);
        let keys = requests.map(|r| r.body["KeyId"].as_str().unwrap().to_owned());
        keys.collect::<BTreeSet<_>>()
    };
    assert!(asked("GetPublicKey").contains("alias/local/current"));
    assert_eq!(asked("Sign"), [stack.signing_key().to_owned()].into());
    stack.stop().await;
}
