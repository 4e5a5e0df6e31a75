//! A damaged item affects only the calls that need it. For each attribute of each kind of item, the test removes the
//! attribute, changes its value, or replaces the value with one of another type. It also removes whole items. Calls
//! that do not need the item must succeed, and no key may grant more than its claims.
//!
//! All cases together take minutes, so only every tenth case runs by default. `DAMAGE_STEP=1` runs all cases.

use std::env;

use harness::{
    ACCUKNOX_CLUSTERS, KEYS, PROCESS, ProtectedApi, Stack, Tenant, VALIDATE, code, options, send,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// The damage to an item: the affected attribute and its new value. `None` instead of both removes the whole item.
/// `None` instead of the value removes the attribute.
pub type Damage = Option<(String, Option<Value>)>;

/// Returns the interval at which cases run. With an interval of 10, every tenth case runs.
pub fn step() -> usize {
    env::var("DAMAGE_STEP").map_or(10, |step| step.parse().unwrap())
}

/// Returns the replacement values for an attribute.
fn values() -> [Value; 6] {
    [
        json!({ "BOOL": true }),
        json!({ "NULL": true }),
        json!({ "S": "x" }),
        json!({ "S": "admin" }),
        json!({ "N": "-1" }),
        json!({ "N": "4000000000" }),
    ]
}

pub fn damages(item: &Value) -> Vec<Damage> {
    let mut damages = vec![None];
    for name in item.as_object().unwrap().keys() {
        let is_key = name == "pk" || name == "sk";
        if is_key {
            continue;
        }
        damages.push(Some((name.clone(), None)));
        // The key attributes of an index accept only strings.
        let is_indexed = name.ends_with("_pk") || name.ends_with("_sk");
        let values = values().into_iter();
        let values = values
            .filter(|value| *value != item[name] && (!is_indexed || value.get("S").is_some()));
        damages.extend(values.map(|value| Some((name.clone(), Some(value)))));
    }
    damages
}

pub fn location(item: &Value) -> String {
    let [pk, sk] = ["pk", "sk"].map(|name| item[name]["S"].as_str().unwrap());
    format!("{pk} {sk}")
}

/// Returns all items in the table.
pub async fn scan(tenant: &Tenant<'_>) -> Vec<Value> {
    let scanned = tenant.dynamodb("Scan", json!({})).await;
    assert!(scanned.get("LastEvaluatedKey").is_none());
    scanned["Items"].as_array().unwrap().clone()
}

async fn put(tenant: &Tenant<'_>, item: &Value) {
    tenant.dynamodb("PutItem", json!({ "Item": item })).await;
}

async fn delete(tenant: &Tenant<'_>, item: &Value) {
    let key = json!({ "pk": item["pk"], "sk": item["sk"] });
    tenant.dynamodb("DeleteItem", json!({ "Key": key })).await;
}

pub async fn restore(tenant: &Tenant<'_>, items: &[Value]) {
    let found = scan(tenant).await;
    for item in &found {
        if !items
            .iter()
            .any(|wanted| location(wanted) == location(item))
        {
            delete(tenant, item).await;
        }
    }
    for item in items {
        if !found.contains(item) {
            put(tenant, item).await;
        }
    }
}

pub async fn inflict(tenant: &Tenant<'_>, item: &Value, damage: &Damage) {
    let mut damaged = item.clone();
    let attributes = damaged.as_object_mut().unwrap();
    match damage {
        None => return delete(tenant, item).await,
        Some((name, None)) => drop(attributes.remove(name)),
        Some((name, Some(value))) => drop(attributes.insert(name.clone(), value.clone())),
    }
    put(tenant, &damaged).await;
}

/// A tenant that has every kind of item.
pub struct World<'a> {
    pub tenant: Tenant<'a>,
    /// A key of `editor` that has onboarded the cluster `a`. Its claims are in `claims`.
    pub key: (String, String),
    claims: Value,
    /// A key of `editor`, who revoked it by revoking all of their keys.
    revoked: String,
    /// A key of `viewer`.
    other: String,
    join_token: String,
    /// An API behind the authorizer.
    api: ProtectedApi,
}

