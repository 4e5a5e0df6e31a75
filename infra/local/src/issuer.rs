//! The demo users' identity provider: an OIDC issuer that signs with RS256, because API Gateway supports only RSA
//! signatures.
//!
//! The sign-in page does not ask for a password. It lists the users to choose from.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use axum::{
    Form, Json, Router,
    extract::{Query, RawQuery, State},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderName, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Extras, Header};
use p256::elliptic_curve::rand_core::OsRng;
use rsa::{
    RsaPrivateKey,
    pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey},
    traits::PublicKeyParts,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    clock, files,
    web::{self, Server},
};

const KEY_ID: &str = "local";
/// The lifetime of a token whose claims contain no `exp`.
const LIFETIME_SECONDS: u64 = 3600;
/// How long an authorization code is valid.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
const STYLE: &str = include_str!("sign_in.css");

/// A running issuer.
pub(crate) struct Issuer {
    pub server: Server,
    signer: Arc<Signer>,
}

/// The application that people sign in to.
pub(crate) struct Client {
    pub id: String,
    /// The application's origin. Pages of this origin may read the responses of the token endpoint.
    pub origin: String,
    /// The audience of its access tokens.
    pub audience: String,
    /// The claims of the users who may sign in.
    pub people: Vec<Value>,
}

struct Signer {
    issuer: String,
    key: EncodingKey,
}

/// Authorization Code with PKCE (RFC 6749, RFC 7636), for one client.
struct SignIn {
    signer: Arc<Signer>,
    client: Client,
    codes: Mutex<HashMap<String, Grant>>,
}

