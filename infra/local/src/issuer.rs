//! The demo users' identity provider: an OIDC issuer that signs with RS256, because API Gateway supports only RSA
//! signatures.
//!
//! The sign-in page does not ask for a password. It lists the users to choose from. Choosing a user starts a session,
//! which lasts until the browser closes or the application ends it (OpenID Connect RP-Initiated Logout 1.0).

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
use http::{HeaderMap, HeaderName, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Extras, Header, Validation};
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
    /// The audience of the application's access tokens.
    pub audience: String,
    /// The claims of the users who may sign in.
    pub people: Vec<Value>,
}

struct Signer {
    issuer: String,
    key: EncodingKey,
    public_key: DecodingKey,
}

/// The authorization code flow with PKCE (RFC 6749, RFC 7636), for one client.
struct SignIn {
    signer: Arc<Signer>,
    client: Client,
    /// The name of the session cookie. It contains the port, because browsers share cookies between all ports of a
    /// host.
    cookie: String,
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
    /// The values of the `prompt` parameter, separated by spaces (OpenID Connect Core 1.0, section 3.1.2.1).
    prompt: String,
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

/// Every parameter except `state` counts as absent if it is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LogoutRequest {
    id_token_hint: String,
    client_id: String,
    post_logout_redirect_uri: String,
    state: Option<String>,
}

/// The status and the HTML text of an error page.
type Refusal = (StatusCode, String);

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
        let (url, port) = (web::url(&listener)?, web::port(&listener)?);
        let (configuration, keys) = (Json(configuration(&url)), Json(jwks(&key)));
        let signer = Arc::new(Signer {
            issuer: url,
            key: EncodingKey::from_rsa_der(der.as_bytes()),
            public_key: DecodingKey::from_rsa_raw_components(
                &key.n().to_bytes_be(),
                &key.e().to_bytes_be(),
            ),
        });
        let sign_in = Arc::new(SignIn {
            signer: signer.clone(),
            cookie: format!("local-session-{port}"),
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
            .route("/logout", get(logout).post(logout))
            .with_state(sign_in);
        let server = web::serve(listener, router)?;
        Ok(Self { server, signer })
    }

    /// Signs `claims`. Adds `iss`, `aud`, `iat` and `exp` if they are absent.
    pub(crate) fn token(&self, audience: &str, claims: Value) -> String {
        self.signer.token(audience, claims)
    }

    /// Signs exactly these `claims`. The fields of `header` are added to the token's header.
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
        "end_session_endpoint": format!("{url}/logout"),
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
        // Signing fails only if the key is damaged. The token is then empty, and every verifier refuses it.
        jsonwebtoken::encode(&header, claims, &self.key).unwrap_or_default()
    }

    /// Whether this issuer issued the token for this audience, even if the token has expired.
    fn has_issued(&self, token: &str, audience: &str) -> bool {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[audience]);
        jsonwebtoken::decode::<Value>(token, &self.public_key, &validation).is_ok()
    }
}

/// If the user is known from the session or was chosen on the sign-in page, redirects to the application with an
/// authorization code. Otherwise shows the sign-in page. The parameter `prompt` can require or forbid that page.
async fn authorize(
    State(sign_in): State<Arc<SignIn>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Query(request): Query<AuthorizeRequest>,
) -> Response {
    let session = sign_in.session(&headers);
    sign_in
        .authorize(&query.unwrap_or_default(), request, session)
        .unwrap_or_else(|refusal| error_page("Sign-in is not possible", &refusal))
}

