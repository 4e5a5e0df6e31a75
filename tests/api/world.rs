//! The world of a test: one stack for all, which `stack.rs` starts, and one tenant for each.

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::stack::{STACK, stack};

/// How many tenants have `admin` as their first administrator.
const TENANTS: usize = 300;

static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().build().unwrap());

/// Every key that was created in this run, for the search in logs and table.
pub static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

pub fn run<T>(test: impl Future<Output = T>) -> T {
    LazyLock::force(&STACK);
    block_on(test)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// The template's parameters for the tests.
pub fn parameters() -> [(&'static str, String); 2] {
    let admins: Vec<_> = (0..TENANTS).map(|n| format!("t{n}x/admin")).collect();
    [
        ("BootstrapAdmins", admins.join(",")),
        ("MinExpirySeconds", "1".into()),
    ]
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test sees the clock that its user sees"
)]
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

/// Waits until the clock shows `second`.
pub async fn until(second: i64) {
    while now() < second {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Insists on a status, and shows the answer otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Insists on an AccuKnox error: the strings `error_code` and `error_message`, and nothing else.
    #[track_caller]
    pub fn expect_accuknox(self, status: u16, code: &str) -> Self {
        let found = self.body["error_code"].as_str().unwrap_or_default();
        assert_eq!((self.status, found), (status, code), "{}", self.text);
        assert!(!self.body["error_message"].as_str().unwrap().is_empty());
        assert_eq!(self.body.as_object().unwrap().len(), 2, "{}", self.text);
        self
    }

    /// Insists on problem JSON (RFC 9457) that somebody can act on.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
        assert!(!self.body["request_id"].as_str().unwrap().is_empty());
        self
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the gateway answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    for secret in ["access_key", "join_token"] {
        SECRETS
            .lock()
            .unwrap()
            .extend(body[secret].as_str().map(str::to_owned));
    }
    Answer {
        status,
        headers,
        text,
        body,
    }
}

pub fn request(method: &str, path: &str) -> reqwest::RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    CLIENT.request(method, format!("{}{path}", stack().url()))
}

pub async fn validate(key: &str) -> Value {
    send(request("POST", "/v1/access-keys/validate").json(&json!({ "access_key": key })))
        .await
        .expect(200)
        .body
}

/// The code of a refusal, or `active`.
pub async fn verdict(key: &str) -> String {
    code(&validate(key).await).into()
}

/// The code of a refusal, or `active`.
pub fn code(answer: &Value) -> &str {
    if answer["active"] == true {
        "active"
    } else {
        answer["code"].as_str().unwrap()
    }
}

/// A validation that accepts what was read less than `seconds` ago.
pub fn recall(key: &str, seconds: i64) -> reqwest::RequestBuilder {
    request("POST", "/v1/access-keys/validate")
        .json(&json!({ "access_key": key, "max_staleness": seconds }))
}

pub fn table() -> &'static str {
    stack().table()
}

/// The request of an AccuKnox agent: no Content-Type, and the key both in the header and in the body.
pub fn process(key: &str, mut body: Value) -> reqwest::RequestBuilder {
    body["token"] = json!(key);
    request("POST", "/access-token/api/v1/process")
        .header("accept", "application/json")
        .bearer_auth(key)
        .body(body.to_string())
}

/// Onboards a cluster.
pub async fn onboard(key: &str, cluster: &str) -> Answer {
    send(process(
        key,
        json!({ "cluster_name": cluster, "type": "K8s" }),
    ))
    .await
}

/// A request to DynamoDB itself, past the functions: what somebody with access to the table could do.
pub async fn dynamodb(action: &str, mut body: Value) -> Value {
    body["TableName"] = json!(table());
    let request = CLIENT
        .post(stack().dynamodb_endpoint())
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
        .header("x-amz-date", "20260101T000000Z")
        .body(body.to_string());
    send(request).await.expect(200).body
}

/// The items of a partition, straight from the table.
pub async fn partition(pk: &str) -> Vec<Value> {
    let body = json!({
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": pk } },
        "ConsistentRead": true,
    });
    dynamodb("Query", body).await["Items"]
        .as_array()
        .unwrap()
        .clone()
}

