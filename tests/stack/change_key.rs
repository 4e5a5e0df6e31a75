//! Changes to a key: changes that coincide with revocations, rotations or each other, changes whose response is lost,
//! and the effect of changes on notices.

use std::collections::BTreeSet;

use harness::{
    Answer, Fault, KEYS, Rule, Tenant, all_at_once, contradictions, eventually, now, rfc3339, run,
    send, stack, until,
};
use serde_json::{Value, json};

use crate::{concurrent_stack, own_stack};

const DAY: i64 = 86_400;

async fn change(tenant: &Tenant<'_>, key_id: &str, change: Value) -> Answer {
    let path = format!("{KEYS}/{key_id}");
    tenant.send("admin", "PATCH", &path, change).await
}

/// Returns the changes to a key, as recorded in the audit trail.
async fn changes(tenant: &Tenant<'_>, key_id: &str) -> Vec<Value> {
    changes_by(tenant, key_id, "access-key.changed").await
}

async fn changes_by(tenant: &Tenant<'_>, key_id: &str, action: &str) -> Vec<Value> {
    let path = format!("/v1/audit?target=access_key:{key_id}&action={action}");
    let entries = tenant.all("admin", &path).await;
    entries
        .iter()
        .map(|entry| entry["changes"].clone())
        .collect()
}

/// Sends a change and holds its write until `meanwhile` is done.
async fn late(
    tenant: &Tenant<'_>,
    key_id: &str,
    body: Value,
    meanwhile: impl Future<Output = ()>,
) -> Answer {
    let rule = tenant.rule("TransactWriteItems", Fault::Hold);
    let held = stack().inject(rule.function("clusters"));
    let meanwhile = async {
        eventually("the change is about to be written", || async {
            (held.hits() > 0).then_some(())
        })
        .await;
        meanwhile.await;
        drop(held);
    };
    let (answer, ()) = tokio::join!(change(tenant, key_id, body), meanwhile);
    answer
}

#[test]
fn a_change_neither_delays_nor_undoes_a_revocation() {
    run(async {
        let tenant = Tenant::fresh();
        let everything = json!({
            "name": "n", "labels": ["l"], "max_clusters": 1, "expires_at": rfc3339(now() + DAY),
        });
        let (id, key) = tenant.limited_key("viewer", 3).await;
        late(&tenant, &id, everything, tenant.revoke_by_id(&id)).await;
        let (other, other_key) = tenant.key("admin", "viewer").await;
        late(&tenant, &other, json!({ "name": "n" }), async {
            tenant.delete("admin", KEYS).await.expect(204);
        })
        .await;
        for (id, key) in [(id, key), (other, other_key)] {
            assert_eq!(tenant.verdict(&key).await, "revoked");
            assert_eq!(tenant.record(&id).await["status"], "revoked");
        }
        let found = contradictions(&tenant).await;
        assert!(found.is_empty(), "{found:#?}");
    });
}

#[test]
fn an_earlier_expiry_also_applies_to_the_secret_of_a_concurrent_rotation() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let end = now() + DAY;
        let body = json!({ "role": "viewer", "max_clusters": 1, "expires_in_days": 90 });
        let mut new = String::new();
        let rotation = async { new = tenant.rotate(&id, body).await };
        let earlier = json!({ "expires_at": rfc3339(end) });
        let changed = late(&tenant, &id, earlier, rotation).await.expect(200);
        assert_eq!(changed["expires_at"], rfc3339(end));
        assert_eq!(tenant.validate(&new).await["exp"], end);
        assert_eq!(tenant.record(&id).await["generation"], 1);
        // The entries form a chain: the change replaced the expiry that the rotation had set.
        let [rotated, changed] = [
            changes_by(&tenant, &id, "access-key.rotated").await,
            changes(&tenant, &id).await,
        ];
        let (after, before) = (&rotated[0]["expires_at"], &changed[0]["expires_at"]);
        assert_eq!(after["after"], before["before"]);
        let found = contradictions(&tenant).await;
        assert!(found.is_empty(), "{found:#?}");
    });
}

#[test]
fn a_change_does_not_extend_an_expiry_that_a_rotation_has_shortened() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let body = json!({ "role": "viewer", "max_clusters": 1, "expires_in_days": 1 });
        let rotation = async { drop(tenant.rotate(&id, body).await) };
        let wanted = json!({ "expires_at": rfc3339(now() + 2 * DAY) });
        let refused = late(&tenant, &id, wanted, rotation).await;
        refused.expect_fields(&["expires_at"]);
    });
}

