//! Requests that are held while the caller loses a right, and revocations that conflict with other requests for the
//! same items.

use std::time::{Duration, Instant};

use harness::{
    Answer, Fault, KEYS, Rule, RuleGuard, Service, Stack, Tenant, eventually, options, run, send,
    stack,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::BUDGET;

/// Starts a stack in which a function can still respond while one of its processes is held.
async fn two_processes() -> Stack {
    let stack = Stack::start(options(&[])).await;
    stack.expect("the local stack starts")
}

/// Holds the next request from a function. The returned guard counts a hit once the request is held.
fn hold(stack: &Stack, service: Service, function: &str, action: &str) -> RuleGuard {
    let rule = Rule::new(Fault::Hold).service(service).action(action);
    stack.inject(rule.function(function).times(1))
}

/// Sends a request, and runs `act` while the request is held.
async fn meanwhile(
    rule: RuleGuard,
    request: RequestBuilder,
    act: impl Future<Output = ()>,
) -> Answer {
    let request = tokio::spawn(send(request));
    let is_held = || async { (rule.hits() > 0).then_some(()) };
    eventually("the request is held", is_held).await;
    act.await;
    assert!(!request.is_finished(), "the request was held too briefly");
    drop(rule);
    request.await.unwrap()
}

/// What an administrator can do to another administrator.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Deactivated,
    Demoted,
    Deleted,
}

async fn lose(tenant: &Tenant<'_>, user: &str, loss: Loss) {
    match loss {
        Loss::Deactivated => {
            tenant
                .change_user(user, json!({ "status": "inactive" }))
                .await
        }
        Loss::Demoted => tenant.change_user(user, json!({ "role": "viewer" })).await,
        Loss::Deleted => {
            let deleted = tenant.delete("admin", &format!("/v1/users/{user}")).await;
            deleted.expect(204);
        }
    }
}