/// Ends the session. A GET request contains the parameters in its query, and a POST request contains them in a form.
async fn logout(
    State(sign_in): State<Arc<SignIn>>,
    Form(request): Form<LogoutRequest>,
) -> Response {
    sign_in
        .end_session(&request)
        .unwrap_or_else(|refusal| error_page("Sign-out is not possible", &refusal))
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

    /// Returns the header that allows only the application's page to read a response.
    fn allow_origin(&self) -> (HeaderName, String) {
        let origin = self.client.origin.clone();
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
    }

    /// `session` is the user of the current session, if there is one.
    fn authorize(
        &self,
        query: &str,
        request: AuthorizeRequest,
        session: Option<&Value>,
    ) -> Result<Response, Refusal> {
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
                return Err(must_be(name, expected));
            }
        }
        let Some(challenge) = request.code_challenge else {
            let problem = "The parameter code_challenge is missing.";
            return Err((StatusCode::BAD_REQUEST, problem.to_owned()));
        };
        let prompts: Vec<&str> = request.prompt.split(' ').collect();
        let asks = prompts.contains(&"login") || prompts.contains(&"select_account");
        let mut cookie = None;
        let person = match (prompts.as_slice(), &request.user, session) {
            (["none"], _, Some(person)) => person,
            (["none"], _, None) => return Ok(self.refuse("login_required", &request.state)),
            (prompts, ..) if prompts.contains(&"none") => {
                return Ok(self.refuse("invalid_request", &request.state));
            }
            (_, Some(user), _) => {
                let person = self.person(user)?;
                cookie = Some([self.set_cookie(&session_id(person), "")]);
                person
            }
            (_, None, Some(person)) if !asks => person,
            _ => return Ok(self.choice(query, &request.state)),
        };
        let code = self.issue_code(Grant {
            person: person.clone(),
            challenge,
            nonce: request.nonce,
            issued: Instant::now(),
        });
        let location = self.redirect(&[("code", &code), ("state", &request.state)]);
        Ok((cookie, Redirect::to(&location)).into_response())
    }

    /// Returns the redirect that tells the application why it receives no code.
    fn refuse(&self, error: &str, state: &str) -> Response {
        Redirect::to(&self.redirect(&[("error", error), ("state", state)])).into_response()
    }

    fn person(&self, user: &str) -> Result<&Value, Refusal> {
        let person = self.client.people.iter().find(|p| full_id(p) == user);
        person.ok_or_else(|| (StatusCode::NOT_FOUND, "There is no such user.".to_owned()))
    }

    /// Returns the user named in the session cookie, if that user still exists.
    fn session(&self, headers: &HeaderMap) -> Option<&Value> {
        let name = format!("{}=", self.cookie);
        let mut cookies = headers
            .get_all(header::COOKIE)
            .into_iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let id = cookies.find_map(|cookie| cookie.trim_ascii().strip_prefix(name.as_bytes()))?;
        let mut people = self.client.people.iter();
        people.find(|person| session_id(person).as_bytes() == id)
    }

    /// Sets the session cookie. `lifetime` is appended to the attributes of the cookie.
    fn set_cookie(&self, id: &str, lifetime: &str) -> (HeaderName, String) {
        let attributes = "Path=/authorize; HttpOnly; SameSite=Lax";
        let cookie = format!("{}={id}; {attributes}{lifetime}", self.cookie);
        (header::SET_COOKIE, cookie)
    }

    /// Removes the session cookie. Redirects to the application if the request contains the application's redirect URI.
    fn end_session(&self, request: &LogoutRequest) -> Result<Response, Refusal> {
        let uri = self.redirect_uri();
        let (client_id, hint) = (&self.client.id, &request.id_token_hint);
        if !hint.is_empty() && !self.signer.has_issued(hint, client_id) {
            let expected = "an ID token of this identity provider";
            return Err(must_be("id_token_hint", expected));
        }
        for (name, given, expected) in [
            ("client_id", &request.client_id, client_id),
            (
                "post_logout_redirect_uri",
                &request.post_logout_redirect_uri,
                &uri,
            ),
        ] {
            if !given.is_empty() && given != expected {
                return Err(must_be(name, expected));
            }
        }
        let location = match &request.state {
            Some(state) => self.redirect(&[("state", state)]),
            None => uri,
        };
        let response = if request.post_logout_redirect_uri.is_empty() {
            page(StatusCode::OK, "You are signed out", "")
        } else {
            Redirect::to(&location).into_response()
        };
        Ok(([self.set_cookie("", "; Max-Age=0")], response).into_response())
    }

    fn issue_code(&self, grant: Grant) -> String {
        let code = Uuid::new_v4().to_string();
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.insert(code.clone(), grant);
        code
    }

    /// Returns the page that lists the users. Each user is a link that repeats the request with the user's id.
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

    /// Returns the redirect URI with these parameters.
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

/// Returns a user id that is unique across all tenants.
fn full_id(person: &Value) -> String {
    let claim = |name: &str| person[name].as_str().unwrap_or_default();
    format!("{}/{}", claim("tenant_id"), claim("sub"))
}

/// Returns the value of a user's session cookie. It is neither secret nor signed, because the sign-in page does not ask
/// for a password either.
fn session_id(person: &Value) -> String {
    URL_SAFE_NO_PAD.encode(full_id(person))
}

fn must_be(parameter: &str, expected: &str) -> Refusal {
    let problem = format!("The parameter {parameter} must be {}.", escape(expected));
    (StatusCode::BAD_REQUEST, problem)
}

