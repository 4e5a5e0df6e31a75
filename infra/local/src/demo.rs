//! The users that `cargo run` starts with, and what it prints about them.

use std::fmt::Write;

use anyhow::{Context, Result};
use local_stack::Stack;
use serde_json::{Value, json};

const BOOTSTRAP_ADMINS: &str = "BootstrapAdmins";
const TOKEN_SECONDS: i64 = 12 * 60 * 60;

/// Tenant, user id (and name of the shell variable), role.
const USERS: [(&str, &str, &str); 4] = [
    ("acme", "admin", "admin"),
    ("acme", "editor", "editor"),
    ("acme", "viewer", "viewer"),
    ("globex", "admin", "admin"),
];

/// A user with a token.
pub(crate) struct User {
    tenant: &'static str,
    id: &'static str,
    role: &'static str,
    token: String,
}

/// Names the demo's administrators in the template's parameter, beside those that were given.
pub(crate) fn with_admins(mut parameters: Vec<(String, String)>) -> Vec<(String, String)> {
    let admins = USERS
        .iter()
        .filter(|(.., role)| *role == "admin")
        .map(|(tenant, id, _)| format!("{tenant}/{id}"));
    let given = parameters
        .iter()
        .filter(|(name, value)| name == BOOTSTRAP_ADMINS && !value.is_empty());
    let admins: Vec<_> = admins
        .chain(given.map(|(_, value)| value.clone()))
        .collect();
    parameters.retain(|(name, _)| name != BOOTSTRAP_ADMINS);
    parameters.push((BOOTSTRAP_ADMINS.to_owned(), admins.join(",")));
    parameters
}

/// The users as the sign-in page offers them.
pub(crate) fn people() -> Vec<Value> {
    USERS
        .iter()
        .map(|(tenant, id, _)| claims(tenant, id))
        .collect()
}

/// Gives every user a token, and has each tenant's admin put the others into the directory.
pub(crate) async fn users(stack: &Stack) -> Result<Vec<User>> {
    let users: Vec<_> = USERS
        .iter()
        .map(|&(tenant, id, role)| User {
            tenant,
            id,
            role,
            token: token(stack, tenant, id),
        })
        .collect();
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.context("cannot make an HTTP client")?;
    for user in users.iter().filter(|user| user.role != "admin") {
        let Some(admin) = users
            .iter()
            .find(|admin| admin.tenant == user.tenant && admin.role == "admin")
        else {
            continue;
        };
        let cannot = || format!("cannot put the user {} into the directory", user.id);
        let body = json!({ "role": user.role, "name": name(user.id), "email": email(user.tenant, user.id) });
        let url = format!("{}/v1/users/{}", stack.url(), user.id);
        let answer = client
            .put(url)
            .bearer_auth(&admin.token)
            .json(&body)
            .send()
            .await;
        let answer = answer.with_context(cannot)?;
        if let Err(error) = answer.error_for_status_ref() {
            let said = answer.text().await.unwrap_or_default();
            return Err(error).context(format!("{} ({})", cannot(), said.trim()));
        }
    }
    Ok(users)
}

fn token(stack: &Stack, tenant: &str, id: &str) -> String {
    let mut claims = claims(tenant, id);
    claims["exp"] = (local_stack::unix_time() + TOKEN_SECONDS).into();
    stack.token(claims)
}

fn claims(tenant: &str, id: &str) -> Value {
    json!({
        "sub": id,
        "tenant_id": tenant,
        "email": email(tenant, id),
        "email_verified": true,
        "name": name(id),
    })
}

/// A token that may redeem join tokens, for every tenant.
fn platform_token(stack: &Stack) -> String {
    let expiry = local_stack::unix_time() + TOKEN_SECONDS;
    stack.token(json!({ "sub": "platform", "scope": "join-tokens:redeem", "exp": expiry }))
}

fn email(tenant: &str, id: &str) -> String {
    format!("{id}@{tenant}.example")
}

fn name(id: &str) -> String {
    let mut letters = id.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

/// Everything on one line.
pub(crate) fn json(stack: &Stack, users: &[User]) -> Value {
    let users = users.iter().map(|user| {
        json!({
            "name": name(user.id),
            "role": user.role,
            "tenant_id": user.tenant,
            "user_id": user.id,
            "token": user.token,
        })
    });
    json!({ "url": stack.url(), "issuer": stack.issuer(), "platform_token": platform_token(stack), "users": users.collect::<Vec<_>>() })
}

/// Everything for a person with a shell.
pub(crate) fn text(stack: &Stack, users: &[User]) -> String {
    let url = stack.url();
    let mut text = format!(
        "# The console: {url}/console\n\nexport URL={url}\n\n# Users; their tokens live for 12 hours\n\n"
    );
    for user in users {
        let variable = match user.tenant {
            "acme" => user.id.to_uppercase(),
            tenant => format!("{tenant}_{}", user.id).to_uppercase(),
        };
        let _ = writeln!(
            text,
            "# {} of the tenant {}\nexport {variable}={}\n",
            user.id, user.tenant, user.token
        );
    }
    let platform = platform_token(stack);
    let _ = writeln!(
        text,
        "# The service that admits agents, of no tenant\nexport PLATFORM={platform}\n"
    );
    text.push_str(
        r#"Try it:

# 1. List the users
curl -H "Authorization: Bearer $ADMIN" $URL/v1/users

# 2. Pick one
curl -H "Authorization: Bearer $ADMIN" $URL/v1/users/editor

# 3. Create a key for that user
curl -H "Authorization: Bearer $ADMIN" -H 'Content-Type: application/json' -d '{"name":"ci","role":"viewer","expires_in_days":30,"max_clusters":1}' $URL/v1/users/editor/access-keys

# 4. Store the answer's access_key, which is shown this once, and validate it
curl -H 'Content-Type: application/json' -d '{"access_key":"…"}' $URL/v1/access-keys/validate

# 5. Revoke it, by the answer's id, and validate again
curl -X DELETE -H "Authorization: Bearer $ADMIN" $URL/v1/users/editor/access-keys/ID

Ctrl-C ends it."#
    );
    text
}
