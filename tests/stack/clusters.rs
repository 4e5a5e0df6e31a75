//! Lists of many clusters.

use harness::{ACCUKNOX_CLUSTERS, Tenant, send, strings};
use serde_json::{Value, json};

use crate::own_stack;

/// Writes 10,000 copies of a cluster's item to the table. The copies are named `seeded-00000` to `seeded-09999`.
async fn seed(tenant: &Tenant<'_>, cluster: &str) {
    const BATCHES: usize = 400;
    const BATCH: usize = 25;
    let sk = format!("CLUSTER#{cluster}");
    let items = tenant.partition(&tenant.clusters_pk()).await.into_iter();
    let template = items.into_iter().find(|item| item["sk"]["S"] == sk);
    let template = template.unwrap();
    for batch in 0..BATCHES {
        let put = |n: usize| {
            let mut item = template.clone();
            item["sk"]["S"] = json!(format!("CLUSTER#seeded-{n:05}"));
            item["id"]["N"] = json!((1_000_000 + n).to_string());
            json!({ "PutRequest": { "Item": item } })
        };
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let puts: Vec<Value> = numbers.map(put).collect();
        let body = json!({ "RequestItems": { tenant.table(): puts } });
        tenant.dynamodb("BatchWriteItem", body).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clusters_are_listed_in_pages_and_do_not_add_requests_to_an_onboarding() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (id, key) = tenant.limited_key("editor", 2).await;
    let onboard = async |name: &str| {
        let body = json!({ "cluster_name": name, "node_name": "n", "type": "K8s" });
        send(tenant.process(&key, body)).await.expect(200)
    };
    onboard("first").await;
    seed(&tenant, "first").await;
    let before = stack.requests().len();
    onboard("second").await;
    let mut requests = stack.requests().split_off(before);
    requests.retain(|request| request.function == "onboard");
    let actions: Vec<_> = requests.into_iter().map(|request| request.action).collect();
    assert_eq!(actions, ["BatchGetItem", "Query", "TransactWriteItems"]);

    let get = async |path: &str| {
        let request = tenant.call("GET", path).bearer_auth(&key);
        send(request).await.expect(200)
    };
    let pages = async |query: &str| {
        let (mut names, mut cursor, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(&format!("/v1/clusters?limit=100{query}{cursor}")).await;
            count += 1;
            let listed = strings(page.array("items"), "name").into_iter();
            names.extend(listed.map(str::to_owned));
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
    let for_accuknox = get(ACCUKNOX_CLUSTERS).await;
    assert_eq!(for_accuknox.body.as_array().unwrap().len(), 10_002);
    stack.stop().await;
}
