//! Lists of keys: complete, in order, and in pages.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{KEYS, Tenant, all_at_once, run, strings};
use serde_json::json;
use sha2::{Digest, Sha256};

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

/// A cursor that anyone can make for the list with this name.
fn forged_cursor(list: &str, position: &str) -> String {
    let sum = Sha256::digest(format!("{list}\0{position}"));
    BASE64URL.encode([&sum[..16], position.as_bytes()].concat())
}

#[test]
fn a_forged_cursor_with_a_malformed_position_is_refused() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let t = &tenant.id;
        let forged = |list: &str, position: &str| {
            let cursor = forged_cursor(list, position);
            let path = match list.split_once(' ') {
                Some(("users", _)) => "/v1/users",
                Some(("clusters", _)) => "/v1/clusters",
                _ if list.contains('/') => KEYS,
                _ => "/v1/access-keys",
            };
            let tenant = &tenant;
            async move {
                tenant
                    .get("admin", &format!("{path}?cursor={cursor}"))
                    .await
            }
        };
        let own = format!("keys of {t}/admin?None&None");
        let all = format!("keys of {t}?None&None");
        let users = format!("users of {t}");
        let clusters = format!("clusters of {t}?None&None");
        for (list, valid) in [
            (&own, format!("KEY#{id}")),
            (&all, format!("admin#{id}")),
            (&users, "admin".to_owned()),
            (&clusters, "CLUSTER#prod".to_owned()),
        ] {
            let page = forged(list, &valid).await.expect(200);
            assert_eq!(page["items"], json!([]), "{list}");
            let long = "x".repeat(1500);
            for position in [
                "", "#", "KEY", "USER#", "KEY#x", "CLUSTER#", "me", "\u{0}", &long,
            ] {
                // A user may have any id.
                let is_user = list == &users && !["", "\u{0}", &long].contains(&position);
                if !is_user {
                    forged(list, position).await.expect_fields(&["cursor"]);
                }
            }
        }
        let found = format!(r#"users of {t}?None&None&Some({{"an"}})"#);
        let search = async |position: &str| {
            let cursor = forged_cursor(&found, position);
            let path = format!("/v1/users?q=an&cursor={cursor}");
            tenant.get("admin", &path).await
        };
        for position in ["an#x", "ann#a#b"] {
            search(position).await.expect(200);
        }
        let long = format!("an{}#x", "x".repeat(63));
        for position in ["", "an", "an#", "#x", "a n#x", "b#x", "a#x", &long] {
            search(position).await.expect_fields(&["cursor"]);
        }
        let nothing = forged_cursor(&format!("users of {t}?None&None&Some({{}})"), "an#x");
        let path = format!("/v1/users?q=-&cursor={nothing}");
        let page = tenant.get("admin", &path).await.expect(200);
        assert_eq!(page["next_cursor"], json!(null));
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
