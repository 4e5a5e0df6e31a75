//! Records of the stream are lost, and a repair enters the entries that wait.

use harness::{Fault, Rule, RuleGuard, Stack, Tenant};
use serde_json::{Value, json};

use crate::{
    audit,
    damage::scan,
    own_stack,
    publish::{PENDING, by_id, published, trail},
};

/// Makes each delivery of an event, or of an entry that waits, fail until the rule is dropped.
fn lose(stack: &Stack, action: &str) -> RuleGuard {
    let rule = Rule::new(Fault::Refuse).function("publish");
    stack.inject(rule.action(action))
}

/// Makes the entries that wait two hours older.
async fn age(tenant: &Tenant<'_>) {
    for mut item in scan(tenant).await {
        if let Some(entry) = item.get_mut(PENDING) {
            audit::age(&mut entry["M"], 7200);
            tenant.dynamodb("PutItem", json!({ "Item": item })).await;
        }
    }
}

/// Makes entries wait, two hours old, in a key and in items of their own: one of a deleted user, and one that names
/// changes. Their stream records are lost.
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
async fn a_repair_enters_entries_that_have_waited_for_more_than_an_hour() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    strand(&stack, &tenant).await;
    let lost = lose(&stack, "PutItem");
    let damaged = json!({ "pk": { "S": "P#acme#0" }, "sk": { "S": "x" }, PENDING: { "S": "x" } });
    let put = json!({ "Item": damaged });
    tenant.dynamodb("PutItem", put).await;
    // The function may still be working on this one.
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