/// A request and the items that it needs. An item is needed if its location contains one of the strings in `needs`. If
/// a needed item is damaged, the request may fail.
struct Probe {
    request: RequestBuilder,
    needs: Vec<String>,
}

impl<'a> World<'a> {
    pub async fn new(stack: &'a Stack) -> Self {
        let tenant = Tenant::acme(stack);
        for (user, role) in [
            ("editor", "editor"),
            ("viewer", "viewer"),
            ("boss", "admin"),
        ] {
            tenant.user(user, role).await;
            tenant.get(user, "/v1/users/me").await.expect(200);
        }
        let (_, revoked) = tenant.key("editor", "viewer").await;
        tenant.delete("editor", KEYS).await.expect(204);
        let body = json!({ "name": "k", "labels": ["ci"], "role": "editor", "max_clusters": 3 });
        let key = tenant.key_of("editor", body).await;
        let claims = tenant.validate(&key.1).await;
        let (_, other) = tenant.key("viewer", "viewer").await;
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
        let joined = send(tenant.process(&key.1, node)).await.expect(200);
        let join_token = joined.string("join_token").to_owned();
        let world = Self {
            tenant,
            key,
            claims,
            revoked,
            other,
            join_token,
            api: ProtectedApi::start(stack).await,
        };
        send(world.repeated()).await.expect(201);
        world
    }

    /// Returns a request by the administrator to create a key. The request always has the same `Idempotency-Key`.
    fn repeated(&self) -> RequestBuilder {
        let body = json!({ "name": "once", "role": "viewer" });
        let request = self.tenant.creation("admin", &body);
        request.header("idempotency-key", "once")
    }

    fn probes(&self) -> Vec<Probe> {
        let (tenant, (id, key)) = (&self.tenant, &self.key);
        let editor = "#editor USER".to_owned();
        let item = format!("#editor KEY#{id}");
        let owned = [editor.clone(), item.clone()];
        let with_cluster = |mut needs: Vec<String>| {
            needs.push("CLUSTER#a".into());
            needs
        };
        let one = format!("/v1/users/editor/access-keys/{id}");
        let nodes = "/cm/api/v1/cluster-management/nodes-in-cluster";
        let boss = |method: &str, path: &str| tenant.request("boss", method, path);
        let by_key = |method: &str, path: &str| tenant.call(method, path).bearer_auth(key);
        let node = json!({ "cluster_name": "", "node_name": "n", "type": "Node" });
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let redemption = json!({ "join_token": self.join_token, "cluster_name": "a" });
        let new_key = json!({ "name": "new", "role": "viewer" });
        let (limit, role) = (json!({ "max_clusters": 2 }), json!({ "role": "viewer" }));
        let page = json!({ "workspace_id": tenant.id, "cluster_id": [], "page_previous": 0, "page_next": 10 });
        let keys = "/v1/users/editor/access-keys";
        [
            (boss("GET", "/v1/users"), vec![]),
            (boss("GET", "/v1/users/editor"), vec![editor.clone()]),
            (boss("GET", "/v1/access-keys"), vec![]),
            (boss("GET", "/v1/access-keys?status=revoked"), vec![]),
            (boss("GET", keys), vec![editor.clone()]),
            (boss("GET", &one), owned.to_vec()),
            (boss("PATCH", &one).json(&limit), owned.to_vec()),
            (tenant.validation(&self.other), vec!["#viewer ".into()]),
            (tenant.validation(key), owned.to_vec()),
            (tenant.validation(&self.revoked), vec!["#editor ".into()]),
            (tenant.own_record(key), owned.to_vec()),
            (self.api.get(key), owned.to_vec()),
            (tenant.onboarding(key, "a"), with_cluster(owned.to_vec())),
            (tenant.onboarding(key, "new"), owned.to_vec()),
            (tenant.process(key, node), with_cluster(owned.to_vec())),
            (boss("GET", "/v1/clusters"), vec![]),
            (boss("GET", "/v1/clusters/a"), vec!["CLUSTER#a".into()]),
            (by_key("GET", ACCUKNOX_CLUSTERS), owned.to_vec()),
            (by_key("POST", nodes).json(&page), owned.to_vec()),
            (
                tenant.redemption(&platform, &redemption),
                [with_cluster(owned.to_vec()), vec![" JOIN".into()]].concat(),
            ),
            (boss("POST", keys).json(&new_key), vec![editor.clone()]),
            (self.repeated(), vec!["#admin ".into()]),
            (
                boss("PATCH", "/v1/users/viewer").json(&role),
                vec!["#viewer USER".into()],
            ),
            (boss("DELETE", "/v1/clusters/a"), vec!["CLUSTER#a".into()]),
            (boss("DELETE", &one), owned.to_vec()),
            (boss("DELETE", keys), vec![editor.clone()]),
            (
                boss("PATCH", "/v1/users/admin").json(&role),
                vec!["#admin USER".into(), " ADMINS".into()],
            ),
            (boss("DELETE", "/v1/users/editor"), vec![editor]),
        ]
        .into_iter()
        .map(|(request, needs)| Probe { request, needs })
        .collect()
    }

