//! The Lambda authorizer in front of another API.

use harness::{Tenant, run, send};

#[test]
fn an_api_behind_the_authorizer_accepts_a_key_and_refuses_a_revoked_one() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let call = || tenant.call("GET", "/v1/access-keys/self");
        assert_eq!(
            send(call().bearer_auth(&key)).await.expect(200).body["id"],
            id.as_str()
        );
        // Clients that know no tenant send the header empty.
        send(call().bearer_auth(&key).header("x-tenant-id", ""))
            .await
            .expect(200);
        send(call()).await.expect(401);
        send(call().bearer_auth("nonsense")).await.expect(403);
        send(call().bearer_auth(&key).header("x-tenant-id", "other"))
            .await
            .expect(403);
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        send(call().bearer_auth(&key)).await.expect(403);
    });
}
