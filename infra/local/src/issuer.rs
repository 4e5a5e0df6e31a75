//! The identity provider of the demo users: an OIDC issuer that signs with RS256, which is all that API Gateway verifies.
//!
//! Its sign-in page takes nobody's password: it lists the users, and whoever is at the machine picks one.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::rand_core::OsRng;
use rsa::{
    RsaPrivateKey,
    pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey},
    traits::PublicKeyParts,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    clock, files,
    web::{self, Server},
};

const KEY_ID: &str = "local";
/// How long a token lives that does not say so itself.
const LIFETIME_SECONDS: u64 = 3600;
/// How long a code may take from the sign-in page to the token endpoint.
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
    /// Where it runs, which is what may read the answers of the token endpoint.
    pub origin: String,
    /// The audience of its access tokens.
    pub audience: String,
    /// The claims of the users who may sign in.
    pub people: Vec<Value>,
}

/// Signs tokens.
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

/// What a code stands for.
struct Grant {
    person: Value,
    challenge: String,
    nonce: Option<String>,
    issued: Instant,
}

impl Issuer {
    /// Starts it with the key kept in `data`, so that tokens outlive a restart on the same port.
    pub(crate) async fn start(
        data: Option<&Path>,
        listener: TcpListener,
        client: Client,
    ) -> Result<Self> {
        let path = data.map(|data| data.join("issuer.der"));
        let key = tokio::task::spawn_blocking(move || key(path.as_deref()));
        let key = key.await.context("the issuer ended")??;
        let der = key
            .to_pkcs1_der()
            .context("the issuer's key cannot be encoded")?;
        let url = web::url(&listener)?;
        let configuration = json!({
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
        });
        let keys = json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
            "e": URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
        }]});
        let signer = Arc::new(Signer {
            issuer: url,
            key: EncodingKey::from_rsa_der(der.as_bytes()),
        });
        let sign_in = SignIn {
            signer: signer.clone(),
            client,
            codes: Mutex::default(),
        };
        let state = Arc::new((configuration, keys, sign_in));
        let server = web::serve(listener, move |parts, body| {
            let (configuration, keys, sign_in) = &*state;
            let answer = match (&parts.method, parts.uri.path()) {
                (&Method::GET, "/.well-known/openid-configuration") => {
                    sign_in.shared(web::json(StatusCode::OK, configuration))
                }
                (&Method::GET, "/.well-known/jwks.json") => web::json(StatusCode::OK, keys),
                (&Method::GET, "/authorize") => sign_in.authorize(&parts),
                (&Method::POST, "/token") => sign_in.shared(sign_in.token(&body)),
                _ => web::message(StatusCode::NOT_FOUND, "Not Found"),
            };
            async { Ok(answer) }
        })?;
        Ok(Self { server, signer })
    }

    /// Signs `claims`, with `iss`, `aud`, `iat` and `exp` added where they are absent.
    pub(crate) fn token(&self, audience: &str, claims: Value) -> String {
        self.signer.token(audience, claims)
    }
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
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::RS256)
        };
        // Signing fails only for a damaged key, and an empty token is refused by everyone.
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap_or_default()
    }
}

impl SignIn {
    fn redirect_uri(&self) -> String {
        format!("{}/console", self.client.origin)
    }