fn error_page(title: &str, (status, problem): &Refusal) -> Response {
    page(*status, title, &format!("<p>{problem}</p>"))
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

/// Reads the key from the file `path`. If there is no such file, creates a key.
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

    /// Requests an authorization code, with some parameters replaced.
    async fn authorize(issuer: &Issuer, replaced: &[(&str, &str)]) -> reqwest::Response {
        authorize_in("", issuer, replaced).await
    }

    /// Requests an authorization code, with cookies.
    async fn authorize_in(
        cookies: &str,
        issuer: &Issuer,
        replaced: &[(&str, &str)],
    ) -> reqwest::Response {
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
            .header("cookie", cookies)
            .send()
            .await
            .unwrap()
    }

    async fn code(issuer: &Issuer) -> String {
        code_in(&authorize(issuer, &[("user", "acme/ada")]).await)
    }

    /// Returns the code in the redirect to the application.
    fn code_in(response: &reqwest::Response) -> String {
        let location = location(response);
        let (code, state) = location
            .split_once("?code=")
            .unwrap()
            .1
            .split_once('&')
            .unwrap();
        assert_eq!(state, "state=s%261");
        code.to_owned()
    }

    fn location(response: &reqwest::Response) -> &str {
        assert_eq!(response.status(), 303);
        response.headers()["location"].to_str().unwrap()
    }

    /// Signs in on the sign-in page and returns the session cookie.
    async fn begin_session(issuer: &Issuer) -> String {
        let response = authorize(issuer, &[("user", "acme/ada")]).await;
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    }

    /// Returns the name of the session cookie.
    fn cookie_name(issuer: &Issuer) -> String {
        let port = issuer.server.url.rsplit(':').next().unwrap();
        format!("local-session-{port}")
    }

    async fn logout(issuer: &Issuer, parameters: &[(&str, &str)]) -> reqwest::Response {
        let url = format!("{}/logout", issuer.server.url);
        client().get(url).query(parameters).send().await.unwrap()
    }

    fn assert_session_ended(issuer: &Issuer, response: &reqwest::Response) {
        let name = cookie_name(issuer);
        let removal = format!("{name}=; Path=/authorize; HttpOnly; SameSite=Lax; Max-Age=0");
        assert_eq!(response.headers()["set-cookie"], removal);
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
        let session = begin_session(&issuer).await;
        for wrong in [
            ("redirect_uri", "http://127.0.0.1:3000/console?x"),
            ("redirect_uri", "https://evil.example/console"),
            ("client_id", "other"),
            ("code_challenge_method", "plain"),
        ] {
            for other in [("user", "acme/ada"), ("prompt", "none")] {
                let response = authorize_in(&session, &issuer, &[wrong, other]).await;
                assert_eq!(response.status(), 400, "{wrong:?} {other:?}");
                let headers = response.headers();
                assert!(!headers.contains_key("location"), "{wrong:?} {other:?}");
            }
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

    #[tokio::test]
    async fn the_choice_of_a_user_begins_a_session_that_only_authorize_sees() {
        let issuer = issuer().await;
        let response = authorize(&issuer, &[("user", "acme/ada"), ("prompt", "login")]).await;
        let id = URL_SAFE_NO_PAD.encode("acme/ada");
        let name = cookie_name(&issuer);
        let cookie = format!("{name}={id}; Path=/authorize; HttpOnly; SameSite=Lax");
        assert_eq!(response.headers()["set-cookie"], cookie);
    }

    #[tokio::test]
    async fn a_session_replaces_the_sign_in_page() {
        let issuer = issuer().await;
        let session = format!("other=\u{e9}; {}; last=1", begin_session(&issuer).await);
        for prompt in ["none", "", "consent"] {
            let response = authorize_in(&session, &issuer, &[("prompt", prompt)]).await;
            let (tokens, _) = token(&issuer, &code_in(&response), &[]).await;
            assert!(tokens["id_token"].is_string(), "{prompt:?}: {tokens}");
            assert!(!response.headers().contains_key("set-cookie"), "{prompt:?}");
        }
        assert_eq!(authorize(&issuer, &[]).await.status(), 200);
    }

    #[tokio::test]
    async fn prompt_login_and_select_account_show_the_sign_in_page_despite_a_session() {
        let issuer = issuer().await;
        let session = begin_session(&issuer).await;
        for prompt in ["login", "select_account", "consent login"] {
            let response = authorize_in(&session, &issuer, &[("prompt", prompt)]).await;
            assert_eq!(response.status(), 200, "{prompt}");
            let html = response.text().await.unwrap();
            assert!(html.contains("<h1>Sign in as</h1>"), "{prompt}: {html}");
        }
    }

    #[tokio::test]
    async fn prompt_none_never_shows_the_sign_in_page() {
        let issuer = issuer().await;
        let session = begin_session(&issuer).await;
        let name = cookie_name(&issuer);
        let deleted = format!("{name}={}", URL_SAFE_NO_PAD.encode("acme/deleted"));
        let of_another_port = session.replacen('=', "0=", 1);
        for (cookies, prompt, error) in [
            ("", "none", "login_required"),
            (&deleted, "none", "login_required"),
            (&of_another_port, "none", "login_required"),
            (&session, "none login", "invalid_request"),
        ] {
            for other in [("nonce", "n"), ("user", "acme/ada")] {
                let response = authorize_in(cookies, &issuer, &[("prompt", prompt), other]).await;
                let expected = format!("{ORIGIN}/console?error={error}&state=s%261");
                assert_eq!(location(&response), expected, "{cookies} {other:?}");
            }
        }
        for cookies in [&deleted, &of_another_port] {
            let response = authorize_in(cookies, &issuer, &[]).await;
            assert_eq!(response.status(), 200, "{cookies}");
        }
    }

    #[tokio::test]
    async fn the_metadata_names_the_endpoint_that_ends_the_session() {
        let issuer = issuer().await;
        let url = &issuer.server.url;
        let metadata = format!("{url}/.well-known/openid-configuration");
        let metadata = client().get(metadata).send().await.unwrap();
        let metadata: Value = metadata.json().await.unwrap();
        assert_eq!(metadata["end_session_endpoint"], format!("{url}/logout"));
    }

    #[tokio::test]
    async fn logging_out_ends_the_session_and_returns_to_the_application() {
        let issuer = issuer().await;
        let uri = &format!("{ORIGIN}/console");
        let expired = json!({ "iss": issuer.server.url, "aud": "console", "exp": 1 });
        let expired = issuer.sign(&Value::Null, &expired);
        let target = ("post_logout_redirect_uri", uri.as_str());
        for (parameters, expected) in [
            (vec![target], uri),
            (
                vec![target, ("state", "s&1")],
                &format!("{uri}?state=s%261"),
            ),
            (vec![target, ("client_id", "console")], uri),
            (vec![target, ("id_token_hint", &expired)], uri),
        ] {
            let response = logout(&issuer, &parameters).await;
            assert_eq!(location(&response), expected, "{parameters:?}");
            assert_session_ended(&issuer, &response);
            let request = client().post(format!("{}/logout", issuer.server.url));
            let response = request.form(&parameters).send().await.unwrap();
            assert_eq!(location(&response), expected, "{parameters:?}");
            assert_session_ended(&issuer, &response);
        }
    }

    #[tokio::test]
    async fn logging_out_without_a_uri_shows_that_the_user_is_signed_out() {
        let issuer = issuer().await;
        let response = logout(&issuer, &[("state", "s")]).await;
        assert_eq!(response.status(), 200);
        assert_session_ended(&issuer, &response);
        let html = response.text().await.unwrap();
        assert!(html.contains("<h1>You are signed out</h1>"), "{html}");
    }

    #[tokio::test]
    async fn a_logout_with_a_wrong_parameter_ends_no_session_and_names_the_right_value() {
        let (issuer, other) = (issuer().await, issuer().await);
        let uri = &format!("{ORIGIN}/console");
        let claims = json!({ "iss": issuer.server.url, "aud": "console" });
        let (forged, foreign) = (
            other.sign(&Value::Null, &claims),
            issuer.sign(
                &Value::Null,
                &json!({ "iss": other.server.url, "aud": "console" }),
            ),
        );
        let access_token = issuer.token("api", json!({}));
        let id_token = "an ID token of this identity provider";
        for (name, wrong, right) in [
            ("post_logout_redirect_uri", ORIGIN, uri.as_str()),
            ("post_logout_redirect_uri", &format!("{uri}?x"), uri),
            ("post_logout_redirect_uri", "https://evil.example/", uri),
            ("client_id", "other", "console"),
            ("id_token_hint", "x", id_token),
            ("id_token_hint", &forged, id_token),
            ("id_token_hint", &foreign, id_token),
            ("id_token_hint", &access_token, id_token),
        ] {
            let mut parameters = HashMap::from([("post_logout_redirect_uri", uri.as_str())]);
            parameters.insert(name, wrong);
            let parameters: Vec<_> = parameters.into_iter().collect();
            let response = logout(&issuer, &parameters).await;
            assert_eq!(response.status(), 400, "{name} {wrong}");
            let headers = response.headers();
            assert!(!headers.contains_key("set-cookie"), "{name} {wrong}");
            let html = response.text().await.unwrap();
            let problem = format!("The parameter {name} must be {right}.");
            assert!(html.contains(&problem), "{html}");
        }
    }
}
