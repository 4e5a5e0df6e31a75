//! Tests that need a stack of their own: killed and frozen functions, KMS out, other signing keys, restarts, and what
//! one process remembers.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::{path::Path, process::Stdio, time::Duration};

use local_stack::{Fault, Options, Rule, Service, Stack, unix_time};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::Instant,
};

/// The function's timeout in the template.
const BUDGET: Duration = Duration::from_secs(5);

fn options() -> Options {
    let parameters = vec![("BootstrapAdmins".to_owned(), "acme/admin".to_owned())];
    Options {
        parameters,
        processes_per_function: 1,
        ..Options::default()
    }
}

async fn start(options: Options) -> Stack {
    Stack::start(options).await.unwrap()
}

struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

async fn call(stack: &Stack, path: &str, token: Option<&str>, body: Value) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("{}{path}", stack.url())).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let retry_after = response
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    Answer {
        status: response.status().as_u16(),
        retry_after,
        body: response.json().await.unwrap_or_default(),
    }
}

async fn create(stack: &Stack) -> Answer {
    let token = stack.token(json!({ "sub": "admin", "tenant_id": "acme" }));
    let body = json!({ "name": "k", "role": "viewer" });
    call(stack, "/v1/users/me/access-keys", Some(&token), body).await
}

async fn key(stack: &Stack) -> String {
    let answer = create(stack).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["access_key"].as_str().unwrap().to_owned()
}

async fn validate(stack: &Stack, key: &str) -> Answer {
    call(
        stack,
        "/v1/access-keys/validate",
        None,
        json!({ "access_key": key }),
    )
    .await
}

async fn is_active(stack: &Stack, key: &str) -> bool {
    let answer = validate(stack, key).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["active"] == true
}

