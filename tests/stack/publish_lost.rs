//! Lost stream records: a repair adds the waiting entries to the audit trail, and an operator sends the events again.

use std::{collections::BTreeMap, path::Path};

use harness::{
    Fault, Rule, RuleGuard, Service, Stack, Tenant, dynoxide::actions::get_records, now, rfc3339,
    until,
};
use serde_json::{Value, json};

use crate::{
    audit,
    damage::scan,
    own_stack,
    publish::{PENDING, by_id, events_of, published, trail},
};

/// Makes each delivery of an event or a waiting entry fail until the rule is dropped.
fn lose(stack: &Stack, action: &str) -> RuleGuard {
    let rule = Rule::new(Fault::Refuse).function("publish");
    stack.inject(rule.action(action))
}

/// Makes the waiting entries two hours old.
async fn age(tenant: &Tenant<'_>) {
    for mut item in scan(tenant).await {
        if let Some(entry) = item.get_mut(PENDING) {
            audit::age(&mut entry["M"], 7200);
            tenant.dynamodb("PutItem", json!({ "Item": item })).await;
        }
    }
}

/// Leaves three waiting entries, each two hours old: one in the item of a key, and two in items of their own. Of those
/// two, one is about a deleted user, and the other lists changes. The stream records of all three are lost.
pub async fn strand(stack: &Stack, tenant: &Tenant<'_>) {
    tenant.user("ann", "viewer").await;
    let (id, _) = tenant.key("ann", "viewer").await;
    let lost = lose(stack, "PutItem");
    let unwritten = tenant.rule("TransactWriteItems", Fault::Refuse);
    let unwritten = stack.inject(unwritten.without(PENDING));
    let (ann, inactive) = ("/v1/users/ann", json!({ "status": "inactive" }));
    let key = format!("{ann}/access-keys/{id}?reason=leaked");
    tenant.delete("admin", &key).await.expect(204);
    let changed = tenant.send("admin", "PATCH", ann, inactive).await;
    changed.expect(200);
    tenant.delete("admin", ann).await.expect(204);
    assert_eq!(unwritten.hits(), 3);
    age(tenant).await;
    stack.drain_events().await;
    assert!(lost.hits() > 0);
}

