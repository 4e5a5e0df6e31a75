//! Notices about keys that expire soon, have expired or are unused: each is written once, on time, and becomes an
//! event.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use harness::{Fault, InvokeError, Stack, Tenant, eventually, now, rfc3339};
use serde_json::{Value, json};

use crate::{
    concurrent_stack,
    crashes::{kill_at, process_of},
    own_stack,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Runs the schedule as if the current time were `second`.
async fn notify(stack: &Stack, second: i64) -> Result<Value, InvokeError> {
    let outcomes = stack.run_schedules(second.try_into().unwrap()).await;
    let [outcome] = outcomes.unwrap().try_into().unwrap();
    outcome
}

/// Returns the action, the key and the time of each notice in the audit trail.
async fn notices(tenant: &Tenant<'_>) -> Vec<(String, String, String)> {
    let mut entries = tenant
        .all("admin", "/v1/audit?actor=system:access-keys")
        .await;
    entries.retain(|entry| entry["action"] != "access-key.revoked");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut notices: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                text(&entry["action"]),
                text(&entry["target"]["id"]),
                text(&entry["time"]),
            )
        })
        .collect();
    notices.sort();
    notices
}

/// Creates a key for the administrator. Edits the key so that it appears to have been created at `created` (in seconds
/// since the epoch) with a lifetime of `days` days.
async fn key(tenant: &Tenant<'_>, created: i64, days: i64) -> (String, String) {
    let (id, key) = tenant
        .key_of(
            "admin",
            json!({ "name": "ci", "role": "viewer", "expires_in_days": 365 }),
        )
        .await;
    tenant
        .backdate("admin", &id, created, created + days * DAY)
        .await;
    (id, key)
}

/// Edits a key so that it appears to have been revoked at `second`, in seconds since the epoch.
async fn revoke(tenant: &Tenant<'_>, id: &str, second: i64) {
    let values = json!({
        ":at": { "N": second.to_string() },
        ":by": { "M": { "kind": { "S": "user" }, "id": { "S": "admin" } } },
    });
    let update = "SET revoked_at = :at, revoked_by = :by";
    tenant.edit_key("admin", id, update, values).await;
}

/// Returns the documented notices about the expiry of a key, and the time at which each becomes due.
fn documented(created: i64, days: i64) -> Vec<(&'static str, i64)> {
    let marks = [5, 3, 1].into_iter().filter(|mark| 2 * mark <= days);
    let expiring = marks.map(|mark| ("access-key.expiring", created + (days - mark) * DAY));
    expiring
        .chain([("access-key.expired", created + days * DAY)])
        .collect()
}

/// The notices that a series of runs must write.
struct Expected<'a> {
    runs: &'a [i64],
    notices: Vec<(String, String, String)>,
    /// The number of notices that are not written, because no run takes place within a day after they become due.
    lost: usize,
}

