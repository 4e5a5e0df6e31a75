//! A tenant. Tests reach its users, keys and clusters through the API, and its items directly in the table.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use local_stack::{Fault, Options, Rule, Service};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, send},
    target::{self, TENANTS, Target},
    time::{eventually, now, rfc3339},
};

/// The path of the caller's own keys.
pub const KEYS: &str = "/v1/users/me/access-keys";
pub const VALIDATE: &str = "/v1/access-keys/validate";
/// The path that AccuKnox clients call to onboard clusters and nodes.
pub const PROCESS: &str = "/access-token/api/v1/process";
/// The path that AccuKnox clients call to list clusters.
pub const ACCUKNOX_CLUSTERS: &str = "/cluster-onboarding/api/v1/get-onboarded-clusters";
/// The id of a key that does not exist.
pub const UNKNOWN_KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A tenant with the administrator `admin`.
#[derive(Clone)]
pub struct Tenant<'a> {
    pub id: String,
    target: &'a dyn Target,
    client: reqwest::Client,
}

impl Tenant<'static> {
    /// Returns a tenant on the shared target. No other test uses this tenant.
    pub fn fresh() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(client);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        assert!(n < TENANTS);
        Self {
            id: format!("t{n}x"),
            target: target::shared(),
            client: CLIENT.clone(),
        }
    }
}

impl<'a> Tenant<'a> {
    /// Returns a tenant on a target. `client` sends the tenant's requests.
    pub fn of(target: &'a dyn Target, id: &str, client: &reqwest::Client) -> Self {
        Self {
            id: id.to_owned(),
            target,
            client: client.clone(),
        }
    }

    /// Returns the tenant `acme`, on a target that only one test uses.
    pub fn acme(target: &'a dyn Target) -> Self {
        Self {
            id: "acme".into(),
            target,
            client: client(),
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().user_agent("access-keys-tests");
    client.no_proxy().build().unwrap()
}

/// Requests.
impl Tenant<'_> {
    /// Returns a request without a token.
    pub fn call(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.target.url());
        self.client.request(method, url)
    }

    /// Returns a request by a user of this tenant.
    pub fn request(&self, user: &str, method: &str, path: &str) -> RequestBuilder {
        self.call(method, path).bearer_auth(self.token(user))
    }

    pub fn token(&self, user: &str) -> String {
        let email = format!("{user}@{}.example", self.id);
        let claims = json!({ "sub": user, "tenant_id": self.id, "email": email, "name": user });
        self.target.token(claims)
    }

    /// Returns a token with these claims. `iss`, `aud`, `iat` and `exp` are added if they are absent.
    pub fn token_of(&self, claims: Value) -> String {
        self.target.token(claims)
    }

    /// Returns a request by the operator. The token contains these additional claims.
    pub fn operation(&self, method: &str, path: &str, claims: Value) -> RequestBuilder {
        let mut token = json!({ "client_id": "backend", "scope": "tenants:manage" });
        let token_claims = token.as_object_mut().unwrap();
        token_claims.extend(claims.as_object().unwrap().clone());
        let request = self.call(method, path).header("x-tenant-id", &self.id);
        request.bearer_auth(self.target.token(token))
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

    /// Returns the items on all pages of a list.
    pub async fn all(&self, user: &str, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(user, &format!("{path}{cursor}")).await.expect(200);
            items.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("{separator}cursor={next}"),
                None => return items,
            }
        }
    }
}

