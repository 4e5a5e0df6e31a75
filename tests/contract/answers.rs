//! Every operation and every error code that can be had: the document allows each answer, and lists nothing else.

use harness::{Answer, Fault, Rule, Service, Stack, options};
use serde_json::{Value, json};

use crate::calls::{Call, Contract};

async fn provision(contract: &Contract<'_>, user: &str, role: &str) -> Answer {
    let call = contract
        .call("provisionUser")
        .with("user_id", user)
        .bearer(&contract.token("admin"));
    contract.send(call.json(&json!({ "role": role }))).await
}

async fn change(contract: &Contract<'_>, user: &str, change: Value) -> Answer {
    let call = contract
        .call("changeUser")
        .with("user_id", user)
        .bearer(&contract.token("admin"));
    contract.send(call.json(&change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_documented_and_every_documented_answer_is_given() {
    let stack = Stack::start(options(&[])).await;
    let stack = stack.expect("the local stack starts");
    let contract = &Contract::new(&stack);
    contract
        .send(
            contract
                .call("getUser")
                .with("user_id", "me")
                .bearer(&contract.token("admin")),
        )
        .await
        .expect_code(200, "");
    for (user, role) in [
        ("editor", "editor"),
        ("viewer", "viewer"),
        ("gone", "editor"),
        ("broken", "editor"),
    ] {
        provision(contract, user, role).await.expect_code(201, "");
    }
    keys(contract).await;
    users(contract).await;
    clusters(contract).await;
    join_tokens(contract).await;
    bad_calls(contract).await;
    let unseen: Vec<_> = contract
        .unseen()
        .into_iter()
        .filter(|outcome| !is_out_of_reach(outcome))
        .collect();
    assert!(unseen.is_empty(), "documented and not seen: {unseen:#?}");
    stack.stop().await;
}

/// What takes more than a few calls.
fn is_out_of_reach((operation, status, label): &(String, String, String)) -> bool {
    matches!(
        (operation.as_str(), status.as_str(), label.as_str()),
        // The stage's limits, which the local stack leaves out.
        (_, "429", _)
            // Functions that crash or hang: tests/stack.
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

async fn keys(contract: &Contract<'_>) {
    let admin = contract.token("admin");
    let create = |body: Value| contract.call("createKey").bearer(&admin).json(&body);
    let wanted = json!({ "name": "k", "role": "viewer" });
    contract
        .send(create(wanted.clone()).with("user_id", "nobody"))
        .await
        .expect_code(404, "not_found");
    contract
        .send(create(json!({ "name": "", "max_clusters": 0 })))
        .await
        .expect_code(400, "invalid_request");
    let above = create(json!({ "name": "k", "role": "admin" }));
    contract.send(above).await.expect_code(403, "forbidden");
    change(contract, "gone", json!({ "status": "inactive" }))
        .await
        .expect_code(200, "");
    contract
        .send(create(wanted.clone()).with("user_id", "gone"))
        .await
        .expect_code(409, "owner_inactive");

    let once = || create(wanted.clone()).header("Idempotency-Key", "once");
    let first = contract.send(once()).await.expect_code(201, "");
    assert_eq!(
        contract.send(once()).await.expect_code(201, "")["id"],
        first["id"]
    );
    let other = once().json(&json!({ "name": "other", "role": "viewer" }));
    contract
        .send(other)
        .await
        .expect_code(409, "idempotency_key_reused");

    let (id, _) = contract
        .tenant
        .key_of(
            "editor",
            json!({ "name": "listed", "role": "editor", "max_clusters": 3 }),
        )
        .await;
    let of_key = |operation: &str| contract.call(operation).with("key_id", &id).bearer(&admin);
    contract.send(of_key("getKey")).await.expect_code(200, "");
    contract
        .send(of_key("limitKey").json(&json!({ "max_clusters": 2 })))
        .await
        .expect_code(200, "");
    let above = of_key("limitKey").json(&json!({ "max_clusters": 4 }));
    contract
        .send(above)
        .await
        .expect_code(400, "invalid_request");
    for list in ["listUserKeys", "listTenantKeys"] {
        let page = contract.call(list).bearer(&admin).query("limit", "1");
        let next = contract.send(page.clone()).await.expect_code(200, "")["next_cursor"].clone();
        let next = page.query("cursor", next.as_str().unwrap());
        contract.send(next).await.expect_code(200, "");
        let filtered = contract
            .call(list)
            .bearer(&admin)
            .query("role", "editor")
            .query("status", "active");
        contract.send(filtered).await.expect_code(200, "");
    }
    contract
        .send(of_key("revokeKey").query("reason", "leaked"))
        .await
        .expect_code(204, "");
    assert_eq!(
        contract.send(of_key("getKey")).await.expect_code(200, "")["revoked_reason"],
        "leaked"
    );
    let late = of_key("limitKey").json(&json!({ "max_clusters": 1 }));
    contract.send(late).await.expect_code(409, "key_gone");
    contract
        .send(contract.call("revokeUserKeys").bearer(&admin))
        .await
        .expect_code(204, "");
    contract.send(once()).await.expect_code(409, "key_gone");
    for keys in [
        "publicKeys",
        "accuknoxPublicKeys",
        "accuknoxPublicKeysSlash",
    ] {
        contract
            .send(contract.call(keys))
            .await
            .expect_code(200, "");
    }

    let (_, presented) = contract.tenant.key_of("editor", wanted.clone()).await;
    contract
        .send(contract.call("getCallingKey").bearer(&presented))
        .await
        .expect_code(200, "");
    let validate = |body: Value| contract.call("validateKey").json(&body);
    contract
        .send(
            contract
                .call("validateKey")
                .form(&format!("token={presented}")),
        )
        .await
        .expect_code(200, "");
    contract
        .send(
            contract
                .call("validateKey")
                .without_body()
                .bearer(&presented),
        )
        .await
        .expect_code(200, "");
    let recent = json!({ "access_key": presented, "max_staleness": 30 });
    contract.send(validate(recent)).await.expect_code(200, "");
    let permission = json!({ "access_key": presented, "permission": "users:manage" });
    contract
        .send(validate(permission))
        .await
        .expect_code(200, "forbidden");
    let revoke = contract
        .call("revokePresentedKey")
        .json(&json!({ "access_key": presented }));
    contract.send(revoke).await.expect_code(204, "");
}

async fn users(contract: &Contract<'_>) {
    let admin = contract.token("admin");
    contract
        .send(contract.call("getUser").bearer(&admin))
        .await
        .expect_code(200, "");
    let page = contract
        .call("listUsers")
        .bearer(&admin)
        .query("limit", "1");
    let next = contract.send(page.clone()).await.expect_code(200, "")["next_cursor"].clone();
    contract
        .send(page.query("cursor", next.as_str().unwrap()))
        .await
        .expect_code(200, "");
    contract
        .send(contract.call("provisionUser").bearer(&admin))
        .await
        .expect_code(200, "");
    provision(contract, "short", "viewer")
        .await
        .expect_code(201, "");
    contract
        .send(
            contract
                .call("deleteUser")
                .with("user_id", "short")
                .bearer(&admin),
        )
        .await
        .expect_code(204, "");
    change(contract, "admin", json!({ "role": "viewer" }))
        .await
        .expect_code(409, "last_admin");
    provision(contract, "admin", "viewer")
        .await
        .expect_code(409, "last_admin");
    let last = contract
        .call("deleteUser")
        .with("user_id", "admin")
        .bearer(&admin);
    contract.send(last).await.expect_code(409, "last_admin");
    for operation in ["changeUser", "provisionUser", "deleteUser"] {
        let oneself = contract
            .call(operation)
            .with("user_id", "viewer")
            .bearer(&contract.token("viewer"));
        contract.send(oneself).await.expect_code(403, "forbidden");
    }
}

async fn clusters(contract: &Contract<'_>) {
    let admin = contract.token("admin");
    let onboarding = json!({ "name": "k", "role": "editor", "max_clusters": 1 });
    let (_, key_text) = contract.tenant.key_of("editor", onboarding).await;
    let onboard = |body: Value| contract.call("onboard").bearer(&key_text).json(&body);
    let node_first = json!({ "type": "Node", "cluster_name": "prod", "node_name": "n" });
    contract
        .send(onboard(node_first))
        .await
        .expect_code(409, "cluster_not_onboarded");
    contract
        .send(contract.call("onboard").bearer(&key_text))
        .await
        .expect_code(200, "");
    let in_the_body = json!({ "type": "vm", "node_name": "n2", "token": key_text });
    contract
        .send(contract.call("onboard").json(&in_the_body))
        .await
        .expect_code(200, "");
    let second = json!({ "type": "vm", "cluster_name": "second" });
    contract
        .send(onboard(second))
        .await
        .expect_code(409, "cluster_limit_reached");
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
        contract
            .send(onboard(body))
            .await
            .expect_code(400, &format!("invalid_{field}"));
    }

    for credentials in [&key_text, &admin] {
        let list = contract
            .call("listClusters")
            .bearer(credentials)
            .query("status", "active");
        assert_eq!(
            contract.send(list).await.expect_code(200, "")["items"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        contract
            .send(contract.call("getCluster").bearer(credentials))
            .await
            .expect_code(200, "");
    }
    let accuknox_list = contract
        .send(
            contract
                .call("accuknoxClusters")
                .bearer(&key_text)
                .query("wsid", "acme"),
        )
        .await;
    let cluster = accuknox_list.expect_code(200, "")[0]["ID"].clone();
    let twice = contract
        .call("accuknoxClusters")
        .bearer(&key_text)
        .query("wsid", "acme")
        .query("wsid", "acme");
    contract.send(twice).await.expect_code(400, "invalid_wsid");
    let nodes = |body: Value| contract.call("accuknoxNodes").bearer(&key_text).json(&body);
    let found = contract
        .send(nodes(json!({ "cluster_id": [cluster] })))
        .await
        .expect_code(200, "");
    assert_eq!(found["total_record"], 2);
    for field in ["cluster_id", "page_previous", "page_next"] {
        let mut body = json!({ "cluster_id": [1] });
        body[field] = json!(-1);
        contract
            .send(nodes(body))
            .await
            .expect_code(400, &format!("invalid_{field}"));
    }
    contract
        .send(contract.call("deleteCluster").bearer(&key_text))
        .await
        .expect_code(204, "");
}

async fn join_tokens(contract: &Contract<'_>) {
    let platform = contract
        .tenant
        .token_of(json!({ "sub": "platform", "scope": "join-tokens:redeem" }));
    let (_, key_text) = contract
        .tenant
        .key_of(
            "editor",
            json!({ "name": "k", "role": "cluster_onboarding" }),
        )
        .await;
    let joined = contract
        .send(contract.call("onboard").bearer(&key_text))
        .await
        .expect_code(200, "");
    let redeem = |body: Value| {
        contract
            .call("redeemJoinToken")
            .bearer(&platform)
            .json(&body)
    };
    let good =
        json!({ "join_token": joined["join_token"], "cluster_name": "prod", "tenant_id": "acme" });
    let elsewhere =
        json!({ "join_token": joined["join_token"], "cluster_name": "other", "tenant_id": "acme" });
    contract
        .send(redeem(elsewhere))
        .await
        .expect_code(409, "join_token_invalid");
    contract
        .send(redeem(good.clone()))
        .await
        .expect_code(200, "");
    contract
        .send(redeem(good.clone()))
        .await
        .expect_code(409, "join_token_redeemed");

    let joined = contract
        .send(contract.call("onboard").bearer(&key_text))
        .await
        .expect_code(200, "");
    let hash = contract.stack.requests().iter().rev().find_map(|request| {
        let items = request.body["TransactItems"].as_array()?;
        let item = items
            .iter()
            .map(|item| &item["Put"]["Item"])
            .find(|item| item["sk"]["S"] == "JOIN")?;
        item["pk"]["S"].as_str().map(str::to_owned)
    });
    let past = json!({ ":past": { "N": "1" } });
    let expire = "SET expires_at = :past";
    contract
        .tenant
        .edit_item(&hash.unwrap(), "JOIN", expire, past.clone())
        .await;
    let late =
        json!({ "join_token": joined["join_token"], "cluster_name": "prod", "tenant_id": "acme" });
    contract
        .send(redeem(late))
        .await
        .expect_code(409, "join_token_expired");
    let of_acme = contract
        .tenant
        .token_of(json!({ "sub": "p", "scope": "join-tokens:redeem", "tenant_id": "acme" }));
    let mut other = good;
    other["tenant_id"] = json!("globex");
    contract
        .send(redeem(other).bearer(&of_acme))
        .await
        .expect_code(403, "tenant_mismatch");
    let without_scope = contract
        .tenant
        .token_of(json!({ "sub": "admin", "tenant_id": "acme" }));
    contract
        .send(contract.call("redeemJoinToken").bearer(&without_scope))
        .await
        .expect_code(403, "message");
}

/// What can be wrong with a call, apart from its credentials.
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
async fn bad_calls(contract: &Contract<'_>) {
    let mut tokens = ["admin", "viewer", "gone", "broken"]
        .map(|user| contract.token(user))
        .to_vec();
    tokens.push(
        contract
            .tenant
            .token_of(json!({ "sub": "admin", "tenant_id": "-/-", "scope": "join-tokens:redeem" })),
    );
    let keys = keys_good_and_bad(contract).await;
    without_a_table(contract, &keys[0], &tokens[0]).await;
    let mut operations: Vec<_> = contract.operations.iter().collect();
    // It ends the good key.
    operations.sort_by_key(|operation| operation.id == "revokePresentedKey");
    for operation in operations {
        let call = || contract.call(&operation.id);
        let mut credentials = Vec::new();
        for (scheme, all) in [("accessKey", &keys), ("oidc", &tokens)] {
            credentials.extend(all.iter().filter(|_| operation.takes(scheme)));
        }
        for credentials in &credentials {
            contract.send(call().bearer(credentials)).await;
            contract
                .send(call().bearer(credentials).without_body())
                .await;
        }
        for disturb in DISTURBANCES {
            contract.send(disturb(call())).await;
            if let Some(good) = credentials.first() {
                contract.send(disturb(call().bearer(good))).await;
            }
        }
    }
}

/// A good key, then keys that may little or nothing, each for another reason.
async fn keys_good_and_bad(contract: &Contract<'_>) -> Vec<String> {
    let editor = json!({ "name": "k", "role": "editor" });
    let (_, good) = contract.tenant.key_of("admin", editor.clone()).await;
    let (_, onboards) = contract
        .tenant
        .key_of(
            "admin",
            json!({ "name": "k", "role": "cluster_onboarding" }),
        )
        .await;
    let (_, reads) = contract
        .tenant
        .key_of("admin", json!({ "name": "k", "role": "viewer" }))
        .await;
    let (_, revoked) = contract.tenant.key_of("admin", editor.clone()).await;
    let revoke = contract
        .call("revokePresentedKey")
        .json(&json!({ "access_key": revoked }));
    contract.send(revoke).await.expect_code(204, "");
    change(contract, "gone", json!({ "status": "active" }))
        .await
        .expect_code(200, "");
    let (_, ownerless) = contract.tenant.key_of("gone", editor.clone()).await;
    change(contract, "gone", json!({ "status": "inactive" }))
        .await
        .expect_code(200, "");
    let (id, broken) = contract.tenant.key_of("broken", editor).await;
    for sk in ["USER", &format!("KEY#{id}")] {
        let damage = "SET created_at = :text";
        let text = json!({ ":text": { "S": "?" } });
        contract.tenant.edit("broken", sk, damage, text).await;
    }
    let (id, expired) = contract
        .tenant
        .key_of("admin", json!({ "name": "k", "role": "viewer" }))
        .await;
    let past = json!({ ":past": { "N": "1" } });
    let expire = "SET expires_at = :past";
    contract
        .tenant
        .edit("admin", &format!("KEY#{id}"), expire, past)
        .await;
    let forged = format!("{}AA", &good[..good.len() - 2]);
    vec![
        good, onboards, reads, revoked, ownerless, broken, expired, forged,
    ]
}

/// Every operation while the table is out of reach.
async fn without_a_table(contract: &Contract<'_>, key: &str, token: &str) {
    let out = || Rule::new(Fault::DropBefore).service(Service::DynamoDb);
    let rule = contract.stack.inject(out());
    for operation in &contract.operations {
        let credentials = if operation.takes("accessKey") {
            key
        } else {
            token
        };
        let call = contract.call(&operation.id).bearer(credentials);
        contract.send(call.clone()).await;
        contract.send(call.without_body()).await;
    }
    drop(rule);
    // The authorizer has its table, and the function behind it has not.
    let _rule = contract.stack.inject(out().function("list"));
    contract
        .send(contract.call("getCallingKey").bearer(key))
        .await
        .expect_code(503, "unavailable");
}