/// The data behind an authorization code.
struct Grant {
    person: Value,
    challenge: String,
    nonce: Option<String>,
    issued: Instant,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthorizeRequest {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    code_challenge_method: String,
    code_challenge: Option<String>,
    state: String,
    nonce: Option<String>,
    /// The user chosen on the sign-in page. Absent until a user is chosen.
    user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRequest {
    grant_type: String,
    code: String,
    client_id: String,
    redirect_uri: String,
    code_verifier: String,
}

impl Issuer {
    /// Starts the issuer with the key in `data`, so that tokens stay valid after a restart on the same port.
    pub(crate) async fn start(
        data: Option<&Path>,
        listener: TcpListener,
        client: Client,
    ) -> Result<Self> {
        let path = data.map(|data| data.join("issuer.der"));
        let key = tokio::task::spawn_blocking(move || key(path.as_deref()));
        let key = key.await.context("the key task failed")??;
        let der = key
            .to_pkcs1_der()
            .context("the issuer's key cannot be encoded")?;
        let url = web::url(&listener)?;
        let (configuration, keys) = (Json(configuration(&url)), Json(jwks(&key)));
        let signer = Arc::new(Signer {
            issuer: url,
            key: EncodingKey::from_rsa_der(der.as_bytes()),
        });
        let sign_in = Arc::new(SignIn {
            signer: signer.clone(),
            codes: Mutex::default(),
            client,
        });
        let headers = [sign_in.allow_origin()];
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get((headers, configuration)),
            )
            .route("/.well-known/jwks.json", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(sign_in);
        let server = web::serve(listener, router)?;
        Ok(Self { server, signer })
    }

    /// Signs `claims`. Adds `iss`, `aud`, `iat` and `exp` if they are absent.
    pub(crate) fn token(&self, audience: &str, claims: Value) -> String {
        self.signer.token(audience, claims)
    }

    /// Signs `claims` as they are. `header` is added to the token's header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.signer.sign(header, claims)
    }
}

/// The OpenID Provider Metadata.
fn configuration(url: &str) -> Value {
    json!({
        "issuer": url,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "code_challenge_methods_supported": ["S256"],
        "grant_types_supported": ["authorization_code"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["none"],
    })
}

fn jwks(key: &RsaPrivateKey) -> Value {
    json!({ "keys": [{
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": KEY_ID,
        "n": URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
        "e": URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
    }]})
}

impl Signer {
    fn token(&self, audience: &str, mut claims: Value) -> String {
        let now = clock::now().as_secs();
        if let Some(claims) = claims.as_object_mut() {
            for (name, value) in [
                ("iss", Value::from(self.issuer.as_str())),
                ("aud", audience.into()),
                ("iat", now.into()),
                ("exp", (now + LIFETIME_SECONDS).into()),
            ] {
                claims.entry(name).or_insert(value);
            }
        }
        self.sign(&Value::Null, &claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut extras = Extras::default();
        for (name, value) in header.as_object().into_iter().flatten() {
            extras.insert(name, value);
        }
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            extras,
            ..Header::new(Algorithm::RS256)
        };
        // Signing fails only with a damaged key, and every verifier refuses an empty token.
        jsonwebtoken::encode(&header, claims, &self.key).unwrap_or_default()
    }
}

/// Shows the sign-in page. When a user is chosen, redirects to the application with a code.
async fn authorize(
    State(sign_in): State<Arc<SignIn>>,
    RawQuery(query): RawQuery,
    Query(request): Query<AuthorizeRequest>,
) -> Response {
    match sign_in.authorize(&query.unwrap_or_default(), request) {
        Ok(response) => response,
        Err((status, problem)) => page(
            status,
            "Sign-in is not possible",
            &format!("<p>{problem}</p>"),
        ),
    }
}

/// Exchanges a code for tokens. Only the application's page may read the response.
async fn token(
    State(sign_in): State<Arc<SignIn>>,
    Form(request): Form<TokenRequest>,
) -> impl IntoResponse {
    let no_store = (header::CACHE_CONTROL, "no-store".to_owned());
    let headers = [sign_in.allow_origin(), no_store];
    let (status, body) = match sign_in.redeem(&request) {
        Ok(tokens) => (StatusCode::OK, tokens),
        Err((error, description)) => (
            StatusCode::BAD_REQUEST,
            json!({ "error": error, "error_description": description }),
        ),
    };
    (status, headers, Json(body))
}

impl SignIn {
    fn redirect_uri(&self) -> String {
        format!("{}/console", self.client.origin)
    }

    /// The header that lets only the application's page read a response.
    fn allow_origin(&self) -> (HeaderName, String) {
        let origin = self.client.origin.clone();
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
    }

    /// The error consists of the status and the text of an error page.
    fn authorize(
        &self,
        query: &str,
        request: AuthorizeRequest,
    ) -> Result<Response, (StatusCode, String)> {
        for (name, given, expected) in [
            ("client_id", &request.client_id, self.client.id.as_str()),
            ("redirect_uri", &request.redirect_uri, &self.redirect_uri()),
            ("response_type", &request.response_type, "code"),
            (
                "code_challenge_method",
                &request.code_challenge_method,
                "S256",
            ),
        ] {
            if given != expected {
                let problem = format!("The parameter {name} must be {}.", escape(expected));
                return Err((StatusCode::BAD_REQUEST, problem));
            }
        }
        let Some(challenge) = request.code_challenge else {
            let problem = "The parameter code_challenge is missing.";
            return Err((StatusCode::BAD_REQUEST, problem.to_owned()));
        };
        let Some(user) = request.user else {
            return Ok(self.choice(query, &request.state));
        };
        let person = self.client.people.iter().find(|p| full_id(p) == user);
        let Some(person) = person else {
            let problem = "There is no such user.";
            return Err((StatusCode::NOT_FOUND, problem.to_owned()));
        };
        let code = self.issue_code(Grant {
            person: person.clone(),
            challenge,
            nonce: request.nonce,
            issued: Instant::now(),
        });
        let location = self.redirect(&[("code", &code), ("state", &request.state)]);
        Ok(Redirect::to(&location).into_response())
    }

    fn issue_code(&self, grant: Grant) -> String {
        let code = Uuid::new_v4().to_string();
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.insert(code.clone(), grant);
        code
    }

    /// The page that lists the users. Each user is a link that repeats the request with the user's id.
    fn choice(&self, query: &str, state: &str) -> Response {
        let people = self.client.people.iter().map(|person| {
            let claim = |name: &str| escape(person[name].as_str().unwrap_or_default());
            let user = form_urlencoded::Serializer::new(String::new())
                .append_pair("user", &full_id(person))
                .finish();
            format!(
                "<li><a href=\"/authorize?{}\"><b>{}</b> <span>{}</span> <span>{}</span></a></li>",
                escape(&format!("{query}&{user}")),
                claim("name"),
                claim("tenant_id"),
                claim("email"),
            )
        });
        let people: String = people.collect();
        let cancel = escape(&self.redirect(&[("error", "access_denied"), ("state", state)]));
        let body = format!(
            "<p>This identity provider is part of the local stack. It does not ask for a password.</p>\
             <ul>{people}</ul><p><a href=\"{cancel}\">Cancel</a></p>"
        );
        page(StatusCode::OK, "Sign in as", &body)
    }

    /// The redirect URI with these parameters.
    fn redirect(&self, parameters: &[(&str, &str)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        format!("{}?{query}", self.redirect_uri())
    }

    /// Exchanges a code for tokens. A code works once, and only for the application that requested it. The error
    /// consists of an error code and a description (RFC 6749, section 5.2).
    fn redeem(&self, request: &TokenRequest) -> Result<Value, (&'static str, &'static str)> {
        if request.grant_type != "authorization_code" {
            return Err((
                "unsupported_grant_type",
                "only authorization_code is supported",
            ));
        }
        let invalid = |description| ("invalid_grant", description);
        let grant = self
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&request.code)
            .filter(|grant| grant.issued.elapsed() < CODE_LIFETIME)
            .ok_or(invalid("the code is unknown, used or too old"))?;
        if request.client_id != self.client.id || request.redirect_uri != self.redirect_uri() {
            return Err(invalid(
                "the code was issued to another client or redirect_uri",
            ));
        }
        if URL_SAFE_NO_PAD.encode(Sha256::digest(&request.code_verifier)) != grant.challenge {
            return Err(invalid("the code_verifier does not match the code"));
        }
        let mut identity = grant.person.clone();
        if let Some(nonce) = grant.nonce {
            identity["nonce"] = nonce.into();
        }
        Ok(json!({
            "access_token": self.signer.token(&self.client.audience, grant.person),
            "id_token": self.signer.token(&self.client.id, identity),
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
        }))
    }
}

/// A user id that is unique across all tenants.
fn full_id(person: &Value) -> String {
    let claim = |name: &str| person[name].as_str().unwrap_or_default();
    format!("{}/{}", claim("tenant_id"), claim("sub"))
}

/// A page without scripts. `body` is HTML.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <main><h1>{title}</h1>{body}</main></html>"
    );
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers: [(HeaderName, &str); 3] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, &policy),
    ];
    (status, headers, Html(html)).into_response()
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(c),
        }
    }
    html
}

