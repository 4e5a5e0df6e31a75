//! Least privilege: each function uses every permission of its role, and cannot write anything that its role does not
//! permit. In every test, the local stack denies requests that a role does not permit.

use harness::{
    Answer, Fault, KEYS, PROCESS, ProtectedApi, Rule, Stack, Tenant, UNKNOWN_KEY, VALIDATE,
    eventually, now, options, rfc3339, run, send, stack,
};
use serde_json::{Value, json};

use crate::publish_lost::strand;

const DAY: i64 = 86_400;

async fn admin(tenant: &Tenant<'_>, method: &str, path: &str) {
    success(tenant.request("admin", method, path)).await;
}

async fn admin_sends(tenant: &Tenant<'_>, method: &str, path: &str, body: Value) {
    success(tenant.request("admin", method, path).json(&body)).await;
}

async fn success(request: reqwest::RequestBuilder) -> Answer {
    let answer = send(request).await;
    assert!(answer.status < 300, "{}: {}", answer.status, answer.text);
    answer
}

/// Moves a time in a user's record far into the past.
async fn age(tenant: &Tenant<'_>, user: &str, attribute: &str) {
    let (pk, past) = (tenant.pk(user), json!({ ":past": { "N": "1" } }));
    let update = format!("SET {attribute} = :past");
    tenant.edit_item(&pk, "USER", &update, past).await;
}

/// Creates, reads and changes keys and users.
async fn use_keys_and_users(stack: &Stack, tenant: &Tenant<'_>) {
    // Calls `create`: creates a key, retries the creation, and signs a user in for the first time.
    for _ in 0..2 {
        let create = tenant.creation("admin", &json!({ "name": "k", "role": "viewer" }));
        success(create.header("idempotency-key", "once")).await;
        age(tenant, "admin", "last_sign_in_at").await;
    }
    let newcomer = tenant.creation("stranger", &json!({ "name": "k", "role": "viewer" }));
    success(newcomer).await;
    // Calls `create` again. The quota is full, but no key that counts towards the quota is still live.
    let ids: Vec<String> = (0..1000).map(unknown_key).collect();
    let live = json!({ ":ids": { "SS": ids } });
    let (pk, update) = (tenant.pk("admin"), "SET live = :ids");
    tenant.edit_item(&pk, "QUOTA", update, live).await;
    tenant.key("admin", "viewer").await;

    // Calls `users`: promotes a user through `BootstrapAdmins`, reads the caller's own record, signs users in for the
    // first time, and creates, changes, deletes and re-creates another user. One of the changes has no effect.
    let (pk, viewer) = (tenant.pk("admin"), json!({ ":role": { "S": "viewer" } }));
    let before = "SET #role = :role REMOVE bootstrapped, last_sign_in_at";
    tenant.edit_item(&pk, "USER", before, viewer).await;
    admin(tenant, "GET", "/v1/users/me").await;
    age(tenant, "admin", "last_sign_in_at").await;
    admin(tenant, "GET", "/v1/users/me").await;
    let another = tenant.token_of(json!({ "sub": "admin", "tenant_id": "t0x" }));
    success(tenant.call("GET", "/v1/users/me").bearer_auth(another)).await;
    success(tenant.request("newcomer", "GET", "/v1/users/me")).await;
    let profile = json!({ "role": "editor", "email": "e@acme.example", "name": "E" });
    let (editor, promotion) = ("/v1/users/editor", json!({ "role": "admin" }));
    for (method, change) in [
        ("PUT", &profile),
        ("PATCH", &promotion),
        ("PATCH", &promotion),
    ] {
        admin_sends(tenant, method, editor, change.clone()).await;
    }
    for path in ["/v1/users", "/v1/users?q=e"] {
        admin(tenant, "GET", path).await;
    }
    let conflict = || {
        let rule = Rule::new(Fault::TransactionConflict).action("TransactWriteItems");
        stack.inject(rule.times(1))
    };
    let waiting = conflict();
    admin_sends(tenant, "PATCH", editor, json!({ "status": "inactive" })).await;
    assert_eq!(waiting.hits(), 1);
    admin(tenant, "DELETE", editor).await;
    age(tenant, "editor", "created_at").await;
    admin_sends(tenant, "PUT", editor, profile).await;
    admin(tenant, "DELETE", editor).await;

    // Calls `list` and `revoke`, for the caller's own keys and for the keys of another user.
    tenant.user("viewer", "viewer").await;
    let others = "/v1/users/viewer/access-keys";
    admin(tenant, "GET", others).await;
    admin(tenant, "DELETE", others).await;
    let waiting = conflict();
    admin(tenant, "DELETE", others).await;
    assert_eq!(waiting.hits(), 1);
    let (id, _) = tenant.key("viewer", "viewer").await;
    let waiting = conflict();
    admin(tenant, "DELETE", &format!("{others}/{id}?reason=r")).await;
    assert_eq!(waiting.hits(), 1);
    for query in ["", "?target=user:viewer"] {
        admin(tenant, "GET", &format!("/v1/audit{query}")).await;
    }
    let (id, key) = tenant.key("admin", "viewer").await;
    for path in [&format!("{KEYS}/{id}"), KEYS, "/v1/access-keys"] {
        admin(tenant, "GET", path).await;
    }

    // Calls `validate`, `authorize` and `jwks`.
    success(tenant.call("POST", VALIDATE).bearer_auth(&key)).await;
    let (_, unused) = tenant.key("admin", "viewer").await;
    let api = ProtectedApi::start(stack).await;
    success(api.get(&unused)).await;
    success(tenant.own_record(&unused)).await;
    success(tenant.call("GET", "/.well-known/jwks.json")).await;
}

