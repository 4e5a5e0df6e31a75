//! Lists of keys are complete, in order, and split into pages.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{KEYS, Tenant, all_at_once, now, rfc3339, run, send, strings};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[test]
fn each_of_a_thousand_keys_is_listed_exactly_once_whatever_the_page_size() {
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

/// Forges a cursor for the list that is named `list`. Anyone could do so, because it takes no secret.
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
        let filter = "KeyFilter { search: None, status: None, role: None, owner: None, created_by: None, label: None, \
                      expires_before: None, unused_for: None }";
        let own = format!("keys of {t}/admin?{filter}");
        let all = format!("keys of {t}?{filter}");
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
                // Almost any text is a valid user id.
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

/// Creates three keys: `old`, which belongs to the administrator, and then `granted` and `own`, which belong to ann.
/// `old` was last used 90 days ago. `granted` was created 90 days ago and has never been used.
async fn three_keys(tenant: &Tenant<'_>) -> [String; 3] {
    tenant.user("ann", "editor").await;
    let body =
        json!({ "name": "old", "role": "viewer", "expires_in_days": 1, "labels": ["ci", "a b"] });
    let (old, _) = tenant.key_of("admin", body).await;
    let (granted, _) = tenant.key("ann", "viewer").await;
    let body = json!({ "name": "own", "role": "viewer", "labels": ["ci"] });
    let own = tenant.creation("ann", &body);
    let own = send(own).await.expect(201).string("id").to_owned();
    let ninety_days_ago = now() - 90 * 86_400;
    let values = json!({ ":at": { "N": ninety_days_ago.to_string() } });
    let update = "SET created_at = :at, last_used_at = :at";
    tenant.edit_key("admin", &old, update, values.clone()).await;
    let update = "SET created_at = :at";
    tenant.edit_key("ann", &granted, update, values).await;
    [old, granted, own]
}

#[test]
fn each_filter_selects_keys() {
    run(async {
        let tenant = Tenant::fresh();
        let [old, granted, own] = three_keys(&tenant).await;
        let tomorrow = rfc3339(now() + 2 * 86_400);
        for (filters, expected) in [
            ("owner=ann", vec![&own, &granted]),
            ("owner=nobody", vec![]),
            ("created_by=user:ann", vec![&own]),
            ("created_by=user:admin&owner=ann", vec![&granted]),
            ("label=ci", vec![&own, &old]),
            ("label=ci&owner=admin", vec![&old]),
            ("label=%20a+b", vec![&old]),
            ("label=c", vec![]),
            (&format!("expires_before={tomorrow}"), vec![&old]),
            ("expires_before=2026-01-01T00:00:00Z", vec![]),
            ("unused_for=90", vec![&granted, &old]),
            ("unused_for=91", vec![]),
            (
                "unused_for=90&status=active&role=viewer&owner=admin",
                vec![&old],
            ),
        ] {
            let page = tenant
                .get("admin", &format!("/v1/access-keys?{filters}"))
                .await;
            let page = page.expect(200);
            assert_eq!(strings(page.array("items"), "id"), expected, "{filters}");
            assert_eq!(
                (&page["examined"], &page["skipped"]),
                (&json!(3), &json!(0))
            );
        }
        let labelled = "/v1/users/ann/access-keys?label=ci";
        let page = tenant.get("ann", labelled).await.expect(200);
        assert_eq!(strings(page.array("items"), "id"), [&own]);
        let path = "/v1/users/ann/access-keys?created_by=user:ann&unused_for=1";
        let page = tenant.get("admin", path).await.expect(200);
        assert_eq!(
            (page.array("items").len(), &page["examined"]),
            (0, &json!(2))
        );
    });
}

/// Returns the ids of the keys that a search for `query` finds in a list.
async fn found(tenant: &Tenant<'_>, list: &str, query: &str) -> Vec<String> {
    let keys = tenant.all("admin", &format!("{list}?q={query}")).await;
    let ids = strings(&keys, "id").into_iter();
    ids.map(str::to_owned).collect()
}

#[test]
fn a_search_finds_keys_by_the_words_of_their_names() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "editor").await;
        let named = async |name: &str| {
            let body = json!({ "name": name, "role": "viewer" });
            tenant.key_of("ann", body).await.0
        };
        let deploy = named("Déploiement-Prod (EU)").await;
        let test = named("test PROD").await;
        let product = named("product").await;
        let words = named("STRASSE 日本 x1").await;
        let other = tenant.key("admin", "viewer").await.0;
        for (query, expected) in [
            ("deploiement", &[&deploy][..]),
            ("DE%CC%81PLOI", &[&deploy]),
            ("prod", &[&product, &test, &deploy]),
            ("prod&limit=1", &[&product, &test, &deploy]),
            ("eu%20prod", &[&deploy]),
            ("prod.t", &[&test]),
            ("pro+dep", &[&deploy]),
            ("stra%C3%9Fe", &[&words]),
            ("%E6%97%A5", &[&words]),
            ("x1", &[&words]),
            ("rod", &[]),
            ("prod%20nothing", &[]),
            ("prod&role=editor", &[]),
            ("prod&status=active", &[&product, &test, &deploy]),
            ("", &[]),
            ("%20", &[]),
            ("%21", &[]),
            ("-", &[]),
            ("%23%00", &[]),
        ] {
            for list in ["/v1/access-keys", "/v1/users/ann/access-keys"] {
                let found = found(&tenant, list, query).await;
                assert!(found.iter().eq(expected.iter().copied()), "{list} {query}");
            }
        }
        assert_eq!(
            found(&tenant, "/v1/access-keys", "test").await,
            [other, test]
        );
        // Renaming a key changes the words by which it is found.
        let path = format!("/v1/users/ann/access-keys/{product}");
        let renamed = tenant.send("ann", "PATCH", &path, json!({ "name": "Zoë" }));
        renamed.await.expect(200);
        assert_eq!(found(&tenant, "/v1/access-keys", "zoe").await, [product]);
    });
}

