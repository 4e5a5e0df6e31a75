//! Forged, changed and stolen: none of it passes, and what is forged costs no request to the store.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Tenant, run, stack};
use p256::ecdsa::Signature;
use serde_json::{Value, json};

fn parts(key: &str) -> [&str; 3] {
    key.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// Has our own KMS sign a token with changed claims: what a holder of `kms:Sign` could make.
async fn signed_elsewhere(key: &str, change: impl FnOnce(&mut Value)) -> String {
    let [header, payload, _] = parts(key);
    let mut claims: Value = serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap();
    change(&mut claims);
    let signed = format!("{header}.{}", BASE64URL.encode(claims.to_string()));
    let der = stack()
        .sign(stack().signing_key(), signed.as_bytes())
        .await
        .unwrap();
    let signature = Signature::from_der(&der).unwrap();
    format!("{signed}.{}", BASE64URL.encode(signature.to_bytes()))
}

#[test]
fn what_is_forged_is_refused_without_a_request_to_the_store() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let [header, payload, signature] = parts(&key);
        let decoded = String::from_utf8(BASE64URL.decode(header).unwrap()).unwrap();
        let other_header = |from: &str, to: &str| {
            format!(
                "{}.{payload}.{signature}",
                BASE64URL.encode(decoded.replace(from, to))
            )
        };
        let mut forged = vec![
            other_header("ES256", "none"),
            other_header("ES256", "HS256"),
            other_header("ES256", "RS256"),
            other_header("access-key+jwt", "JWT"),
            other_header("\"kid\":\"", "\"kid\":\"x"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{payload}.{header}.{signature}"),
            "x".repeat(5000),
            format!("{key}{}", "A".repeat(5000)),
            signed_elsewhere(&key, |claims| {
                claims["iss"] = json!("https://elsewhere.example")
            })
            .await,
            signed_elsewhere(&key, |claims| claims["aud"] = json!("elsewhere")).await,
        ];
        // Every seventh character here; each single one in the crate's own test of the parser.
        for i in (0..key.len()).step_by(7) {
            let other = if key.as_bytes()[i] == b'A' { "B" } else { "A" };
            forged.push(format!("{}{other}{}", &key[..i], &key[i + 1..]));
        }
        let before = tenant.store_requests();
        for forged in &forged {
            assert_eq!(tenant.verdict(forged).await, "invalid", "{forged}");
        }
        assert_eq!(tenant.store_requests(), before);
        assert_eq!(tenant.verdict(&key).await, "active");
        assert!(
            tenant.store_requests() > before,
            "the genuine key is counted"
        );
    });
}

#[test]
fn the_second_valid_signature_of_a_key_is_refused_by_its_hash() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let [header, payload, signature] = parts(&key);
        let signature = Signature::from_slice(&BASE64URL.decode(signature).unwrap()).unwrap();
        let twin = Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
        let before = tenant.store_requests();
        assert_eq!(
            tenant
                .verdict(&format!(
                    "{header}.{payload}.{}",
                    BASE64URL.encode(twin.to_bytes())
                ))
                .await,
            "invalid"
        );
        // It did verify: the record was read.
        assert_eq!(tenant.store_requests(), before + 1);
    });
}

#[test]
fn a_key_that_kms_signed_but_that_was_never_issued_is_refused() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let secret = BASE64URL.encode([1; 32]);
        assert_eq!(
            tenant
                .verdict(&signed_elsewhere(&key, |claims| claims["secret"] = json!(secret)).await)
                .await,
            "invalid"
        );
        assert_eq!(
            tenant
                .verdict(&signed_elsewhere(&key, |claims| claims["role"] = json!("admin")).await)
                .await,
            "invalid"
        );
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn an_edited_record_never_yields_more_than_was_signed() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant
            .key_of(
                "admin",
                json!({ "name": "k", "role": "viewer", "max_clusters": 2 }),
            )
            .await;
        let signed = tenant.validate(&key).await;
        tenant
            .edit(
                "admin",
                &format!("KEY#{id}"),
                "SET #role = :role, expires_at = :far, #ttl = :far, max_clusters = :many",
                json!({ ":role": { "S": "admin" }, ":far": { "N": "4000000000" }, ":many": { "N": "100" } }),
            )
            .await;
        let grant = tenant.validate(&key).await;
        for claim in ["role", "scope", "exp", "max_clusters"] {
            assert_eq!(grant[claim], signed[claim], "{claim}");
        }

        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        let hash = json!({ ":hash": { "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" } });
        tenant
            .edit(
                "admin",
                &format!("KEY#{id}"),
                "SET #hash = :hash REMOVE revoked_at, revoked_by",
                hash,
            )
            .await;
        assert_eq!(tenant.verdict(&key).await, "invalid");
    });
}