/// Users and access keys.
impl Tenant<'_> {
    /// Provisions a user with this role.
    pub async fn user(&self, id: &str, role: &str) {
        let path = format!("/v1/users/{id}");
        let created = self.send("admin", "PUT", &path, json!({ "role": role }));
        created.await.expect(201);
    }

    /// As the administrator, changes a user's role or status.
    pub async fn change_user(&self, id: &str, change: Value) {
        let path = format!("/v1/users/{id}");
        let changed = self.send("admin", "PATCH", &path, change);
        changed.await.expect(200);
    }

    /// Returns a request in which `user` creates a key of their own.
    pub fn creation(&self, user: &str, body: &Value) -> RequestBuilder {
        self.request(user, "POST", KEYS).json(body)
    }

    /// As the administrator, creates a key for `owner`. Returns the key's id and the access key.
    pub async fn key(&self, owner: &str, role: &str) -> (String, String) {
        let body = json!({ "name": "test", "role": role });
        self.key_of(owner, body).await
    }

    /// Like [`Self::key`], but takes a custom request body.
    pub async fn key_of(&self, owner: &str, body: Value) -> (String, String) {
        let path = format!("/v1/users/{owner}/access-keys");
        let created = self.send("admin", "POST", &path, body).await.expect(201);
        let string = |name| created.string(name).to_owned();
        (string("id"), string("access_key"))
    }

    /// Creates a key that the administrator owns, with the cluster limit `max_clusters`. Returns its id and the access
    /// key.
    pub async fn limited_key(&self, role: &str, max_clusters: u64) -> (String, String) {
        let body = json!({ "name": "k", "role": role, "max_clusters": max_clusters });
        self.key_of("admin", body).await
    }

    /// Creates a key that the administrator owns and that expires in `seconds` seconds. Returns its id, the access key,
    /// and its expiry in seconds since the epoch.
    pub async fn short_lived(&self, role: &str, seconds: i64) -> (String, String, i64) {
        let end = now() + seconds;
        let body = json!({ "name": "short", "role": role, "expires_at": rfc3339(end) });
        let (id, key) = self.key_of("admin", body).await;
        (id, key, end)
    }

    /// Returns the record of one of the administrator's keys.
    pub async fn record(&self, key_id: &str) -> Value {
        let path = format!("{KEYS}/{key_id}");
        self.get("admin", &path).await.expect(200).body
    }

    /// Returns a request for the record of `key`, authenticated with that key.
    pub fn own_record(&self, key: &str) -> RequestBuilder {
        let request = self.call("GET", "/v1/access-keys/self");
        request.bearer_auth(key)
    }

    /// Returns a validation request that accepts data up to `seconds` seconds old.
    pub fn cached_validation(&self, key: &str, seconds: i64) -> RequestBuilder {
        let body = json!({ "access_key": key, "max_staleness": seconds });
        self.call("POST", VALIDATE).json(&body)
    }

    pub fn validation(&self, key: &str) -> RequestBuilder {
        let body = json!({ "access_key": key });
        self.call("POST", VALIDATE).json(&body)
    }

    pub async fn validate(&self, key: &str) -> Value {
        send(self.validation(key)).await.expect(200).body
    }

    /// Returns a request by `user` to rotate one of the administrator's keys.
    pub fn rotation(&self, user: &str, key_id: &str, body: &Value) -> RequestBuilder {
        let path = format!("/v1/users/admin/access-keys/{key_id}/rotate");
        self.request(user, "POST", &path).json(body)
    }

    /// Rotates one of the administrator's keys. Returns the new secret.
    pub async fn rotate(&self, key_id: &str, body: Value) -> String {
        let rotated = send(self.rotation("admin", key_id, &body))
            .await
            .expect(200);
        rotated.string("access_key").to_owned()
    }

    /// Returns a request that rotates the key that it presents.
    pub fn self_rotation(&self, key: &str, body: &Value) -> RequestBuilder {
        let request = self.call("POST", "/v1/access-keys/rotate");
        request.bearer_auth(key).json(body)
    }

    /// Returns a request that revokes the key that it presents.
    pub fn revocation(&self, key: &str) -> RequestBuilder {
        let request = self.call("POST", "/v1/access-keys/revoke");
        request.bearer_auth(key)
    }

    /// Revokes a key by presenting it.
    pub async fn revoke(&self, key: &str) {
        send(self.revocation(key)).await.expect(204);
    }

    /// Revokes one of the administrator's keys by its id.
    pub async fn revoke_by_id(&self, key_id: &str) {
        let path = format!("{KEYS}/{key_id}");
        self.delete("admin", &path).await.expect(204);
    }

    /// Validates a key. Returns `active`, or the code of the refusal.
    pub async fn verdict(&self, key: &str) -> String {
        code(&self.validate(key).await).into()
    }
}

