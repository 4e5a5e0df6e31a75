//! The published key set, and the algorithm of the signing key.

use harness::{Tenant, run, send};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;

#[test]
fn another_library_verifies_a_key_with_the_published_key_set() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        for path in ["/.well-known/jwks.json", "/api/v1/jwks/", "/api/v1/jwks"] {
            let published = send(tenant.call("GET", path)).await.expect(200);
            let keys: JwkSet = serde_json::from_value(published.body).unwrap();
            let header = jsonwebtoken::decode_header(&key).unwrap();
            let jwk = keys.find(header.kid.as_deref().unwrap()).unwrap();
            let mut validation = Validation::new(header.alg);
            validation.set_audience(&["access-keys"]);
            validation.set_issuer(&["https://access-keys.local"]);
            let decoding_key = DecodingKey::from_jwk(jwk).unwrap();
            let token = jsonwebtoken::decode::<Value>(&key, &decoding_key, &validation);
            assert_eq!(token.unwrap().claims["jti"], id);
        }
    });
}

#[test]
fn a_key_is_signed_with_the_algorithm_of_the_signing_key() {
    run(async {
        let algorithm = match std::env::var("SIGNING_KEY_SPEC").as_deref() {
            Err(_) | Ok("ECC_NIST_P256") => Algorithm::ES256,
            Ok("ECC_NIST_EDWARDS25519") => Algorithm::EdDSA,
            Ok(spec) => panic!("no algorithm is known for SIGNING_KEY_SPEC={spec}"),
        };
        let (_, key) = Tenant::fresh().key("admin", "viewer").await;
        assert_eq!(jsonwebtoken::decode_header(&key).unwrap().alg, algorithm);
    });
}
