//! The audit trail: failed writes, lost responses, request ids, and lists over many months.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Fault, RuleGuard, Tenant, eventually, now, rfc3339, run, send, stack};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::outages::{SLOW, expect_unavailable, timed};

/// Makes every write of an entry to the tenant's audit trail fail.
fn without_trail(tenant: &Tenant<'_>, fault: Fault) -> RuleGuard {
    let rule = tenant.rule("TransactWriteItems", fault);
    let entries = rule.containing(&format!("A#{}#", tenant.id));
    stack().inject(entries.without("pending_audit"))
}

async fn actions(tenant: &Tenant<'_>, target: &str) -> Vec<Value> {
    let path = format!("/v1/audit?target={target}");
    let entries = tenant.all("admin", &path).await;
    entries
        .into_iter()
        .map(|entry| entry["action"].clone())
        .collect()
}

#[test]
fn a_revocation_does_not_wait_for_its_entry_in_the_audit_trail() {
    run(async {
        for fault in [
            Fault::DropBefore,
            Fault::Throttle,
            Fault::InternalError,
            Fault::Refuse,
            Fault::TransactionConflict,
            SLOW,
        ] {
            let tenant = Tenant::fresh();
            tenant.user("ann", "editor").await;
            tenant.user("bob", "editor").await;
            let (id, key) = tenant.key("ann", "viewer").await;
            let (_, second) = tenant.key("ann", "viewer").await;
            let (_, third) = tenant.key("bob", "viewer").await;
            let rule = without_trail(&tenant, fault);
            let keys = "/v1/users/ann/access-keys";
            for path in [&format!("{keys}/{id}"), keys] {
                let revoke = tenant.request("admin", "DELETE", path);
                timed(revoke).await.expect(204);
            }
            let deactivate = tenant.request("admin", "PATCH", "/v1/users/bob");
            let inactive = json!({ "status": "inactive" });
            timed(deactivate.json(&inactive)).await.expect(200);
            let delete = tenant.request("admin", "DELETE", "/v1/users/bob");
            timed(delete).await.expect(204);
            assert!(rule.hits() >= 4);
            drop(rule);
            for key in [key, second] {
                assert_eq!(tenant.verdict(&key).await, "revoked");
            }
            assert_eq!(tenant.verdict(&third).await, "owner_inactive");
            for (target, action) in [
                (format!("access_key:{id}"), "access-key.revoked"),
                ("user:ann".to_owned(), "user.keys-revoked"),
                ("user:bob".to_owned(), "user.deactivated"),
                ("user:bob".to_owned(), "user.deleted"),
            ] {
                let path = format!("/v1/audit?target={target}&action={action}");
                let entry = eventually("the entry arrives", || async {
                    tenant.all("admin", &path).await.pop()
                });
                assert!(entry.await["recorded_at"].is_string());
            }
        }
    });
}

#[test]
fn a_change_that_grants_something_fails_if_its_audit_entry_cannot_be_written() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "viewer").await;
        let rule = without_trail(&tenant, Fault::DropBefore);
        let create = tenant.request("admin", "POST", "/v1/users/ann/access-keys");
        let create = create.json(&json!({ "name": "k", "role": "viewer" }));
        expect_unavailable(timed(create).await);
        let promote = tenant.request("admin", "PATCH", "/v1/users/ann");
        expect_unavailable(timed(promote.json(&json!({ "role": "admin" }))).await);
        drop(rule);
        assert_eq!(tenant.get("admin", "/v1/users/ann").await["role"], "viewer");
        assert!(
            tenant
                .all("admin", "/v1/users/ann/access-keys")
                .await
                .is_empty()
        );
        assert_eq!(actions(&tenant, "user:ann").await, ["user.created"]);
    });
}

#[test]
fn a_change_writes_one_audit_entry_even_if_the_response_from_dynamodb_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        let lost = || {
            let rule = tenant.rule("TransactWriteItems", Fault::DropAfter);
            stack().inject(rule.times(1))
        };
        let first = lost();
        tenant.user("ann", "editor").await;
        assert_eq!(first.hits(), 1);
        let creation = lost();
        let (id, key) = tenant.key("ann", "editor").await;
        assert_eq!(creation.hits(), 1);
        let onboarding = lost();
        tenant.onboard(&key, "prod").await.expect(200);
        assert_eq!(onboarding.hits(), 1);
        let revocation = lost();
        send(tenant.revocation(&key)).await.expect(204);
        assert_eq!(revocation.hits(), 1);
        assert_eq!(actions(&tenant, "user:ann").await, ["user.created"]);
        let of_key = actions(&tenant, &format!("access_key:{id}")).await;
        assert_eq!(of_key, ["access-key.revoked", "access-key.created"]);
        assert_eq!(
            actions(&tenant, "cluster:prod").await,
            ["cluster.onboarded"]
        );
    });
}

