//! Lists of many clusters.

use harness::{Tenant, send};
use serde_json::{Value, json};

use crate::own_stack;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clusters_list_in_pages_and_cost_an_onboarding_nothing() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let body = json!({ "name": "k", "role": "editor", "max_clusters": 2 });
    let (id, key) = tenant.key_of("admin", body).await;
    let onboard = async |name: &str| {
        let body = json!({ "cluster_name": name, "node_name": "n", "type": "K8s" });
        send(tenant.process(&key, body)).await.expect(200)
    };
    onboard("first").await;
    let clusters = tenant.partition("C#acme").await.into_iter();
    let mut clusters = clusters.filter(|item| item["sk"]["S"] == "CLUSTER#first");
    let template = clusters.next().unwrap();
    for batch in 0..400 {
        let put = |n: usize| {
            let (mut item, number) = (template.clone(), batch * 25 + n);
            item["sk"]["S"] = json!(format!("CLUSTER#seeded-{number:05}"));
            item["id"]["N"] = json!((1_000_000 + number).to_string());
            json!({ "PutRequest": { "Item": item } })
        };
        let puts: Vec<Value> = (0..25).map(put).collect();
        let body = json!({ "RequestItems": { tenant.table(): puts } });
        tenant.dynamodb("BatchWriteItem", body).await;
    }
    let before = stack.requests().len();
    onboard("second").await;
    let requests = stack.requests().into_iter().skip(before);
    let actions: Vec<_> = requests.map(|request| request.action).collect();
    assert_eq!(actions, ["BatchGetItem", "TransactWriteItems"]);

    let get = async |path: &str| {
        send(tenant.call("GET", path).bearer_auth(&key))
            .await
            .expect(200)
    };
    let pages = async |query: &str| {
        let (mut names, mut cursor, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(&format!("/v1/clusters?limit=100{query}{cursor}")).await;
            count += 1;
            let items = page["items"].as_array().unwrap().iter();
            names.extend(items.map(|cluster| cluster["name"].as_str().unwrap().to_owned()));
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
    let for_accuknox = get("/cluster-onboarding/api/v1/get-onboarded-clusters").await;
    assert_eq!(for_accuknox.body.as_array().unwrap().len(), 10_002);
    stack.stop().await;
}
