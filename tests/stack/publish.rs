//! The audit trail as events. Each entry is published at least once, whatever fails, and an entry that could not be
//! written together with the change that it records is added to the audit trail later.

use std::collections::{BTreeMap, BTreeSet};

use access_keys::model::Action;
use harness::{
    Fault, InvokeError, KEYS, Rule, Service, Stack, Tenant, events, eventually, now, run, secrets,
    send, stack,
};
use serde_json::{Value, json};

use crate::{
    crashes::{kill_at, process_of},
    own_stack,
};

pub const PENDING: &str = "pending_audit";

/// Makes every kind of change that the audit trail records, and lets every kind of notice become due.
async fn change_everything(tenant: &Tenant<'_>, stack: &Stack) {
    tenant.get("admin", "/v1/users/me").await.expect(200);
    let (ann, keys) = ("/v1/users/ann", "/v1/users/ann/access-keys");
    let profile = json!({ "role": "editor", "name": "Ann", "email": "ann@example.com" });
    tenant.send("admin", "PUT", ann, profile).await.expect(201);
    for change in [
        json!({ "role": "admin" }),
        json!({ "status": "inactive" }),
        json!({ "status": "active" }),
    ] {
        tenant.change_user("ann", change).await;
    }
    let create = async || {
        let body = json!({ "name": "ci", "role": "editor", "max_clusters": 3 });
        let request = tenant.request("admin", "POST", keys).json(&body);
        send(request.header("idempotency-key", "once"))
            .await
            .expect(201)
    };
    create().await;
    let created = create().await;
    let path = format!("{keys}/{}", created.string("id"));
    let change = tenant.send("admin", "PATCH", &path, json!({ "max_clusters": 2 }));
    change.await.expect(200);
    let rotation = json!({ "role": "editor", "max_clusters": 2 });
    let rotate = format!("{path}/rotate");
    let rotated = tenant.send("admin", "POST", &rotate, rotation).await;
    let rotated = rotated.expect(200);
    let token = tenant
        .join_token(rotated.string("access_key"), "prod")
        .await;
    let redemption = json!({ "join_token": token, "cluster_name": "prod", "tenant_id": tenant.id });
    let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
    for status in [200, 409] {
        let redeemed = tenant.redeem(&platform, redemption.clone()).await;
        redeemed.expect(status);
    }
    for path in [
        "/v1/clusters/prod",
        &format!("{path}?reason=left"),
        keys,
        ann,
    ] {
        tenant.delete("admin", path).await.expect(204);
    }
    let day = 86_400;
    for (age, lifetime) in [(4, 5), (5, 5)] {
        let created = now() - age * day;
        let (id, _) = tenant.key("admin", "viewer").await;
        let end = created + lifetime * day;
        tenant.backdate("admin", &id, created, end).await;
    }
    let now = now().try_into().unwrap();
    for outcome in stack.run_schedules(now).await.unwrap() {
        outcome.unwrap();
    }
}

pub fn events_of(tenant: &Tenant<'_>, stack: &Stack) -> Vec<Value> {
    let mut events = stack.events();
    events.retain(|event| event["detail"]["tenant_id"] == tenant.id);
    events
}

/// Returns the entries of the tenant's audit trail, keyed by their ids.
pub async fn trail(tenant: &Tenant<'_>) -> BTreeMap<String, Value> {
    let entries = tenant.all("admin", "/v1/audit").await.into_iter();
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    entries.map(|entry| (id(&entry), entry)).collect()
}

/// Waits until each entry in the audit trail has been published as an event. Returns all events.
pub async fn published(tenant: &Tenant<'_>, stack: &Stack) -> Vec<Value> {
    let entries = trail(tenant).await;
    eventually("each entry is published", || async {
        let events = events_of(tenant, stack);
        let seen = by_id(&events);
        entries
            .keys()
            .all(|id| seen.contains_key(id))
            .then_some(events)
    })
    .await
}

/// Returns the entries in the events, as seen by a consumer that ignores repeated ids.
pub fn by_id(events: &[Value]) -> BTreeMap<String, Value> {
    let details = events.iter().map(|event| event["detail"].clone());
    details
        .map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry))
        .collect()
}

