//! Limits on the live keys of a user, the active nodes of a cluster, and the first sign-ins of a tenant per hour.

use harness::{
    Fault, KEYS, Stack, Tenant, UNKNOWN_KEY, all_at_once, eventually, now, run, send, strings,
    until,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{concurrent_stack, own_stack};

async fn with_quota(quota: &str) -> Stack {
    own_stack(&[("MaxKeysPerUser", quota)]).await
}

async fn create(tenant: &Tenant<'_>, user: &str) -> Option<String> {
    let answer = send(tenant.creation(user, &json!({ "name": "k", "role": "viewer" }))).await;
    if answer.status == 201 {
        return Some(answer.string("id").to_owned());
    }
    answer.expect_problem(409, "key_quota_reached");
    None
}

#[test]
fn only_live_keys_count_against_the_quota_of_their_owner() {
    run(async {
        let stack = with_quota("3").await;
        let tenant = Tenant::acme(&stack);
        tenant.user("viewer", "viewer").await;
        let mut last = String::new();
        for _ in 0..3 {
            last = create(&tenant, "admin").await.unwrap();
        }
        assert_eq!(create(&tenant, "admin").await, None);
        let of_others = "/v1/users/admin/access-keys";
        for (caller, path, status) in [
            ("admin", of_others, 409),
            ("admin", "/v1/users/viewer/access-keys", 201),
            ("viewer", KEYS, 201),
        ] {
            let body = json!({ "name": "k", "role": "viewer" });
            let answer = tenant.send(caller, "POST", path, body).await;
            assert_eq!(answer.status, status, "{caller} {path}: {}", answer.text);
        }
        // Each kind of revocation makes room for another key.
        tenant.revoke_by_id(&last).await;
        assert!(create(&tenant, "admin").await.is_some());
        assert_eq!(create(&tenant, "admin").await, None);
        tenant.delete("admin", KEYS).await.expect(204);
        for _ in 0..3 {
            assert!(create(&tenant, "admin").await.is_some());
        }
        assert_eq!(create(&tenant, "admin").await, None);
    });
}

#[test]
fn an_expired_key_does_not_count_against_the_quota() {
    run(async {
        let stack = with_quota("1").await;
        let tenant = Tenant::acme(&stack);
        let (id, _) = tenant.key("admin", "viewer").await;
        assert_eq!(create(&tenant, "admin").await, None);
        let past = json!({ ":past": { "N": (now() - 1).to_string() } });
        let update = "SET expires_at = :past";
        tenant.edit_key("admin", &id, update, past).await;
        assert!(create(&tenant, "admin").await.is_some());
    });
}

#[test]
fn concurrent_requests_do_not_exceed_the_quota() {
    run(async {
        let stack = concurrent_stack(&[("MaxKeysPerUser", "5")]).await;
        let tenant = Tenant::acme(&stack);
        let body = json!({ "name": "k", "role": "viewer" });
        let answers = all_at_once((0..20).map(|_| tenant.creation("admin", &body))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 5);
        for refused in answers.into_iter().filter(|answer| answer.status != 201) {
            refused.expect_problem(409, "key_quota_reached");
        }
        assert_eq!(tenant.all("admin", KEYS).await.len(), 5);
    });
}

#[test]
fn concurrent_requests_do_not_exceed_the_quota_after_all_counted_keys_are_revoked() {
    run(async {
        let stack = concurrent_stack(&[("MaxKeysPerUser", "2")]).await;
        let tenant = Tenant::acme(&stack);
        for _ in 0..2 {
            assert!(create(&tenant, "admin").await.is_some());
        }
        tenant.delete("admin", KEYS).await.expect(204);
        let body = json!({ "name": "k", "role": "viewer" });
        let answers = all_at_once((0..20).map(|_| tenant.creation("admin", &body))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 2);
    });
}

#[test]
fn a_retry_does_not_count_against_the_quota() {
    run(async {
        let stack = with_quota("1").await;
        let tenant = Tenant::acme(&stack);
        let body = json!({ "name": "k", "role": "viewer" });
        let attempt = || {
            tenant
                .creation("admin", &body)
                .header("idempotency-key", "once")
        };
        let first = send(attempt()).await.expect(201);
        assert_eq!(create(&tenant, "admin").await, None);
        let second = send(attempt()).await.expect(201);
        assert_eq!(first["id"], second["id"]);
    });
}

#[test]
fn a_damaged_quota_item_is_replaced() {
    run(async {
        let stack = with_quota("2").await;
        let tenant = Tenant::acme(&stack);
        assert!(create(&tenant, "admin").await.is_some());
        let pk = tenant.pk("admin");
        for damaged in [
            json!({ "N": "1" }),
            json!({ "SS": ["x"] }),
            json!({ "M": {} }),
            json!({ "L": [] }),
            json!({ "L": [{ "S": UNKNOWN_KEY }] }),
        ] {
            let damage = json!({ ":damaged": damaged });
            tenant
                .edit_item(&pk, "QUOTA", "SET live = :damaged", damage)
                .await;
            assert!(create(&tenant, "admin").await.is_some(), "{damaged}");
        }
        tenant
            .edit_item(&pk, "QUOTA", "REMOVE live", Value::Null)
            .await;
        assert!(create(&tenant, "admin").await.is_some());
        assert!(create(&tenant, "admin").await.is_some());
        assert_eq!(create(&tenant, "admin").await, None);
    });
}

/// Starts a stack whose clusters may have `quota` active nodes, and creates a key that nodes use to join `prod`.
async fn with_nodes(quota: &str) -> (Stack, String) {
    let stack = own_stack(&[("MaxNodesPerCluster", quota)]).await;
    let (_, key) = Tenant::acme(&stack).onboarding_key(2).await;
    (stack, key)
}

/// Returns a call by a node of a cluster.
fn call(tenant: &Tenant<'_>, key: &str, cluster: &str, node: &str) -> RequestBuilder {
    let body = json!({ "cluster_name": cluster, "node_name": node, "type": "K8s" });
    tenant.process(key, body)
}

async fn node_names(tenant: &Tenant<'_>) -> Vec<String> {
    let record = tenant.cluster("prod").await;
    let names = strings(record["nodes"].as_array().unwrap(), "name");
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_cluster_has_no_more_active_nodes_than_its_quota() {
    run(async {
        let (stack, key) = with_nodes("2").await;
        let tenant = Tenant::acme(&stack);
        for node in ["a", "b"] {
            send(call(&tenant, &key, "prod", node)).await.expect(200);
        }
        for _ in 0..2 {
            let refused = send(call(&tenant, &key, "prod", "c")).await;
            refused.expect_accuknox(409, "node_quota_reached");
        }
        assert_eq!(node_names(&tenant).await, ["a", "b"]);
        // The quota does not apply to a known node, a call without a node, or a node of another cluster.
        send(call(&tenant, &key, "prod", "b")).await.expect(200);
        tenant.onboard(&key, "prod").await.expect(200);
        send(call(&tenant, &key, "other", "c")).await.expect(200);
    });
}

#[test]
fn concurrent_nodes_do_not_exceed_the_quota() {
    run(async {
        let stack = concurrent_stack(&[("MaxNodesPerCluster", "5")]).await;
        let tenant = Tenant::acme(&stack);
        let (_, key) = tenant.onboarding_key(1).await;
        tenant.onboard(&key, "prod").await.expect(200);
        let nodes: Vec<_> = (0..20).map(|n| format!("n{n}")).collect();
        let calls = nodes.iter().map(|node| call(&tenant, &key, "prod", node));
        let answers = all_at_once(calls).await;
        assert_eq!(node_names(&tenant).await.len(), 5);
        let joined = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(joined.count(), 5);
    });
}

#[test]
fn inactive_nodes_do_not_count_against_the_quota_and_a_damaged_count_is_replaced() {
    run(async {
        let (stack, key) = with_nodes("2").await;
        let tenant = Tenant::acme(&stack);
        for node in ["a", "b"] {
            send(call(&tenant, &key, "prod", node)).await.expect(200);
        }
        let pk = format!("N#acme#{}", tenant.cluster("prod").await["id"]);
        let edit = async |sk: &str, update: &str, value: Value| {
            let values = json!({ ":value": value });
            tenant.edit_item(&pk, sk, update, values).await;
        };
        let silence = async |node: &str| {
            let long_ago = json!({ "N": (now() - 40 * 86_400).to_string() });
            edit(
                &format!("NODE#{node}"),
                "SET last_seen_at = :value",
                long_ago,
            )
            .await;
        };
        let make_count_due = async || {
            let past = json!({ "N": (now() - 31).to_string() });
            edit("QUOTA", "SET changed_at = :value", past).await;
        };
        silence("a").await;
        // The nodes are not counted again within half a minute.
        let refused = send(call(&tenant, &key, "prod", "c")).await;
        refused.expect_accuknox(409, "node_quota_reached");
        make_count_due().await;
        send(call(&tenant, &key, "prod", "c")).await.expect(200);
        // The inactive node `a` is still known and therefore not refused. Three nodes are active now.
        send(call(&tenant, &key, "prod", "a")).await.expect(200);
        for (attribute, value) in [
            ("active", json!({ "S": "x" })),
            ("active", json!({ "N": "-1.5" })),
            ("listed", json!({ "N": "10000" })),
            ("changed_at", json!({ "S": "x" })),
            ("counting", json!({ "S": "x" })),
        ] {
            make_count_due().await;
            edit("QUOTA", &format!("SET {attribute} = :value"), value.clone()).await;
            let refused = send(call(&tenant, &key, "prod", "new")).await;
            refused.expect_accuknox(409, "node_quota_reached");
            let items = tenant.partition(&pk).await;
            let count = items
                .iter()
                .find(|item| item["sk"]["S"] == "QUOTA")
                .unwrap();
            let is_right = count["active"]["N"] == "3" && count["counting"].is_null();
            assert!(is_right, "{attribute} {value}: {count}");
        }
        silence("b").await;
        silence("c").await;
        make_count_due().await;
        send(call(&tenant, &key, "prod", "new")).await.expect(200);
    });
}

#[test]
fn the_number_of_listed_nodes_is_limited_whether_or_not_they_are_active() {
    run(async {
        let (stack, key) = with_nodes("5").await;
        let tenant = Tenant::acme(&stack);
        for node in ["a", "b"] {
            send(call(&tenant, &key, "prod", node)).await.expect(200);
        }
        let pk = format!("N#acme#{}", tenant.cluster("prod").await["id"]);
        let listed = json!({ ":listed": { "N": "10000" } });
        tenant
            .edit_item(&pk, "QUOTA", "SET listed = :listed", listed)
            .await;
        let refused = send(call(&tenant, &key, "prod", "c")).await;
        refused.expect_accuknox(409, "node_quota_reached");
        send(call(&tenant, &key, "prod", "b")).await.expect(200);
    });
}

#[test]
fn concurrent_calls_by_one_person_count_as_one_first_sign_in() {
    const ME: &str = "/v1/users/me";
    run(async {
        let stack = concurrent_stack(&[("MaxFirstSignInsPerHour", "30")]).await;
        let tenant = Tenant::acme(&stack);
        until((now() + 20) / 3600 * 3600).await;
        // Holds the calls, so that each of them has read that the person is unknown before the first one is counted.
        let rule = tenant.rule("UpdateItem", Fault::Hold).function("users");
        let rule = stack.inject(rule);
        let calls = all_at_once((0..5).map(|_| tenant.request("one", "GET", ME)));
        let release = async {
            let are_held = || async { (rule.hits() >= 5).then_some(()) };
            eventually("all calls are held", are_held).await;
            drop(rule);
        };
        let (answers, ()) = tokio::join!(calls, release);
        for answer in answers {
            answer.expect(200);
        }
        let items = tenant.partition("T#acme").await;
        let counts = items.iter().filter(|item| item["sk"]["S"] != "ADMINS");
        let counts: Vec<_> = counts.map(|item| &item["sign_ins"]["N"]).collect();
        assert_eq!(counts, ["1"]);
    });
}

#[test]
fn first_sign_ins_are_limited_per_tenant_and_hour() {
    const ME: &str = "/v1/users/me";
    run(async {
        let stack = own_stack(&[("MaxFirstSignInsPerHour", "2")]).await;
        let tenant = Tenant::acme(&stack);
        // Waits for the next hour if the current hour is about to end.
        until((now() + 20) / 3600 * 3600).await;
        let key = json!({ "name": "k", "role": "viewer" });
        tenant.get("one", ME).await.expect(200);
        send(tenant.creation("two", &key)).await.expect(201);
        for refused in [
            tenant.get("three", ME).await,
            send(tenant.creation("three", &key)).await,
        ] {
            assert_eq!(refused.header("retry-after"), Some("3600"));
            refused.expect_problem(429, "too_many_first_sign_ins");
        }
        // The limit does not apply to people who are already known, who were added, or whom `BootstrapAdmins` names.
        // Reaching the limit does not affect other tenants.
        tenant.get("admin", ME).await.expect(200);
        tenant.get("one", ME).await.expect(200);
        tenant.user("three", "viewer").await;
        tenant.get("three", ME).await.expect(200);
        let elsewhere = tenant.token_of(json!({ "sub": "three", "tenant_id": "t0x" }));
        send(tenant.call("GET", ME).bearer_auth(elsewhere))
            .await
            .expect(200);
    });
}