/// Clusters and join tokens.
impl Tenant<'_> {
    /// Creates an onboarding key that the administrator owns. It can onboard up to `max_clusters` clusters. Returns its
    /// id and the access key.
    pub async fn onboarding_key(&self, max_clusters: u64) -> (String, String) {
        self.limited_key("cluster_onboarding", max_clusters).await
    }

    /// Returns the record of a cluster.
    pub async fn cluster(&self, name: &str) -> Value {
        let path = format!("/v1/clusters/{name}");
        self.get("admin", &path).await.expect(200).body
    }

    /// Returns a request as an AccuKnox agent sends it: without a Content-Type, and with the key in both the header and
    /// the body.
    pub fn process(&self, key: &str, mut body: Value) -> RequestBuilder {
        body["token"] = json!(key);
        self.call("POST", PROCESS)
            .header("accept", "application/json")
            .bearer_auth(key)
            .body(body.to_string())
    }

    pub fn onboarding(&self, key: &str, cluster: &str) -> RequestBuilder {
        self.process(key, json!({ "cluster_name": cluster, "type": "K8s" }))
    }

    pub async fn onboard(&self, key: &str, cluster: &str) -> Answer {
        send(self.onboarding(key, cluster)).await
    }

    /// Onboards a cluster and returns the join token.
    pub async fn join_token(&self, key: &str, cluster: &str) -> String {
        let joined = self.onboard(key, cluster).await.expect(200);
        joined.string("join_token").to_owned()
    }

    /// Returns a token for the service that redeems join tokens. The token contains these additional claims.
    pub fn platform_token(&self, claims: Value) -> String {
        let mut token = json!({ "sub": "spire-server", "scope": "join-tokens:redeem other" });
        let token_claims = token.as_object_mut().unwrap();
        token_claims.extend(claims.as_object().unwrap().clone());
        self.target.token(token)
    }

    pub fn redemption(&self, token: &str, body: &Value) -> RequestBuilder {
        let request = self.call("POST", "/v1/join-tokens/redeem");
        request.bearer_auth(token).json(body)
    }

    pub async fn redeem(&self, token: &str, body: Value) -> Answer {
        send(self.redemption(token, &body)).await
    }
}

/// Direct access to the table, bypassing the functions.
impl Tenant<'_> {
    pub fn table(&self) -> &str {
        self.target.table()
    }

    pub async fn dynamodb(&self, action: &str, mut body: Value) -> Value {
        const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0";
        body["TableName"] = json!(self.table());
        let request = self
            .client
            .post(self.target.dynamodb_endpoint())
            .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", AUTHORIZATION)
            .header("x-amz-date", "20260101T000000Z")
            .body(body.to_string());
        send(request).await.expect(200).body
    }

    /// Returns the items of a partition.
    pub async fn partition(&self, pk: &str) -> Vec<Value> {
        let body = json!({
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
            "ConsistentRead": true,
        });
        let found = self.dynamodb("Query", body).await;
        found["Items"].as_array().unwrap().clone()
    }

    /// Returns the partition key of the item of a user and of the items of that user's keys.
    pub fn pk(&self, user: &str) -> String {
        format!("U#{}#{user}", self.id)
    }

    /// Returns the items in a user's partition.
    pub async fn items(&self, user: &str) -> Vec<Value> {
        self.partition(&self.pk(user)).await
    }

    /// Returns the partition key of the tenant's clusters.
    pub fn clusters_pk(&self) -> String {
        format!("C#{}", self.id)
    }

    /// Returns the items of a cluster's nodes.
    pub async fn nodes(&self, cluster: &str) -> Vec<Value> {
        let id = &self.cluster(cluster).await["id"];
        self.partition(&format!("N#{}#{id}", self.id)).await
    }

    /// Returns the item of one of the administrator's keys.
    pub async fn key_item(&self, key_id: &str) -> Option<Value> {
        let items = self.items("admin").await.into_iter();
        let sk = format!("KEY#{key_id}");
        items.into_iter().find(|item| item["sk"]["S"] == sk)
    }

    /// Returns the names of the clusters for which a key holds slots.
    pub async fn slots(&self, key_id: &str) -> Vec<String> {
        let items = self.partition(&format!("K#{}#{key_id}", self.id)).await;
        let name = |item: &Value| item["sk"]["S"].as_str().unwrap()["SLOT#".len()..].to_owned();
        items.iter().map(name).collect()
    }

    /// Returns the number of slots that an unexpired key holds. Asserts that the key's counter equals this number.
    pub async fn used(&self, key_id: &str) -> u64 {
        let (record, slots) = (self.record(key_id).await, self.slots(key_id).await);
        assert_eq!(record["clusters_used"], slots.len(), "{slots:?}");
        slots.len() as u64
    }

    /// Edits the item of a user's key.
    pub async fn edit_key(&self, owner: &str, key_id: &str, update: &str, values: Value) {
        let sk = format!("KEY#{key_id}");
        self.edit_item(&self.pk(owner), &sk, update, values).await;
    }

    /// Edits the item of a user's new key so that the key appears to have been created at `created` with the expiry
    /// `end`. Both times are in seconds since the epoch.
    pub async fn backdate(&self, owner: &str, key_id: &str, created: i64, end: i64) {
        let sk = format!("KEY#{key_id}");
        let items = self.items(owner).await;
        let item = items.iter().find(|item| item["sk"]["S"] == *sk).unwrap();
        let (_, shard) = item["due_pk"]["S"]
            .as_str()
            .unwrap()
            .rsplit_once('#')
            .unwrap();
        let due = rfc3339(created).replace('Z', ".000Z");
        let values = json!({
            ":created": { "N": created.to_string() },
            ":end": { "N": end.to_string() },
            ":pk": { "S": format!("D#{}#{shard}", &due[..10]) },
            ":sk": { "S": due },
        });
        let update = "SET created_at = :created, expires_at = :end, due_pk = :pk, due_sk = :sk";
        self.edit_key(owner, key_id, update, values).await;
    }

    /// Edits an item. In the expression, `#role`, `#hash`, `#ttl` and `#name` stand for the attributes with those
    /// names.
    pub async fn edit_item(&self, pk: &str, sk: &str, update: &str, values: Value) {
        let names: Map<_, _> = ["role", "hash", "ttl", "name"]
            .into_iter()
            .filter(|name| update.contains(&format!("#{name}")))
            .map(|name| (format!("#{name}"), json!(name)))
            .collect();
        let mut body = json!({
            "Key": { "pk": { "S": pk }, "sk": { "S": sk } },
            "UpdateExpression": update,
        });
        if !names.is_empty() {
            body["ExpressionAttributeNames"] = json!(names);
        }
        if !values.is_null() {
            body["ExpressionAttributeValues"] = values;
        }
        self.dynamodb("UpdateItem", body).await;
    }
}

