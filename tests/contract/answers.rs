//! Calls every operation. The document must allow each response, and each documented response must occur.

use harness::{Answer, Fault, Rule, Service, Stack, contradictions, forged, now, options};
use serde_json::{Value, json};

use crate::calls::{Call, Contract};

async fn provision(contract: &Contract<'_>, user: &str, role: &str) -> Answer {
    let call = contract.admin("provisionUser").with("user_id", user);
    contract.send(call.json(&json!({ "role": role }))).await
}

async fn change(contract: &Contract<'_>, user: &str, change: Value) -> Answer {
    let call = contract.admin("changeUser").with("user_id", user);
    contract.send(call.json(&change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_is_documented_and_every_documented_response_occurs() {
    let stack = Stack::start(options(&[])).await;
    let stack = stack.expect("the local stack starts");
    let contract = &Contract::new(&stack);
    let oneself = contract.admin("getUser").with("user_id", "me");
    contract.ok(oneself).await;
    for (user, role) in [
        ("editor", "editor"),
        ("viewer", "viewer"),
        ("gone", "editor"),
        ("broken", "editor"),
    ] {
        provision(contract, user, role).await.expect_code(201, "");
    }
    creations(contract).await;
    key_records(contract).await;
    presented_keys(contract).await;
    rotations(contract).await;
    self_rotations(contract).await;
    users(contract).await;
    onboarding(contract).await;
    cluster_lists(contract).await;
    join_tokens(contract).await;
    bad_calls(contract).await;
    let unseen = contract.unseen().into_iter();
    let unseen: Vec<_> = unseen.filter(|outcome| !is_untested(outcome)).collect();
    assert!(unseen.is_empty(), "never returned: {unseen:#?}");
    // By now, the calls have included every kind of change, refusal and repetition.
    let contradictions = contradictions(&contract.tenant).await;
    assert!(contradictions.is_empty(), "{contradictions:#?}");
    stack.stop().await;
}

/// Whether a documented response is one that this test does not cause.
fn is_untested((operation, status, label): &(String, String, String)) -> bool {
    matches!(
        (operation.as_str(), status.as_str(), label.as_str()),
        // Throttling is off in this stack.
        (_, "429", _)
            // tests/stack covers functions that crash or hang.
            | (_, "500" | "503", "message")
            // tests/stack covers races.
            | (_, _, "idempotency_in_progress")
            // tests/stack/quotas.rs covers these responses.
            | (_, _, "key_quota_reached" | "node_quota_reached")
            // No test causes these responses. They require a race, a cluster with 400 keys, or more than 5 MB of
            // clusters.
            | (_, _, "changed_meanwhile" | "cluster_key_limit_reached" | "too_many_clusters")
            // Only a KMS failure causes these responses. The function calls KMS when it starts, and then does not call
            // it again for five minutes.
            | ("publicKeys" | "accuknoxPublicKeys" | "accuknoxPublicKeysSlash", "500" | "503", _)
            // Only a damaged join token in the table causes this response.
            | ("redeemJoinToken", "500", "internal")
    )
}

fn create(contract: &Contract<'_>) -> Call {
    let body = json!({ "name": "k", "role": "viewer" });
    contract.admin("createKey").json(&body)
}

fn create_once(contract: &Contract<'_>) -> Call {
    create(contract).header("Idempotency-Key", "once")
}

async fn creations(contract: &Contract<'_>) {
    let unknown = create(contract).with("user_id", "nobody");
    contract.expect(404, "not_found", unknown).await;
    let invalid = create(contract).json(&json!({ "name": "", "max_clusters": 0 }));
    contract.expect(400, "invalid_request", invalid).await;
    let above = create(contract).json(&json!({ "name": "k", "role": "admin" }));
    contract.expect(403, "forbidden", above).await;
    let inactive = json!({ "status": "inactive" });
    let changed = change(contract, "gone", inactive).await;
    changed.expect_code(200, "");
    let inactive = create(contract).with("user_id", "gone");
    contract.expect(409, "owner_inactive", inactive).await;

    let first = contract.expect(201, "", create_once(contract)).await;
    let second = contract.expect(201, "", create_once(contract)).await;
    assert_eq!(second["id"], first["id"]);
    let body = json!({ "name": "other", "role": "viewer" });
    let reused = create_once(contract).json(&body);
    contract.expect(409, "idempotency_key_reused", reused).await;
}

/// Reads two pages of a list.
async fn read_pages(contract: &Contract<'_>, list: &str) {
    let page = contract.admin(list).query("limit", "1");
    let first = contract.ok(page.clone()).await;
    let next = page.query("cursor", first.string("next_cursor"));
    contract.ok(next).await;
}

async fn key_records(contract: &Contract<'_>) {
    let body = json!({ "name": "listed", "role": "editor", "max_clusters": 3 });
    let (id, _) = contract.tenant.key_of("editor", body).await;
    let of_key = |operation: &str| contract.admin(operation).with("key_id", &id);
    let limit = |max: u64| of_key("changeKey").json(&json!({ "max_clusters": max }));
    contract.ok(of_key("getKey")).await;
    contract.ok(limit(2)).await;
    contract.expect(400, "invalid_request", limit(4)).await;
    for list in ["listUserKeys", "listTenantKeys"] {
        read_pages(contract, list).await;
        let filtered = contract.admin(list).query("role", "editor");
        contract.ok(filtered.query("status", "active")).await;
    }
    let revoke = of_key("revokeKey").query("reason", "leaked");
    contract.expect(204, "", revoke).await;
    let revoked = contract.ok(of_key("getKey")).await;
    assert_eq!(revoked["revoked_reason"], "leaked");
    contract.expect(409, "key_gone", limit(1)).await;
    let revoke_all = contract.admin("revokeUserKeys");
    contract.expect(204, "", revoke_all).await;
    contract
        .expect(409, "idempotency_key_completed", create_once(contract))
        .await;
}

async fn presented_keys(contract: &Contract<'_>) {
    for operation in [
        "publicKeys",
        "accuknoxPublicKeys",
        "accuknoxPublicKeysSlash",
    ] {
        contract.ok(contract.call(operation)).await;
        let known = contract.call(operation).header("If-None-Match", "*");
        contract.expect(304, "", known).await;
    }
    let (_, key) = contract.tenant.key("editor", "viewer").await;
    let oneself = contract.call("getCallingKey").bearer(&key);
    contract.ok(oneself).await;
    let validate = || contract.call("validateKey");
    contract.ok(validate().form(&format!("token={key}"))).await;
    contract.ok(validate().without_body().bearer(&key)).await;
    let cached = json!({ "access_key": key, "max_staleness": 30 });
    contract.ok(validate().json(&cached)).await;
    let lacking = json!({ "access_key": key, "permission": "users:manage" });
    let lacking = validate().json(&lacking);
    contract.expect(200, "forbidden", lacking).await;
    let as_form = contract
        .call("revokePresentedKey")
        .form(&format!("token={key}"));
    contract.ok(as_form).await;
    revoke(contract, &key).await;
}

/// Makes a key expire in less than ten seconds.
async fn almost_expire(contract: &Contract<'_>, id: &str) {
    let soon = json!({ ":soon": { "N": (now() + 8).to_string() } });
    let update = "SET expires_at = :soon";
    contract.tenant.edit_key("editor", id, update, soon).await;
}

async fn rotations(contract: &Contract<'_>) {
    let (id, key) = contract.tenant.key("editor", "viewer").await;
    let rotate = |role: &str, header: &str| {
        let call = contract.admin("rotateKey").with("key_id", &id);
        let call = call.json(&json!({ "role": role, "max_clusters": 1 }));
        call.header("Idempotency-Key", header)
    };
    for _ in 0..2 {
        contract.ok(rotate("viewer", "r1")).await;
    }
    contract
        .ok(contract.call("getCallingKey").bearer(&key))
        .await;
    let validate = contract.call("validateKey").without_body().bearer(&key);
    contract.ok(validate.clone()).await;
    let other = rotate("cluster_onboarding", "r0");
    contract.expect(403, "forbidden", other).await;
    let other = contract.admin("rotateKey").with("key_id", &id);
    let other = other.json(&json!({ "role": "viewer", "max_clusters": 2 }));
    let other = other.header("Idempotency-Key", "r1");
    contract.expect(409, "idempotency_key_reused", other).await;
    let ended = json!({ "role": "viewer", "max_clusters": 1, "overlap_seconds": 0 });
    contract.ok(rotate("viewer", "r2").json(&ended)).await;
    let late = rotate("viewer", "r1");
    contract
        .expect(409, "idempotency_key_completed", late)
        .await;
    let revoke = contract.admin("revokeKey").with("key_id", &id);
    contract.expect(204, "", revoke).await;
    contract
        .expect(409, "key_revoked", rotate("viewer", "r3"))
        .await;

    let (id, _) = contract.tenant.key("editor", "viewer").await;
    almost_expire(contract, &id).await;
    let late = contract.admin("rotateKey").with("key_id", &id);
    contract.expect(409, "key_expired", late).await;
    let inactive = contract.admin("rotateKey").with("user_id", "gone");
    let set_status = async |status: &str| {
        let changed = change(contract, "gone", json!({ "status": status })).await;
        changed.expect_code(200, "");
    };
    set_status("active").await;
    let (id, _) = contract.tenant.key("gone", "viewer").await;
    set_status("inactive").await;
    let inactive = inactive.with("key_id", &id);
    contract.expect(409, "owner_inactive", inactive).await;
}

async fn self_rotations(contract: &Contract<'_>) {
    let new_key = async |role: &str| {
        let body = json!({ "name": "k", "role": role, "self_rotate": true });
        contract.tenant.key_of("editor", body).await
    };
    let rotate = |key: &str, header: &str, overlap: u32| {
        let call = contract.call("rotatePresentedKey").bearer(key);
        let call = call.json(&json!({ "overlap_seconds": overlap }));
        call.header("Idempotency-Key", header)
    };
    let (_, key) = new_key("viewer").await;
    contract.ok(rotate(&key, "s1", 60)).await;
    let new = contract.ok(rotate(&key, "s1", 60)).await;
    let reused = rotate(&key, "s1", 0);
    contract.expect(409, "idempotency_key_reused", reused).await;
    contract
        .expect(409, "key_superseded", rotate(&key, "s2", 60))
        .await;
    let received = rotate(new.string("access_key"), "s1", 60);
    contract
        .expect(409, "idempotency_key_completed", received)
        .await;
    let (id, key) = new_key("viewer").await;
    almost_expire(contract, &id).await;
    contract
        .expect(409, "key_expired", rotate(&key, "s3", 0))
        .await;
    // As a viewer, the owner has none of the key's permissions.
    let (_, key) = new_key("cluster_onboarding").await;
    for (role, status, code) in [("viewer", 403, "forbidden"), ("editor", 200, "")] {
        let changed = change(contract, "editor", json!({ "role": role })).await;
        changed.expect_code(200, "");
        contract.expect(status, code, rotate(&key, "s4", 0)).await;
    }
}

async fn revoke(contract: &Contract<'_>, key: &str) {
    let revoke = contract.call("revokePresentedKey");
    let revoke = revoke.json(&json!({ "access_key": key }));
    contract.expect(204, "", revoke).await;
}

async fn users(contract: &Contract<'_>) {
    contract.ok(contract.admin("getUser")).await;
    read_pages(contract, "listUsers").await;
    contract.ok(contract.admin("provisionUser")).await;
    let provisioned = provision(contract, "short", "viewer").await;
    provisioned.expect_code(201, "");
    let delete = |user| contract.admin("deleteUser").with("user_id", user);
    contract.expect(204, "", delete("short")).await;
    let demoted = change(contract, "admin", json!({ "role": "viewer" })).await;
    demoted.expect_code(409, "last_admin");
    let demoted = provision(contract, "admin", "viewer").await;
    demoted.expect_code(409, "last_admin");
    contract.expect(409, "last_admin", delete("admin")).await;
    for operation in ["changeUser", "provisionUser", "deleteUser"] {
        let oneself = contract.call(operation).with("user_id", "viewer");
        let oneself = oneself.bearer(&contract.token("viewer"));
        contract.expect(403, "forbidden", oneself).await;
    }
}

async fn onboarding(contract: &Contract<'_>) {
    let body = json!({ "name": "k", "role": "editor", "max_clusters": 1 });
    let (_, key) = contract.tenant.key_of("editor", body).await;
    let onboard = |body: Value| contract.call("onboard").bearer(&key).json(&body);
    let too_early = onboard(json!({ "type": "Node", "cluster_name": "prod", "node_name": "n" }));
    contract
        .expect(409, "cluster_not_onboarded", too_early)
        .await;
    contract.ok(contract.call("onboard").bearer(&key)).await;
    let key_in_body = json!({ "type": "vm", "node_name": "n2", "token": key });
    contract
        .ok(contract.call("onboard").json(&key_in_body))
        .await;
    let second = onboard(json!({ "type": "vm", "cluster_name": "second" }));
    contract.expect(409, "cluster_limit_reached", second).await;
    for (field, body) in [
        (
            "cluster_name",
            json!({ "type": "K8s", "cluster_name": "-x" }),
        ),
        (
            "node_name",
            json!({ "type": "Node", "cluster_name": "prod" }),
        ),
        ("type", json!({ "type": "ship", "cluster_name": "prod" })),
        (
            "token",
            json!({ "type": "K8s", "cluster_name": "prod", "token": "another" }),
        ),
    ] {
        let code = format!("invalid_{field}");
        contract.expect(400, &code, onboard(body)).await;
    }
}

/// Reads and then deletes the cluster that [`onboarding`] created.
async fn cluster_lists(contract: &Contract<'_>) {
    let (_, key) = contract.tenant.key("editor", "editor").await;
    for credentials in [&key, &contract.token("admin")] {
        let call = |operation| contract.call(operation).bearer(credentials);
        let listed = call("listClusters").query("status", "active");
        assert_eq!(contract.ok(listed).await.array("items").len(), 1);
        contract.ok(call("getCluster")).await;
    }
    let list = contract.call("accuknoxClusters").bearer(&key);
    let list = list.query("wsid", "acme");
    let listed = contract.ok(list.clone()).await;
    let twice = list.query("wsid", "acme");
    contract.expect(400, "invalid_wsid", twice).await;
    let nodes = |body: Value| contract.call("accuknoxNodes").bearer(&key).json(&body);
    let found = nodes(json!({ "cluster_id": [listed[0]["ID"]] }));
    assert_eq!(contract.ok(found).await["total_record"], 2);
    for field in ["cluster_id", "page_previous", "page_next"] {
        let mut body = json!({ "cluster_id": [1] });
        body[field] = json!(-1);
        let code = format!("invalid_{field}");
        contract.expect(400, &code, nodes(body)).await;
    }
    let wrong = nodes(json!({ "filter": { "connection_status": "x" } }));
    contract.expect(400, "invalid_filter", wrong).await;
    let delete = contract.call("deleteCluster").bearer(&key);
    contract.expect(204, "", delete).await;
}

async fn join_tokens(contract: &Contract<'_>) {
    let tenant = &contract.tenant;
    let platform = tenant.token_of(json!({ "sub": "platform", "scope": "join-tokens:redeem" }));
    let (_, key) = tenant.key("editor", "cluster_onboarding").await;
    let redeem = |token: &Value, cluster: &str, tenant: &str| {
        let body = json!({ "join_token": token, "cluster_name": cluster, "tenant_id": tenant });
        let call = contract.call("redeemJoinToken").bearer(&platform);
        call.json(&body)
    };
    let onboard = || contract.call("onboard").bearer(&key);
    let joined = contract.ok(onboard()).await;
    let token = &joined["join_token"];
    let elsewhere = redeem(token, "other", "acme");
    contract.expect(409, "join_token_invalid", elsewhere).await;
    let right = redeem(token, "prod", "acme");
    contract.ok(right.clone()).await;
    contract.expect(409, "join_token_redeemed", right).await;

    let joined = contract.ok(onboard()).await;
    expire_last_join_token(contract).await;
    let late = redeem(&joined["join_token"], "prod", "acme");
    contract.expect(409, "join_token_invalid", late).await;
    let claims = json!({ "sub": "p", "scope": "join-tokens:redeem", "tenant_id": "acme" });
    let foreign = redeem(token, "prod", "globex").bearer(&tenant.token_of(claims));
    contract.expect(403, "tenant_mismatch", foreign).await;
    let stranger = json!({ "sub": "stranger", "scope": "join-tokens:redeem" });
    let stranger = redeem(token, "prod", "acme").bearer(&tenant.token_of(stranger));
    contract.expect(403, "forbidden", stranger).await;
    let without_scope = tenant.token_of(json!({ "sub": "admin", "tenant_id": "acme" }));
    let without_scope = contract.call("redeemJoinToken").bearer(&without_scope);
    contract.expect(403, "message", without_scope).await;
}

/// Moves the expiry of the latest join token into the past.
async fn expire_last_join_token(contract: &Contract<'_>) {
    let requests = contract.stack.requests();
    let pk = requests.iter().rev().find_map(|request| {
        let mut writes = request.body["TransactItems"].as_array()?.iter();
        let write = writes.find(|write| write["Put"]["Item"]["sk"]["S"] == "JOIN")?;
        write["Put"]["Item"]["pk"]["S"].as_str()
    });
    let past = json!({ ":past": { "N": "1" } });
    let update = "SET expires_at = :past";
    let tenant = &contract.tenant;
    tenant.edit_item(pk.unwrap(), "JOIN", update, past).await;
}

/// Changes that can make a call fail, other than changes to its credentials. The first entry changes nothing.
const DISTURBANCES: [fn(Call) -> Call; 13] = [
    |call| call,
    |call| call.in_no_route(),
    |call| call.with_invalid_path(),
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

/// Calls every operation with every kind of credentials and with every disturbance. The document must allow each
/// response.
async fn bad_calls(contract: &Contract<'_>) {
    let users = ["admin", "viewer", "gone", "broken"];
    let mut tokens = users.map(|user| contract.token(user)).to_vec();
    let bad_tenant = json!({ "sub": "admin", "tenant_id": "-/-", "scope": "join-tokens:redeem" });
    tokens.push(contract.tenant.token_of(bad_tenant));
    let keys = keys_good_and_bad(contract).await;
    parameters(contract, &tokens[0]).await;
    without_a_table(contract, &keys[0], &tokens[0]).await;
    let no_path = contract.call("checkKeyForPath").with("proxy", "%3F");
    contract.send(no_path).await;
    let mut operations: Vec<_> = contract.operations.iter().collect();
    // revokePresentedKey comes last, because it revokes the valid key.
    operations.sort_by_key(|operation| operation.id == "revokePresentedKey");
    for operation in operations {
        let call = || contract.call(&operation.id);
        let mut credentials = Vec::new();
        for (scheme, all) in [("accessKey", &keys), ("oidc", &tokens)] {
            credentials.extend(all.iter().filter(|_| operation.takes(scheme)));
        }
        for credentials in &credentials {
            let call = call().bearer(credentials);
            contract.send(call.clone()).await;
            contract.send(call.without_body()).await;
        }
        for disturb in DISTURBANCES {
            contract.send(disturb(call())).await;
            if let Some(good) = credentials.first() {
                contract.send(disturb(call().bearer(good))).await;
            }
        }
    }
}

/// Returns a valid key, followed by keys that are restricted or invalid, each for a different reason.
async fn keys_good_and_bad(contract: &Contract<'_>) -> Vec<String> {
    let tenant = &contract.tenant;
    let (_, good) = tenant.key("admin", "editor").await;
    let (_, onboards) = tenant.key("admin", "cluster_onboarding").await;
    let (_, reads) = tenant.key("admin", "viewer").await;
    let (_, revoked) = tenant.key("admin", "editor").await;
    revoke(contract, &revoked).await;
    let set_status = async |status: &str| {
        let changed = change(contract, "gone", json!({ "status": status })).await;
        changed.expect_code(200, "");
    };
    set_status("active").await;
    let (_, ownerless) = tenant.key("gone", "editor").await;
    set_status("inactive").await;
    let (id, broken) = tenant.key("broken", "editor").await;
    let (pk, damage) = (tenant.pk("broken"), "SET created_at = :text");
    for sk in ["USER", &format!("KEY#{id}")] {
        let text = json!({ ":text": { "S": "?" } });
        tenant.edit_item(&pk, sk, damage, text).await;
    }
    let (id, expired) = tenant.key("admin", "viewer").await;
    let past = json!({ ":past": { "N": "1" } });
    let update = "SET expires_at = :past";
    tenant.edit_key("admin", &id, update, past).await;
    let (id, superseded) = tenant.key("admin", "viewer").await;
    let body = json!({ "role": "viewer", "max_clusters": 1, "overlap_seconds": 0 });
    tenant.rotate(&id, body).await;
    let forged = forged(&good);
    vec![
        good, onboards, reads, revoked, ownerless, broken, expired, superseded, forged,
    ]
}

/// Calls every operation with an unknown parameter, and then with each of its own parameters. AccuKnox's operations
/// ignore the unknown parameter, and our own operations refuse it.
async fn parameters(contract: &Contract<'_>, token: &str) {
    for operation in &contract.operations {
        // Every operation gets a new key, because one of the operations revokes it.
        let (_, key) = contract.tenant.key("admin", "editor").await;
        let is_key = operation.takes("accessKey");
        let credentials = if is_key { &key } else { token };
        let call = contract.call(&operation.id).bearer(credentials);
        let call = call.without_body();
        let is_about_query = |answer: &Answer| answer.body["errors"][0]["field"] == "query";
        let answer = contract.send(call.clone().query("limits", "1")).await;
        // `checkKeyForPath` ignores the query, because the query belongs to the protected request.
        let is_ours = operation.path.starts_with("/v1/") && operation.id != "checkKeyForPath";
        assert_eq!(
            is_about_query(&answer),
            is_ours,
            "{}: {}",
            operation.id,
            answer.text
        );
        for parameter in operation.parameters.iter().filter(|p| p["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let answer = contract.send(call.clone().query(name, "?")).await;
            assert!(!is_about_query(&answer), "{} {name}", operation.id);
        }
    }
}

/// Calls every operation while the table is unavailable.
async fn without_a_table(contract: &Contract<'_>, key: &str, token: &str) {
    let outage = Rule::new(Fault::DropBefore).service(Service::DynamoDb);
    let _rule = contract.stack.inject(outage);
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
}