/// Onboards, reads and deletes a cluster, and redeems a join token.
async fn use_clusters(tenant: &Tenant<'_>) {
    let (_, key) = tenant.limited_key("editor", 5).await;
    let (_, onboarding) = tenant.onboarding_key(5).await;
    let cluster = json!({ "cluster_name": "a", "type": "K8s" });
    let node = json!({ "cluster_name": "", "node_name": "n", "type": "Node" });
    let process = |body: &Value| {
        let request = tenant.call("POST", PROCESS).bearer_auth(&onboarding);
        success(request.json(body))
    };
    process(&cluster).await;
    process(&node).await;
    let joined = process(&cluster).await;
    let platform = tenant.platform_token(json!({ "tenant_id": "acme" }));
    let body = json!({ "join_token": joined["join_token"], "cluster_name": "a" });
    tenant.redeem(&platform, body.clone()).await.expect(200);
    tenant.redeem(&platform, body).await.expect(409);
    success(tenant.call("GET", "/v1/clusters/a").bearer_auth(&key)).await;
    tenant.onboard(&key, "a").await.expect(200);
    tenant.user("limited", "editor").await;
    let (id, _) = tenant
        .key_of(
            "limited",
            json!({ "name": "k", "role": "editor", "max_clusters": 5 }),
        )
        .await;
    for limit in [2, 3] {
        let (limit, path) = (
            json!({ "max_clusters": limit }),
            format!("/v1/users/limited/access-keys/{id}"),
        );
        admin_sends(tenant, "PATCH", &path, limit).await;
    }
    // Moves the key's next check to another day, so that the next call also writes `due_pk`.
    tenant
        .backdate("limited", &id, now() - 3 * DAY, now() + 3 * DAY)
        .await;
    let yes = json!({ ":yes": { "BOOL": true } });
    tenant
        .edit_key("limited", &id, "SET self_rotate = :yes", yes)
        .await;
    let end = rfc3339(now() + 2 * DAY);
    let change = json!({ "name": "n", "labels": ["ci"], "expires_at": end });
    let path = format!("/v1/users/limited/access-keys/{id}");
    admin_sends(tenant, "PATCH", &path, change).await;
    // Each step of a deletion frees the slots of at most 40 holders, so this deletion takes two steps.
    hold(tenant, "a", 41).await;
    admin(tenant, "DELETE", "/v1/clusters/a").await;

    // Simulates a cluster deletion that stopped halfway. The next call finishes it.
    process(&cluster).await;
    let past = json!({ ":past": { "N": (now() - 60).to_string() } });
    let update = "SET deleting = :past";
    tenant
        .edit_item(&tenant.clusters_pk(), "CLUSTER#a", update, past)
        .await;
    hold(tenant, "a", 41).await;
    process(&cluster).await;
    admin(tenant, "DELETE", "/v1/clusters/a").await;
}