/// A tenant of a test's own, with an administrator.
pub struct Tenant {
    pub id: String,
}

impl Tenant {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        assert!(n < TENANTS);
        Self {
            id: format!("t{n}x"),
        }
    }

    pub fn token(&self, user: &str) -> String {
        stack().token(json!({ "sub": user, "tenant_id": self.id, "email": format!("{user}@{}.example", self.id), "name": user }))
    }

    pub fn request(&self, user: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        request(method, path).bearer_auth(self.token(user))
    }

    pub async fn get(&self, user: &str, path: &str) -> Answer {
        send(self.request(user, "GET", path)).await
    }

    pub async fn delete(&self, user: &str, path: &str) -> Answer {
        send(self.request(user, "DELETE", path)).await
    }

    pub async fn send(&self, user: &str, method: &str, path: &str, body: Value) -> Answer {
        send(self.request(user, method, path).json(&body)).await
    }

    /// Makes a user with that role.
    pub async fn user(&self, id: &str, role: &str) {
        self.send(
            "admin",
            "PUT",
            &format!("/v1/users/{id}"),
            json!({ "role": role }),
        )
        .await
        .expect(201);
    }

    /// A key of `owner`, made by the administrator: its id and its text.
    pub async fn key(&self, owner: &str, role: &str) -> (String, String) {
        self.key_of(owner, json!({ "name": "test", "role": role }))
            .await
    }

    pub async fn key_of(&self, owner: &str, body: Value) -> (String, String) {
        let body = self
            .send(
                "admin",
                "POST",
                &format!("/v1/users/{owner}/access-keys"),
                body,
            )
            .await
            .expect(201)
            .body;
        (
            body["id"].as_str().unwrap().into(),
            body["access_key"].as_str().unwrap().into(),
        )
    }

    /// All pages of a list, as items.
    pub async fn all(&self, user: &str, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self
                .get(user, &format!("{path}{cursor}"))
                .await
                .expect(200)
                .body;
            items.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => {
                    cursor = format!(
                        "{}cursor={next}",
                        if path.contains('?') { "&" } else { "?" }
                    )
                }
                None => return items,
            }
        }
    }

    pub fn pk(&self, user: &str) -> String {
        format!("U#{}#{user}", self.id)
    }

    /// The items of a user's partition, straight from the table.
    pub async fn items(&self, user: &str) -> Vec<Value> {
        partition(&self.pk(user)).await
    }

    /// The clusters for which a key holds slots, straight from the table.
    pub async fn slots(&self, key_id: &str) -> Vec<String> {
        let items = partition(&format!("K#{}#{key_id}", self.id)).await;
        items
            .iter()
            .map(|item| item["sk"]["S"].as_str().unwrap()["SLOT#".len()..].to_owned())
            .collect()
    }

    /// The record of one of the administrator's keys.
    pub async fn record(&self, key_id: &str) -> Value {
        self.get("admin", &format!("/v1/users/me/access-keys/{key_id}"))
            .await
            .expect(200)
            .body
    }

    /// Insists that a live key's counter is the number of its slots, and gives that number.
    pub async fn used(&self, key_id: &str) -> u64 {
        let (record, slots) = (self.record(key_id).await, self.slots(key_id).await);
        assert_eq!(record["clusters_used"], slots.len(), "{slots:?}");
        slots.len() as u64
    }

    /// Edits an item in the table, past the functions.
    pub async fn edit(&self, user: &str, sk: &str, update: &str, values: Value) {
        let names = [("#role", "role"), ("#hash", "hash"), ("#ttl", "ttl")];
        let names: serde_json::Map<_, _> = names
            .iter()
            .filter(|(name, _)| update.contains(name))
            .map(|(k, v)| ((*k).to_owned(), json!(v)))
            .collect();
        let mut body = json!({
            "Key": { "pk": { "S": self.pk(user) }, "sk": { "S": sk } },
            "UpdateExpression": update,
        });
        if !names.is_empty() {
            body["ExpressionAttributeNames"] = json!(names);
        }
        if !values.is_null() {
            body["ExpressionAttributeValues"] = values;
        }
        dynamodb("UpdateItem", body).await;
    }
}
