//! Forged keys and unissued keys grant nothing, and edited records grant no more than the signed claims. A forged key
//! causes no request to the table.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Tenant, run, stack};
use p256::ecdsa::Signature;
use serde_json::{Value, json};

fn parts(key: &str) -> [&str; 3] {
    key.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// Changes a claim and signs the key with our signing key, as anyone with `kms:Sign` could.
async fn signed_again(key: &str, claim: &str, value: &str) -> String {
    let [header, payload, _] = parts(key);
    let payload = BASE64URL.decode(payload).unwrap();
    let mut claims: Value = serde_json::from_slice(&payload).unwrap();
    claims[claim] = json!(value);
    let signed = format!("{header}.{}", BASE64URL.encode(claims.to_string()));
    let der = stack().sign(stack().signing_key(), signed.as_bytes()).await;
    let signature = Signature::from_der(&der.unwrap()).unwrap();
    format!("{signed}.{}", BASE64URL.encode(signature.to_bytes()))
}

#[test]
fn a_forged_key_is_refused_without_a_request_to_the_table() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let [header, payload, signature] = parts(&key);
        let decoded = String::from_utf8(BASE64URL.decode(header).unwrap()).unwrap();
        let with_header = |from: &str, to: &str| {
            let header = BASE64URL.encode(decoded.replace(from, to));
            format!("{header}.{payload}.{signature}")
        };
        let mut forged = vec![
            with_header("ES256", "none"),
            with_header("ES256", "HS256"),
            with_header("ES256", "RS256"),
            with_header("access-key+jwt", "JWT"),
            with_header("\"kid\":\"", "\"kid\":\"x"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{payload}.{header}.{signature}"),
            "x".repeat(5000),
            format!("{key}{}", "A".repeat(5000)),
            signed_again(&key, "iss", "https://elsewhere.example").await,
            signed_again(&key, "aud", "elsewhere").await,
        ];
        // This test changes only every seventh character. A unit test of the verification changes every character.
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
        let after = tenant.store_requests();
        assert!(after > before, "the request for a genuine key is counted");
    });
}

#[test]
fn a_key_with_another_valid_signature_is_refused_because_its_hash_differs() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let [header, payload, signature] = parts(&key);
        let signature = BASE64URL.decode(signature).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        let twin = Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
        let twin = BASE64URL.encode(twin.to_bytes());
        let twin = format!("{header}.{payload}.{twin}");
        let before = tenant.store_requests();
        assert_eq!(tenant.verdict(&twin).await, "invalid");
        // The signature is valid, so the function has read the record.
        assert_eq!(tenant.store_requests(), before + 1);
    });
}

#[test]
fn a_key_that_was_signed_but_not_issued_is_refused() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let secret = BASE64URL.encode([1; 32]);
        for (claim, value) in [("secret", &*secret), ("role", "admin")] {
            let unissued = signed_again(&key, claim, value).await;
            assert_eq!(tenant.verdict(&unissued).await, "invalid", "{claim}");
        }
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn an_edited_record_grants_no_more_than_the_signed_claims() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.limited_key("viewer", 2).await;
        let signed = tenant.validate(&key).await;
        let more = "SET #role = :role, expires_at = :far, #ttl = :far, max_clusters = :many";
        let values = json!({ ":role": { "S": "admin" }, ":far": { "N": "4000000000" }, ":many": { "N": "100" } });
        tenant.edit_key("admin", &id, more, values).await;
        let grant = tenant.validate(&key).await;
        for claim in ["role", "scope", "exp", "max_clusters"] {
            assert_eq!(grant[claim], signed[claim], "{claim}");
        }

        tenant.revoke_by_id(&id).await;
        let hash = json!({ ":hash": { "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" } });
        let unrevoked = "SET #hash = :hash REMOVE revoked_at, revoked_by";
        tenant.edit_key("admin", &id, unrevoked, hash).await;
        assert_eq!(tenant.verdict(&key).await, "invalid");
    });
}