/// For each function that records the use of a key, rotates a key and presents both of its secrets to that function.
/// Archives one of the keys.
async fn use_rotated_keys(stack: &Stack, tenant: &Tenant<'_>) {
    let api = ProtectedApi::start(stack).await;
    for function in ["validate", "authorize", "clusters", "onboard"] {
        let body = json!({
            "name": "k", "labels": ["ci"], "role": "editor", "max_clusters": 5, "self_rotate": true,
        });
        let (id, old) = tenant.key_of("admin", body).await;
        let rotated = success(tenant.self_rotation(&old, &json!({}))).await;
        for key in [rotated.string("access_key"), &old] {
            let request = match function {
                "validate" => tenant.validation(key),
                "authorize" => api.get(key),
                "clusters" => tenant.call("GET", "/v1/clusters").bearer_auth(key),
                _ => tenant.onboarding(key, "rotated"),
            };
            success(request).await;
        }
        if function == "validate" {
            let past = json!({ ":past": { "N": (now() - 1).to_string() } });
            let update = "SET expires_at = :past, #ttl = :past";
            tenant.edit_key("admin", &id, update, past).await;
            tenant.archived(&id).await;
            continue;
        }
        // Moves the key's next check to another day, so that the next call also writes `due_pk`.
        tenant
            .backdate("admin", &id, now() - 86_400, now() + 86_400)
            .await;
        let less = json!({ "role": "viewer", "max_clusters": 2 });
        let rotation = tenant.rotation("admin", &id, &less);
        success(rotation.header("idempotency-key", function)).await;
    }
    admin(tenant, "DELETE", "/v1/clusters/rotated").await;
    tenant.user("rotated", "viewer").await;
    let (id, _) = tenant.key("rotated", "viewer").await;
    let path = format!("/v1/users/rotated/access-keys/{id}/rotate");
    let same = json!({ "role": "viewer", "max_clusters": 1 });
    admin_sends(tenant, "POST", &path, same).await;
}

/// Returns the id of a key that does not exist.
fn unknown_key(n: u32) -> String {
    format!("01900000-0000-7000-8000-{n:012}")
}

/// Adds holders without slots to a cluster.
async fn hold(tenant: &Tenant<'_>, cluster: &str, holders: u32) {
    let holders: Vec<String> = (0..holders).map(unknown_key).collect();
    let holders = json!({ ":holders": { "SS": holders } });
    let (pk, update) = (tenant.clusters_pk(), "ADD holders :holders");
    let sk = format!("CLUSTER#{cluster}");
    tenant.edit_item(&pk, &sk, update, holders).await;
}

/// Runs the schedules as if the current time were `second`.
async fn notify(stack: &Stack, second: i64) {
    let outcomes = stack.run_schedules(second.try_into().unwrap()).await;
    for outcome in outcomes.unwrap() {
        outcome.unwrap();
    }
}

/// Revokes keys, and waits until the clean-up has archived an expired key that held a slot.
async fn end_keys(stack: &Stack, tenant: &Tenant<'_>) {
    let (id, _) = tenant.key("admin", "viewer").await;
    let (_, leaked) = tenant.key("admin", "viewer").await;
    tenant.revoke(&leaked).await;
    tenant.revoke_by_id(&id).await;
    tenant.key("admin", "viewer").await;
    let matching = json!({ "role": "viewer", "dry_run": false });
    admin_sends(tenant, "POST", "/v1/access-keys/revoke-matching", matching).await;
    admin(tenant, "DELETE", KEYS).await;
    let (revoked, _, _) = tenant.short_lived("viewer", 2).await;
    admin(tenant, "DELETE", &format!("{KEYS}/{revoked}?reason=r")).await;

    let created = now() - 3 * DAY;
    let mut unused = String::new();
    for _ in 0..2 {
        (unused, _) = tenant.key("admin", "viewer").await;
        let end = created + 9 * DAY;
        tenant.backdate("admin", &unused, created, end).await;
    }
    notify(stack, created + DAY).await;
    let rule = tenant.rule("TransactWriteItems", Fault::Throttle);
    let throttled = stack.inject(rule.containing(&format!("KEY#{unused}")));
    notify(stack, created + 2 * DAY).await;
    assert!(throttled.hits() > 0);
    drop(throttled);

    let (_, key, _) = tenant.short_lived("cluster_onboarding", 2).await;
    tenant.onboard(&key, "b").await.expect(200);
    let freed = eventually("the slot is freed", || async {
        stack.sweep_ttl().unwrap();
        stack.drain_events().await;
        let clusters = tenant.all("admin", "/v1/clusters").await;
        (clusters[0]["key_ids"] == json!([])).then_some(clusters)
    });
    assert_eq!(freed.await[0]["name"], "b");
}