    /// Lets the application's page, and no other, read an answer.
    fn shared(&self, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        if let Ok(origin) = HeaderValue::from_str(&self.client.origin) {
            response
                .headers_mut()
                .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    }

    /// The sign-in page, and once a user is picked the way back to the application with a code.
    fn authorize(&self, parts: &Parts) -> Response<Full<Bytes>> {
        let query = parts.uri.query().unwrap_or_default();
        let asked: HashMap<_, _> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
        for (name, expected) in [
            ("client_id", self.client.id.as_str()),
            ("redirect_uri", &self.redirect_uri()),
            ("response_type", "code"),
            ("code_challenge_method", "S256"),
        ] {
            if !is(name, expected) {
                return page(
                    StatusCode::BAD_REQUEST,
                    "Sign-in is not possible",
                    &format!("<p>The parameter {name} must be {}.</p>", escaped(expected)),
                );
            }
        }
        let Some(challenge) = asked.get("code_challenge") else {
            let missing = "<p>The parameter code_challenge is missing.</p>";
            return page(StatusCode::BAD_REQUEST, "Sign-in is not possible", missing);
        };
        let state = asked.get("state").map(String::as_str).unwrap_or_default();
        let Some(user) = asked.get("user") else {
            return self.choice(query, state);
        };
        let Some(person) = self
            .client
            .people
            .iter()
            .find(|person| full_id(person) == *user)
        else {
            return page(
                StatusCode::NOT_FOUND,
                "Sign-in is not possible",
                "<p>There is no such user.</p>",
            );
        };
        let code = Uuid::new_v4().to_string();
        let grant = Grant {
            person: person.clone(),
            challenge: challenge.clone(),
            nonce: asked.get("nonce").cloned(),
            issued: Instant::now(),
        };
        self.codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(code.clone(), grant);
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Ok(location) =
            HeaderValue::from_str(&self.back(&[("code", &code), ("state", state)]))
        {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    /// The list of users; each is a link to this same request and the user's id.
    fn choice(&self, query: &str, state: &str) -> Response<Full<Bytes>> {
        let people = self.client.people.iter().map(|person| {
            let claim = |name: &str| escaped(person[name].as_str().unwrap_or_default());
            let user = form_urlencoded::Serializer::new(String::new())
                .append_pair("user", &full_id(person))
                .finish();
            format!(
                "<li><a href=\"/authorize?{}\"><b>{}</b> <span>{}</span> <span>{}</span></a></li>",
                escaped(&format!("{query}&{user}")),
                claim("name"),
                claim("tenant_id"),
                claim("email"),
            )
        });
        let people: String = people.collect();
        let cancel = escaped(&self.back(&[("error", "access_denied"), ("state", state)]));
        let body = format!(
            "<p>This identity provider is part of the local stack. It asks for no password.</p>\
             <ul>{people}</ul><p><a href=\"{cancel}\">Cancel</a></p>"
        );
        page(StatusCode::OK, "Sign in as", &body)
    }

    /// The application's address with what it is told.
    fn back(&self, told: &[(&str, &str)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(told)
            .finish();
        format!("{}?{query}", self.redirect_uri())
    }

    /// Tokens for a code, which is good once, for the application that asked for it.
    fn token(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let refuse = |error: &str, description: &str| {
            let body = json!({ "error": error, "error_description": description });
            web::json(StatusCode::BAD_REQUEST, &body)
        };
        let sent: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
        let field = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
        if field("grant_type") != "authorization_code" {
            return refuse(
                "unsupported_grant_type",
                "only authorization_code is supported",
            );
        }
        let grant = self
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(field("code"));
        let Some(grant) = grant.filter(|grant| grant.issued.elapsed() < CODE_LIFETIME) else {
            return refuse("invalid_grant", "the code is unknown, used or too old");
        };
        if field("client_id") != self.client.id || field("redirect_uri") != self.redirect_uri() {
            return refuse(
                "invalid_grant",
                "the code was issued to another client or redirect_uri",
            );
        }
        if URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))) != grant.challenge {
            return refuse(
                "invalid_grant",
                "the code_verifier does not belong to the code",
            );
        }
        let mut identity = grant.person.clone();
        if let Some(nonce) = grant.nonce {
            identity["nonce"] = nonce.into();
        }
        let tokens = json!({
            "access_token": self.signer.token(&self.client.audience, grant.person),
            "id_token": self.signer.token(&self.client.id, identity),
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
        });
        let mut response = web::json(StatusCode::OK, &tokens);
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The id of a user among all tenants.
fn full_id(person: &Value) -> String {
    let claim = |name: &str| person[name].as_str().unwrap_or_default();
    format!("{}/{}", claim("tenant_id"), claim("sub"))
}

/// A page without scripts; `body` is HTML.
fn page(status: StatusCode, title: &str, body: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <main><h1>{title}</h1>{body}</main></html>"
    );
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Text as HTML.
fn escaped(text: &str) -> String {
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

fn key(path: Option<&Path>) -> Result<RsaPrivateKey> {
    let cannot = "cannot keep the issuer's key";
    if let Some(path) = path
        && let Some(der) = files::read(path).context(cannot)?
    {
        return RsaPrivateKey::from_pkcs1_der(&der)
            .with_context(|| format!("{} is damaged", path.display()));
    }
    let key = RsaPrivateKey::new(&mut OsRng, 2048).context("cannot make an RSA key")?;
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
    async fn a_code_is_good_once_and_only_its_own_application_may_read_the_tokens() {
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
    async fn a_code_is_worth_nothing_with_another_verifier_client_or_redirect_uri() {
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
    async fn nobody_is_sent_to_another_address_or_without_pkce() {
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
