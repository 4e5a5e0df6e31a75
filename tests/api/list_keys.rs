//! Lists of keys: complete, in order, and in pages.

use harness::{KEYS, Tenant, all_at_once, run, strings};
use serde_json::json;

#[test]
fn a_thousand_keys_are_listed_once_each_with_any_page_size() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let body = json!({ "name": "k", "role": "viewer" });
        for _ in 0..100 {
            let requests = (0..10).map(|_| tenant.creation("admin", &body));
            for answer in all_at_once(requests).await {
                answer.expect(201);
            }
        }
        let ids = async |path: &str| {
            let items = tenant.all("admin", path).await;
            Vec::from_iter(strings(&items, "id").into_iter().map(str::to_owned))
        };
        let all = ids(KEYS).await;
        assert_eq!(all.len(), 1000);
        assert!(all.is_sorted_by(|a, b| a > b), "newest first, each once");
        for limit in [1, 7, 99, 100] {
            let page = format!("{KEYS}?limit={limit}");
            assert_eq!(ids(&page).await, all, "{page}");
            if limit > 1 {
                let filtered = format!("{page}&status=active&role=viewer");
                for page in [format!("/v1/access-keys?limit={limit}"), filtered] {
                    assert_eq!(ids(&page).await, all, "{page}");
                }
            }
        }
        assert_eq!(ids(&format!("{KEYS}?role=admin")).await, [""; 0]);
    });
}

#[test]
fn keys_created_in_the_same_second_are_listed_newest_first() {
    run(async {
        let tenant = Tenant::fresh();
        let mut created = Vec::new();
        for _ in 0..8 {
            created.insert(0, tenant.key("admin", "viewer").await.0);
        }
        for list in [KEYS, "/v1/access-keys"] {
            let listed = tenant.all("admin", list).await;
            assert_eq!(strings(&listed, "id"), created, "{list}");
        }
    });
}

#[test]
fn a_cursor_continues_only_the_list_that_returned_it() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        for _ in 0..2 {
            tenant.key("admin", "viewer").await;
            tenant.key("editor", "viewer").await;
        }
        let keys = "/v1/users/admin/access-keys";
        let page = tenant.get("admin", &format!("{keys}?limit=1")).await;
        let page = page.expect(200);
        let cursor = page.string("next_cursor");
        let rest = &cursor[1..];
        let first = if cursor.starts_with('A') { "B" } else { "A" };
        for path in [
            format!("{keys}?cursor={first}{rest}"),
            format!("{keys}?cursor={rest}"),
            format!("/v1/users/editor/access-keys?cursor={cursor}"),
            format!("{keys}?status=active&cursor={cursor}"),
            format!("/v1/access-keys?cursor={cursor}"),
            format!("/v1/users?cursor={cursor}"),
            format!("{keys}?cursor=%00"),
            format!("{keys}?limit=0"),
            format!("{keys}?limit=101"),
            format!("{keys}?limit=ten"),
            format!("{keys}?status=gone"),
            "/v1/access-keys?role=owner".into(),
        ] {
            let refused = tenant.get("admin", &path).await;
            refused.expect_problem(400, "invalid_request");
        }
    });
}
