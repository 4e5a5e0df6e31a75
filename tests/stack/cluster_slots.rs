//! Slots and join tokens under races, lost answers and expiry: what the table holds, and what it costs.

use std::time::Duration;

use harness::{Fault, Rule, Service, Tenant, now, rfc3339, run, send, stack, until};
use serde_json::json;
use tokio::task::JoinSet;

/// A key and its slots in one serializable read: the counter if the key is live, and the slots.
async fn snapshot(tenant: &Tenant<'_>, id: &str, clusters: &[&str]) -> (Option<usize>, usize) {
    let table = tenant.table();
    let get = |pk: String, sk: String| json!({ "Get": { "TableName": table, "Key": { "pk": { "S": pk }, "sk": { "S": sk } } } });
    let mut items = vec![get(tenant.pk("admin"), format!("KEY#{id}"))];
    items.extend(
        clusters
            .iter()
            .map(|c| get(format!("K#{}#{id}", tenant.id), format!("SLOT#{c}"))),
    );
    let answer = tenant
        .dynamodb("TransactGetItems", json!({ "TransactItems": items }))
        .await;
    let items = answer["Responses"].as_array().unwrap();
    let key = &items[0]["Item"];
    let counter = key
        .get("hash")
        .map(|_| key["clusters_used"]["N"].as_str().unwrap().parse().unwrap());
    (
        counter,
        items[1..]
            .iter()
            .filter(|item| item.get("Item").is_some())
            .count(),
    )
}

/// Moves the end of the administrator's key into the past, and has TTL delete it.
async fn expire(tenant: &Tenant<'_>, id: &str) {
    let past = json!({ ":past": { "N": (now() - 1).to_string() } });
    let update = "SET expires_at = :past, #ttl = :past";
    let sk = format!("KEY#{id}");
    tenant.edit("admin", &sk, update, past).await;
    stack().sweep_ttl().unwrap();
}

#[test]
fn a_hundred_rounds_of_register_delete_revoke_and_expire() {
    const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];
    const LIMIT: usize = 2;
    /// The statuses of the calls that raced.
    async fn round(n: usize) -> Vec<u16> {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "k", "role": "editor", "max_clusters": LIMIT });
        let (id, key) = tenant.key_of("admin", body).await;
        let mut calls = JoinSet::new();
        for (i, cluster) in CLUSTERS.into_iter().cycle().take(12).enumerate() {
            let request = if i % 3 == 2 {
                let path = format!("/v1/clusters/{cluster}");
                tenant.call("DELETE", &path).bearer_auth(&key)
            } else {
                tenant.onboarding(&key, cluster)
            };
            calls.spawn(async move { send(request).await.status });
        }
        if n % 3 == 1 {
            let path = format!("/v1/users/me/access-keys/{id}");
            let revoke = tenant.request("admin", "DELETE", &path);
            calls.spawn(async move { send(revoke).await.expect(204).status });
        }
        let mut statuses = Vec::new();
        while let Some(status) = calls.join_next().await {
            statuses.push(status.unwrap());
            if n % 3 == 2 && statuses.len() == 6 {
                expire(&tenant, &id).await;
            }
            let (counter, slots) = snapshot(&tenant, &id, &CLUSTERS).await;
            assert!(
                counter.is_none_or(|counter| counter == slots),
                "{counter:?} counted, {slots} held"
            );
            assert!(slots <= LIMIT);
        }
        // A busy machine may be told to try again, which changes nothing.
        assert!(
            statuses
                .iter()
                .all(|status| *status < 500 || *status == 503),
            "{statuses:?}"
        );
        let clusters = tenant.all("admin", "/v1/clusters").await;
        if n % 3 != 2 {
            let held = clusters
                .iter()
                .filter(|cluster| cluster["key_ids"] == json!([id]))
                .count();
            assert_eq!(snapshot(&tenant, &id, &CLUSTERS).await, (Some(held), held));
            expire(&tenant, &id).await;
        }
        tenant.archived(&id).await;
        assert_ne!(tenant.onboard(&key, "d").await.status, 200);
        assert_eq!(
            tenant.slots(&id).await,
            [""; 0],
            "cleaning up releases the slots"
        );
        let after = tenant.all("admin", "/v1/clusters").await;
        assert_eq!(after.len(), clusters.len(), "and leaves the clusters alone");
        assert!(
            after
                .iter()
                .all(|c| c["status"] == "active" && c["key_ids"] == json!([]))
        );
        statuses
    }
    run(async {
        let mut statuses = Vec::new();
        for batch in 0..10 {
            let mut rounds: JoinSet<_> = (0..10).map(|n| round(batch * 10 + n)).collect();
            while let Some(round) = rounds.join_next().await {
                // Said here again: what another thread says is lost when it is not this test that captures it.
                statuses.extend(
                    round
                        .map_err(|error| error.into_panic().downcast::<String>())
                        .unwrap(),
                );
            }
        }
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        assert!(
            count(200) >= 100 && count(204) >= 50 && count(409) >= 10,
            "there was a race: {statuses:?}"
        );
    });
}