fn schema() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../infra/events/event.schema.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_becomes_an_event_that_matches_the_schema_and_contains_no_secret() {
    let stack = own_stack(&[("UnusedAfterDays", "3")]).await;
    let tenant = Tenant::acme(&stack);
    change_everything(&tenant, &stack).await;
    let events = published(&tenant, &stack).await;
    let entries = trail(&tenant).await;
    assert_eq!(by_id(&events), entries);

    let schema = schema();
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    let documented = schema["$defs"]["entry"]["properties"].as_object().unwrap();
    let actions = Action::ALL.map(Action::as_str);
    assert_eq!(schema["$defs"]["action"]["enum"], json!(actions));
    let mut happened = BTreeSet::new();
    for event in &events {
        if let Err(error) = validator.validate(event) {
            panic!("{error}: {event}");
        }
        let entry = event["detail"].as_object().unwrap();
        assert!(entry.keys().eq(documented.keys()), "{event}");
        assert_eq!(event["detail-type"], entry["action"]);
        let time = entry["time"].as_str().unwrap();
        assert_eq!(event["time"], format!("{}Z", &time[..19]));
        happened.insert(entry["action"].as_str().unwrap());
    }
    assert_eq!(happened, BTreeSet::from(actions));

    let text = json!(events).to_string();
    let mut hidden = secrets();
    let items = tenant.items("ann").await;
    let hashes = items.iter().filter_map(|item| item["hash"]["B"].as_str());
    let hashes: Vec<String> = hashes.map(str::to_owned).collect();
    assert!(!hashes.is_empty() && !hidden.is_empty());
    hidden.extend(hashes);
    for secret in hidden {
        assert!(!text.contains(&secret[secret.len() - 20..]), "{text}");
    }
    assert!(!text.contains("eyJ"));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_each_replaced_secret_becomes_one_event() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (id, mut old) = tenant.key("admin", "viewer").await;
    let body = json!({ "role": "viewer", "max_clusters": 1 });
    for _ in 0..2 {
        let new = tenant.rotate(&id, body.clone()).await;
        assert_eq!(tenant.verdict(&new).await, "active");
        for _ in 0..2 {
            assert_eq!(tenant.verdict(&old).await, "active");
            // Lets the next use be recorded again, as if an hour had passed.
            let past = json!({ ":past": { "N": "1" } });
            let update = "SET previous_used_at = :past";
            tenant.edit_key("admin", &id, update, past).await;
        }
        old = new;
    }
    stack.drain_events().await;
    let mut uses = events_of(&tenant, &stack);
    uses.retain(|event| event["detail-type"] == "access-key.superseded-used");
    let generations = uses.iter().map(|event| &event["detail"]["generation"]);
    assert_eq!(generations.collect::<Vec<_>>(), [&json!(0), &json!(1)]);
    assert_ne!(uses[0]["detail"]["id"], uses[1]["detail"]["id"]);
    let schema = schema();
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    for event in &uses {
        assert_eq!(event["detail"]["target"]["id"], json!(id));
        if let Err(error) = validator.validate(event) {
            panic!("{error}: {event}");
        }
    }
    stack.stop().await;
}

#[test]
fn the_schema_refuses_what_is_not_an_event() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut event = json!({
        "version": "0", "id": "1", "source": "access-keys", "detail-type": "user.deleted", "account": "1",
        "region": "us-east-1", "time": "2026-01-01T00:00:00Z", "resources": [],
        "detail": {
            "id": "00000000-0000-8000-8000-000000000001", "time": "2026-01-01T00:00:00.000Z", "tenant_id": "t",
            "actor": { "kind": "user", "id": "a" }, "action": "user.deleted", "target": { "kind": "user", "id": "b" },
            "changes": {}, "details": {}, "reason": null, "source_ip": null, "user_agent": null, "request_id": null,
            "recorded_at": null,
        },
    });
    assert!(validator.is_valid(&event));
    for (place, wrong) in [
        ("/source", json!("other")),
        ("/detail-type", json!("user.used")),
        ("/detail-type", json!("cluster.deleted")),
        ("/detail/id", json!("1")),
        ("/detail/time", json!("2026-01-01T00:00:00Z")),
        ("/detail/actor/kind", json!("robot")),
        ("/detail/changes", json!({ "role": { "before": null } })),
    ] {
        let right = std::mem::replace(event.pointer_mut(place).unwrap(), wrong);
        assert!(!validator.is_valid(&event), "{place}");
        *event.pointer_mut(place).unwrap() = right;
    }
}

