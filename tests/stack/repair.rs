//! A repair finds items of a tenant that contradict each other, corrects them if told to, and then finds nothing more.

use std::collections::BTreeSet;

use harness::{Options, Stack, Tenant, now, options};
use serde_json::{Value, json};

use crate::{
    damage::{self, World, damages, inflict, location, restore, scan},
    own_stack,
};

/// Runs the function and returns its report without the counts that are zero.
async fn repair(stack: &Stack, apply: bool) -> Value {
    let event = json!({ "tenant_id": "acme", "apply": apply });
    let mut report = stack.invoke("repair", event).await.unwrap();
    let report = report.as_object_mut().unwrap();
    report.remove("keys_checked");
    report.retain(|_, found| *found != 0);
    json!(report)
}

/// Returns the contradictions between slots, counters and holders.
fn contradictions(items: &[Value]) -> Vec<String> {
    let kind = |prefix: &'static str| {
        let items = items.iter();
        items.filter(move |item| item["sk"]["S"].as_str().unwrap().starts_with(prefix))
    };
    let slots: BTreeSet<String> = kind("SLOT#").map(location).collect();
    let mut found = Vec::new();
    for cluster in kind("CLUSTER#") {
        let name = &cluster["sk"]["S"].as_str().unwrap()["CLUSTER#".len()..];
        let holders = cluster["holders"]["SS"].as_array().into_iter().flatten();
        let wanted = holders.map(|key| format!("K#acme#{} SLOT#{name}", key.as_str().unwrap()));
        let wanted: BTreeSet<String> = wanted.collect();
        let of_cluster = |slot: &&String| slot.ends_with(&format!(" SLOT#{name}"));
        let actual: BTreeSet<String> = slots.iter().filter(of_cluster).cloned().collect();
        if wanted != actual {
            found.push(format!("{name}: {wanted:?}, {actual:?}"));
        }
    }
    for key in kind("KEY#").filter(|key| key.get("hash").is_some()) {
        let id = &key["sk"]["S"].as_str().unwrap()["KEY#".len()..];
        let of_key = |slot: &&String| slot.starts_with(&format!("K#acme#{id} "));
        let held = slots.iter().filter(of_key).count();
        if key["clusters_used"] != json!({ "N": held.to_string() }) {
            found.push(format!("{id}: {}, {held}", key["clusters_used"]));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_reports_and_then_corrects_each_contradiction() {
    let stack = own_stack(&[]).await;
    let world = World::new(&stack).await;
    let (tenant, key) = (&world.tenant, format!("KEY#{}", world.key.0));
    let slots = format!("K#acme#{}", world.key.0);
    assert_eq!(repair(&stack, false).await, json!({}));
    let items = scan(tenant).await;
    let (one, past) = (
        json!({ "N": "1" }),
        json!({ "N": (now() - 60).to_string() }),
    );
    let (stranger, admin) = (json!({ "SS": ["nobody"] }), json!({ "SS": ["admin"] }));
    let other = json!({ "SS": [harness::UNKNOWN_KEY] });
    let editor = tenant.pk("editor");
    let clusters = tenant.clusters_pk();
    for (pk, sk, update, value, finding) in [
        (
            &*editor,
            &*key,
            "SET clusters_used = :v",
            json!({ "N": "3" }),
            "counters",
        ),
        (&editor, "USER", "SET epoch = :v", one, "epochs"),
        (
            &editor,
            &key,
            "SET due_sk = :v",
            json!({ "S": "2026-01-01T00:00:00.000Z" }),
            "notices",
        ),
        (
            &clusters,
            "CLUSTER#a",
            "ADD holders :v",
            other.clone(),
            "holders",
        ),
        (
            &clusters,
            "CLUSTER#a",
            "SET deleting = :v",
            past,
            "deletions",
        ),
        (
            "T#acme",
            "ADMINS",
            "ADD admins :v",
            stranger,
            "administrators",
        ),
        (
            "T#acme",
            "ADMINS",
            "DELETE admins :v",
            admin,
            "administrators",
        ),
    ] {
        tenant
            .edit_item(pk, sk, update, json!({ ":v": value }))
            .await;
        let damaged = scan(tenant).await;
        assert_eq!(
            repair(&stack, false).await,
            json!({ finding: 1 }),
            "{update}"
        );
        assert_eq!(scan(tenant).await, damaged, "a report changes nothing");
        assert_eq!(
            repair(&stack, true).await,
            json!({ finding: 1 }),
            "{update}"
        );
        assert_eq!(repair(&stack, true).await, json!({}), "{update}");
        assert_eq!(contradictions(&scan(tenant).await), [""; 0], "{update}");
        restore(tenant, &items).await;
    }
    for (lost, found) in [
        (
            &*format!("{slots} SLOT#a"),
            json!({ "holders": 1, "counters": 1 }),
        ),
        ("C#acme CLUSTER#a", json!({ "slots": 1, "counters": 1 })),
        ("T#acme ADMINS", json!({ "administrators": 2 })),
    ] {
        let item = items.iter().find(|item| location(item) == lost).unwrap();
        inflict(tenant, item, &None).await;
        assert_eq!(repair(&stack, true).await, found, "{lost}");
        assert_eq!(repair(&stack, true).await, json!({}), "{lost}");
        restore(tenant, &items).await;
    }
    let refused = stack.invoke("repair", json!({ "tenant": "acme" })).await;
    assert!(
        format!("{refused:?}").contains("InvalidEvent"),
        "{refused:?}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_continues_where_the_previous_call_ended() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.onboarding_key(60).await;
    for number in 0..30 {
        tenant
            .onboard(&key, &format!("c{number}"))
            .await
            .expect(200);
    }
    for _ in 0..30 {
        tenant.key("admin", "viewer").await;
    }
    let other = json!({ ":v": { "SS": [harness::UNKNOWN_KEY] } });
    for cluster in ["CLUSTER#c0", "CLUSTER#c9"] {
        let (pk, add) = (tenant.clusters_pk(), "ADD holders :v");
        tenant.edit_item(&pk, cluster, add, other.clone()).await;
    }
    let mut event = json!({ "tenant_id": "acme", "apply": true, "seconds": 0 });
    let (mut keys, mut holders, mut steps) = (0, 0, Vec::new());
    loop {
        let report = stack.invoke("repair", event.clone()).await.unwrap();
        keys += report["keys_checked"].as_u64().unwrap();
        holders += report["holders"].as_u64().unwrap();
        let Some(next) = report.get("next") else {
            break;
        };
        let object = next.as_object().unwrap();
        steps.extend(object.keys().cloned());
        event["next"] = next.clone();
    }
    assert_eq!((keys, holders), (31, 2));
    assert_eq!(steps, ["clusters", "clusters", "keys", "keys"]);
    assert_eq!(repair(&stack, true).await, json!({}));
    for wrong in [json!({ "seconds": 841 }), json!({ "next": "keys" })] {
        let mut event = json!({ "tenant_id": "acme" });
        event
            .as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let refused = format!("{:?}", stack.invoke("repair", event).await);
        assert!(refused.contains("InvalidEvent"), "{refused}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_free_of_contradictions_after_a_repair() {
    let options = Options {
        processes_per_function: 1,
        ..options(&[])
    };
    let stack = Stack::start(options).await;
    let stack = stack.expect("the local stack starts");
    let world = World::new(&stack).await;
    let items = scan(&world.tenant).await;
    let cases = items
        .iter()
        .flat_map(|item| damages(item).into_iter().map(move |damage| (item, damage)));
    for (item, damage) in cases.step_by(damage::step()) {
        inflict(&world.tenant, item, &damage).await;
        repair(&stack, true).await;
        let mut again = repair(&stack, true).await;
        let unreadable = again.as_object_mut().unwrap().remove("unreadable");
        assert!(unreadable.is_none_or(|items| items == 1));
        let context = format!("{} {damage:?}", location(item));
        assert_eq!(again, json!({}), "{context}");
        let mut after = scan(&world.tenant).await;
        // Skips the damaged item, because a repair does not change it.
        let is_loss = damage.is_none();
        after.retain(|other| is_loss || location(other) != location(item));
        let found = contradictions(&after);
        let is_about_it = |text: &String| {
            damage.is_some() && location(item).contains(text.split(':').next().unwrap())
        };
        let found: Vec<_> = found
            .into_iter()
            .filter(|text| !is_about_it(text))
            .collect();
        assert_eq!(found, [""; 0], "{context}");
        restore(&world.tenant, &items).await;
    }
    stack.stop().await;
}
