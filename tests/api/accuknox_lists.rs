//! The lists of clusters and nodes for AccuKnox clients.

use harness::{ACCUKNOX_CLUSTERS, Answer, Tenant, run, send, strings};
use serde_json::{Value, json};

const NODES: &str = "/cm/api/v1/cluster-management/nodes-in-cluster";

/// Sends a request with an access key or a token.
pub async fn with_key(tenant: &Tenant<'_>, credential: &str, method: &str, path: &str) -> Answer {
    send(tenant.call(method, path).bearer_auth(credential)).await
}

/// Requests the list of nodes in the same way as an AccuKnox client.
pub async fn nodes(tenant: &Tenant<'_>, key: &str, body: Value) -> Answer {
    let request = tenant.call("POST", NODES).bearer_auth(key);
    send(request.body(body.to_string())).await
}

/// Onboards the Kubernetes cluster `b` and the VM cluster `a`, which has three nodes. Returns the tenant, the id of the
/// key that onboarded the clusters, and a key with the role `viewer`.
async fn two_clusters() -> (Tenant<'static>, String, String) {
    let tenant = Tenant::fresh();
    let (id, key) = tenant.limited_key("editor", 2).await;
    let (_, viewer) = tenant.key("admin", "viewer").await;
    tenant.onboard(&key, "b").await.expect(200);
    for node in ["n1", "n2", "n3"] {
        let body = json!({ "cluster_name": "a", "node_name": node, "type": "vm" });
        send(tenant.process(&key, body)).await.expect(200);
    }
    (tenant, id, viewer)
}

#[test]
fn the_list_of_clusters_has_the_accuknox_format() {
    run(async {
        let (tenant, key_id, viewer) = two_clusters().await;
        let path = format!("{ACCUKNOX_CLUSTERS}?wsid={}", tenant.id);
        let listed = with_key(&tenant, &viewer, "GET", &path).await.expect(200);
        let [a, b] = &listed.body.as_array().unwrap()[..] else {
            panic!("{}", listed.text)
        };
        for (cluster, name, kind) in [(a, "a", "vm"), (b, "b", "k8s")] {
            let id = cluster["ID"].as_u64();
            assert!(id.is_some_and(|id| id > 0 && id < 1 << 53), "{cluster}");
            let shape = ["WorkspaceID", "ClusterName", "Status", "type", "token_id"];
            let expected = json!([tenant.id, name, "Active", kind, key_id]);
            assert_eq!(json!(shape.map(|field| &cluster[field])), expected);
            for time in ["created_at", "last_updated_time"] {
                assert!(cluster[time].as_str().unwrap().ends_with('Z'), "{cluster}");
            }
        }
        assert_ne!(a["ID"], b["ID"]);
        let again = with_key(&tenant, &viewer, "GET", ACCUKNOX_CLUSTERS).await;
        assert_eq!(again.body, listed.body, "the ids are stable");
    });
}

#[test]
fn the_list_of_nodes_has_the_accuknox_format_and_pagination() {
    run(async {
        let (tenant, _, viewer) = two_clusters().await;
        let clusters = with_key(&tenant, &viewer, "GET", ACCUKNOX_CLUSTERS).await;
        let (a, b) = (&clusters[0]["ID"], &clusters[1]["ID"]);
        let all =
            json!({ "workspace_id": tenant.id, "cluster_id": [a], "from_time": [], "to_time": [] });
        let listed = nodes(&tenant, &viewer, all.clone()).await.expect(200);
        let names = |page: &Answer| json!(strings(page.array("result"), "NodeName"));
        assert_eq!(names(&listed), json!(["n1", "n2", "n3"]));
        assert_eq!(listed["total_record"], 3);
        let node = &listed["result"][0];
        let shape = json!([node["Status"], node["ClusterID"], node["agents_version"]]);
        assert_eq!(shape, json!(["Active", a, ""]));
        assert!(node["ID"].is_u64(), "{node}");
        for (from, to, expected) in [
            (0, 2, json!(["n1", "n2"])),
            (2, 4, json!(["n3"])),
            (4, 6, json!([])),
        ] {
            let mut body = all.clone();
            body["page_previous"] = json!(from);
            body["page_next"] = json!(to);
            let page = nodes(&tenant, &viewer, body).await.expect(200);
            assert_eq!((names(&page), &page["total_record"]), (expected, &json!(3)));
        }
        for (body, total) in [
            (json!({ "cluster_id": [a, b] }), 3),
            // Some clients write whole numbers with a fractional part.
            (json!({ "cluster_id": [a.as_f64()] }), 3),
            (json!({ "cluster_id": [a.to_string()] }), 3),
            (json!({ "cluster_id": [b] }), 0),
            // Newer clients request all clusters by omitting `cluster_id`, and they send a filter.
            (json!({}), 3),
            (json!({ "cluster_id": null, "filter": {} }), 3),
            (json!({ "cluster_id": [], "filter": null }), 3),
            (
                json!({ "filter": { "connection_status": "Active", "sort": "node_name" } }),
                3,
            ),
            (json!({ "filter": { "connection_status": "Inactive" } }), 0),
            (json!({ "filter": { "connection_status": "" } }), 3),
            (json!({ "cluster_id": [a, a], "workspace_id": "" }), 3),
            (json!({ "cluster_id": [1] }), 0),
        ] {
            let listed = nodes(&tenant, &viewer, body).await.expect(200);
            assert_eq!(listed["total_record"], total);
        }
    });
}

#[test]
fn bad_parameters_and_wrong_credentials_return_errors_in_the_accuknox_format() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, viewer) = tenant.key("admin", "viewer").await;
        for bad in [
            json!({ "cluster_id": ["x"] }),
            json!({ "cluster_id": [1.5] }),
            json!({ "cluster_id": 1 }),
            json!({ "cluster_id": (0..101).collect::<Vec<_>>() }),
        ] {
            let refused = nodes(&tenant, &viewer, bad).await;
            refused.expect_accuknox(400, "invalid_cluster_id");
        }
        for bad in [
            json!({ "connection_status": "Connected" }),
            json!({ "connection_status": 1 }),
            json!({ "connection_status": ["Active"] }),
            json!("Active"),
            json!([]),
        ] {
            let refused = nodes(&tenant, &viewer, json!({ "filter": bad })).await;
            refused.expect_accuknox(400, "invalid_filter");
        }
        let body = json!({ "cluster_id": [1], "workspace_id": 7 });
        let refused = nodes(&tenant, &viewer, body).await;
        refused.expect_accuknox(403, "tenant_mismatch");
        let elsewhere = format!("{ACCUKNOX_CLUSTERS}?wsid=other");
        let refused = with_key(&tenant, &viewer, "GET", &elsewhere).await;
        refused.expect_accuknox(403, "tenant_mismatch");
        let elsewhere = tenant.call("GET", ACCUKNOX_CLUSTERS).bearer_auth(&viewer);
        let refused = send(elsewhere.header("x-tenant-id", "other")).await;
        refused.expect_accuknox(403, "tenant_mismatch");
        let refused = with_key(&tenant, "nonsense", "GET", ACCUKNOX_CLUSTERS).await;
        refused.expect_accuknox(401, "invalid_key");
        let refused = send(tenant.call("POST", NODES).body("{}")).await;
        refused.expect_accuknox(401, "invalid_key");
    });
}