#[test]
fn expiry_revocation_and_a_reached_limit_leave_clusters_listed_and_active() {
    run(async {
        let tenant = Tenant::fresh();
        let end = now() + 5;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "expires_at": rfc3339(end) });
        let (expired_id, expired) = tenant.key_of("admin", body).await;
        tenant.onboard(&expired, "expired").await.expect(200);
        let (revoked_id, revoked) = tenant.key("admin", "cluster_onboarding").await;
        tenant.onboard(&revoked, "revoked").await.expect(200);
        tenant
            .onboard(&revoked, "over")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{revoked_id}"))
            .await
            .expect(204);
        until(end).await;
        tenant.archived(&expired_id).await;
        assert_eq!(tenant.slots(&expired_id).await, [""; 0]);
        assert_eq!(tenant.record(&expired_id).await["status"], "expired");
        let listed = tenant.all("admin", "/v1/clusters?status=active").await;
        let shown: Vec<_> = listed
            .iter()
            .map(|c| json!([c["name"], c["key_id"], c["key_ids"]]))
            .collect();
        assert_eq!(
            shown,
            [
                json!(["expired", expired_id, []]),
                json!(["revoked", revoked_id, [revoked_id]])
            ]
        );
        let (_, viewer) = tenant.key("admin", "viewer").await;
        let accuknox_list = send(
            tenant
                .call("GET", "/cluster-onboarding/api/v1/get-onboarded-clusters")
                .bearer_auth(&viewer),
        )
        .await
        .expect(200)
        .body;
        assert!(
            accuknox_list
                .as_array()
                .unwrap()
                .iter()
                .all(|c| c["Status"] == "Active"),
            "{accuknox_list}"
        );
        // What the key had onboarded stays in its history.
        assert_eq!(tenant.record(&expired_id).await["clusters_used"], 1);
        tenant
            .delete("admin", "/v1/clusters/expired")
            .await
            .expect(204);
    });
}

#[test]
fn an_onboarding_takes_one_slot_when_its_answer_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(10).await;
        let faults = [
            Fault::DropAfter,
            Fault::DropBefore,
            Fault::TransactionConflict,
            Fault::Throttle,
            Fault::InternalError,
        ];
        for (n, fault) in faults.into_iter().enumerate() {
            let rule = Rule::new(fault.clone())
                .service(Service::DynamoDb)
                .action("TransactWriteItems")
                .function("onboard")
                .containing(&format!("#{}", tenant.id))
                .times(1);
            let rule = stack().inject(rule);
            tenant.onboard(&key, &format!("c{n}")).await.expect(200);
            assert_eq!(rule.hits(), 1, "{fault:?}");
            assert_eq!(tenant.used(&id).await, n as u64 + 1, "{fault:?}");
        }
        for fault in [
            Fault::DropBefore,
            Fault::TransactionConflict,
            Fault::Latency(Duration::from_secs(20)),
        ] {
            let rule = stack().inject(
                Rule::new(fault)
                    .service(Service::DynamoDb)
                    .action("TransactWriteItems")
                    .function("onboard")
                    .containing(&format!("#{}", tenant.id)),
            );
            let answer = tenant
                .onboard(&key, "never")
                .await
                .expect_accuknox(503, "unavailable");
            assert_eq!(answer.headers["retry-after"], "1");
            assert!(rule.hits() > 0);
        }
    });
}