/// The key in the file `path`. Creates the key if there is no such file.
fn key(path: Option<&Path>) -> Result<RsaPrivateKey> {
    let cannot = "cannot read or write the issuer's key";
    if let Some(path) = path
        && let Some(der) = files::read(path).context(cannot)?
    {
        return RsaPrivateKey::from_pkcs1_der(&der)
            .with_context(|| format!("{} is damaged", path.display()));
    }
    let key = RsaPrivateKey::new(&mut OsRng, 2048).context("cannot generate an RSA key")?;
    if let Some(path) = path {
        let der = key.to_pkcs1_der().context(cannot)?;
        files::replace(path, der.as_bytes()).context(cannot)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "http://127.0.0.1:3000";
    const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

    async fn issuer() -> Issuer {
        let people =
            vec![json!({ "sub": "ada", "tenant_id": "acme", "name": "<b>\"Ada\" & co</b>" })];
        let client = Client {
            id: "console".into(),
            origin: ORIGIN.into(),
            audience: "api".into(),
            people,
        };
        Issuer::start(None, web::bind(0).await.unwrap(), client)
            .await
            .unwrap()
    }

    fn client() -> reqwest::Client {
        let policy = reqwest::redirect::Policy::none();
        reqwest::Client::builder()
            .no_proxy()
            .redirect(policy)
            .build()
            .unwrap()
    }

    /// A request for a code, with some parameters replaced.
    async fn authorize(issuer: &Issuer, replaced: &[(&str, &str)]) -> reqwest::Response {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let redirect_uri = format!("{ORIGIN}/console");
        let mut query = HashMap::from([
            ("client_id", "console"),
            ("redirect_uri", &redirect_uri),
            ("response_type", "code"),
            ("state", "s&1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        query.extend(replaced.iter().copied());
        client()
            .get(format!("{}/authorize", issuer.server.url))
            .query(&query)
            .send()
            .await
            .unwrap()
    }

    async fn code(issuer: &Issuer) -> String {
        let response = authorize(issuer, &[("user", "acme/ada")]).await;
        assert_eq!(response.status(), 303);
        let location = response.headers()["location"].to_str().unwrap();
        let (code, state) = location
            .split_once("?code=")
            .unwrap()
            .1
            .split_once('&')
            .unwrap();
        assert_eq!(state, "state=s%261");
        code.to_owned()
    }

    async fn token(issuer: &Issuer, code: &str, replaced: &[(&str, &str)]) -> (Value, String) {
        let redirect_uri = format!("{ORIGIN}/console");
        let mut form = HashMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", "console"),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", VERIFIER),
            ("code", code),
        ]);
        form.extend(replaced.iter().copied());
        let request = client()
            .post(format!("{}/token", issuer.server.url))
            .form(&form);
        let response = request.send().await.unwrap();
        let origin = response.headers()["access-control-allow-origin"]
            .to_str()
            .unwrap()
            .to_owned();
        (response.json().await.unwrap(), origin)
    }

    #[tokio::test]
    async fn a_code_works_once_and_only_its_application_may_read_the_tokens() {
        let issuer = issuer().await;
        let code = code(&issuer).await;
        let (tokens, origin) = token(&issuer, &code, &[]).await;
        assert_eq!(
            (&tokens["token_type"], origin.as_str()),
            (&json!("Bearer"), ORIGIN)
        );
        let payload = tokens["access_token"]
            .as_str()
            .unwrap()
            .split('.')
            .nth(1)
            .unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(
            (&claims["sub"], &claims["tenant_id"], &claims["aud"]),
            (&json!("ada"), &json!("acme"), &json!("api"))
        );
        assert_eq!(token(&issuer, &code, &[]).await.0["error"], "invalid_grant");
    }

    #[tokio::test]
    async fn a_code_with_another_verifier_client_or_redirect_uri_is_refused() {
        let issuer = issuer().await;
        for wrong in [
            (
                "code_verifier",
                "another-verifier-of-more-than-forty-three-characters",
            ),
            ("client_id", "other"),
            ("redirect_uri", "http://127.0.0.1:3000/console/"),
        ] {
            let code = code(&issuer).await;
            assert_eq!(
                token(&issuer, &code, &[wrong]).await.0["error"],
                "invalid_grant",
                "{wrong:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_client_redirect_uri_or_challenge_method_is_refused_without_a_redirect() {
        let issuer = issuer().await;
        for wrong in [
            ("redirect_uri", "http://127.0.0.1:3000/console?x"),
            ("redirect_uri", "https://evil.example/console"),
            ("client_id", "other"),
            ("code_challenge_method", "plain"),
        ] {
            let response = authorize(&issuer, &[wrong, ("user", "acme/ada")]).await;
            assert_eq!(response.status(), 400, "{wrong:?}");
            assert!(!response.headers().contains_key("location"), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_sign_in_page_shows_names_as_text() {
        let issuer = issuer().await;
        let response = authorize(&issuer, &[("state", "\"><script>")]).await;
        assert!(
            response.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        let html = response.text().await.unwrap();
        assert!(
            html.contains("&lt;b&gt;&quot;Ada&quot; &amp; co&lt;/b&gt;"),
            "{html}"
        );
        assert!(!html.contains("<script"), "{html}");
    }
}