#[test]
fn a_search_finds_keys_by_the_beginning_or_the_end_of_their_ids() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        tenant.user("ann", "editor").await;
        let (first, _) = tenant.key("ann", "viewer").await;
        let (second, _) = tenant.key("admin", "viewer").await;
        let (foreign, _) = other.key("admin", "viewer").await;
        // The name of the first key contains the complete id of the second key.
        let path = format!("/v1/users/ann/access-keys/{first}");
        let name = json!({ "name": format!("copy of {second}") });
        tenant.send("ann", "PATCH", &path, name).await.expect(200);

        let (all, own) = ("/v1/access-keys", "/v1/users/ann/access-keys");
        let most = &first[..first.len() - 1];
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (list, query, expected) in [
            (all, &first[..], &[&first][..]),
            (own, &first, &[&first]),
            (all, &first.to_uppercase(), &[&first]),
            (own, &format!("+{first}%20"), &[&first]),
            (all, most, &[&first]),
            (own, most, &[&first]),
            (all, &first[1..], &[&first]),
            (own, &first[28..], &[&first]),
            (all, &first[1..35], &[]),
            (all, &first[..4], &[&second, &first]),
            // This query is too short to match an id, but the name of the first key has a word that begins with it.
            (all, &first[..3], &[&first]),
            // A search for a complete id ignores names.
            (all, &second, &[&second]),
            (own, &second, &[]),
            (all, &second[..second.len() - 1], &[&second, &first]),
            (all, &format!("{first}&status=revoked"), &[]),
            (all, &format!("{first}&owner=admin"), &[]),
            (all, &foreign, &[]),
            (own, &foreign, &[]),
            (all, unknown, &[]),
        ] {
            let found = found(&tenant, list, query).await;
            assert!(
                found.iter().eq(expected.iter().copied()),
                "{list} {query}: {found:?}"
            );
        }
    });
}