async fn repair(stack: &Stack, apply: bool) -> Value {
    let event = json!({ "tenant_id": "acme", "apply": apply });
    let report = stack.invoke("repair", event).await.unwrap();
    json!([report["entries"], report["unreadable"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_writes_the_entries_that_have_waited_for_more_than_an_hour() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    strand(&stack, &tenant).await;
    let lost = lose(&stack, "PutItem");
    let damaged = json!({ "pk": { "S": "P#acme#0" }, "sk": { "S": "x" }, PENDING: { "S": "x" } });
    let put = json!({ "Item": damaged });
    tenant.dynamodb("PutItem", put).await;
    // This entry is recent, so the function may still be working on it.
    let unwritten = tenant.rule("TransactWriteItems", Fault::Refuse);
    let unwritten = stack.inject(unwritten.without(PENDING));
    tenant.delete("admin", KEYS_OF_ADMIN).await.expect(204);
    drop(unwritten);
    stack.drain_events().await;
    drop(lost);

    let waiting = |items: &[Value]| items.iter().filter(|i| i.get(PENDING).is_some()).count();
    let (items, before) = (scan(&tenant).await, trail(&tenant).await);
    assert_eq!(waiting(&items), 5);
    assert_eq!(repair(&stack, false).await, json!([3, 1]));
    assert_eq!(scan(&tenant).await, items, "a report changes nothing");
    assert_eq!(repair(&stack, true).await, json!([3, 1]));
    assert_eq!(repair(&stack, true).await, json!([0, 1]));
    assert_eq!(waiting(&scan(&tenant).await), 2);
    let mut after = trail(&tenant).await;
    after.retain(|id, _| !before.contains_key(id));
    let mut actions: Vec<_> = after.values().map(|entry| &entry["action"]).collect();
    actions.sort_by_key(|action| action.as_str());
    let expected = ["access-key.revoked", "user.deactivated", "user.deleted"];
    assert_eq!(actions, expected);
    assert!(after.values().all(|entry| entry["recorded_at"].is_string()));
    let events = by_id(&published(&tenant, &stack).await);
    assert!(after.iter().all(|(id, entry)| events[id] == *entry));
    stack.stop().await;
}

const KEYS_OF_ADMIN: &str = "/v1/users/admin/access-keys";

/// Returns the records that a dead letter names, as `GetRecords` returns them.
fn records(stack: &Stack, letter: &Value) -> Value {
    let text = |name: &str| {
        letter["DDBStreamBatchInfo"][name]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let request = json!({
        // dynoxide uses its own Region name.
        "StreamArn": text("streamArn").replace(":us-east-1:", ":dynoxide:"),
        "ShardId": text("shardId"),
        "ShardIteratorType": "AT_SEQUENCE_NUMBER",
        "SequenceNumber": text("startSequenceNumber"),
    });
    let request = serde_json::from_value(request).unwrap();
    let iterator = stack.database().get_shard_iterator(request).unwrap();
    let request = get_records::GetRecordsRequest {
        shard_iterator: iterator.shard_iterator.unwrap(),
        limit: None,
    };
    json!({ "Records": stack.database().get_records(request).unwrap().records })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_event_can_be_sent_again_from_its_dead_letter() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    tenant.user("before", "viewer").await;
    published(&tenant, &stack).await;
    let lost = Rule::new(Fault::Refuse).service(Service::EventBridge);
    let lost = stack.inject(lost.containing("\\\"lost\\\""));
    tenant.user("lost", "viewer").await;
    tenant.user("after", "viewer").await;
    stack.drain_events().await;
    drop(lost);
    let mut missing = trail(&tenant).await;
    let events = by_id(&events_of(&tenant, &stack));
    missing.retain(|id, _| !events.contains_key(id));
    let targets: Vec<_> = missing
        .values()
        .map(|entry| &entry["target"]["id"])
        .collect();
    assert_eq!(targets, ["lost"]);
    let [letter] = &stack.dead_letters()[..] else {
        panic!("one dead letter");
    };
    let failed = stack.invoke("publish", records(&stack, letter)).await;
    assert_eq!(failed.unwrap(), json!({ "batchItemFailures": [] }));
    let events = by_id(&events_of(&tenant, &stack));
    assert_eq!(events, trail(&tenant).await);
    stack.stop().await;
}

/// Returns the payload from the runbook.
fn documented() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/README.md");
    let runbook = std::fs::read_to_string(path).unwrap();
    let payloads = runbook.split('\'');
    let mut payloads = payloads.filter(|text| text.starts_with("{\"republish\""));
    serde_json::from_str(payloads.next().unwrap()).unwrap()
}

/// Returns the payload from the runbook, with this period.
fn period(from: &str, to: &str) -> Value {
    let mut payload = documented();
    payload["republish"]["from"] = json!(from);
    payload["republish"]["to"] = json!(to);
    payload
}

/// Creates a user whose events are lost, and adds entries from earlier months, one of which is damaged.
async fn lose_events(stack: &Stack, tenant: &Tenant<'_>) {
    let lost = lose(stack, "PutEvents");
    let user = format!("u-{}", tenant.id);
    tenant.user(&user, "viewer").await;
    for mut entry in scan(tenant).await {
        if entry["target"]["M"]["id"]["S"] == user.as_str() {
            for days in [40, 41, 100, 399, 401] {
                entry["sk"]["S"] = json!(format!("#00000000-0000-8000-8000-{days:012}"));
                audit::copy(tenant, &entry, days).await;
            }
            entry.as_object_mut().unwrap().remove("actor");
            audit::copy(tenant, &entry, 42).await;
        }
    }
    for role in ["editor", "viewer"].iter().cycle().take(12) {
        tenant.change_user(&user, json!({ "role": role })).await;
    }
    stack.drain_events().await;
    assert!(lost.hits() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_period_can_be_sent_again() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let mut other = tenant.clone();
    other.id = "t1x".into();
    for tenant in [&tenant, &other] {
        tenant.get("admin", "/v1/users/me").await.expect(200);
        lose_events(&stack, tenant).await;
    }
    let known = events_of(&other, &stack).len();
    let entries = trail(&tenant).await;
    let (start, end) = (rfc3339(now() - 500 * 86_400), rfc3339(now() + 500 * 86_400));
    let send = async |payload: Value| stack.invoke("publish", payload).await.unwrap();

    let whole = send(period(&start, &end)).await;
    assert_eq!(whole, json!({ "sent": entries.len(), "unreadable": 1 }));
    let events = events_of(&tenant, &stack);
    assert_eq!(by_id(&events), entries);
    assert_eq!(events_of(&other, &stack).len(), known);

    // A period includes its start and excludes its end.
    let mut times: Vec<_> = entries
        .values()
        .map(|entry| entry["time"].as_str().unwrap())
        .collect();
    times.sort_unstable();
    let (first, last) = (times[0], times[times.len() - 1]);
    let newest = times.iter().filter(|time| **time == last).count();
    assert_eq!(
        send(period(first, last)).await["sent"],
        entries.len() - newest
    );
    assert_eq!(send(period(last, &end)).await["sent"], newest);

    // With `seconds` set to 0, each call sends one page.
    let mut payload = period(&start, &end);
    payload["republish"]["seconds"] = json!(0);
    let (mut sent, mut ends) = (BTreeMap::new(), vec![end.clone()]);
    loop {
        let before = events_of(&tenant, &stack).len();
        let report = send(payload.clone()).await;
        let new = events_of(&tenant, &stack).split_off(before);
        assert_eq!(report["sent"], new.len());
        sent.extend(by_id(&new));
        let Some(next) = report.get("next") else {
            break;
        };
        ends.push(next.as_str().unwrap().to_owned());
        payload["republish"]["next"] = next.clone();
    }
    assert_eq!(sent, entries);
    assert!(
        ends.len() >= 4 && ends.is_sorted_by(|one, next| one > next),
        "{ends:?}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_failure_states_where_to_continue() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    tenant.get("admin", "/v1/users/me").await.expect(200);
    lose_events(&stack, &tenant).await;
    let entries = trail(&tenant).await;
    let (start, end) = (rfc3339(now() - 500 * 86_400), rfc3339(now() + 60));
    let times = entries
        .values()
        .map(|entry| entry["time"].as_str().unwrap());
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let failing = times[1];
    for (service, text, cause) in [
        (Service::EventBridge, failing, "EventBridge PutEvents"),
        (
            Service::DynamoDb,
            &*format!("A#acme#{}#", &failing[..7]),
            "DynamoDB Query",
        ),
    ] {
        let rule = Rule::new(Fault::Refuse).service(service).containing(text);
        let rule = stack.inject(rule);
        let before = events_of(&tenant, &stack).len();
        let mut payload = period(&start, &end);
        let report = stack.invoke("publish", payload.clone()).await.unwrap();
        assert!(rule.hits() > 0);
        drop(rule);
        assert!(
            report["error"].as_str().unwrap().starts_with(cause),
            "{report}"
        );
        assert_eq!(report["sent"], entries.len() - 2);
        payload["republish"]["next"] = report["next"].clone();
        let report = stack.invoke("publish", payload).await.unwrap();
        assert_eq!(report, json!({ "sent": 2, "unreadable": 0 }));
        let new = events_of(&tenant, &stack).split_off(before);
        assert_eq!(by_id(&new), entries);
    }
    // Waits until the period has ended, and then prevents the function from sending the first page of the period.
    let over = now() + 1;
    until(over + 1).await;
    let mut payload = period(&start, &rfc3339(over));
    let rule = Rule::new(Fault::Refuse).service(Service::EventBridge);
    let rule = stack.inject(rule);
    let report = stack.invoke("publish", payload.clone()).await.unwrap();
    drop(rule);
    payload["republish"]["next"] = report["next"].clone();
    let report = stack.invoke("publish", payload).await.unwrap();
    assert_eq!(report["sent"], entries.len());
    for (field, wrong) in [
        ("tenant_id", json!("a#b")),
        ("from", json!("yesterday")),
        ("to", Value::Null),
        ("to", json!("2026-01-01T00:00:00,5Z")),
        ("next", json!("x")),
        ("next", json!("9999-01-01T00:00:00.000Z")),
        ("seconds", json!(31)),
        ("other", json!(1)),
    ] {
        let mut payload = period(&start, &end);
        payload["republish"][field] = wrong;
        let refused = format!("{:?}", stack.invoke("publish", payload).await);
        assert!(refused.contains("InvalidEvent"), "{field}: {refused}");
    }
    stack.stop().await;
}
