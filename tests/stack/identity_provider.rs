//! Tokens from the identity provider. The gateway and `/v1/clusters` accept the same tokens. Keys that the provider has
//! withdrawn, or that could not be refreshed, are used only for a limited time.
//!
//! The tests of the provider's keys run the verifier in the test process, because they set the verifier's clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use access_keys::{
    http::{Error, IdentityProvider},
    model::Timestamp,
    process::{clock, config},
};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Tenant, now, run, send, stack};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Returns a token with valid claims, except for the claims that `changes` replaces. The value `"absent"` removes a
/// claim.
fn token(issuer: &str, subject: (&str, &str), header: &Value, changes: &Value) -> String {
    let (tenant, user) = subject;
    let mut claims = json!({
        "iss": issuer,
        "aud": "access-keys-api",
        "sub": user,
        "tenant_id": tenant,
        "iat": now(),
        "exp": now() + 600,
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let claims = claims.as_object_mut().unwrap();
    claims.retain(|_, value| value != "absent");
    stack().sign_token(header, &json!(claims))
}

#[test]
fn the_gateway_and_the_clusters_function_accept_the_same_tokens() {
    let none = Value::Null;
    let issuer = stack().issuer();
    let accepted = [
        json!({}),
        json!({ "aud": ["other", "access-keys-api"] }),
        json!({ "aud": "absent", "client_id": "access-keys-api" }),
        json!({ "iat": "absent" }),
        json!({ "nbf": now() }),
        json!({ "email": null, "name": null }),
        json!({ "exp": 1e15 }),
    ];
    let refused = [
        json!({ "iss": [issuer] }),
        json!({ "iss": format!("{issuer}/") }),
        json!({ "iss": "absent" }),
        json!({ "iss": null }),
        json!({ "aud": "another" }),
        json!({ "aud": "absent" }),
        json!({ "aud": [] }),
        json!({ "aud": "another", "client_id": "access-keys-api" }),
        json!({ "exp": now() }),
        json!({ "exp": "absent" }),
        json!({ "exp": null }),
        json!({ "exp": (now() + 600).to_string() }),
        json!({ "iat": now() + 3600 }),
        json!({ "iat": null }),
        json!({ "nbf": now() + 3600 }),
        json!({ "nbf": "soon" }),
        json!({ "tenant_id": null }),
        json!({ "tenant_id": "absent" }),
        json!({ "tenant_id": ["a"] }),
        json!({ "tenant_id": {} }),
        json!({ "tenant_id": "" }),
        json!({ "sub": null }),
        json!({ "sub": "absent" }),
        json!({ "sub": ["a"] }),
    ];
    let extension = json!({ "crit": ["x"], "x": true });
    let empty = json!({ "crit": [] });
    let cases = accepted.iter().map(|changes| (&none, changes, 200));
    let cases = cases.chain(refused.iter().map(|changes| (&none, changes, 401)));
    let cases = cases.chain([&extension, &empty].map(|header| (header, &none, 401)));
    let cases: Vec<_> = cases.collect();
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        for (header, changes, status) in cases {
            let token = token(issuer, (&tenant.id, "admin"), header, changes);
            for path in ["/v1/users/me", "/v1/clusters"] {
                let answer = send(tenant.call("GET", path).bearer_auth(&token)).await;
                let case = format!("{path} {header} {changes}: {}", answer.text);
                assert_eq!(answer.status, status, "{case}");
            }
        }
        let good = token(issuer, (&tenant.id, "admin"), &none, &none);
        let claims = token(issuer, (&tenant.id, "editor"), &none, &none);
        let header = token(issuer, (&tenant.id, "admin"), &json!({ "typ": "x" }), &none);
        let [good_parts, claims, header] = [&good, &claims, &header].map(|token| parts(token));
        for forged in [
            [good_parts[0], claims[1], good_parts[2]].join("."),
            [header[0], good_parts[1], good_parts[2]].join("."),
            [good_parts[0], good_parts[1], claims[2]].join("."),
            [good_parts[0], good_parts[1], ""].join("."),
            [good_parts[0], good_parts[1]].join("."),
            format!("{good}."),
            format!("{good}=="),
            format!("{good}.{}", good_parts[2]),
        ] {
            for path in ["/v1/users/me", "/v1/clusters"] {
                let answer = send(tenant.call("GET", path).bearer_auth(&forged)).await;
                assert_eq!(answer.status, 401, "{path} {forged}: {}", answer.text);
            }
        }
        for path in ["/v1/users/me", "/v1/clusters"] {
            for (value, status) in [
                (good.clone(), 200),
                (format!("bearer {good}"), 200),
                (format!("Bearer  {good}"), 200),
                (format!("Basic {good}"), 401),
                (format!("Bearer {good} {good}"), 401),
                (String::new(), 401),
            ] {
                let request = tenant.call("GET", path).header("authorization", &value);
                let answer = send(request).await;
                assert_eq!(answer.status, status, "{path} {value}: {}", answer.text);
            }
        }
    });
}

