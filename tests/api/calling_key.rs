//! Reading the record of the key that makes the call.

use harness::{Tenant, forged, run, send};
use serde_json::Value;

#[test]
fn a_key_can_read_its_own_record() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "cluster_onboarding").await;
        let mut own = send(tenant.own_record(&key)).await.expect(200).body;
        let mut record = tenant.record(&id).await;
        // The call that returned `own` was the first use of the key. `own` does not show this use, but `record` does.
        assert!(own["last_used_at"].is_null() && record["last_used_at"].is_string());
        own["last_used_at"] = record["last_used_at"].clone();
        // If the key itself makes the call, the response omits the name and the e-mail address of the owner.
        (record["owner_name"], record["owner_email"]) = (Value::Null, Value::Null);
        assert_eq!(own, record);
        let with_header = |tenant_id| tenant.own_record(&key).header("x-tenant-id", tenant_id);
        send(with_header("")).await.expect(200);
        send(with_header(tenant.id.as_str())).await.expect(200);
        let answer = send(with_header("other")).await;
        answer.expect_problem(403, "forbidden");
    });
}

#[test]
fn a_call_with_an_invalid_key_returns_401_with_a_challenge() {
    const INVALID: &str = "Bearer error=\"invalid_token\"";
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let (id, revoked) = tenant.key("admin", "viewer").await;
        tenant.revoke_by_id(&id).await;
        let token = tenant.token("admin");
        for (key, code) in [
            ("nonsense", "invalid_key"),
            (&forged(&key), "invalid_key"),
            (&token, "invalid_key"),
            (&revoked, "key_revoked"),
        ] {
            let answer = send(tenant.own_record(key)).await;
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.starts_with(INVALID), "{challenge}");
            answer.expect_problem(401, code);
        }
        let without_key = tenant.call("GET", "/v1/access-keys/self");
        let answer = send(without_key).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        answer.expect_problem(401, "invalid_key");
    });
}