    /// Asserts that a validation grants no more than the claims that the key was created with.
    fn check_grant(&self, grant: &Value, context: &str) {
        let number = |value: &Value, name: &str| value[name].as_i64().unwrap();
        if grant["active"] != true || grant["jti"] != self.claims["jti"] {
            return;
        }
        let role = grant["role"].as_str().unwrap();
        assert!(
            ["editor", "viewer", "cluster_onboarding"].contains(&role),
            "{context}: {grant}"
        );
        for name in ["exp", "max_clusters"] {
            let (found, signed) = (number(grant, name), number(&self.claims, name));
            assert!(found <= signed, "{context}: {grant}");
        }
    }

    /// Runs one case. Only requests that need the damaged item may fail. Returns the number of requests that failed.
    async fn run(&self, item: &Value, damage: &Damage) -> usize {
        let location = location(item);
        let context = format!("{location} {damage:?}");
        inflict(&self.tenant, item, damage).await;
        let mut failed = 0;
        for Probe { request, needs } in self.probes() {
            let built = request.try_clone().unwrap().build().unwrap();
            let call = format!("{} {}", built.method(), built.url().path());
            let answer = send(request).await;
            let is_needed = needs.iter().any(|need| location.contains(need));
            assert!(
                answer.status < 500 || is_needed,
                "{context}: {call}: {}",
                answer.text
            );
            failed += usize::from(answer.status >= 500);
            if call.ends_with(VALIDATE) || call.ends_with(PROCESS) {
                self.check_grant(&answer.body, &context);
            }
        }
        let is_loss = matches!(damage, None | Some((_, None)));
        if is_loss {
            // This call may create the owner again. Even then, the revoked key must not become active.
            self.tenant.get("editor", "/v1/users/me").await;
            let answer = send(self.tenant.validation(&self.revoked)).await;
            assert!(
                answer.status >= 500 || code(&answer.body) != "active",
                "{context}"
            );
        }
        failed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_item_affects_only_the_calls_that_need_it() {
    let stack = Stack::start(options(&[])).await;
    let stack = stack.expect("the local stack starts");
    let world = World::new(&stack).await;
    let items = scan(&world.tenant).await;
    // Skips the items of `boss`, who makes most of the calls.
    let damaged = items
        .iter()
        .filter(|item| !location(item).contains("#boss "));
    let cases =
        damaged.flat_map(|item| damages(item).into_iter().map(move |damage| (item, damage)));
    let cases: Vec<_> = cases.collect();
    assert!(cases.len() > 500, "{}", cases.len());
    let mut failed = 0;
    for (item, damage) in cases.iter().step_by(step()) {
        failed += world.run(item, damage).await;
        restore(&world.tenant, &items).await;
    }
    assert!(failed > 0, "the damage is not noticed");
    stack.stop().await;
}
