//! The published key set, and the algorithm of the signing key.

use harness::{Answer, Tenant, run, send};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;

#[test]
fn another_library_can_verify_a_key_with_the_published_key_set() {
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

#[test]
fn pages_of_other_origins_can_read_and_revalidate_the_key_set() {
    run(async {
        let tenant = Tenant::fresh();
        for path in ["/.well-known/jwks.json", "/api/v1/jwks"] {
            let published = send(tenant.call("GET", path)).await.expect(200);
            let tag = published.header("etag").unwrap().to_owned();
            let allows_any = |answer: &Answer| {
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            };
            allows_any(&published);
            let revalidate = async |known: &str| {
                let request = tenant.call("GET", path).header("if-none-match", known);
                let answer = send(request).await;
                assert_eq!(answer.header("etag"), Some(&*tag), "{known}");
                allows_any(&answer);
                (answer.status, answer.text.is_empty())
            };
            for known in ["*", &tag, &format!("W/{tag}"), &format!("\"x\", {tag}")] {
                assert_eq!(revalidate(known).await, (304, true), "{known}");
            }
            for other in ["\"x\"", tag.trim_matches('"'), "", "nonsense"] {
                assert_eq!(revalidate(other).await, (200, false), "{other}");
            }
            let head = send(tenant.call("HEAD", path)).await.expect(200);
            assert_eq!(head.header("etag"), Some(&*tag));
            assert!(head.text.is_empty(), "{}", head.text);
            let post = send(tenant.call("POST", path)).await;
            post.expect_problem(404, "not_found");
        }
    });
}

#[test]
fn a_page_of_another_origin_may_send_any_header_in_a_request_for_the_key_set() {
    run(async {
        let tenant = Tenant::fresh();
        let preflight = tenant.call("OPTIONS", "/.well-known/jwks.json");
        let preflight = preflight.header("access-control-request-headers", "if-none-match");
        let preflight = send(preflight).await.expect(204);
        for name in ["origin", "headers"] {
            let allowed = preflight.header(&format!("access-control-allow-{name}"));
            assert_eq!(allowed, Some("*"), "{name}");
        }
    });
}

#[test]
fn the_platform_path_serves_only_the_key_set() {
    run(async {
        let tenant = Tenant::fresh();
        for path in ["/api/v1/other", "/api/v1/jwks/keys", "/api/v1/jwks//"] {
            send(tenant.call("GET", path)).await.expect(404);
        }
    });
}