/// Returns the header, the payload and the signature of a token.
fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// An identity provider that publishes keys, or returns 503 if it has none.
#[derive(Clone)]
struct Provider {
    url: Arc<str>,
    state: Arc<Mutex<(Option<Value>, usize)>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self {
            url: url.into(),
            state: Arc::default(),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// Publishes the public keys of the stack's issuer, which signs the tokens in these tests.
    async fn publish(&self) {
        self.publish_changed(|_| ()).await;
    }

    /// Applies a change to the keys of the stack's issuer and publishes the result.
    async fn publish_changed(&self, change: impl FnOnce(&mut Value)) {
        let url = format!("{}/.well-known/jwks.json", stack().issuer());
        let mut keys: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        change(&mut keys);
        self.state.lock().unwrap().0 = Some(keys);
    }

    fn withdraw(&self) {
        self.state.lock().unwrap().0 = Some(json!({ "keys": [] }));
    }

    fn stop(&self) {
        self.state.lock().unwrap().0 = None;
    }

    /// Returns the number of requests for the provider's configuration.
    fn requests(&self) -> usize {
        self.state.lock().unwrap().1
    }

    fn verifier(&self, audiences: &str) -> IdentityProvider {
        let environment =
            BTreeMap::from([("OIDC_ISSUER", &*self.url), ("OIDC_AUDIENCES", audiences)]);
        let lookup = |name: &str| environment.get(name).map(|&value| value.to_owned());
        config::read_from(&lookup, IdentityProvider::read).unwrap()
    }

    /// Returns a token that stays valid when a test moves the clock.
    fn token(&self, changes: Value) -> String {
        let mut claims = json!({ "exp": now() + 86_400 });
        let changes = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        token(&self.url, ("acme", "ann"), &Value::Null, &claims)
    }
}

async fn configuration(State(provider): State<Provider>) -> Result<String, StatusCode> {
    let (keys, requests) = &mut *provider.state.lock().unwrap();
    *requests += 1;
    let configuration = json!({ "jwks_uri": format!("{}/keys", provider.url) });
    let configuration = keys.as_ref().map(|_| configuration.to_string());
    configuration.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

async fn keys(State(provider): State<Provider>) -> Result<String, StatusCode> {
    let keys = provider.state.lock().unwrap().0.clone();
    let keys = keys.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(keys.to_string())
}

/// Returns the status that a call with this token would receive.
async fn status(verifier: &IdentityProvider, token: &str, now: Timestamp) -> u16 {
    match verifier.verify(token, now).await {
        Ok(_) => 200,
        Err(Error::Unauthenticated(_)) => 401,
        Err(Error::IdentityProvider) => 503,
        Err(error) => panic!("{error:?}"),
    }
}

/// Returns a copy of the token whose header names a key that does not exist.
fn with_invented_key(token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({ "alg": "RS256", "kid": "invented" }).to_string();
    format!("{}.{rest}", BASE64URL.encode(header))
}

/// Returns a provider that publishes its keys, a verifier, and a token that the provider signed.
async fn with_keys() -> (Provider, IdentityProvider, String) {
    let provider = Provider::start().await;
    provider.publish().await;
    let verifier = provider.verifier("access-keys-api");
    let token = provider.token(json!({}));
    (provider, verifier, token)
}

#[test]
fn a_token_for_any_configured_audience_is_accepted() {
    run(async {
        let provider = Provider::start().await;
        provider.publish().await;
        let verifier = provider.verifier("first, second");
        for (audience, expected) in [("first", 200), ("second", 200), ("third", 401)] {
            let token = provider.token(json!({ "aud": audience }));
            let status = status(&verifier, &token, clock::now()).await;
            assert_eq!(status, expected, "{audience}");
        }
    });
}

#[test]
fn the_numbers_of_a_key_may_begin_with_zero_octets() {
    run(async {
        let provider = Provider::start().await;
        let token = provider.token(json!({}));
        for (name, zeros) in [("n", 1), ("n", 2), ("e", 1)] {
            let with_zeros = |keys: &mut Value| {
                let number = &mut keys["keys"][0][name];
                let octets = BASE64URL.decode(number.as_str().unwrap()).unwrap();
                *number = json!(BASE64URL.encode([vec![0; zeros], octets].concat()));
            };
            provider.publish_changed(with_zeros).await;
            let verifier = provider.verifier("access-keys-api");
            let status = status(&verifier, &token, clock::now()).await;
            assert_eq!(status, 200, "{name} with {zeros}");
        }
    });
}

#[test]
fn keys_that_cannot_verify_rs256_are_not_used() {
    run(async {
        let provider = Provider::start().await;
        let token = provider.token(json!({}));
        let octets = |count| BASE64URL.encode(vec![0xff; count]);
        for changes in [
            json!({ "n": octets(128) }),
            json!({ "n": "" }),
            json!({ "n": "!" }),
            json!({ "n": null }),
            json!({ "e": "AA" }),
            json!({ "use": "enc" }),
            json!({ "kty": "EC", "crv": "P-256", "x": octets(32), "y": octets(32) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": octets(32) }),
            json!({ "kty": "oct", "k": octets(32) }),
            json!({ "kty": "unknown" }),
        ] {
            let change = |keys: &mut Value| {
                let key = keys["keys"][0].as_object_mut().unwrap();
                key.extend(changes.as_object().unwrap().clone());
            };
            provider.publish_changed(change).await;
            let verifier = provider.verifier("access-keys-api");
            let status = status(&verifier, &token, clock::now()).await;
            assert_eq!(status, 401, "{changes}");
        }
    });
}

#[test]
fn a_key_set_of_more_than_a_mebibyte_is_not_read() {
    run(async {
        let provider = Provider::start().await;
        let token = provider.token(json!({}));
        for (length, expected) in [((1 << 20) - 4096, 200), (1 << 20, 503)] {
            let padding = |keys: &mut Value| keys["padding"] = json!("x".repeat(length));
            provider.publish_changed(padding).await;
            let verifier = provider.verifier("access-keys-api");
            let status = status(&verifier, &token, clock::now()).await;
            assert_eq!(status, expected, "{length}");
        }
    });
}

#[test]
fn a_key_that_the_provider_has_withdrawn_is_refused_after_five_minutes() {
    run(async {
        let (provider, verifier, token) = with_keys().await;
        let start = clock::now();
        assert_eq!(status(&verifier, &token, start).await, 200);
        provider.withdraw();
        let before = start + 299 * SECOND;
        assert_eq!(status(&verifier, &token, before).await, 200);
        assert_eq!(provider.requests(), 1);
        let after = start + 300 * SECOND;
        assert_eq!(status(&verifier, &token, after).await, 401);
    });
}

#[test]
fn keys_stay_usable_for_two_hours_if_the_provider_is_down() {
    run(async {
        let (provider, verifier, token) = with_keys().await;
        let start = clock::now();
        assert_eq!(status(&verifier, &token, start).await, 200);
        provider.stop();
        let last = start + 2 * HOUR;
        for (now, expected) in [
            (start + 301 * SECOND, 200),
            (start + HOUR, 200),
            (last, 503),
        ] {
            assert_eq!(status(&verifier, &token, now).await, expected);
        }
        provider.publish().await;
        let recovered = last + 10 * SECOND;
        assert_eq!(status(&verifier, &token, recovered).await, 200);
    });
}

#[test]
fn tokens_with_invented_key_ids_cause_few_requests_to_the_provider() {
    run(async {
        let provider = Provider::start().await;
        let verifier = provider.verifier("access-keys-api");
        let good = provider.token(json!({}));
        let (invented, start) = (with_invented_key(&good), clock::now());
        for second in 0..20 {
            let now = start + SECOND * second;
            assert_eq!(status(&verifier, &invented, now).await, 503);
        }
        assert_eq!(provider.requests(), 2);
        provider.publish().await;
        let start = start + 20 * SECOND;
        for second in 0..60 {
            let now = start + SECOND * second;
            assert_eq!(status(&verifier, &invented, now).await, 401);
            assert_eq!(status(&verifier, &good, now).await, 200);
        }
        assert_eq!(provider.requests(), 3);
        let due = start + 60 * SECOND;
        assert_eq!(status(&verifier, &invented, due).await, 401);
        assert_eq!(provider.requests(), 4);
    });
}
