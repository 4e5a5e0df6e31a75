//! The Lambda authorizer in front of another API.

use harness::{Answer, GATEWAY_SECRET, ProtectedApi, Tenant, forged, run, send, stack};
use serde_json::{Value, json};

/// Returns the values of a header as the service received them.
fn received<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let headers = answer.body.as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name);
    named.map(|header| header[1].as_str().unwrap()).collect()
}

#[test]
fn the_authorizer_admits_a_valid_key_and_describes_it_to_the_service() {
    run(async {
        let (tenant, api) = (Tenant::fresh(), ProtectedApi::start(stack()).await);
        let (id, key) = tenant.key("admin", "viewer").await;
        // Clients that do not know their tenant send the header with an empty value.
        for tenant_id in [tenant.id.as_str(), ""] {
            let request = api.get(&key).header("x-tenant-id", tenant_id);
            let request = request.header("x-auth-role", "admin");
            let request = request.header("x-gateway-secret", "forged");
            let answer = send(request).await.expect(200);
            for (name, value) in [
                ("x-gateway-secret", GATEWAY_SECRET),
                ("x-auth-tenant", tenant.id.as_str()),
                ("x-auth-user", "admin"),
                ("x-auth-key-id", &id),
                ("x-auth-role", "viewer"),
                (
                    "x-auth-scope",
                    "cspm:read cwpp:read aspm:read clusters:read",
                ),
            ] {
                assert_eq!(received(&answer, name), [value], "{name}");
            }
        }
    });
}

#[test]
fn the_authorizer_states_when_a_superseded_secret_stops_working() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.key("admin", "viewer").await;
        let body = json!({ "role": "viewer", "max_clusters": 1 });
        let new = tenant.rotate(&id, body).await;
        let end = tenant.validate(&old).await["superseded_until"].clone();
        assert!(end.is_i64());
        for (key, expected) in [(&old, &end), (&new, &Value::Null)] {
            let headers = json!({ "authorization": format!("Bearer {key}") });
            let event = json!({ "version": "2.0", "type": "REQUEST", "headers": headers });
            let answer = stack().invoke("authorize", event).await.unwrap();
            assert_eq!(&answer["context"]["superseded_until"], expected, "{answer}");
        }
    });
}

#[test]
fn the_authorizer_refuses_every_bad_key() {
    run(async {
        let (tenant, api) = (Tenant::fresh(), ProtectedApi::start(stack()).await);
        let (id, key) = tenant.key("admin", "viewer").await;
        send(api.request()).await.expect(401);
        for bad in ["nonsense", &forged(&key), &tenant.token("admin")] {
            send(api.get(bad)).await.expect(403);
        }
        let elsewhere = api.get(&key).header("x-tenant-id", "other");
        send(elsewhere).await.expect(403);
        assert_eq!(api.service.received(), 0);
        send(api.get(&key)).await.expect(200);
        tenant.revoke_by_id(&id).await;
        send(api.get(&key)).await.expect(403);
        assert_eq!(api.service.received(), 1);
    });
}
