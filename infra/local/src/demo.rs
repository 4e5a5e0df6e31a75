//! Demo users for `cargo run`, and for test programs that start the same stack.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{Stack, clock::unix_time};

/// The id of the service that redeems join tokens.
const PLATFORM: &str = "platform";
const TOKEN_SECONDS: i64 = 12 * 60 * 60;

/// The tenant, the id and the role of each user.
const USERS: [(&str, &str, &str); 4] = [
    ("acme", "admin", "admin"),
    ("acme", "editor", "editor"),
    ("acme", "viewer", "viewer"),
    ("globex", "admin", "admin"),
];

/// A demo user and its token.
pub struct User {
    tenant: &'static str,
    id: &'static str,
    role: &'static str,
    token: String,
}

impl User {
    fn new(stack: &Stack, (tenant, id, role): (&'static str, &'static str, &'static str)) -> Self {
        let mut claims = claims(tenant, id);
        claims["exp"] = (unix_time() + TOKEN_SECONDS).into();
        Self {
            tenant,
            id,
            role,
            token: stack.token(claims),
        }
    }

    fn is_admin(&self) -> bool {
        self.role == "admin"
    }
}

/// Adds the demo administrators to the parameter `BootstrapAdmins`, and the demo client to `PlatformClients`.
pub fn with_demo(mut parameters: Vec<(String, String)>) -> Vec<(String, String)> {
    let admins = USERS
        .iter()
        .filter(|(.., role)| *role == "admin")
        .map(|(tenant, id, _)| format!("{tenant}/{id}"));
    add(&mut parameters, "BootstrapAdmins", admins.collect());
    add(&mut parameters, "PlatformClients", vec![PLATFORM.into()]);
    parameters
}

/// Adds entries to a parameter that is a comma-separated list.
fn add(parameters: &mut Vec<(String, String)>, name: &str, mut entries: Vec<String>) {
    let given = parameters.extract_if(.., |(given, _)| given == name);
    entries.extend(
        given
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty()),
    );
    parameters.push((name.to_owned(), entries.join(",")));
}

/// Returns the claims of the demo users, for the sign-in page ([`Options::people`](crate::Options::people)).
pub fn people() -> Vec<Value> {
    USERS
        .iter()
        .map(|(tenant, id, _)| claims(tenant, id))
        .collect()
}

/// Issues a token to every demo user. The admin of each tenant adds the other users to the directory.
///
/// # Errors
///
/// Fails if the stack was started without the parameters that [`with_demo`] adds.
pub async fn users(stack: &Stack) -> Result<Vec<User>> {
    let users = USERS.map(|user| User::new(stack, user));
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .context("cannot create an HTTP client")?;
    for user in users.iter().filter(|user| !user.is_admin()) {
        let admin = users
            .iter()
            .find(|admin| admin.tenant == user.tenant && admin.is_admin());
        if let Some(admin) = admin {
            add_to_directory(stack, &client, admin, user)
                .await
                .with_context(|| format!("cannot add the user {} to the directory", user.id))?;
        }
    }
    Ok(users.into())
}

async fn add_to_directory(
    stack: &Stack,
    client: &reqwest::Client,
    admin: &User,
    user: &User,
) -> Result<()> {
    let response = client
        .put(format!("{}/v1/users/{}", stack.url(), user.id))
        .bearer_auth(&admin.token)
        .json(&json!({ "role": user.role, "name": name(user.id), "email": email(user.tenant, user.id) }))
        .send()
        .await?;
    if let Err(error) = response.error_for_status_ref() {
        let body = response.text().await.unwrap_or_default();
        return Err(error).context(body);
    }
    Ok(())
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

/// Formats an event as one line: its time, tenant, actor (if it has one), name and target.
pub fn event_line(event: &Value) -> String {
    let detail = &event["detail"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let reference =
        |value: &Value| Some(format!("{}:{}", text(&value["kind"])?, text(&value["id"])?));
    let parts = [
        text(&detail["time"]),
        text(&detail["tenant_id"]),
        reference(&detail["actor"]),
        text(&event["detail-type"]),
        reference(&detail["target"]),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join("  ")
}

/// Returns a token that authorizes its holder to redeem the join tokens of every tenant.
fn platform_token(stack: &Stack) -> String {
    let expiry = unix_time() + TOKEN_SECONDS;
    stack.token(json!({ "sub": PLATFORM, "scope": "join-tokens:redeem", "exp": expiry }))
}

fn email(tenant: &str, id: &str) -> String {
    format!("{id}@{tenant}.example")
}

/// Returns the id with its first letter capitalized.
fn name(id: &str) -> String {
    let mut letters = id.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

/// Returns the URLs, the platform token, and the users with their tokens, as JSON.
pub fn json(stack: &Stack, users: &[User]) -> Value {
    let users = users.iter().map(|user| {
        json!({
            "name": name(user.id),
            "role": user.role,
            "tenant_id": user.tenant,
            "user_id": user.id,
            "token": user.token,
        })
    });
    json!({
        "url": stack.url(),
        "issuer": stack.issuer(),
        "kms_endpoint": stack.kms_endpoint(),
        "platform_token": platform_token(stack),
        "users": users.collect::<Vec<_>>(),
    })
}

/// Returns shell commands that export the URL and the tokens, followed by a few calls to try.
pub fn text(stack: &Stack, users: &[User]) -> String {
    let url = stack.url();
    let mut text = format!(
        "# The console: {url}/console\n\nexport URL={url}\n\n# Users. Their tokens are valid for 12 hours\n\n"
    );
    for user in users {
        let variable = match user.tenant {
            "acme" => user.id.to_uppercase(),
            tenant => format!("{tenant}_{}", user.id).to_uppercase(),
        };
        let _ = writeln!(
            text,
            "# {} of the tenant {}\nexport {variable}_TOKEN={}\n",
            user.id, user.tenant, user.token
        );
    }
    let platform = platform_token(stack);
    let _ = writeln!(
        text,
        "# The service that admits agents. It belongs to no tenant\nexport PLATFORM_TOKEN={platform}\n"
    );
    text.push_str(CALLS_TO_TRY);
    text
}

const CALLS_TO_TRY: &str = r#"Try it:

# 1. List the users
curl -H "Authorization: Bearer $ADMIN_TOKEN" $URL/v1/users

# 2. Show one user
curl -H "Authorization: Bearer $ADMIN_TOKEN" $URL/v1/users/editor

# 3. Create a key for that user
curl -H "Authorization: Bearer $ADMIN_TOKEN" -H 'Content-Type: application/json' -d '{"name":"ci","role":"viewer","expires_in_days":30,"max_clusters":1}' $URL/v1/users/editor/access-keys

# 4. Copy access_key from the response, because no later response contains it. Then validate it
curl -H 'Content-Type: application/json' -d '{"access_key":"…"}' $URL/v1/access-keys/validate

# 5. Revoke the key by its id, and validate it again
curl -X DELETE -H "Authorization: Bearer $ADMIN_TOKEN" $URL/v1/users/editor/access-keys/ID

Ctrl-C stops the stack."#;
