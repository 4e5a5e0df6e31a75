//! Lists come back complete, once each, in order.

use harness::{Tenant, all_at_once, run};
use serde_json::json;

#[test]
fn a_thousand_keys_come_back_by_any_page_size() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        for _ in 0..100 {
            let create = |_| {
                let request = tenant.request("admin", "POST", "/v1/users/me/access-keys");
                request.json(&json!({ "name": "k", "role": "viewer" }))
            };
            for answer in all_at_once((0..10).map(create)).await {
                answer.expect(201);
            }
        }
        let ids = |items: Vec<serde_json::Value>| -> Vec<String> {
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let all = ids(tenant.all("admin", "/v1/users/me/access-keys").await);
        assert_eq!(all.len(), 1000);
        assert!(all.is_sorted_by(|a, b| a > b), "newest first, each once");
        for limit in [1, 7, 99, 100] {
            let page = format!("/v1/users/me/access-keys?limit={limit}");
            assert_eq!(ids(tenant.all("admin", &page).await), all, "limit {limit}");
            if limit > 1 {
                assert_eq!(
                    ids(tenant
                        .all("admin", &format!("/v1/access-keys?limit={limit}"))
                        .await),
                    all
                );
                let filtered =
                    format!("/v1/users/me/access-keys?limit={limit}&status=active&role=viewer");
                assert_eq!(ids(tenant.all("admin", &filtered).await), all);
            }
        }
        assert!(
            tenant
                .all("admin", "/v1/users/me/access-keys?role=admin")
                .await
                .is_empty()
        );
    });
}

#[test]
fn keys_of_the_same_second_are_listed_newest_first() {
    run(async {
        let tenant = Tenant::fresh();
        let mut created = Vec::new();
        for _ in 0..8 {
            created.insert(0, tenant.key("admin", "viewer").await.0);
        }
        for list in ["/v1/users/me/access-keys", "/v1/access-keys"] {
            let listed = tenant.all("admin", list).await;
            let ids: Vec<_> = listed.iter().map(|key| key["id"].clone()).collect();
            assert_eq!(ids, created, "{list}");
        }
    });
}

#[test]
fn a_cursor_is_good_for_its_own_list_only() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        for _ in 0..2 {
            tenant.key("admin", "viewer").await;
            tenant.key("editor", "viewer").await;
        }
        let page = tenant
            .get("admin", "/v1/users/admin/access-keys?limit=1")
            .await
            .expect(200)
            .body;
        let cursor = page["next_cursor"].as_str().unwrap();
        let changed = format!(
            "{}{}",
            if cursor.starts_with('A') { "B" } else { "A" },
            &cursor[1..]
        );
        for path in [
            format!("/v1/users/admin/access-keys?cursor={changed}"),
            format!("/v1/users/admin/access-keys?cursor={}", &cursor[1..]),
            format!("/v1/users/editor/access-keys?cursor={cursor}"),
            format!("/v1/users/admin/access-keys?status=active&cursor={cursor}"),
            format!("/v1/access-keys?cursor={cursor}"),
            format!("/v1/users?cursor={cursor}"),
            "/v1/users/admin/access-keys?cursor=%00".into(),
            "/v1/users/admin/access-keys?limit=0".into(),
            "/v1/users/admin/access-keys?limit=101".into(),
            "/v1/users/admin/access-keys?limit=ten".into(),
            "/v1/users/admin/access-keys?status=gone".into(),
            "/v1/access-keys?role=owner".into(),
        ] {
            tenant
                .get("admin", &path)
                .await
                .expect_problem(400, "invalid_request");
        }
    });
}