#[test]
fn a_rotation_is_evaluated_again_if_an_earlier_expiry_is_set_meanwhile() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.key("admin", "viewer").await;
        let rule = tenant.rule("TransactWriteItems", Fault::Hold);
        let held = stack().inject(rule.function("rotate"));
        let end = rfc3339(now() + DAY);
        let change = async {
            eventually("the rotation is about to be written", || async {
                (held.hits() > 0).then_some(())
            })
            .await;
            let changed = change(&tenant, &id, json!({ "expires_at": end })).await;
            changed.expect(200);
            drop(held);
        };
        let body = json!({ "role": "viewer", "max_clusters": 1, "overlap_seconds": 7 * DAY });
        let (rotated, ()) = tokio::join!(send(tenant.rotation("admin", &id, &body)), change);
        // The replaced secret stays valid only until the earlier expiry.
        assert_eq!(rotated.expect(200)["superseded_until"], end);
        let replaced = tenant.validate(&old).await;
        assert_eq!(replaced["superseded"], true);
    });
}

#[test]
fn a_change_is_written_once_even_if_the_response_from_dynamodb_is_lost() {
    run(async {
        let stack = own_stack(&[]).await;
        let tenant = Tenant::acme(&stack);
        let (id, _) = tenant.limited_key("viewer", 3).await;
        let all = json!({
            "name": "n", "labels": ["l"], "max_clusters": 1, "expires_at": rfc3339(now() + DAY),
        });
        let rule = Rule::new(Fault::DropAfter).action("TransactWriteItems");
        let dropped = stack.inject(rule.function("clusters").times(1));
        for _ in 0..2 {
            let changed = change(&tenant, &id, all.clone()).await.expect(200);
            assert_eq!(changed["name"], "n");
        }
        assert_eq!(dropped.hits(), 1);
        let changes = changes(&tenant, &id).await;
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].as_object().unwrap().len(), 4);
        stack.stop().await;
    });
}

#[test]
fn concurrent_changes_form_a_chain_in_the_audit_trail() {
    run(async {
        let stack = concurrent_stack(&[]).await;
        let tenant = Tenant::acme(&stack);
        let body = json!({ "name": "first", "role": "viewer", "labels": ["first"] });
        let (id, _) = tenant.key_of("admin", body).await;
        let path = format!("{KEYS}/{id}");
        let changed = all_at_once((0..8).map(|n| {
            let name = format!("n{n}");
            let change = json!({ "name": name, "labels": [name] });
            tenant.request("admin", "PATCH", &path).json(&change)
        }));
        let changed = changed.await;
        let changed = changed.iter().filter(|answer| answer.status == 200).count();
        let changes = changes(&tenant, &id).await;
        assert_eq!(changes.len(), changed);
        // No two changes replaced the same value.
        for field in ["name", "labels"] {
            let replaced = changes
                .iter()
                .map(|change| change[field]["before"].to_string());
            assert_eq!(BTreeSet::from_iter(replaced).len(), changed, "{field}");
        }
        stack.stop().await;
    });
}

#[test]
fn notices_follow_the_expiry_when_it_is_moved_earlier() {
    run(async {
        let stack = own_stack(&[]).await;
        let tenant = Tenant::acme(&stack);
        let (id, _) = tenant.key("admin", "viewer").await;
        let run_at = async |second: i64| {
            let outcomes = stack.run_schedules(second.try_into().unwrap()).await;
            for outcome in outcomes.unwrap() {
                outcome.unwrap();
            }
        };
        let created = now() - 20 * DAY;
        tenant
            .backdate("admin", &id, created, now() + 10 * DAY)
            .await;
        // After this run, `notify` would not check the key again for days.
        run_at(now()).await;
        let end = now() + DAY - 3600;
        let earlier = json!({ "expires_at": rfc3339(end) });
        change(&tenant, &id, earlier).await.expect(200);
        until(now() + 1).await;
        run_at(now()).await;
        let path = format!("/v1/audit?target=access_key:{id}&action=access-key.expiring");
        let notices = tenant.all("admin", &path).await;
        let times: Vec<_> = notices.iter().map(|notice| &notice["time"]).collect();
        assert_eq!(times, [&rfc3339(end - DAY).replace('Z', ".000Z")]);
        assert_eq!(notices[0]["details"]["expires_at"], rfc3339(end));
        stack.stop().await;
    });
}