/// Returns the stream record of an audit entry of the tenant. The table does not contain this entry.
fn record(tenant: &Tenant<'_>, number: usize) -> Value {
    let mut record = events::sample("publish")["Records"][0].take();
    let text = record.to_string().replace("fixtures", &tenant.id);
    let text = text.replace("000000000001", &format!("{number:012}"));
    record = serde_json::from_str(&text).unwrap();
    record["dynamodb"]["SequenceNumber"] = json!(number.to_string());
    record
}

/// Invokes the function and asserts that it reports exactly these records as failed.
async fn publish(stack: &Stack, records: &[Value], failed: impl IntoIterator<Item = usize>) {
    let batch = json!({ "Records": records });
    let answer = stack.invoke("publish", batch).await.unwrap();
    let reported = answer["batchItemFailures"].as_array().unwrap().iter();
    let number = |failure: &Value| failure["itemIdentifier"].as_str().unwrap().parse().unwrap();
    let reported: BTreeSet<usize> = reported.map(number).collect();
    assert_eq!(reported, failed.into_iter().collect());
}

fn sent(tenant: &Tenant<'_>) -> usize {
    events_of(tenant, stack()).len()
}

#[test]
fn exactly_the_records_whose_events_were_not_accepted_are_reported_as_failed() {
    run(async {
        let tenant = Tenant::fresh();
        let records: Vec<Value> = (1..=25).map(|n| record(&tenant, n)).collect();
        let fault = |fault, number: usize| {
            let rule = Rule::new(fault).service(Service::EventBridge);
            stack().inject(rule.containing(&format!("8000-{number:012}")))
        };
        publish(stack(), &records, []).await;
        assert_eq!(sent(&tenant), 25);
        let requests = |request: &harness::Request| {
            request
                .body
                .to_string()
                .contains(&format!("\\\"{}\\\"", tenant.id))
        };
        assert_eq!(stack().count(requests), 3, "25 entries need three requests");
        for (kind, reported) in [
            (Fault::Throttle, 11..=20),
            (Fault::RefuseFirstEntry, 11..=11),
        ] {
            let rule = fault(kind, 15);
            let before = sent(&tenant);
            publish(stack(), &records, reported.clone()).await;
            assert!(rule.hits() > 0);
            assert_eq!(sent(&tenant), before + 25 - reported.count());
        }
    });
}