#[test]
fn a_search_query_has_a_maximum_length_and_a_cursor_continues_only_its_own_search() {
    run(async {
        let tenant = Tenant::fresh();
        let mut id = String::new();
        for _ in 0..3 {
            id = tenant.key("admin", "viewer").await.0;
        }
        let t = &tenant.id;
        for (list, name) in [
            ("/v1/access-keys", format!("keys of {t}")),
            (KEYS, format!("keys of {t}/admin")),
        ] {
            let get = |query: &str| {
                let path = format!("{list}?limit=1&{query}");
                let tenant = &tenant;
                async move { tenant.get("admin", &path).await }
            };
            let page = get("q=te").await.expect(200);
            let cursor = page.string("next_cursor");
            get(&format!("q=TE&cursor={cursor}")).await.expect(200);
            for query in ["q=tes", "q=", "", &format!("q={id}")] {
                let refused = get(&format!("{query}&cursor={cursor}")).await;
                refused.expect(400).expect_fields(&["cursor"]);
            }
            // A search for a complete id finds at most one key, so no cursor can continue it.
            let search = format!(
                r#"Some(KeySearch {{ words: {:?}, id: "{id}" }})"#,
                words(&id)
            );
            let filter = format!(
                "KeyFilter {{ search: {search}, status: None, role: None, owner: None, \
                 created_by: None, label: None, expires_before: None, unused_for: None }}"
            );
            for position in [format!("admin#{id}"), format!("KEY#{id}")] {
                let forged = forged_cursor(&format!("{name}?{filter}"), &position);
                let refused = get(&format!("q={id}&cursor={forged}")).await;
                refused.expect(400).expect_fields(&["cursor"]);
            }
            let long = format!("q={}", "x".repeat(255));
            get(&long).await.expect(400).expect_fields(&["q"]);
            get(&long[..long.len() - 1]).await.expect(200);
            get("q=a&q=b").await.expect(400).expect_fields(&["q"]);
        }
        tenant.user("ann", "viewer").await;
        for path in [
            format!("/v1/access-keys?q={id}"),
            "/v1/access-keys?q=".to_owned(),
        ] {
            let refused = tenant.get("ann", &path).await;
            refused.expect_problem(403, "forbidden");
        }
        for query in [&*id, ""] {
            let path = format!("/v1/users/admin/access-keys?q={query}");
            let refused = tenant.get("ann", &path).await;
            refused.expect_problem(404, "not_found");
        }
    });
}

/// Splits an id into words at its hyphens, and sorts the words as the service does.
fn words(id: &str) -> BTreeSet<&str> {
    id.split('-').collect()
}

#[test]
fn a_filter_that_no_key_can_match_is_refused() {
    run(async {
        let tenant = Tenant::fresh();
        for (field, value) in [
            ("owner", "a%20b%00"),
            ("created_by", "ann"),
            ("label", "%20"),
            ("expires_before", "soon"),
            ("unused_for", "0"),
            ("unused_for", "3651"),
            ("unused_for", "P90D"),
        ] {
            let refused = tenant
                .get("admin", &format!("/v1/access-keys?{field}={value}"))
                .await;
            refused.expect(400).expect_fields(&[field]);
        }
        let path = "/v1/users/admin/access-keys?owner=admin";
        let refused = tenant.get("admin", path).await;
        refused.expect(400).expect_fields(&["query"]);
    });
}

#[test]
fn a_record_shows_how_the_role_and_status_of_the_owner_limit_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "editor").await;
        let path = "/v1/users/ann/access-keys";
        let body = json!({ "name": "ci", "role": "editor" });
        let created = tenant.send("admin", "POST", path, body).await.expect(201);
        let shown = |key: &Value| (key["effective_role"].clone(), key["owner_status"].clone());
        assert_eq!(shown(&created.body), (json!("editor"), json!("active")));
        for (change, expected) in [
            (
                json!({ "role": "viewer" }),
                (json!("viewer"), json!("active")),
            ),
            (
                json!({ "status": "inactive" }),
                (json!("viewer"), json!("inactive")),
            ),
        ] {
            tenant.change_user("ann", change).await;
            let one = format!("{path}/{}", created.string("id"));
            let one = tenant.get("admin", &one).await.expect(200);
            assert_eq!(shown(&one.body), expected);
            for list in [path, "/v1/access-keys"] {
                assert_eq!(
                    shown(&tenant.all("admin", list).await[0]),
                    expected,
                    "{list}"
                );
            }
            assert_eq!(one["role"], "editor");
        }
        let (id, _) = tenant.key("admin", "cluster_onboarding").await;
        assert_eq!(
            tenant.record(&id).await["effective_role"],
            "cluster_onboarding"
        );
    });
}

#[test]
fn a_list_counts_the_damaged_records_that_it_leaves_out() {
    run(async {
        let tenant = Tenant::fresh();
        let (damaged, _) = tenant.key("admin", "viewer").await;
        tenant.key("admin", "viewer").await;
        let values = json!({ ":v": { "S": "many" } });
        tenant
            .edit_key("admin", &damaged, "SET max_clusters = :v", values)
            .await;
        for list in [KEYS, "/v1/access-keys", "/v1/access-keys?role=viewer"] {
            let page = tenant.get("admin", list).await.expect(200);
            let counts = [&page["examined"], &page["skipped"], &page["next_cursor"]];
            assert_eq!(counts, [&json!(1), &json!(1), &Value::Null], "{list}");
        }
    });
}