/// Methods that work only on the local stack.
impl Tenant<'_> {
    /// Returns a rule that injects a fault into this tenant's requests to DynamoDB.
    pub fn rule(&self, action: &str, fault: Fault) -> Rule {
        let rule = Rule::new(fault).service(Service::DynamoDb).action(action);
        rule.containing(&format!("#{}", self.id))
    }

    /// Returns the DynamoDB actions that functions have requested for this tenant so far.
    pub fn store_actions(&self) -> Vec<String> {
        let marker = format!("#{}", self.id);
        let mut requests = self.target.local().requests();
        requests.retain(|request| request.body.to_string().contains(&marker));
        requests.into_iter().map(|request| request.action).collect()
    }

    /// Returns the number of requests that functions have sent to DynamoDB for this tenant so far.
    pub fn store_requests(&self) -> usize {
        self.store_actions().len()
    }

    /// Repeats a request until it is answered from the cache, and returns the cached response. Each process reads the
    /// table once before it can use its cache.
    pub async fn cached(&self, request: impl Fn() -> RequestBuilder) -> Answer {
        for _ in 0..=Options::default().processes_per_function {
            let before = self.store_requests();
            let answer = send(request()).await.expect(200);
            if self.store_requests() == before {
                return answer;
            }
        }
        panic!("every process has read the table, but none uses its cache");
    }

    /// Lets TTL delete one of the administrator's keys and waits until the clean-up has archived the key and released
    /// its slots. Returns the archived item.
    pub async fn archived(&self, key_id: &str) -> Value {
        let stack = self.target.local();
        let item = eventually("the key is archived", || async {
            stack.sweep_ttl().unwrap();
            stack.drain_events().await;
            let item = self.key_item(key_id).await?;
            item.get("hash").is_none().then_some(item)
        });
        let item = item.await;
        // Another test may have let TTL delete the key, in which case its slots may not have been released yet.
        stack.drain_events().await;
        item
    }
}

/// Returns `active` if the body of a validation response says that the key is active, and otherwise the code of the
/// refusal.
pub fn code(answer: &Value) -> &str {
    if answer["active"] == true {
        "active"
    } else {
        answer["code"].as_str().unwrap()
    }
}

/// Asserts that a validation is based on data that was read no earlier than `second`.
#[track_caller]
pub fn expect_checked_since(second: i64, answer: &Value) {
    let checked_at = answer["checked_at"].as_i64().unwrap();
    assert!((second..=now()).contains(&checked_at), "{second}: {answer}");
}

/// Returns the key with one character of its signature changed.
pub fn forged(key: &str) -> String {
    let middle = (key.len() + key.rfind('.').unwrap()) / 2;
    let other = if &key[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &key[..middle], &key[middle + 1..])
}
