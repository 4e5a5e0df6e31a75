//! The Lambda authorizer in front of another API.

use harness::{Tenant, run, send};

#[test]
fn an_api_behind_the_authorizer_accepts_a_key_and_refuses_a_revoked_one() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let with_header = |tenant_id| tenant.own_record(&key).header("x-tenant-id", tenant_id);
        let record = send(tenant.own_record(&key)).await.expect(200);
        assert_eq!(record["id"], id);
        // Clients that do not know their tenant send the header with an empty value.
        send(with_header("")).await.expect(200);
        let without_key = tenant.call("GET", "/v1/access-keys/self");
        send(without_key).await.expect(401);
        send(tenant.own_record("nonsense")).await.expect(403);
        send(with_header("other")).await.expect(403);
        tenant.revoke_by_id(&id).await;
        send(tenant.own_record(&key)).await.expect(403);
    });
}
