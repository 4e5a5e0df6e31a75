//! Faults in DynamoDB and KMS. A function still responds within its timeout, with either the correct response or 503.
//! If AWS refuses a request, the function returns 500.

use std::time::{Duration, Instant};

use harness::{
    Answer, Fault, KEYS, ProtectedApi, Rule, Service, Stack, Tenant, eventually, run, send, stack,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    BUDGET,
    crashes::{is_alive, process_of, signal},
    own_stack,
};

/// A delay that is longer than any function waits for a response.
pub const SLOW: Fault = Fault::Latency(Duration::from_secs(20));
const OUTAGES: [Fault; 4] = [
    Fault::DropBefore,
    Fault::Throttle,
    Fault::InternalError,
    SLOW,
];
/// Faults after which a retry succeeds.
const TRANSIENT: [Fault; 3] = [Fault::DropBefore, Fault::DropAfter, Fault::Throttle];

pub async fn timed(request: RequestBuilder) -> Answer {
    let started = Instant::now();
    let answer = send(request).await;
    let elapsed = started.elapsed();
    assert!(elapsed < BUDGET, "{elapsed:?}: {}", answer.text);
    answer
}

#[track_caller]
pub fn expect_unavailable(answer: Answer) {
    let answer = answer.expect_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// Expects a 500 response that does not ask the caller to retry, and that is logged with this cause.
async fn expect_internal(stack: &Stack, answer: Answer, cause: &str) {
    let answer = answer.expect_problem(500, "internal");
    assert_eq!(answer.header("retry-after"), None);
    expect_logged(stack, answer.string("request_id"), cause).await;
}

/// Waits until the failure of a request is logged with this cause.
async fn expect_logged(stack: &Stack, request_id: &str, cause: &str) {
    let expected = [request_id, cause, "\"level\":\"ERROR\""];
    eventually("the failure is logged", || async {
        let logs = stack.logs();
        let has_all = |line: &str| expected.iter().all(|part| line.contains(part));
        logs.iter().any(|line| has_all(&line.line)).then_some(())
    })
    .await;
}

fn create(tenant: &Tenant<'_>) -> RequestBuilder {
    tenant.creation("admin", &json!({ "name": "k", "role": "viewer" }))
}

#[test]
fn create_returns_503_in_time_and_writes_nothing_when_the_table_is_unavailable() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let before = tenant.items("admin").await;
        for fault in OUTAGES {
            let rule = stack().inject(tenant.rule("TransactWriteItems", fault));
            expect_unavailable(timed(create(&tenant)).await);
            assert!(rule.hits() > 0);
        }
        // A request that is delayed by `SLOW` would reach the table only after this check.
        assert_eq!(tenant.items("admin").await, before);
        create(&tenant).send().await.unwrap();
    });
}

#[test]
fn create_issues_exactly_one_key_when_a_request_to_dynamodb_fails_once() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let faults = TRANSIENT.into_iter().chain([Fault::TransactionConflict]);
        for (fault, count) in faults.zip(1..) {
            let rule = tenant.rule("TransactWriteItems", fault.clone()).times(1);
            let rule = stack().inject(rule);
            let created = timed(create(&tenant)).await.expect(201);
            assert_eq!(rule.hits(), 1);
            drop(rule);
            let verdict = tenant.verdict(created.string("access_key")).await;
            assert_eq!(verdict, "active", "{fault:?}");
            assert_eq!(tenant.all("admin", KEYS).await.len(), count, "{fault:?}");
        }
    });
}

#[test]
fn validate_and_the_authorizer_accept_no_key_when_the_table_is_unavailable() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let api = ProtectedApi::start(stack()).await;
        for fault in OUTAGES {
            let _rule = stack().inject(tenant.rule("BatchGetItem", fault));
            expect_unavailable(timed(tenant.validation(&key)).await);
            expect_unavailable(timed(tenant.own_record(&key)).await);
            let behind_authorizer = send(api.get(&key)).await;
            assert!(behind_authorizer.status >= 500, "{behind_authorizer:?}");
        }
        for fault in TRANSIENT {
            let rule = stack().inject(tenant.rule("BatchGetItem", fault).times(1));
            let answer = timed(tenant.validation(&key)).await.expect(200);
            assert_eq!(answer["active"], true);
            assert_eq!(rule.hits(), 1);
        }
    });
}

#[test]
fn a_call_returns_500_without_a_retry_after_header_if_dynamodb_refuses_its_request() {
    const CAUSE: &str = "AccessDeniedException";
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let refuse = |action| stack().inject(tenant.rule(action, Fault::Refuse));
        let rule = refuse("TransactWriteItems");
        expect_internal(stack(), timed(create(&tenant)).await, CAUSE).await;
        assert_eq!(rule.hits(), 1, "the SDK does not retry");
        drop(rule);
        let _rule = refuse("BatchGetItem");
        expect_internal(stack(), timed(tenant.validation(&key)).await, CAUSE).await;
        let answer = timed(tenant.onboarding(&key, "prod")).await;
        let answer = answer.expect_accuknox(500, "internal");
        assert_eq!(answer.header("retry-after"), None);
        let request_id = answer.header("apigw-requestid").unwrap();
        expect_logged(stack(), request_id, CAUSE).await;
    });
}

