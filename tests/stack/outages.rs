//! KMS or DynamoDB down, slow, throttling, or losing the answer: an honest 503 in time, or the right answer.

use std::time::{Duration, Instant};

use harness::{Answer, Fault, Rule, Service, Tenant, run, send, stack};
use serde_json::{Value, json};

use crate::{
    BUDGET,
    crashes::{is_alive, process_of, signal},
    own_stack,
};

/// A rule for this tenant's requests to DynamoDB.
fn rule(tenant: &Tenant<'_>, action: &str, fault: Fault) -> Rule {
    Rule::new(fault)
        .service(Service::DynamoDb)
        .action(action)
        .containing(&format!("#{}", tenant.id))
}

async fn timed(request: reqwest::RequestBuilder) -> Answer {
    let started = Instant::now();
    let answer = send(request).await;
    assert!(
        started.elapsed() < BUDGET,
        "{:?}: {}",
        started.elapsed(),
        answer.text
    );
    answer
}

#[track_caller]
fn expect_unavailable(answer: Answer) {
    let answer = answer.expect_problem(503, "unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
}

fn create(tenant: &Tenant<'_>) -> reqwest::RequestBuilder {
    tenant
        .request("admin", "POST", "/v1/users/me/access-keys")
        .json(&json!({ "name": "k", "role": "viewer" }))
}

#[test]
fn create_answers_503_in_time_and_leaves_nothing_when_the_table_is_out() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let before = tenant.items("admin").await;
        for fault in [
            Fault::DropBefore,
            Fault::Throttle,
            Fault::InternalError,
            Fault::Latency(Duration::from_secs(20)),
        ] {
            let rule = stack().inject(rule(&tenant, "TransactWriteItems", fault));
            expect_unavailable(timed(create(&tenant)).await);
            assert!(rule.hits() > 0);
            drop(rule);
        }
        // The slow requests above reach the table after their delay, unless the proxy saw their caller leave.
        assert_eq!(tenant.items("admin").await, before);
        create(&tenant).send().await.unwrap();
    });
}

#[test]
fn create_succeeds_once_when_the_answer_of_the_write_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        for fault in [
            Fault::DropAfter,
            Fault::TransactionConflict,
            Fault::Throttle,
            Fault::DropBefore,
        ] {
            let before = tenant.all("admin", "/v1/users/me/access-keys").await.len();
            let rule = stack().inject(rule(&tenant, "TransactWriteItems", fault.clone()).times(1));
            let created = timed(create(&tenant)).await.expect(201).body;
            assert_eq!(rule.hits(), 1);
            drop(rule);
            assert_eq!(
                tenant
                    .verdict(created["access_key"].as_str().unwrap())
                    .await,
                "active",
                "{fault:?}"
            );
            assert_eq!(
                tenant.all("admin", "/v1/users/me/access-keys").await.len(),
                before + 1,
                "{fault:?}"
            );
        }
    });
}

#[test]
fn validate_fails_closed() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for fault in [
            Fault::DropBefore,
            Fault::Throttle,
            Fault::InternalError,
            Fault::Latency(Duration::from_secs(20)),
        ] {
            let rule = stack().inject(rule(&tenant, "BatchGetItem", fault));
            expect_unavailable(timed(tenant.validation(&key)).await);
            let behind = send(tenant.call("GET", "/v1/access-keys/self").bearer_auth(&key)).await;
            assert!(
                behind.status >= 500,
                "the authorizer lets nothing pass: {}",
                behind.text
            );
            drop(rule);
        }
        for fault in [Fault::DropBefore, Fault::DropAfter, Fault::Throttle] {
            let rule = stack().inject(rule(&tenant, "BatchGetItem", fault).times(1));
            assert_eq!(
                timed(tenant.validation(&key)).await.expect(200).body["active"],
                true
            );
            assert_eq!(rule.hits(), 1);
        }
    });
}