async fn signal(signal: &str, pid: u32) {
    // The shell's own `kill`: not every machine has the program.
    let status = Command::new("sh")
        .args(["-c", &format!("kill {signal} {pid}")])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // `pid (name) state parent ...`
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let found: u32 = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()?;
        (parent == found).then_some(pid)
    });
    processes.collect()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn rule(service: Service, action: &str, fault: Fault) -> Rule {
    Rule::new(fault).service(service).action(action)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_dies_is_answered_502_and_one_that_hangs_504_and_both_come_back() {
    let stack = start(options()).await;
    let key = key(&stack).await;
    assert!(is_active(&stack, &key).await);

    let slow = stack.inject(rule(
        Service::DynamoDb,
        "BatchGetItem",
        Fault::Latency(Duration::from_millis(900)),
    ));
    let [pid] = stack.process_ids("validate")[..] else {
        panic!("one process")
    };
    let kill = async {
        while slow.hits() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signal("-KILL", pid).await;
    };
    let (answer, ()) = tokio::join!(validate(&stack, &key), kill);
    assert_eq!(answer.status, 502);
    drop(slow);
    assert!(is_active(&stack, &key).await);

    let [pid] = stack.process_ids("validate")[..] else {
        panic!("one process")
    };
    signal("-STOP", pid).await;
    let started = Instant::now();
    assert_eq!(validate(&stack, &key).await.status, 504);
    assert!(started.elapsed() >= BUDGET);
    assert!(!is_alive(pid));
    assert!(is_active(&stack, &key).await);
    stack.stop().await;
}

/// A validation that accepts whatever the function may remember.
async fn recall(stack: &Stack, key: &str) -> Value {
    let body = json!({ "access_key": key, "max_staleness": 300 });
    let answer = call(stack, "/v1/access-keys/validate", None, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

async fn revoke(stack: &Stack, key: &str) {
    let answer = call(
        stack,
        "/v1/access-keys/revoke",
        None,
        json!({ "access_key": key }),
    )
    .await;
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn reads(stack: &Stack) -> usize {
    stack.count(|request| request.function == "validate" && request.action == "BatchGetItem")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_remembers_is_as_old_as_it_says_and_no_older_than_the_bound() {
    const BOUND: Duration = Duration::from_secs(4);
    // An attempt to read is given up after it.
    const SLOW: Duration = Duration::from_secs(1);
    let mut options = options();
    options.parameters.push((
        "MaxStalenessSeconds".to_owned(),
        BOUND.as_secs().to_string(),
    ));
    let stack = start(options).await;
    let key = key(&stack).await;

    // Its age counts from before the reading, however long that takes.
    let lost = Fault::Latency(Duration::from_secs(20));
    let slow = stack.inject(rule(Service::DynamoDb, "BatchGetItem", lost).times(1));
    let before = Instant::now();
    let first = recall(&stack, &key).await;
    let after = Instant::now();
    assert_eq!((&first["active"], slow.hits()), (&json!(true), 1));
    let checked_at = first["checked_at"].as_i64().unwrap();
    assert!(unix_time() > checked_at);

    revoke(&stack, &key).await;
    let read = reads(&stack);
    let mut remembered = 0;
    let last = loop {
        let age = SLOW + after.elapsed();
        let answer = recall(&stack, &key).await;
        if reads(&stack) > read {
            break answer;
        }
        assert_eq!(answer, first);
        assert!(age < BOUND, "remembered for {age:?}");
        remembered += 1;
    };
    assert_eq!(
        (&last["active"], &last["code"]),
        (&json!(false), &json!("revoked"))
    );
    assert!(before.elapsed() >= BOUND && remembered > 0);
    assert!(last["checked_at"].as_i64().unwrap() >= checked_at + 4);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_is_one_read_a_refusal_none_a_list_one_query_and_kms_is_not_asked() {
    let stack = start(options()).await;
    let key = key(&stack).await;
    // The first use is written, and the administrator's sign-in.
    assert!(is_active(&stack, &key).await);
    let token = stack.token(json!({ "sub": "admin", "tenant_id": "acme" }));
    get(&stack, "/v1/users/me/access-keys", &token).await;

    let forged = format!("{}AAAA", &key[..key.len() - 4]);
    let oversize = "A".repeat(50_000);
    for (text, expected) in [
        (&*key, &["BatchGetItem"][..]),
        (&forged, &[]),
        ("nonsense", &[]),
        (&oversize, &[]),
    ] {
        let before = stack.requests().len();
        validate(&stack, text).await;
        let requests = stack.requests();
        let actions: Vec<_> = requests[before..]
            .iter()
            .map(|request| request.action.as_str())
            .collect();
        assert_eq!(actions, expected);
    }
    let before = stack.requests().len();
    get(&stack, "/v1/users/me/access-keys", &token).await;
    let requests = stack.requests();
    let actions: Vec<_> = requests[before..]
        .iter()
        .map(|request| request.action.as_str())
        .collect();
    assert_eq!(actions, ["GetItem", "Query"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_never_goes_back_behind_what_it_has_read_for_anybody() {
    let stack = start(options()).await;
    let known = key(&stack).await;
    assert_eq!(recall(&stack, &known).await["active"], true);
    revoke(&stack, &known).await;
    assert_eq!(recall(&stack, &known).await["active"], true);
    assert_eq!(validate(&stack, &known).await.body["code"], "revoked");
    let read = reads(&stack);
    assert_eq!(recall(&stack, &known).await["code"], "revoked");
    assert_eq!(reads(&stack), read);

    // What cannot be read changes nothing: those who accept what is remembered need no table.
    let known = key(&stack).await;
    assert_eq!(recall(&stack, &known).await["active"], true);
    let out = stack.inject(rule(Service::DynamoDb, "BatchGetItem", Fault::Refuse));
    assert_eq!(validate(&stack, &known).await.status, 503);
    assert_eq!(recall(&stack, &known).await["active"], true);
    drop(out);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_tells_honestly_when_kms_is_out() {
    let stack = start(options()).await;
    for fault in [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Throttle,
        Fault::InternalError,
        Fault::Latency(Duration::from_secs(20)),
    ] {
        let out = stack.inject(rule(Service::Kms, "Sign", fault.clone()));
        let started = Instant::now();
        let answer = create(&stack).await;
        assert!(
            started.elapsed() < BUDGET,
            "{fault:?} took {:?}",
            started.elapsed()
        );
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("unavailable")),
            "{fault:?}"
        );
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
        assert!(out.hits() > 0);
    }
    assert_eq!(
        stack.count(|request| request.action == "TransactWriteItems"
            && request.body.to_string().contains("KEY#")),
        0
    );
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::Throttle] {
        let once = stack.inject(rule(Service::Kms, "Sign", fault).times(1));
        let key = key(&stack).await;
        assert_eq!(once.hits(), 1);
        assert!(is_active(&stack, &key).await);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_without_public_keys_fails_closed_and_recovers_by_itself() {
    let stack = start(options()).await;
    let key = key(&stack).await;
    let out = stack.inject(rule(Service::Kms, "GetPublicKey", Fault::DropBefore));
    let [pid] = stack.process_ids("validate")[..] else {
        panic!("one process")
    };
    signal("-KILL", pid).await;
    while is_alive(pid) && !stack.process_ids("validate").is_empty() {
        // Its end is noticed by the next invocation.
        if validate(&stack, &key).await.status != 200 {
            break;
        }
    }
    let answer = validate(&stack, &key).await;
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (503, Some("1")),
        "{}",
        answer.body
    );
    assert!(out.hits() > 0);
    drop(out);
    assert!(is_active(&stack, &key).await);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart_and_a_rotation_of_the_signing_key() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options {
        data: Some(directory.path().to_owned()),
        ..options()
    };
    let stack = start(kept()).await;
    let es256 = key(&stack).await;
    let stack_key = stack.signing_key().to_owned();
    let ed25519_key = stack.create_key("ECC_NIST_EDWARDS25519").await.unwrap();
    let processes: Vec<u32> = [
        "create",
        "list",
        "revoke",
        "validate",
        "authorize",
        "jwks",
        "users",
        "cleanup",
    ]
    .iter()
    .flat_map(|function| stack.process_ids(function))
    .collect();
    assert_eq!(processes.len(), 8);
    stack.stop().await;
    assert!(processes.into_iter().all(|pid| !is_alive(pid)));

    // First the new key is only made known: the old one signs on, and is published once.
    let mut announced = kept();
    let both = format!("{stack_key},{ed25519_key}");
    announced
        .parameters
        .push(("RotatedSigningKeys".into(), both));
    let stack = start(announced).await;
    assert_eq!(key(&stack).await.split('.').next(), es256.split('.').next());
    assert_eq!(published(&stack).await, ["ES256", "EdDSA"]);
    stack.stop().await;

    let mut rotated = kept();
    rotated
        .parameters
        .push(("RotatedSigningKeys".into(), ed25519_key.clone()));
    let stack = start(rotated).await;
    assert!(is_active(&stack, &es256).await);
    let eddsa = key(&stack).await;
    assert!(eddsa.split('.').next() != es256.split('.').next());
    assert!(is_active(&stack, &eddsa).await);
    assert_eq!(published(&stack).await, ["EdDSA", "ES256"]);
    stack.stop().await;
}

/// The algorithms of the published keys.
async fn published(stack: &Stack) -> Vec<String> {
    let keys = reqwest::get(format!("{}/.well-known/jwks.json", stack.url()))
        .await
        .unwrap();
    let keys: Value = keys.json().await.unwrap();
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["alg"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_signs_rs256() {
    let mut rsa = options();
    rsa.parameters
        .push(("SigningKeySpec".into(), "RSA_2048".into()));
    let stack = start(rsa).await;
    let key = key(&stack).await;
    assert_eq!(
        jsonwebtoken::decode_header(&key).unwrap().alg,
        jsonwebtoken::Algorithm::RS256
    );
    assert!(is_active(&stack, &key).await);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_one_line_of_json_and_stops_cleanly() {
    let here = std::env::current_exe().unwrap();
    let binary = here.ancestors().nth(2).unwrap().join("local-stack");
    let mut command = Command::new(binary);
    command
        .args(["--json", "--port", "0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let users: Vec<_> = ready["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (&user["tenant_id"], &user["role"]))
        .collect();
    assert_eq!(
        json!(users),
        json!([
            ["acme", "admin"],
            ["acme", "editor"],
            ["acme", "viewer"],
            ["globex", "admin"]
        ])
    );
    let (url, token) = (
        ready["url"].as_str().unwrap(),
        ready["users"][1]["token"].as_str().unwrap(),
    );
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let me = client
        .get(format!("{url}/v1/users/me"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(me.json::<Value>().await.unwrap()["role"], "editor");
    let children = children_of(child.id().unwrap());
    assert!(children.len() >= 8, "{children:?}");
    signal("-INT", child.id().unwrap()).await;
    assert!(child.wait().await.unwrap().success());
    assert!(lines.next_line().await.unwrap().is_none(), "one line");
    assert!(children.into_iter().all(|pid| !is_alive(pid)));
}

/// A request to DynamoDB itself, past the functions.
async fn dynamodb(stack: &Stack, action: &str, mut body: Value) -> Value {
    body["TableName"] = json!(stack.table());
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(stack.dynamodb_endpoint());
    let request = request
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
        .header("x-amz-date", "20260101T000000Z");
    let response = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn partition(stack: &Stack, pk: &str) -> Vec<Value> {
    let body = json!({
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": pk } },
        "ConsistentRead": true,
    });
    dynamodb(stack, "Query", body).await["Items"]
        .as_array()
        .unwrap()
        .clone()
}

async fn get(stack: &Stack, path: &str, token: &str) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client
        .get(format!("{}{path}", stack.url()))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

/// A key's counter and the number of its slots, straight from the table.
async fn counter_and_slots(stack: &Stack, key_id: &str) -> (u64, u64) {
    let keys = partition(stack, "U#acme#admin").await;
    let key = keys
        .iter()
        .find(|item| item["sk"]["S"] == format!("KEY#{key_id}").as_str())
        .unwrap();
    let slots = partition(stack, &format!("K#acme#{key_id}")).await;
    (
        key["clusters_used"]["N"].as_str().unwrap().parse().unwrap(),
        slots.len() as u64,
    )
}

/// An onboarding key: its id and its text.
async fn onboarding_key(stack: &Stack, role: &str, max_clusters: u64) -> (String, String) {
    let token = stack.token(json!({ "sub": "admin", "tenant_id": "acme" }));
    let body = json!({ "name": "k", "role": role, "max_clusters": max_clusters });
    let created = call(stack, "/v1/users/me/access-keys", Some(&token), body)
        .await
        .body;
    (
        created["id"].as_str().unwrap().into(),
        created["access_key"].as_str().unwrap().into(),
    )
}

async fn onboard(stack: &Stack, key: &str, cluster: &str) -> Answer {
    let body = json!({ "cluster_name": cluster, "node_name": "n", "type": "K8s" });
    call(stack, "/access-token/api/v1/process", Some(key), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clusters_list_in_pages_and_cost_an_onboarding_nothing() {
    let stack = start(options()).await;
    let (id, key) = onboarding_key(&stack, "editor", 2).await;
    assert_eq!(onboard(&stack, &key, "first").await.status, 200);
    let clusters = partition(&stack, "C#acme").await;
    let template = clusters
        .iter()
        .find(|item| item["sk"]["S"] == "CLUSTER#first")
        .unwrap();
    for batch in 0..400 {
        let puts: Vec<_> = (0..25)
            .map(|n| {
                let (mut item, number) = (template.clone(), batch * 25 + n);
                item["sk"]["S"] = json!(format!("CLUSTER#seeded-{number:05}"));
                item["id"]["N"] = json!((1_000_000 + number).to_string());
                json!({ "PutRequest": { "Item": item } })
            })
            .collect();
        dynamodb(
            &stack,
            "BatchWriteItem",
            json!({ "RequestItems": { stack.table(): puts } }),
        )
        .await;
    }
    let before = stack.requests().len();
    assert_eq!(onboard(&stack, &key, "second").await.status, 200);
    let requests = stack.requests();
    let actions: Vec<_> = requests[before..]
        .iter()
        .map(|request| request.action.as_str())
        .collect();
    assert_eq!(actions, ["BatchGetItem", "TransactWriteItems"]);

    let pages = async |query: &str| {
        let (mut names, mut cursor, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(
                &stack,
                &format!("/v1/clusters?limit=100{query}{cursor}"),
                &key,
            )
            .await;
            count += 1;
            let items = page["items"].as_array().unwrap();
            names.extend(
                items
                    .iter()
                    .map(|cluster| cluster["name"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (names, count),
            }
        }
    };
    let mut expected: Vec<_> = (0..10_000).map(|n| format!("seeded-{n:05}")).collect();
    expected.extend(["first".into(), "second".into()]);
    expected.sort();
    assert_eq!(pages("").await, (expected.clone(), 101));
    assert_eq!(pages(&format!("&key_id={id}")).await.0, expected);
    assert_eq!(pages("&status=inactive").await.0, [""; 0]);
    let accuknox_list = get(
        &stack,
        "/cluster-onboarding/api/v1/get-onboarded-clusters",
        &key,
    )
    .await;
    assert_eq!(accuknox_list.as_array().unwrap().len(), 10_002);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_while_it_onboards_loses_nothing_and_leaks_no_slot() {
    const ROUNDS: u64 = 50;
    let stack = start(options()).await;
    let (id, key) = onboarding_key(&stack, "cluster_onboarding", ROUNDS).await;
    let (mut killed, mut killed_after_the_write) = (0, 0);
    for round in 0..ROUNDS {
        let cluster = format!("c{round}");
        // In even rounds before the transaction takes effect, in odd ones after it, before its answer arrives.
        let transaction = |fault| {
            Rule::new(fault)
                .service(Service::DynamoDb)
                .action("TransactWriteItems")
                .function("onboard")
        };
        let fault = if round % 2 == 0 {
            Fault::Latency(Duration::from_secs(30))
        } else {
            Fault::DropAfter
        };
        let rule = stack.inject(transaction(fault));
        let pids = stack.process_ids("onboard");
        let kill = async {
            while rule.hits() == 0 {
                tokio::task::yield_now().await;
            }
            for pid in pids {
                signal("-9", pid).await;
            }
        };
        let (answer, ()) = tokio::join!(onboard(&stack, &key, &cluster), kill);
        drop(rule);
        let (counter, slots) = counter_and_slots(&stack, &id).await;
        assert_eq!(counter, slots, "round {round}");
        assert!(
            (round..=round + 1).contains(&slots),
            "round {round}: {slots}"
        );
        killed += u64::from(answer.status == 502);
        killed_after_the_write += u64::from(answer.status == 502 && slots == round + 1);
        assert!(
            answer.status == 502 || slots == round + 1,
            "{} says success",
            answer.status
        );
        // The client tries again.
        let answer = onboard(&stack, &key, &cluster).await;
        assert_eq!(
            answer.body["message"], "success",
            "round {round}: {}",
            answer.body
        );
        assert_eq!(counter_and_slots(&stack, &id).await, (round + 1, round + 1));
    }
    assert!(killed >= ROUNDS / 2, "{killed} killed");
    assert!(
        killed_after_the_write > 0,
        "none was killed between the write and its answer"
    );
    stack.stop().await;
}