#[test]
fn a_validation_succeeds_when_last_used_at_cannot_be_written() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for fault in [SLOW, Fault::Refuse] {
            let rule = stack().inject(tenant.rule("UpdateItem", fault));
            assert_eq!(tenant.verdict(&key).await, "active");
            assert!(rule.hits() > 0);
        }
    });
}

#[test]
fn revoke_succeeds_when_the_response_from_dynamodb_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let keys = "/v1/users/editor/access-keys";
        let (id, key) = tenant.key("editor", "viewer").await;
        let (_, other) = tenant.key("editor", "viewer").await;
        let revoke = |path: &str| timed(tenant.request("admin", "DELETE", path));
        for path in [&*format!("{keys}/{id}"), keys] {
            let lost = tenant.rule("TransactWriteItems", Fault::DropAfter);
            let rule = stack().inject(lost.times(1));
            revoke(path).await.expect(204);
            assert_eq!(rule.hits(), 1);
        }
        for key in [key, other] {
            assert_eq!(tenant.verdict(&key).await, "revoked");
        }
        let (id, key) = tenant.key("editor", "viewer").await;
        let rules = ["TransactWriteItems", "UpdateItem"]
            .map(|action| stack().inject(tenant.rule(action, Fault::DropBefore)));
        expect_unavailable(revoke(&format!("{keys}/{id}")).await);
        drop(rules);
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn a_write_is_retried_while_a_transaction_holds_the_item() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let keys = "/v1/users/editor/access-keys";
        let body = json!({ "name": "k", "role": "cluster_onboarding", "max_clusters": 2 });
        let (id, key) = tenant.key_of("editor", body).await;
        let (_, other) = tenant.key("editor", "viewer").await;
        let path = format!("{keys}/{id}");
        let limit = tenant.request("admin", "PATCH", &path);
        let conflicts = |action, times| {
            let conflict = tenant.rule(action, Fault::TransactionConflict);
            stack().inject(conflict.times(times))
        };
        for (call, transactions, updates) in [
            (limit.json(&json!({ "max_clusters": 1 })), 2, 0),
            // A revocation does not wait until its entry in the audit trail can be written.
            (tenant.request("admin", "DELETE", &path), 1, 2),
            (tenant.request("admin", "DELETE", keys), 2, 0),
        ] {
            let transactions = (conflicts("TransactWriteItems", transactions), transactions);
            let updates = (conflicts("UpdateItem", updates), updates);
            let answer = timed(call).await;
            assert!(answer.status < 300, "{}", answer.text);
            for (conflict, times) in [transactions, updates] {
                assert_eq!(conflict.hits(), times);
            }
        }
        for key in [key, other] {
            assert_eq!(tenant.verdict(&key).await, "revoked");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn create_returns_503_in_time_and_writes_no_key_when_kms_is_unavailable() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let sign = |fault| Rule::new(fault).service(Service::Kms).action("Sign");
    for fault in OUTAGES.into_iter().chain([Fault::DropAfter]) {
        let rule = stack.inject(sign(fault));
        expect_unavailable(timed(create(&tenant)).await);
        assert!(rule.hits() > 0);
    }
    let is_key = |body: &Value| body.to_string().contains("KEY#");
    let written = stack.count(|r| r.action == "TransactWriteItems" && is_key(&r.body));
    assert_eq!(written, 0);
    for fault in TRANSIENT {
        let rule = stack.inject(sign(fault).times(1));
        let (_, key) = tenant.key("admin", "viewer").await;
        assert_eq!(rule.hits(), 1);
        assert_eq!(tenant.verdict(&key).await, "active");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_returns_500_without_a_retry_after_header_if_kms_refuses_its_request() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let refuse = Rule::new(Fault::Refuse).service(Service::Kms);
    let rule = stack.inject(refuse.action("Sign"));
    let answer = timed(create(&tenant)).await;
    expect_internal(&stack, answer, "AccessDeniedException").await;
    assert_eq!(rule.hits(), 1, "the SDK does not retry");
    drop(rule);
    tenant.key("admin", "viewer").await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_returns_503_while_it_has_no_public_keys_and_recovers_when_kms_does() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    let rule = Rule::new(Fault::DropBefore).service(Service::Kms);
    let rule = stack.inject(rule.action("GetPublicKey"));
    let pid = process_of(&stack, "validate");
    signal("-KILL", pid).await;
    // The next invocation notices that the process has ended.
    while is_alive(pid) && !stack.process_ids("validate").is_empty() {
        if send(tenant.validation(&key)).await.status != 200 {
            break;
        }
    }
    expect_unavailable(send(tenant.validation(&key)).await);
    assert!(rule.hits() > 0);
    drop(rule);
    // The process remembers a failure for a second, so recovery is not immediate.
    eventually("the process has the public keys", || async {
        let answer = send(tenant.validation(&key)).await;
        if answer.status == 503 {
            return None;
        }
        (answer.expect(200)["active"] == true).then_some(())
    })
    .await;
    stack.stop().await;
}