#[test]
fn an_audit_entry_contains_the_request_id_of_the_response() {
    run(async {
        let tenant = Tenant::fresh();
        let provision = tenant.request("admin", "PUT", "/v1/users/ann");
        let answer = send(provision.json(&json!({ "role": "viewer" }))).await;
        let entries = tenant.all("admin", "/v1/audit?target=user:ann").await;
        let id = entries[0]["request_id"].as_str();
        assert_eq!(id, answer.header("apigw-requestid"));
    });
}

/// Copies an entry and sets the time of the copy to `days` days ago. Returns that time.
pub async fn copy(tenant: &Tenant<'_>, entry: &Value, days: i64) -> String {
    let mut item = entry.clone();
    let time = age(&mut item, days * 86_400);
    tenant.dynamodb("PutItem", json!({ "Item": item })).await;
    time
}

/// Changes the time of an entry to `seconds` seconds ago. Returns that time.
pub fn age(entry: &mut Value, seconds: i64) -> String {
    let time = rfc3339(now() - seconds).replace('Z', ".000Z");
    let text = |name: &str| entry[name]["S"].as_str().unwrap();
    let (pk, shard) = text("pk").rsplit_once('#').unwrap();
    let (tenant, _) = pk.rsplit_once('#').unwrap();
    let (_, id) = text("sk").split_once('#').unwrap();
    let (pk, sk) = (
        format!("{tenant}#{}#{shard}", &time[..7]),
        format!("{time}#{id}"),
    );
    entry["pk"]["S"] = json!(pk);
    for name in ["sk", "target_sk"] {
        entry[name]["S"] = json!(sk);
    }
    time
}

#[test]
fn the_audit_trail_lists_the_entries_of_all_months_in_the_last_400_days() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "viewer").await;
        let page = tenant.all("admin", "/v1/audit?target=user:ann").await;
        let time = page[0]["time"].as_str().unwrap();
        let month = format!("A#{}#{}", tenant.id, &time[..7]);
        let mut entries = Vec::new();
        for shard in 0..8 {
            entries.extend(tenant.partition(&format!("{month}#{shard}")).await);
        }
        let of_ann = |entry: &&Value| entry["target"]["M"]["id"]["S"] == "ann";
        let entry = entries.iter().find(of_ann).unwrap();
        let mut expected = vec![time.to_owned()];
        for days in [40, 100, 399] {
            expected.push(copy(&tenant, entry, days).await);
        }
        copy(&tenant, entry, 401).await;
        let mut damaged = entry.clone();
        damaged.as_object_mut().unwrap().remove("action");
        copy(&tenant, &damaged, 50).await;
        for query in [
            "?limit=1",
            "?limit=2",
            "?actor=user:admin",
            "?target=user:ann&limit=1",
        ] {
            let entries = tenant.all("admin", &format!("/v1/audit{query}")).await;
            let about_ann = entries
                .iter()
                .filter(|entry| entry["target"]["id"] == "ann");
            let times: Vec<_> = about_ann
                .map(|entry| entry["time"].as_str().unwrap())
                .collect();
            assert_eq!(times, expected, "{query}");
        }
    });
}

#[test]
fn a_list_that_starts_in_the_far_future_sends_no_more_requests_than_one_that_starts_today() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "viewer").await;
        // Anyone can compute the checksum of a cursor, so a client can forge one.
        let filter =
            "AuditFilter { actor: None, target: None, action: None, from: None, to: None }";
        let name = format!("audit trail of {}?{filter}", tenant.id);
        let position = "9999-12-01T00:00:00.000Z";
        let sum = Sha256::digest([name.as_bytes(), b"\0", position.as_bytes()].concat());
        let cursor = BASE64URL.encode([&sum[..16], position.as_bytes()].concat());
        for query in ["to=9999-12-30T00:00:00Z", &format!("cursor={cursor}")] {
            let before = tenant.store_requests();
            let answer = tenant.get("admin", &format!("/v1/audit?{query}")).await;
            assert_eq!(answer.expect(200).array("items").len(), 2, "{query}");
            // A span of 400 days touches at most 15 months, and each month costs eight queries. One more request reads
            // the caller.
            let requests = tenant.store_requests() - before;
            assert!(requests <= 15 * 8 + 1, "{query}: {requests}");
        }
    });
}