/// Damages items in several ways and lets `repair` correct them. Sends events again.
async fn repair(stack: &Stack, tenant: &Tenant<'_>) {
    let (id, key) = tenant.limited_key("editor", 5).await;
    for cluster in ["counted", "gone", "left"] {
        tenant.onboard(&key, cluster).await.expect(200);
    }
    tenant
        .delete("admin", "/v1/users/me/access-keys")
        .await
        .expect(204);
    let (forgotten, _) = tenant.key("admin", "viewer").await;
    let update = "REMOVE due_pk, due_sk";
    tenant
        .edit_key("admin", &forgotten, update, Value::Null)
        .await;
    let (user, clusters) = (tenant.pk("admin"), tenant.clusters_pk());
    let lost = json!({ "pk": { "S": clusters }, "sk": { "S": "CLUSTER#gone" } });
    let admins = json!({ "pk": { "S": "T#acme" }, "sk": { "S": "ADMINS" } });
    let number = |n: i64| json!({ ":v": { "N": n.to_string() } });
    let set = |value: &str| json!({ ":v": { "SS": [value] } });
    tenant
        .edit_key("admin", &id, "SET clusters_used = :v", number(5))
        .await;
    tenant
        .edit_item(&user, "USER", "SET epoch = :v", number(1))
        .await;
    tenant.dynamodb("DeleteItem", json!({ "Key": lost })).await;
    tenant
        .edit_item(&clusters, "CLUSTER#left", "SET deleting = :v", number(1))
        .await;
    hold(tenant, "left", 41).await;
    let update = "DELETE holders :v";
    tenant
        .edit_item(&clusters, "CLUSTER#counted", update, set(&id))
        .await;
    // A slot of a key that no longer exists.
    let dead = json!({
        "pk": { "S": format!("K#acme#{UNKNOWN_KEY}") }, "sk": { "S": "SLOT#counted" },
        "user_id": { "S": "admin" }, "created_at": { "N": "1" },
    });
    tenant.dynamodb("PutItem", json!({ "Item": dead })).await;
    let update = "ADD holders :v";
    tenant
        .edit_item(&clusters, "CLUSTER#counted", update, set(UNKNOWN_KEY))
        .await;
    hold(tenant, "counted", 1).await;
    let invoke = || stack.invoke("repair", json!({ "tenant_id": "acme", "apply": true }));
    strand(stack, tenant).await;
    invoke().await.unwrap();
    tenant
        .edit_item("T#acme", "ADMINS", "ADD admins :v", set("nobody"))
        .await;
    invoke().await.unwrap();
    let damaged = json!({ "pk": admins["pk"], "sk": admins["sk"], "admins": { "BOOL": true } });
    tenant.dynamodb("PutItem", json!({ "Item": damaged })).await;
    invoke().await.unwrap();
    let period = json!({ "tenant_id": "acme", "from": rfc3339(0), "to": rfc3339(now()) });
    let again = json!({ "republish": period });
    stack.invoke("publish", again).await.unwrap();
}

/// Sends a request to DynamoDB with the credentials of a function.
async fn request_as(function: &str, action: &str, body: &Value) -> Answer {
    let environment = stack().environment(function);
    let find = |name: &str| environment.iter().find(|(variable, _)| variable == name);
    let [(_, endpoint), (_, key)] =
        ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ACCESS_KEY_ID"].map(|name| find(name).unwrap());
    let credential = format!("{key}/20260101/us-east-1/dynamodb/aws4_request");
    let request = reqwest::Client::new()
        .post(endpoint)
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"),
        )
        .header("x-amz-date", "20260101T000000Z");
    send(request.body(body.to_string())).await
}

async fn expect_denied(function: &str, action: &str, body: Value) {
    let answer = request_as(function, action, &body).await;
    let is_denied = answer.status == 400 && answer.text.contains("AccessDeniedException");
    assert!(is_denied, "{function} {action} {body}: {}", answer.text);
}

