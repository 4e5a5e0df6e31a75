//! Every operation and every error code that can be had: the document allows each answer, and lists nothing else.

use local_stack::{Fault, Rule, Service};
use serde_json::{Value, json};

use crate::calls::{Answer, Call, World};

/// A key of `owner` in the tenant acme: its id and its text.
async fn key(world: &World, owner: &str, body: Value) -> (String, String) {
    let call = world
        .call("createKey")
        .with("user_id", owner)
        .bearer(&world.token("admin"))
        .json(&body);
    let body = world.send(call).await.expect(201, "");
    (
        body["id"].as_str().unwrap().into(),
        body["access_key"].as_str().unwrap().into(),
    )
}

async fn provision(world: &World, user: &str, role: &str) -> Answer {
    let call = world
        .call("provisionUser")
        .with("user_id", user)
        .bearer(&world.token("admin"));
    world.send(call.json(&json!({ "role": role }))).await
}

async fn change(world: &World, user: &str, change: Value) -> Answer {
    let call = world
        .call("changeUser")
        .with("user_id", user)
        .bearer(&world.token("admin"));
    world.send(call.json(&change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_documented_and_every_documented_answer_is_given() {
    let world = World::start().await;
    world
        .send(
            world
                .call("getUser")
                .with("user_id", "me")
                .bearer(&world.token("admin")),
        )
        .await
        .expect(200, "");
    for (user, role) in [
        ("editor", "editor"),
        ("viewer", "viewer"),
        ("gone", "editor"),
        ("broken", "editor"),
    ] {
        provision(&world, user, role).await.expect(201, "");
    }
    keys(&world).await;
    users(&world).await;
    clusters(&world).await;
    join_tokens(&world).await;
    bad_calls(&world).await;
    let unseen: Vec<_> = world
        .unseen()
        .into_iter()
        .filter(|outcome| !is_out_of_reach(outcome))
        .collect();
    assert!(unseen.is_empty(), "documented and not seen: {unseen:#?}");
    world.stack.stop().await;
}

/// What takes more than a few calls.
fn is_out_of_reach((operation, status, label): &(String, String, String)) -> bool {
    matches!(
        (operation.as_str(), status.as_str(), label.as_str()),
        // The stage's limits, which the local stack leaves out.
        (_, "429", _)
            // Functions that end or hang: tests/stack.
            | (_, "5XX", _) | (_, "500" | "503", "message")
            // Races, 1000 keys, 20,000 clusters: tests/api.
            | (_, _, "changed_meanwhile" | "cluster_key_limit_reached" | "too_many_clusters")
            // The authorizer reads the same records just before.
            | ("getCallingKey", _, "not_found" | "internal")
            // Only KMS, which is asked once, when the process starts.
            | ("publicKeys" | "accuknoxPublicKeys" | "accuknoxPublicKeysSlash", "500" | "503", _)
            // A damaged join token.
            | ("redeemJoinToken", "500", "internal")
    )
}

async fn keys(world: &World) {
    let admin = world.token("admin");
    let create = |body: Value| world.call("createKey").bearer(&admin).json(&body);
    let wanted = json!({ "name": "k", "role": "viewer" });
    world
        .send(create(wanted.clone()).with("user_id", "nobody"))
        .await
        .expect(404, "not_found");
    world
        .send(create(json!({ "name": "", "max_clusters": 0 })))
        .await
        .expect(400, "invalid_request");
    let above = create(json!({ "name": "k", "role": "admin" }));
    world.send(above).await.expect(403, "forbidden");
    change(world, "gone", json!({ "status": "inactive" }))
        .await
        .expect(200, "");
    world
        .send(create(wanted.clone()).with("user_id", "gone"))
        .await
        .expect(409, "owner_inactive");

    let once = || create(wanted.clone()).header("Idempotency-Key", "once");
    let first = world.send(once()).await.expect(201, "");
    assert_eq!(world.send(once()).await.expect(201, "")["id"], first["id"]);
    let other = once().json(&json!({ "name": "other", "role": "viewer" }));
    world
        .send(other)
        .await
        .expect(409, "idempotency_key_reused");

    let (id, _) = key(
        world,
        "editor",
        json!({ "name": "listed", "role": "editor", "max_clusters": 3 }),
    )
    .await;
    let of_key = |operation: &str| world.call(operation).with("key_id", &id).bearer(&admin);
    world.send(of_key("getKey")).await.expect(200, "");
    world
        .send(of_key("limitKey").json(&json!({ "max_clusters": 2 })))
        .await
        .expect(200, "");
    let above = of_key("limitKey").json(&json!({ "max_clusters": 4 }));
    world.send(above).await.expect(400, "invalid_request");
    for list in ["listUserKeys", "listTenantKeys"] {
        let page = world.call(list).bearer(&admin).query("limit", "1");
        let next = world.send(page.clone()).await.expect(200, "")["next_cursor"].clone();
        let next = page.query("cursor", next.as_str().unwrap());
        world.send(next).await.expect(200, "");
        let filtered = world
            .call(list)
            .bearer(&admin)
            .query("role", "editor")
            .query("status", "active");
        world.send(filtered).await.expect(200, "");
    }
    world
        .send(of_key("revokeKey").query("reason", "leaked"))
        .await
        .expect(204, "");
    assert_eq!(
        world.send(of_key("getKey")).await.expect(200, "")["revoked_reason"],
        "leaked"
    );
    let late = of_key("limitKey").json(&json!({ "max_clusters": 1 }));
    world.send(late).await.expect(409, "key_gone");
    world
        .send(world.call("revokeUserKeys").bearer(&admin))
        .await
        .expect(204, "");
    world.send(once()).await.expect(409, "key_gone");
    for keys in [
        "publicKeys",
        "accuknoxPublicKeys",
        "accuknoxPublicKeysSlash",
    ] {
        world.send(world.call(keys)).await.expect(200, "");
    }

    let (_, presented) = key(world, "editor", wanted.clone()).await;
    world
        .send(world.call("getCallingKey").bearer(&presented))
        .await
        .expect(200, "");
    let validate = |body: Value| world.call("validateKey").json(&body);
    world
        .send(
            world
                .call("validateKey")
                .form(&format!("token={presented}")),
        )
        .await
        .expect(200, "");
    world
        .send(world.call("validateKey").without_body().bearer(&presented))
        .await
        .expect(200, "");
    let recent = json!({ "access_key": presented, "max_staleness": 30 });
    world.send(validate(recent)).await.expect(200, "");
    let permission = json!({ "access_key": presented, "permission": "users:manage" });
    world
        .send(validate(permission))
        .await
        .expect(200, "forbidden");
    let revoke = world
        .call("revokePresentedKey")
        .json(&json!({ "access_key": presented }));
    world.send(revoke).await.expect(204, "");
}

async fn users(world: &World) {
    let admin = world.token("admin");
    world
        .send(world.call("getUser").bearer(&admin))
        .await
        .expect(200, "");
    let page = world.call("listUsers").bearer(&admin).query("limit", "1");
    let next = world.send(page.clone()).await.expect(200, "")["next_cursor"].clone();
    world
        .send(page.query("cursor", next.as_str().unwrap()))
        .await
        .expect(200, "");
    world
        .send(world.call("provisionUser").bearer(&admin))
        .await
        .expect(200, "");
    provision(world, "short", "viewer").await.expect(201, "");
    world
        .send(
            world
                .call("deleteUser")
                .with("user_id", "short")
                .bearer(&admin),
        )
        .await
        .expect(204, "");
    change(world, "admin", json!({ "role": "viewer" }))
        .await
        .expect(409, "last_admin");
    provision(world, "admin", "viewer")
        .await
        .expect(409, "last_admin");
    let last = world
        .call("deleteUser")
        .with("user_id", "admin")
        .bearer(&admin);
    world.send(last).await.expect(409, "last_admin");
    for operation in ["changeUser", "provisionUser", "deleteUser"] {
        let oneself = world
            .call(operation)
            .with("user_id", "viewer")
            .bearer(&world.token("viewer"));
        world.send(oneself).await.expect(403, "forbidden");
    }
}

async fn clusters(world: &World) {
    let admin = world.token("admin");
    let onboarding = json!({ "name": "k", "role": "editor", "max_clusters": 1 });
    let (_, key_text) = key(world, "editor", onboarding).await;
    let onboard = |body: Value| world.call("onboard").bearer(&key_text).json(&body);
    let node_first = json!({ "type": "Node", "cluster_name": "prod", "node_name": "n" });
    world
        .send(onboard(node_first))
        .await
        .expect(409, "cluster_not_onboarded");
    world
        .send(world.call("onboard").bearer(&key_text))
        .await
        .expect(200, "");
    let in_the_body = json!({ "type": "vm", "node_name": "n2", "token": key_text });
    world
        .send(world.call("onboard").json(&in_the_body))
        .await
        .expect(200, "");
    let second = json!({ "type": "vm", "cluster_name": "second" });
    world
        .send(onboard(second))
        .await
        .expect(409, "cluster_limit_reached");
    for (body, field) in [
        (
            json!({ "type": "K8s", "cluster_name": "-x" }),
            "cluster_name",
        ),
        (
            json!({ "type": "Node", "cluster_name": "prod" }),
            "node_name",
        ),
        (json!({ "type": "ship", "cluster_name": "prod" }), "type"),
        (
            json!({ "type": "K8s", "cluster_name": "prod", "token": "another" }),
            "token",
        ),
    ] {
        world
            .send(onboard(body))
            .await
            .expect(400, &format!("invalid_{field}"));
    }

    for credentials in [&key_text, &admin] {
        let list = world
            .call("listClusters")
            .bearer(credentials)
            .query("status", "active");
        assert_eq!(
            world.send(list).await.expect(200, "")["items"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        world
            .send(world.call("getCluster").bearer(credentials))
            .await
            .expect(200, "");
    }
    let accuknox_list = world
        .send(
            world
                .call("accuknoxClusters")
                .bearer(&key_text)
                .query("wsid", "acme"),
        )
        .await;
    let cluster = accuknox_list.expect(200, "")[0]["ID"].clone();
    let twice = world
        .call("accuknoxClusters")
        .bearer(&key_text)
        .query("wsid", "acme")
        .query("wsid", "acme");
    world.send(twice).await.expect(400, "invalid_wsid");
    let nodes = |body: Value| world.call("accuknoxNodes").bearer(&key_text).json(&body);
    let found = world
        .send(nodes(json!({ "cluster_id": [cluster] })))
        .await
        .expect(200, "");
    assert_eq!(found["total_record"], 2);
    for field in ["cluster_id", "page_previous", "page_next"] {
        let mut body = json!({ "cluster_id": [1] });
        body[field] = json!(-1);
        world
            .send(nodes(body))
            .await
            .expect(400, &format!("invalid_{field}"));
    }
    world
        .send(world.call("deleteCluster").bearer(&key_text))
        .await
        .expect(204, "");
}

async fn join_tokens(world: &World) {
    let platform = world
        .stack
        .token(json!({ "sub": "platform", "scope": "join-tokens:redeem" }));
    let (_, key_text) = key(
        world,
        "editor",
        json!({ "name": "k", "role": "cluster_onboarding" }),
    )
    .await;
    let joined = world
        .send(world.call("onboard").bearer(&key_text))
        .await
        .expect(200, "");
    let redeem = |body: Value| world.call("redeemJoinToken").bearer(&platform).json(&body);
    let good =
        json!({ "join_token": joined["join_token"], "cluster_name": "prod", "tenant_id": "acme" });
    let elsewhere =
        json!({ "join_token": joined["join_token"], "cluster_name": "other", "tenant_id": "acme" });
    world
        .send(redeem(elsewhere))
        .await
        .expect(409, "join_token_invalid");
    world.send(redeem(good.clone())).await.expect(200, "");
    world
        .send(redeem(good.clone()))
        .await
        .expect(409, "join_token_redeemed");

    let joined = world
        .send(world.call("onboard").bearer(&key_text))
        .await
        .expect(200, "");
    let hash = world.stack.requests().iter().rev().find_map(|request| {
        let items = request.body["TransactItems"].as_array()?;
        let item = items
            .iter()
            .map(|item| &item["Put"]["Item"])
            .find(|item| item["sk"]["S"] == "JOIN")?;
        item["pk"]["S"].as_str().map(str::to_owned)
    });
    edit(
        world,
        &hash.unwrap(),
        "JOIN",
        "SET expires_at = :value",
        json!({ "N": "1" }),
    )
    .await;
    let late =
        json!({ "join_token": joined["join_token"], "cluster_name": "prod", "tenant_id": "acme" });
    world
        .send(redeem(late))
        .await
        .expect(409, "join_token_expired");
    let of_acme = world
        .stack
        .token(json!({ "sub": "p", "scope": "join-tokens:redeem", "tenant_id": "acme" }));
    let mut other = good;
    other["tenant_id"] = json!("globex");
    world
        .send(redeem(other).bearer(&of_acme))
        .await
        .expect(403, "tenant_mismatch");
    let without_scope = world
        .stack
        .token(json!({ "sub": "admin", "tenant_id": "acme" }));
    world
        .send(world.call("redeemJoinToken").bearer(&without_scope))
        .await
        .expect(403, "message");
}

/// Edits an item in the table, past the functions.
async fn edit(world: &World, pk: &str, sk: &str, update: &str, value: Value) {
    let body = json!({
        "TableName": world.stack.table(),
        "Key": { "pk": { "S": pk }, "sk": { "S": sk } },
        "UpdateExpression": update,
        "ExpressionAttributeValues": { ":value": value },
    });
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(world.stack.dynamodb_endpoint());
    let request = request
        .header("x-amz-target", "DynamoDB_20120810.UpdateItem")
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
        .header("x-amz-date", "20260101T000000Z");
    assert_eq!(
        request
            .body(body.to_string())
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

/// What is wrong with a call beside its credentials.
const DISTURBANCES: [fn(Call) -> Call; 12] = [
    |call| call,
    |call| call.in_no_route(),
    |call| call.header("X-Tenant-Id", "globex"),
    |call| call.header("X-Filler", &"x".repeat(11_000)),
    |call| call.body(vec![b' '; 70_000]),
    |call| call.body(vec![b' '; (10 << 20) + 1]),
    |call| call.header("content-type", "text/html"),
    |call| call.body("{"),
    |call| call.json(&json!({ "unknown": 1 })),
    |call| call.query("limit", "0"),
    |call| call.query("reason", "a\0b"),
    |call| call.without_body(),
];

/// Sends every operation with every kind of credentials, and with everything else that can be wrong: what the answer is,
/// is the document's to say.
async fn bad_calls(world: &World) {
    let mut tokens = ["admin", "viewer", "gone", "broken"]
        .map(|user| world.token(user))
        .to_vec();
    tokens.push(
        world
            .stack
            .token(json!({ "sub": "admin", "tenant_id": "-/-", "scope": "join-tokens:redeem" })),
    );
    let keys = keys_good_and_bad(world).await;
    without_a_table(world, &keys[0], &tokens[0]).await;
    let mut operations: Vec<_> = world.operations.iter().collect();
    // It ends the good key.
    operations.sort_by_key(|operation| operation.id == "revokePresentedKey");
    for operation in operations {
        let call = || world.call(&operation.id);
        let mut credentials = Vec::new();
        for (scheme, all) in [("accessKey", &keys), ("oidc", &tokens)] {
            credentials.extend(all.iter().filter(|_| operation.takes(scheme)));
        }
        for credentials in &credentials {
            world.send(call().bearer(credentials)).await;
            world.send(call().bearer(credentials).without_body()).await;
        }
        for disturb in DISTURBANCES {
            world.send(disturb(call())).await;
            if let Some(good) = credentials.first() {
                world.send(disturb(call().bearer(good))).await;
            }
        }
    }
}

/// A good key, then keys that may little or nothing, each for another reason.
async fn keys_good_and_bad(world: &World) -> Vec<String> {
    let editor = json!({ "name": "k", "role": "editor" });
    let (_, good) = key(world, "admin", editor.clone()).await;
    let (_, onboards) = key(
        world,
        "admin",
        json!({ "name": "k", "role": "cluster_onboarding" }),
    )
    .await;
    let (_, reads) = key(world, "admin", json!({ "name": "k", "role": "viewer" })).await;
    let (_, revoked) = key(world, "admin", editor.clone()).await;
    let revoke = world
        .call("revokePresentedKey")
        .json(&json!({ "access_key": revoked }));
    world.send(revoke).await.expect(204, "");
    change(world, "gone", json!({ "status": "active" }))
        .await
        .expect(200, "");
    let (_, ownerless) = key(world, "gone", editor.clone()).await;
    change(world, "gone", json!({ "status": "inactive" }))
        .await
        .expect(200, "");
    let (id, broken) = key(world, "broken", editor).await;
    for sk in ["USER", &format!("KEY#{id}")] {
        edit(
            world,
            "U#acme#broken",
            sk,
            "SET created_at = :value",
            json!({ "S": "?" }),
        )
        .await;
    }
    let (id, expired) = key(world, "admin", json!({ "name": "k", "role": "viewer" })).await;
    edit(
        world,
        "U#acme#admin",
        &format!("KEY#{id}"),
        "SET expires_at = :value",
        json!({ "N": "1" }),
    )
    .await;
    let forged = format!("{}AA", &good[..good.len() - 2]);
    vec![
        good, onboards, reads, revoked, ownerless, broken, expired, forged,
    ]
}

/// Every operation while the table is out of reach.
async fn without_a_table(world: &World, key: &str, token: &str) {
    let out = || Rule::new(Fault::DropBefore).service(Service::DynamoDb);
    let rule = world.stack.inject(out());
    for operation in &world.operations {
        let credentials = if operation.takes("accessKey") {
            key
        } else {
            token
        };
        let call = world.call(&operation.id).bearer(credentials);
        world.send(call.clone()).await;
        world.send(call.without_body()).await;
    }
    drop(rule);
    // The authorizer has its table, and the function behind it has not.
    let _rule = world.stack.inject(out().function("list"));
    world
        .send(world.call("getCallingKey").bearer(key))
        .await
        .expect(503, "unavailable");
}
