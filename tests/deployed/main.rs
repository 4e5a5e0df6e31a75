//! The end-to-end tests once more, against the template deployed by CloudFormation into an emulator that is not ours.
//!
//! Left out are those that look into the local stack: its faults, logs, requests, stream and clock (`costs`,
//! `events`, `expiry`, `failures`, `memory`, `secrecy`, `slots`, `tampering`). `tests/deployed/run` starts the emulator.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../api/bad_input.rs"]
mod bad_input;
#[path = "../api/clusters.rs"]
mod clusters;
#[path = "../api/idempotency.rs"]
mod idempotency;
#[path = "../api/lifecycle.rs"]
mod lifecycle;
#[path = "../api/lists.rs"]
mod lists;
#[path = "../api/onboarding.rs"]
mod onboarding;
#[path = "../api/owners.rs"]
mod owners;
#[path = "../api/revocation.rs"]
mod revocation;
#[path = "../api/rights.rs"]
mod rights;
mod stack;
#[path = "../api/world.rs"]
mod world;

#[test]
fn kms_of_the_emulator_signs_by_the_algorithm_that_was_asked_for() {
    world::run(async {
        let algorithm = match std::env::var("SIGNING_KEY_SPEC").as_deref() {
            Err(_) | Ok("ECC_NIST_P256") => jsonwebtoken::Algorithm::ES256,
            Ok("ECC_NIST_EDWARDS25519") => jsonwebtoken::Algorithm::EdDSA,
            Ok(spec) => panic!("no algorithm is known for SIGNING_KEY_SPEC={spec}"),
        };
        let (_, key) = world::Tenant::new().key("admin", "viewer").await;
        assert_eq!(jsonwebtoken::decode_header(&key).unwrap().alg, algorithm);
    });
}