#[test]
fn a_validation_does_not_need_its_one_write() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for fault in [Fault::Latency(Duration::from_secs(20)), Fault::Refuse] {
            let rule = stack().inject(rule(&tenant, "UpdateItem", fault));
            assert_eq!(tenant.verdict(&key).await, "active");
            assert!(rule.hits() > 0);
        }
    });
}

#[test]
fn revoke_succeeds_when_the_answer_of_the_write_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let (id, key) = tenant.key("editor", "viewer").await;
        let (_, other) = tenant.key("editor", "viewer").await;
        for path in [
            format!("/v1/users/editor/access-keys/{id}"),
            "/v1/users/editor/access-keys".into(),
        ] {
            let rule = stack().inject(rule(&tenant, "UpdateItem", Fault::DropAfter).times(1));
            timed(tenant.request("admin", "DELETE", &path))
                .await
                .expect(204);
            assert_eq!(rule.hits(), 1);
        }
        assert_eq!(
            (tenant.verdict(&key).await, tenant.verdict(&other).await),
            ("revoked".into(), "revoked".into())
        );
        let (id, key) = tenant.key("editor", "viewer").await;
        let rule = stack().inject(rule(&tenant, "UpdateItem", Fault::DropBefore));
        expect_unavailable(
            timed(tenant.request(
                "admin",
                "DELETE",
                &format!("/v1/users/editor/access-keys/{id}"),
            ))
            .await,
        );
        drop(rule);
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn a_write_that_meets_a_transaction_waits_for_it() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let (id, key) = tenant.key("editor", "cluster_onboarding").await;
        let (_, other) = tenant.key("editor", "viewer").await;
        let key_path = format!("/v1/users/editor/access-keys/{id}");
        let calls = [
            tenant
                .request("admin", "PATCH", &key_path)
                .json(&json!({ "max_clusters": 1 })),
            tenant.request("admin", "DELETE", &key_path),
            tenant.request("admin", "DELETE", "/v1/users/editor/access-keys"),
        ];
        for call in calls {
            let conflict = rule(&tenant, "UpdateItem", Fault::TransactionConflict).times(2);
            let conflict = stack().inject(conflict);
            let answer = timed(call).await;
            assert!(answer.status < 300, "{}", answer.text);
            assert_eq!(conflict.hits(), 2);
        }
        assert_eq!(
            (tenant.verdict(&key).await, tenant.verdict(&other).await),
            ("revoked".into(), "revoked".into())
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn create_answers_503_in_time_and_writes_no_key_when_kms_is_out() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let sign = |fault| Rule::new(fault).service(Service::Kms).action("Sign");
    for fault in [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Throttle,
        Fault::InternalError,
        Fault::Latency(Duration::from_secs(20)),
    ] {
        let out = stack.inject(sign(fault));
        expect_unavailable(timed(create(&tenant)).await);
        assert!(out.hits() > 0);
    }
    let is_key = |body: &Value| body.to_string().contains("KEY#");
    let written = stack.count(|r| r.action == "TransactWriteItems" && is_key(&r.body));
    assert_eq!(written, 0);
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::Throttle] {
        let once = stack.inject(sign(fault).times(1));
        let (_, key) = tenant.key("admin", "viewer").await;
        assert_eq!(once.hits(), 1);
        assert_eq!(tenant.verdict(&key).await, "active");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_without_public_keys_fails_closed_and_recovers_by_itself() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    let out = Rule::new(Fault::DropBefore).service(Service::Kms);
    let out = stack.inject(out.action("GetPublicKey"));
    let pid = process_of(&stack, "validate");
    signal("-KILL", pid).await;
    // The next invocation notices that the process has ended.
    while is_alive(pid) && !stack.process_ids("validate").is_empty() {
        if send(tenant.validation(&key)).await.status != 200 {
            break;
        }
    }
    expect_unavailable(send(tenant.validation(&key)).await);
    assert!(out.hits() > 0);
    drop(out);
    assert_eq!(tenant.verdict(&key).await, "active");
    stack.stop().await;
}
