//! Signing keys: restarts, rotation, and other algorithms.

use harness::{Options, Tenant, options, send, strings};

use crate::{crashes::is_alive, own_stack, start};

/// The algorithms of the published keys.
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

    // The new key is published before it is used to sign. The old key is configured twice but published once.
    let both = format!("{stack_key},{ed25519_key}");
    let stack = start(kept(&[("RotatedSigningKeys", &both)])).await;
    let tenant = Tenant::acme(&stack);
    let (_, announced) = tenant.key("admin", "viewer").await;
    assert_eq!(header(&announced), header(&es256));
    assert_eq!(published(&tenant).await, ["ES256", "EdDSA"]);
    stack.stop().await;

    let stack = start(kept(&[("RotatedSigningKeys", &ed25519_key)])).await;
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