/// Returns the body of a request about one item, with the additional parameters in `more`.
fn on_item(pk: &str, sk: &str, more: Value) -> Value {
    let mut body = json!({
        "TableName": stack().table(),
        "Key": { "pk": { "S": pk }, "sk": { "S": sk } },
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// Returns the parameters of an `UpdateItem` request that sets one attribute.
fn setting(attribute: &str) -> Value {
    json!({
        "UpdateExpression": "SET #a = :v",
        "ExpressionAttributeNames": { "#a": attribute },
        "ExpressionAttributeValues": { ":v": { "N": "1" } },
    })
}

/// Returns the body of a `PutItem` request for an item with these attributes.
fn putting(pk: &str, sk: &str, attributes: &[&str]) -> Value {
    let mut item = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
    for attribute in attributes {
        item[*attribute] = json!({ "S": "x" });
    }
    json!({ "TableName": stack().table(), "Item": item })
}

/// Returns one partition key of each kind.
fn partitions(tenant: &Tenant<'_>) -> [String; 6] {
    let user = tenant.pk("admin");
    let id = user.split('#').nth(1).unwrap();
    let others = ["T", "C", "K", "N", "J"].map(|kind| format!("{kind}#{id}"));
    let [admins, clusters, slots, nodes, token] = others;
    [
        user,
        admins,
        clusters,
        format!("{slots}#key"),
        format!("{nodes}#1"),
        token,
    ]
}

#[test]
fn a_compromised_validation_function_can_write_only_the_time_of_the_last_use() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let [user, others @ ..] = partitions(&tenant);
        let key = format!("KEY#{id}");
        let before = tenant.items("admin").await;
        for function in ["validate", "authorize"] {
            for sk in [key.as_str(), "USER"] {
                for attribute in [
                    "role",
                    "hash",
                    "previous_hash",
                    "previous_ends_at",
                    "generation",
                    "self_rotate",
                    "revoked_at",
                    "status",
                    "epoch",
                    "expires_at",
                    "max_clusters",
                    "admins",
                    "new",
                ] {
                    let update = on_item(&user, sk, setting(attribute));
                    expect_denied(function, "UpdateItem", update).await;
                }
                for (update, names) in [
                    (
                        "SET last_used_at = :v, #a.b[0] = :v",
                        json!({ "#a": "role" }),
                    ),
                    ("SET last_used_at = :v REMOVE revoked_at", json!({})),
                    ("SET last_used_at = epoch", json!({})),
                    ("SET last_used_at = ; :v", json!({})),
                ] {
                    let update = json!({
                        "UpdateExpression": update,
                        "ExpressionAttributeNames": names,
                        "ExpressionAttributeValues": { ":v": { "N": "1" } },
                    });
                    expect_denied(function, "UpdateItem", on_item(&user, sk, update)).await;
                }
                let legacy = json!({ "AttributeUpdates": { "role": { "Action": "DELETE" } } });
                expect_denied(function, "UpdateItem", on_item(&user, sk, legacy)).await;
                let mut returning = setting("last_used_at");
                returning["ReturnValues"] = json!("ALL_NEW");
                expect_denied(function, "UpdateItem", on_item(&user, sk, returning)).await;
                let mut guessing = setting("last_used_at");
                guessing["ConditionExpression"] = json!("begins_with(email, :v)");
                expect_denied(function, "UpdateItem", on_item(&user, sk, guessing)).await;
                expect_denied(function, "PutItem", putting(&user, sk, &[])).await;
                expect_denied(function, "DeleteItem", on_item(&user, sk, json!({}))).await;
                let update = on_item(&user, sk, setting("role"));
                let transaction = json!({ "TransactItems": [{ "Update": update }] });
                expect_denied(function, "TransactWriteItems", transaction).await;
                let delete = json!({ "DeleteRequest": on_item(&user, sk, json!({})) });
                let batch = json!({ "RequestItems": { stack().table(): [delete] } });
                expect_denied(function, "BatchWriteItem", batch).await;
            }
            for pk in &others {
                let update = on_item(pk, "ADMINS", setting("last_used_at"));
                expect_denied(function, "UpdateItem", update).await;
                let keys = json!([{ "pk": { "S": pk }, "sk": { "S": "ADMINS" } }]);
                let batch = json!({ "RequestItems": { stack().table(): { "Keys": keys } } });
                expect_denied(function, "BatchGetItem", batch).await;
            }
            expect_denied(function, "Scan", json!({ "TableName": stack().table() })).await;
        }
        assert_eq!(tenant.items("admin").await, before);
        for function in ["validate", "authorize"] {
            let update = on_item(&user, &key, setting("last_used_at"));
            let answer = request_as(function, "UpdateItem", &update).await;
            answer.expect(200);
        }
        let item = tenant.key_item(&id).await.unwrap();
        assert_eq!(item["last_used_at"], json!({ "N": "1" }));
    });
}