#[test]
fn a_damaged_record_does_not_stop_the_others() {
    run(async {
        let tenant = Tenant::fresh();
        let mut records: Vec<Value> = (1..=7).map(|n| record(&tenant, n)).collect();
        records[1]["dynamodb"] = json!({ "SequenceNumber": "2", "Keys": "x" });
        records[2]["dynamodb"]["NewImage"]["action"] = json!({ "S": "user.used" });
        records[3]["dynamodb"]
            .as_object_mut()
            .unwrap()
            .remove("NewImage");
        records[4]["dynamodb"]["NewImage"][PENDING] =
            json!({ "S": "an entry has no such attribute" });
        records[5]["userIdentity"] = json!({ "Type": "Service", "PrincipalId": "x" });
        publish(stack(), &records, [2, 3, 4]).await;
        assert_eq!(sent(&tenant), 4);
        // Only additions become events.
        for name in ["MODIFY", "REMOVE"] {
            records[0]["eventName"] = json!(name);
            publish(stack(), &records[..1], []).await;
        }
        assert_eq!(sent(&tenant), 4);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_damaged_entry_goes_to_the_dead_letter_queue() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let mut entry = record(&tenant, 1)["dynamodb"]["NewImage"].take();
    entry.as_object_mut().unwrap().remove("target");
    tenant.dynamodb("PutItem", json!({ "Item": entry })).await;
    tenant.user("ann", "viewer").await;
    published(&tenant, &stack).await;
    stack.drain_events().await;
    let [letter] = &stack.dead_letters()[..] else {
        panic!("one dead letter");
    };
    assert_eq!(letter["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(letter["requestContext"]["approximateInvokeCount"], 6);
    let lines = stack.logs().into_iter().map(|line| line.line);
    let lines: Vec<String> = lines.collect();
    let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert!(with("could not process the stream record") >= 6);
    assert!(with("\"EventFailures\":1") >= 6);
    stack.stop().await;
}

/// Revokes one of the administrator's keys while entries cannot be written, so that the entry waits in the item of the
/// key.
pub async fn revoke_without_entry(stack: &Stack, tenant: &Tenant<'_>) -> String {
    let (id, _) = tenant.key("admin", "viewer").await;
    let rule = tenant.rule("TransactWriteItems", Fault::DropBefore);
    let rule = stack.inject(rule.function("revoke").without(PENDING));
    let path = format!("{KEYS}/{id}?reason=leaked");
    tenant.delete("admin", &path).await.expect(204);
    assert!(rule.hits() > 0);
    id
}

/// Waits until the entry about the revocation of a key is published. Asserts that there is only one such entry and that
/// no entry waits in the item of the key any longer.
pub async fn expect_late_entry(tenant: &Tenant<'_>, stack: &Stack, key: &str) {
    let path = format!("/v1/audit?target=access_key:{key}&action=access-key.revoked");
    let entry = eventually("the entry arrives", || async {
        let mut entries = tenant.all("admin", &path).await;
        assert!(entries.len() <= 1, "{entries:?}");
        entries.pop()
    });
    let entry = entry.await;
    assert_eq!(entry["reason"], "leaked");
    assert!(entry["recorded_at"].is_string(), "{entry}");
    let events = published(tenant, stack).await;
    assert_eq!(by_id(&events)[entry["id"].as_str().unwrap()], entry);
    eventually("the entry no longer waits", || async {
        let item = tenant.key_item(key).await.unwrap();
        item.get(PENDING).is_none().then_some(())
    })
    .await;
}

#[test]
fn a_waiting_entry_is_added_to_the_audit_trail_and_published() {
    run(async {
        let tenant = Tenant::fresh();
        let key = revoke_without_entry(stack(), &tenant).await;
        expect_late_entry(&tenant, stack(), &key).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_entry_is_added_once_even_if_the_function_fails_between_its_writes() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    for (action, fault) in [
        ("PutItem", Fault::DropAfter),
        ("UpdateItem", Fault::DropBefore),
        ("UpdateItem", Fault::DropAfter),
        ("PutItem", Fault::Throttle),
    ] {
        let rule = tenant.rule(action, fault).function("publish");
        let rule = stack.inject(rule.times(4));
        let key = revoke_without_entry(&stack, &tenant).await;
        expect_late_entry(&tenant, &stack, &key).await;
        assert!(rule.hits() > 0);
    }
    let slow = Fault::Latency(std::time::Duration::from_secs(1));
    let update = tenant.rule("UpdateItem", slow).function("publish");
    let update = stack.inject(update.times(1));
    let killed = process_of(&stack, "publish");
    let (key, ()) = tokio::join!(
        revoke_without_entry(&stack, &tenant),
        kill_at(&update, killed)
    );
    expect_late_entry(&tenant, &stack, &key).await;
    assert_ne!(process_of(&stack, "publish"), killed);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_record_of_an_entry_that_was_already_added_changes_nothing() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let key = revoke_without_entry(&stack, &tenant).await;
    expect_late_entry(&tenant, &stack, &key).await;
    let entry = record(&tenant, 1)["dynamodb"]["NewImage"].take();
    let item = tenant.key_item(&key).await.unwrap();
    let keys = json!({ "pk": item["pk"], "sk": item["sk"] });
    let modified = |entry: &Value| {
        let mut image = item.clone();
        image[PENDING] = json!({ "M": entry });
        json!({
            "eventName": "MODIFY",
            "dynamodb": { "Keys": keys, "NewImage": image, "SequenceNumber": "1" },
        })
    };
    let pk = entry["pk"]["S"].as_str().unwrap();
    let mut first = Vec::new();
    for _ in 0..2 {
        publish(&stack, &[modified(&entry)], []).await;
        let entries = tenant.partition(pk).await;
        assert_eq!(entries.len(), 1);
        if first.is_empty() {
            first = entries;
            // `recorded_at` is in whole seconds. Waits for more than one second, so that another write would change
            // `recorded_at`.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        } else {
            assert_eq!(entries, first, "the entry was replaced");
        }
    }
    // The record of an earlier entry must not remove a later entry that waits in the same item.
    let mut later = entry.clone();
    later["sk"] = json!({ "S": "later" });
    let values = json!({ ":later": { "M": later } });
    let set = format!("SET {PENDING} = :later");
    tenant.edit_key("admin", &key, &set, values).await;
    publish(&stack, &[modified(&entry)], []).await;
    let item = tenant.key_item(&key).await.unwrap();
    assert_eq!(item[PENDING]["M"]["sk"]["S"], "later");
    stack.stop().await;
}

#[test]
fn an_event_that_is_not_from_a_stream_fails() {
    run(async {
        let answer = stack().invoke("publish", json!({})).await;
        let Err(InvokeError::Function { error_type, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(error_type, "NotAStreamEvent");
    });
}