const LOSSES: [Loss; 3] = [Loss::Deactivated, Loss::Demoted, Loss::Deleted];

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_created_if_the_caller_loses_the_right_meanwhile() {
    let stack = two_processes().await;
    let tenant = Tenant::acme(&stack);
    tenant.user("editor", "editor").await;
    for loss in LOSSES {
        let boss = format!("{loss:?}").to_lowercase();
        tenant.user(&boss, "admin").await;
        let body = json!({ "name": "k", "role": "editor" });
        let keys = "/v1/users/editor/access-keys";
        let request = tenant.request(&boss, "POST", keys).json(&body);
        let rule = hold(&stack, Service::Kms, "create", "Sign");
        let answer = meanwhile(rule, request, lose(&tenant, &boss, loss)).await;
        // A demoted administrator may not see the owner, so the response is 404.
        let status = if let Loss::Demoted = loss { 404 } else { 403 };
        assert_eq!(answer.status, status, "{loss:?}: {}", answer.text);
    }
    assert_eq!(tenant.all("editor", KEYS).await, [Value::Null; 0]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_has_no_effect_if_the_caller_loses_the_right_meanwhile() {
    let stack = two_processes().await;
    let tenant = Tenant::acme(&stack);
    tenant.user("accomplice", "viewer").await;
    for loss in LOSSES {
        let boss = format!("{loss:?}").to_lowercase();
        tenant.user(&boss, "admin").await;
        let promotion = json!({ "role": "admin" });
        for (method, path) in [
            ("PUT", "/v1/users/accomplice".to_owned()),
            ("PUT", format!("/v1/users/new-{boss}")),
        ] {
            let request = tenant.request(&boss, method, &path).json(&promotion);
            // Records the sign-in, so that the held call does not have to.
            tenant.get(&boss, "/v1/users/me").await.expect(200);
            let rule = hold(&stack, Service::DynamoDb, "users", "TransactWriteItems");
            let answer = meanwhile(rule, request, lose(&tenant, &boss, loss)).await;
            assert!(
                matches!(answer.status, 403 | 404),
                "{loss:?}: {}",
                answer.text
            );
            tenant
                .send(
                    "admin",
                    "PUT",
                    &format!("/v1/users/{boss}"),
                    promotion.clone(),
                )
                .await;
            tenant
                .change_user(&boss, json!({ "status": "active" }))
                .await;
        }
        let refused = tenant.get("admin", &format!("/v1/users/new-{boss}")).await;
        refused.expect_problem(404, "not_found");
    }
    let accomplice = tenant.get("admin", "/v1/users/accomplice").await;
    assert_eq!(accomplice.expect(200)["role"], "viewer");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_is_refused_if_the_key_is_revoked_meanwhile() {
    let stack = two_processes().await;
    let tenant = Tenant::acme(&stack);
    let (id, key) = tenant.onboarding_key(1).await;
    let token = tenant.join_token(&key, "a").await;
    let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
    let body = json!({ "join_token": token, "cluster_name": "a" });
    let request = tenant.redemption(&platform, &body);
    let rule = hold(&stack, Service::DynamoDb, "onboard", "TransactWriteItems");
    let answer = meanwhile(rule, request, tenant.revoke_by_id(&id)).await;
    answer.expect_problem(409, "join_token_invalid");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_not_raised_if_it_was_lowered_and_the_caller_was_demoted_meanwhile() {
    let stack = two_processes().await;
    let tenant = Tenant::acme(&stack);
    tenant.user("boss", "admin").await;
    let (id, _) = tenant.limited_key("editor", 5).await;
    let path = format!("/v1/users/admin/access-keys/{id}");
    let limit = |user: &str, max: u64| {
        let request = tenant.request(user, "PATCH", &path);
        request.json(&json!({ "max_clusters": max }))
    };
    let rule = hold(&stack, Service::DynamoDb, "clusters", "TransactWriteItems");
    let lower = async {
        send(limit("admin", 1)).await.expect(200);
        lose(&tenant, "boss", Loss::Demoted).await;
    };
    let answer = meanwhile(rule, limit("boss", 4), lower).await;
    answer.expect_problem(404, "not_found");
    assert_eq!(tenant.record(&id).await["max_clusters"], 1);
    stack.stop().await;
}

#[test]
fn users_who_keep_revoking_their_own_keys_cannot_delay_the_loss_of_their_rights() {
    run(async {
        let tenant = Tenant::fresh();
        // Slows down the writes of `users`, so that the user revokes all keys again after the function has read the
        // user and before it writes.
        let slow = tenant.rule(
            "TransactWriteItems",
            Fault::Latency(Duration::from_millis(300)),
        );
        let slow = stack().inject(slow.function("users"));
        for loss in LOSSES {
            let user = format!("{loss:?}").to_lowercase();
            tenant.user(&user, "editor").await;
            let revocations: Vec<_> = (0..3)
                .map(|_| {
                    let (tenant, user) = (tenant.clone(), user.clone());
                    tokio::spawn(async move {
                        loop {
                            tenant.delete(&user, KEYS).await;
                        }
                    })
                })
                .collect();
            let is_revoking = || async {
                let items = tenant.items(&user).await;
                (items.len() > 5).then_some(())
            };
            eventually("the user revokes all keys", is_revoking).await;
            let (started, before) = (Instant::now(), slow.hits());
            lose(&tenant, &user, loss).await;
            assert!(started.elapsed() < BUDGET, "{loss:?}");
            assert!(slow.hits() > before, "{loss:?}");
            for revocation in revocations {
                revocation.abort();
            }
        }
    });
}

#[test]
fn a_revocation_succeeds_even_if_its_writes_conflict_for_two_seconds() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let (id, _) = tenant.key("editor", "viewer").await;
        let take = |method: &str, path: String, body: Option<Value>| {
            let request = tenant.request("admin", method, &path);
            match body {
                Some(body) => request.json(&body),
                None => request,
            }
        };
        let user = || "/v1/users/editor".to_owned();
        for (request, status) in [
            (
                take("DELETE", format!("/v1/users/editor/access-keys/{id}"), None),
                204,
            ),
            (
                take("DELETE", "/v1/users/editor/access-keys".into(), None),
                204,
            ),
            (
                take("PATCH", user(), Some(json!({ "role": "viewer" }))),
                200,
            ),
            (
                take("PATCH", user(), Some(json!({ "status": "inactive" }))),
                200,
            ),
            (take("DELETE", user(), None), 204),
        ] {
            let conflicts = ["UpdateItem", "TransactWriteItems"].map(|action| {
                let rule = tenant.rule(action, Fault::TransactionConflict);
                stack().inject(rule)
            });
            let started = Instant::now();
            let request = tokio::spawn(send(request));
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(conflicts.iter().any(|rule| rule.hits() > 1));
            drop(conflicts);
            request.await.unwrap().expect(status);
            assert!(started.elapsed() < BUDGET);
        }
    });
}