impl Expected<'_> {
    /// Adds the notices that the runs must write about a key before it is revoked at `until`, in seconds since the
    /// epoch.
    fn add(&mut self, id: &str, (created, days): (i64, i64), until: i64) {
        for (action, at) in documented(created, days) {
            let is_in_time = |run: &i64| (at..=at + DAY).contains(run) && *run < until;
            if self.runs.iter().any(is_in_time) {
                let at = rfc3339(at).replace('Z', ".000Z");
                self.notices.push((action.to_owned(), id.to_owned(), at));
            } else if at < self.runs[self.runs.len() - 1] {
                self.lost += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_documented_notices_are_written_over_thirty_days() {
    let stack = concurrent_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let start = now() - 31 * DAY;
    let mut keys = BTreeMap::new();
    for days in [1, 2, 7, 30, 365] {
        for created in [start, start + DAY / 2, start + 3 * DAY + 7] {
            let (id, _) = key(&tenant, created, days).await;
            keys.insert(id, (created, days));
        }
    }
    let (revoked, _) = key(&tenant, start, 7).await;
    let (revoked_after_expiry, _) = key(&tenant, start, 7).await;
    keys.insert(revoked_after_expiry.clone(), (start, 7));

    // No runs take place for 23 hours, and later for 40 hours. Each run consists of two concurrent invocations.
    let hours = (0..=30 * 24 + 1).step_by(5);
    let hours = hours.filter(|hour| !(60..83).contains(hour) && !(150..190).contains(hour));
    let runs: Vec<i64> = hours.map(|hour| start + hour * HOUR).collect();
    let mut written = 0;
    for second in &runs {
        if *second == start + 100 * HOUR {
            revoke(&tenant, &revoked, *second).await;
        }
        let (first, second) = tokio::join!(notify(&stack, *second), notify(&stack, *second));
        for report in [first.unwrap(), second.unwrap()] {
            assert_eq!(report["failed"], 0);
            written += report["notices"].as_u64().unwrap();
        }
    }
    revoke(&tenant, &revoked_after_expiry, start + 7 * DAY).await;
    let last = runs[runs.len() - 1];
    notify(&stack, last).await.unwrap();

    let mut expected = Expected {
        runs: &runs,
        notices: Vec::new(),
        lost: 0,
    };
    for (id, key) in &keys {
        expected.add(id, *key, i64::MAX);
    }
    expected.add(&revoked, (start, 7), start + 100 * HOUR);
    expected.notices.sort();
    assert!(expected.lost > 0, "no notice was due in the 40 hours");
    assert_eq!(notices(&tenant).await, expected.notices);
    assert_eq!(written, expected.notices.len() as u64);

    for (id, (created, days)) in keys {
        let item = tenant.key_item(&id).await.unwrap();
        let is_over = created + days * DAY <= last;
        assert_eq!(item.get("due_pk").is_none(), is_over, "{days}: {item}");
    }
    assert_events(&stack, expected.notices.len()).await;
    stack.stop().await;
}

/// Waits until the notices have become events, and checks that each notice has become exactly one event.
async fn assert_events(stack: &Stack, notices: usize) {
    let events = eventually("each notice is an event", || async {
        let mut events = stack.events();
        events.retain(|event| event["detail"]["actor"]["kind"] == "system");
        (events.len() >= notices).then_some(())
    });
    events.await;
    stack.drain_events().await;
    let mut events = stack.events();
    events.retain(|event| event["detail"]["actor"]["kind"] == "system");
    let ids = events.iter().map(|event| event["detail"]["id"].to_string());
    let ids: BTreeSet<_> = ids.collect();
    assert_eq!((events.len(), ids.len()), (notices, notices));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_names_the_key_and_survives_the_archiving_of_the_key() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (id, key, end) = tenant.short_lived("viewer", 2).await;
    tenant.validate(&key).await;
    let used_at = tenant.record(&id).await["last_used_at"].clone();
    let archived = tenant.archived(&id).await;
    assert!(archived.get("due_pk").is_some());
    let run_at = now();
    notify(&stack, end).await.unwrap();
    let path = format!("/v1/audit?target=access_key:{id}");
    let entries = tenant.all("admin", &path).await;
    let notice = &entries[0];
    assert_eq!(notice["action"], "access-key.expired");
    assert_eq!(notice["time"], rfc3339(end).replace('Z', ".000Z"));
    let details = json!({ "name": "short", "expires_at": rfc3339(end), "last_used_at": used_at });
    assert_eq!(notice["details"], details);
    let target = json!({ "kind": "access_key", "id": id, "user_id": "admin" });
    assert_eq!(notice["target"], target);
    // `recorded_at` must be the real time of the write, because exports rely on it.
    assert!(notice["recorded_at"].as_str().unwrap() >= &*rfc3339(run_at));
    assert!(notice["request_id"].is_null());
    assert_eq!(entries[1]["details"], json!({}));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_key_is_reported_and_later_revoked_unless_it_is_used() {
    let stack = own_stack(&[("UnusedAfterDays", "10"), ("RevokeUnusedAfterDays", "5")]).await;
    let tenant = Tenant::acme(&stack);
    let start = now() - 40 * DAY;
    let (id, unused) = key(&tenant, start, 300).await;
    let (used_id, used) = key(&tenant, start, 300).await;
    let use_at = async |day: i64| {
        let values = json!({ ":at": { "N": (start + day * DAY).to_string() } });
        tenant
            .edit_key("admin", &used_id, "SET last_used_at = :at", values)
            .await;
    };
    for day in 0..=14 {
        if day == 12 {
            use_at(day).await;
        }
        notify(&stack, start + day * DAY).await.unwrap();
    }
    assert!(tenant.record(&id).await["revoked_at"].is_null());
    for day in 15..=26 {
        notify(&stack, start + day * DAY).await.unwrap();
    }
    assert_eq!(tenant.verdict(&unused).await, "revoked");
    let record = tenant.record(&id).await;
    assert_eq!(
        record["revoked_by"],
        json!({ "kind": "system", "id": "access-keys" })
    );
    assert_eq!(record["revoked_reason"], "not used for 15 days");
    let path = format!("/v1/audit?target=access_key:{id}&action=access-key.revoked");
    let [entry] = &tenant.all("admin", &path).await[..] else {
        panic!("one entry");
    };
    assert_eq!(entry["reason"], "not used for 15 days");
    assert_eq!(entry["actor"], record["revoked_by"]);

    let time = |day: i64| rfc3339(start + day * DAY).replace('Z', ".000Z");
    let unused = |id: &str, day| ("access-key.unused".to_owned(), id.to_owned(), time(day));
    let mut expected = vec![unused(&id, 10), unused(&used_id, 10), unused(&used_id, 22)];
    expected.sort();
    assert_eq!(notices(&tenant).await, expected);
    assert_eq!(tenant.verdict(&used).await, "active");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_key_of_an_inactive_owner_is_not_revoked() {
    let stack = own_stack(&[("UnusedAfterDays", "10"), ("RevokeUnusedAfterDays", "5")]).await;
    let tenant = Tenant::acme(&stack);
    tenant.user("ann", "viewer").await;
    let start = now() - 43 * DAY;
    let body = json!({ "name": "ci", "role": "viewer", "expires_in_days": 365 });
    let (id, _) = tenant.key_of("ann", body).await;
    tenant.backdate("ann", &id, start, start + 300 * DAY).await;
    for day in 0..=12 {
        notify(&stack, start + day * DAY).await.unwrap();
    }
    assert_eq!(notices(&tenant).await.len(), 1);
    let set = async |status: &str| {
        tenant.change_user("ann", json!({ "status": status })).await;
    };
    set("inactive").await;
    for day in 13..=29 {
        let report = notify(&stack, start + day * DAY).await.unwrap();
        assert_eq!(
            (&report["revoked"], &report["notices"]),
            (&json!(0), &json!(0))
        );
    }
    set("active").await;
    // After the reactivation, the key is reported again before it can be revoked.
    for day in 30..=36 {
        notify(&stack, start + day * DAY).await.unwrap();
    }
    assert_eq!(notices(&tenant).await.len(), 2);
    let status = async || {
        let path = format!("/v1/users/ann/access-keys/{id}");
        let key = tenant.get("admin", &path).await.expect(200);
        key.string("status").to_owned()
    };
    assert_eq!(status().await, "active");
    notify(&stack, start + 42 * DAY).await.unwrap();
    assert_eq!(status().await, "revoked");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_valid_if_it_is_used_while_it_is_being_revoked_as_unused() {
    let stack = own_stack(&[("UnusedAfterDays", "10"), ("RevokeUnusedAfterDays", "5")]).await;
    let tenant = Tenant::acme(&stack);
    let start = now() - 20 * DAY;
    let (id, key) = key(&tenant, start, 300).await;
    for day in [0, 7, 10] {
        notify(&stack, start + day * DAY).await.unwrap();
    }
    let held = stack.inject(
        tenant
            .rule("TransactWriteItems", Fault::Hold)
            .containing("revoked_by"),
    );
    let used = async {
        eventually("the key is about to be revoked", || async {
            (held.hits() > 0).then_some(())
        })
        .await;
        assert_eq!(tenant.verdict(&key).await, "active");
        drop(held);
    };
    let (run, ()) = tokio::join!(notify(&stack, start + 15 * DAY), used);
    assert_eq!(run.unwrap()["revoked"], 0);
    assert_eq!(tenant.verdict(&key).await, "active");
    assert!(tenant.record(&id).await["revoked_at"].is_null());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_completes_a_run_that_failed_or_was_killed() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let start = now() - 10 * DAY;
    for round in 0..6 {
        key(&tenant, start + round, 2).await;
    }
    for (fault, action) in [
        (Fault::Throttle, "Query"),
        (Fault::InternalError, "TransactWriteItems"),
        (Fault::Refuse, "BatchGetItem"),
    ] {
        let rule = harness::Rule::new(fault).function("notify").action(action);
        let rule = stack.inject(rule);
        assert!(
            notify(&stack, start + DAY + HOUR).await.is_err(),
            "{action}"
        );
        assert!(rule.hits() > 0);
    }
    for _ in 0..3 {
        // Starts a new process, because the previous round killed the old one.
        notify(&stack, start - DAY).await.unwrap();
        // The delay is longer than the rest of this test takes, so the transaction of the killed run has no effect.
        let held = Fault::Latency(Duration::from_secs(30));
        let held = stack.inject(tenant.rule("TransactWriteItems", held));
        let killed = kill_at(&held, process_of(&stack, "notify"));
        let (run, ()) = tokio::join!(notify(&stack, start + DAY + HOUR), killed);
        assert!(run.is_err());
    }
    let dropped = stack.inject(tenant.rule("TransactWriteItems", Fault::DropAfter).times(2));
    let report = notify(&stack, start + DAY + HOUR).await.unwrap();
    assert_eq!((&report["failed"], dropped.hits()), (&json!(0), 2));
    drop(dropped);
    let found = notices(&tenant).await;
    assert_eq!(found.len(), 6, "{found:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_keys_do_not_prevent_notices_about_other_keys_in_their_partition() {
    const KEYS: u64 = 60;
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let start = now() - 10 * DAY;
    let mut ids = Vec::new();
    for second in 0..KEYS {
        let (id, _) = key(&tenant, start + second as i64, 2).await;
        let partition = json!({ ":pk": { "S": format!("D#{}#0", &rfc3339(start)[..10]) } });
        tenant
            .edit_key("admin", &id, "SET due_pk = :pk", partition)
            .await;
        ids.push(id);
    }
    // A page has 50 keys, so the damaged keys are on two pages.
    for (index, attribute) in [(0, "max_clusters"), (1, "due_sk"), (55, "expires_at")] {
        let update = format!("SET {attribute} = :damaged");
        let values = json!({ ":damaged": { "S": "soon" } });
        tenant.edit_key("admin", &ids[index], &update, values).await;
    }
    let report = notify(&stack, start + DAY + KEYS as i64).await.unwrap();
    let counts = ["notices", "unreadable", "failed"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [KEYS - 3, 2, 0], "{report}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_time_in_the_future_is_treated_as_now() {
    let stack = own_stack(&[("UnusedAfterDays", "1")]).await;
    let tenant = Tenant::acme(&stack);
    let (id, key) = tenant.key("admin", "viewer").await;
    let report = notify(&stack, now() + 29 * DAY).await.unwrap();
    assert_eq!(report["notices"], 0);
    assert_eq!(tenant.verdict(&key).await, "active");
    let item = tenant.key_item(&id).await.unwrap();
    let created = item["created_at"]["N"].as_str().unwrap();
    let next = rfc3339(created.parse::<i64>().unwrap() + DAY);
    assert_eq!(item["due_sk"]["S"], next.replace('Z', ".000Z"));
    for event in [
        json!({}),
        json!({ "time": 1 }),
        json!({ "time": "now" }),
        json!([]),
    ] {
        let refused = stack.invoke("notify", event).await;
        assert!(
            format!("{refused:?}").contains("InvalidEvent"),
            "{refused:?}"
        );
    }
    stack.stop().await;
}