#[test]
fn a_compromised_function_cannot_write_attributes_that_its_role_does_not_allow() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let [user, admins, clusters, slots, nodes, _] = partitions(&tenant);
        let key = format!("KEY#{id}");
        let before = tenant.items("admin").await;
        for (function, attributes) in [
            (
                "create",
                "status role email revocations clusters_used max_clusters",
            ),
            ("list", "role hash status last_used_at"),
            (
                "revoke",
                "role hash status last_used_at max_clusters created_by",
            ),
            (
                "rotate",
                "status email revocations clusters_used last_used_at name created_by created_at",
            ),
            (
                "users",
                "hash revoked_at expires_at max_clusters clusters_used last_used_at",
            ),
            (
                "onboard",
                "role status epoch revocations revoked_by created_by signed_max_clusters",
            ),
            (
                "clusters",
                "role status epoch revocations revoked_at created_by",
            ),
            (
                "cleanup",
                "role hash status epoch revoked_at clusters_used last_used_at",
            ),
            (
                "notify",
                "role hash status epoch revocations max_clusters clusters_used created_by",
            ),
            (
                "publish",
                "role hash status epoch revoked_at revocations clusters_used last_used_at",
            ),
        ] {
            for attribute in attributes.split(' ') {
                for sk in [&key, "USER"] {
                    let update = on_item(&user, sk, setting(attribute));
                    expect_denied(function, "UpdateItem", update).await;
                }
            }
            for sk in [&key, "USER"] {
                expect_denied(function, "DeleteItem", on_item(&user, sk, json!({}))).await;
            }
        }
        for (function, attributes) in [
            ("list", [""; 0].as_slice()),
            ("onboard", &[]),
            ("clusters", &[]),
            ("revoke", &["end", "role"]),
            ("notify", &["role", "hash"]),
            ("revoke", &["pending_audit", "ttl"]),
            ("users", &["pending_audit", "ttl"]),
            ("publish", &["role", "hash"]),
            ("cleanup", &["role", "hash"]),
            ("cleanup", &["role", "status"]),
            ("users", &["role", "hash"]),
            ("create", &["role", "revoked_at"]),
            ("rotate", &["role", "hash"]),
        ] {
            for sk in [&key, "USER"] {
                expect_denied(function, "PutItem", putting(&user, sk, attributes)).await;
            }
        }
        for (function, forbidden) in [
            ("create", vec![&clusters, &slots, &nodes]),
            ("rotate", vec![&admins, &clusters, &slots, &nodes]),
            ("revoke", vec![&admins, &clusters, &slots, &nodes]),
            ("users", vec![&clusters, &slots, &nodes]),
            ("onboard", vec![&admins]),
            ("clusters", vec![&admins, &nodes]),
            ("cleanup", vec![&admins, &nodes]),
            ("notify", vec![&admins, &clusters, &slots, &nodes]),
            ("publish", vec![&admins, &clusters, &slots, &nodes]),
        ] {
            for pk in forbidden {
                for attribute in ["admins", "holders", "id", "last_used_at"] {
                    let update = on_item(pk, "ADMINS", setting(attribute));
                    expect_denied(function, "UpdateItem", update).await;
                }
                expect_denied(function, "PutItem", putting(pk, "ADMINS", &[])).await;
                expect_denied(function, "DeleteItem", on_item(pk, "ADMINS", json!({}))).await;
            }
        }
        assert_eq!(tenant.items("admin").await, before);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_uses_exactly_the_permissions_of_its_role() {
    let parameters = [("UnusedAfterDays", "1"), ("RevokeUnusedAfterDays", "1")];
    let stack = Stack::start(options(&parameters)).await;
    let stack = stack.expect("the local stack starts");
    let tenant = Tenant::acme(&stack);
    use_keys_and_users(&stack, &tenant).await;
    use_clusters(&tenant).await;
    use_rotated_keys(&stack, &tenant).await;
    end_keys(&stack, &tenant).await;
    repair(&stack, &tenant).await;
    stack.drain_events().await;
    let mut unused = Vec::new();
    for function in stack.function_names() {
        let allowed = stack.allowed_permissions(function);
        let used = stack.used_permissions(function);
        assert!(used.is_subset(&allowed));
        unused.extend(allowed.difference(&used).cloned());
    }
    assert!(unused.is_empty(), "functions never use {unused:#?}");
    stack.stop().await;
}
