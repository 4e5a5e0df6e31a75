//! `GET /console`: the page for managing users, keys and clusters, with its assets and settings. `GET /openapi.yaml`:
//! the OpenAPI document, which pages from any origin may read.
//!
//! All files are part of the binary. The page calls the API like any other client. This function itself cannot access
//! the table or KMS.

use access_keys::{
    http::{self, Error},
    process::config::Environment,
};
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
};
use serde_json::{Value, json};

const PAGE: &str = "index.html";
const OPENAPI: &str = "openapi.yaml";
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

struct File {
    name: &'static str,
    hash: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

pub struct App {
    /// The settings that the page needs to sign users in.
    settings: Value,
    content_security_policy: String,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let issuer = environment.required("OIDC_ISSUER");
        let token_endpoint = environment
            .optional("OIDC_TOKEN_ORIGIN")
            .unwrap_or_default();
        let mut settings = json!({
            "issuer": issuer,
            "client_id": environment.required("CONSOLE_CLIENT_ID"),
            "scope": environment.required("CONSOLE_SCOPE"),
        });
        for (name, variable) in [
            ("audience", "CONSOLE_AUDIENCE"),
            ("resource", "CONSOLE_RESOURCE"),
        ] {
            if let Some(value) = environment.optional(variable) {
                settings[name] = value.into();
            }
        }
        Self {
            settings,
            content_security_policy: content_security_policy(&[&issuer, &token_endpoint]),
        }
    }
}

/// Returns a Content-Security-Policy that allows only our own files, images in `data:` URLs, and connections to the API
/// and to the identity provider.
fn content_security_policy(identity_provider: &[&str]) -> String {
    let origins: String = identity_provider
        .iter()
        .filter_map(|url| origin(url))
        .collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{origins}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Returns the origin of a URL, with a leading space for use in a space-separated list.
fn origin(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    Some(format!(" {}://{}", url.scheme_str()?, url.authority()?))
}

/// Returns the page, an asset, the settings or the OpenAPI document.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let file = || request.path_parameters_ref()?.first("file");
    let wanted = match http::route(&request) {
        "GET /openapi.yaml" => OPENAPI,
        _ => file().unwrap_or(PAGE),
    };
    let mut response = match wanted {
        "config.json" => http::json(StatusCode::OK, &app.settings),
        name => FILES
            .iter()
            .find(|file| file.name == name)
            .ok_or(Error::NOT_FOUND)?
            .answer(request.headers())
            .map_err(|_| Error::NOT_FOUND)?,
    };
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&app.content_security_policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    if wanted == OPENAPI {
        let any = HeaderValue::from_static("*");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    }
    Ok(response)
}

impl File {
    fn answer(&self, request: &HeaderMap) -> Result<Response<Body>, lambda_http::http::Error> {
        // The entity tag is weak, because the plain and the compressed response have the same tag, but consist of
        // different bytes (RFC 9110, section 8.8.1).
        let etag = format!("W/\"{}\"", self.hash);
        let (content_type, has_hashed_name) = match self.name.rsplit('.').next() {
            Some("js") => ("text/javascript; charset=utf-8", true),
            Some("css") => ("text/css; charset=utf-8", true),
            Some("html") => ("text/html; charset=utf-8", false),
            // The media type of YAML (RFC 9512).
            Some("yaml") => ("application/yaml", false),
            _ => ("text/plain; charset=utf-8", false),
        };
        let response = Response::builder()
            .header(header::ETAG, &etag)
            .header(header::VARY, "accept-encoding")
            .header(
                header::CACHE_CONTROL,
                if has_hashed_name {
                    "public, max-age=31536000, immutable"
                } else {
                    "no-cache"
                },
            );
        if listed(request, header::IF_NONE_MATCH).any(|known| known == etag) {
            return response.status(StatusCode::NOT_MODIFIED).body(Body::Empty);
        }
        let response = response.header(header::CONTENT_TYPE, content_type);
        if listed(request, header::ACCEPT_ENCODING).any(accepts_gzip) {
            return response
                .header(header::CONTENT_ENCODING, "gzip")
                .body(Body::Binary(self.gzip.to_vec()));
        }
        response.body(Body::Binary(self.plain.to_vec()))
    }
}

/// Returns the entries of a header whose value is a comma-separated list.
fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether an entry of `Accept-Encoding` is gzip, with a weight other than 0.
fn accepts_gzip(entry: &str) -> bool {
    let (coding, weight) = entry.split_once(';').unwrap_or((entry, "q=1"));
    let weight = weight
        .trim()
        .strip_prefix("q=")
        .and_then(|weight| weight.parse::<f32>().ok());
    coding.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use access_keys::process::config;
    use flate2::read::GzDecoder;

    use super::*;

    const EVENT: &str = include_str!("../../../tests/events/console.json");

    fn app() -> App {
        let issuer = "https://idp.example/pool";
        App {
            settings: json!({ "issuer": issuer, "client_id": "console", "scope": "openid" }),
            content_security_policy: content_security_policy(&[issuer, "https://login.example"]),
        }
    }

    /// Requests `file`, or the page if `file` is `None`, with these headers, and returns the response.
    async fn get(file: Option<&str>, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let mut event: Value = serde_json::from_str(EVENT).unwrap();
        if let Some(file) = file {
            event["rawPath"] = json!(format!("/console/{file}"));
            event["pathParameters"] = json!({ "file": file });
        }
        for (name, value) in headers {
            event["headers"][name] = json!(value);
        }
        handle(
            &app(),
            lambda_http::request::from_str(&event.to_string()).unwrap(),
        )
        .await
    }

    fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn the_page_is_revalidated_and_names_only_assets_that_exist_and_never_change() {
        let page = get(None, &[]).await.unwrap();
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&page, "cache-control"), "no-cache");
        let html = std::str::from_utf8(page.body()).unwrap();
        let assets: Vec<_> = html
            .split("/console/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(assets.len(), 2, "a script and a style sheet: {html}");
        for (asset, content_type) in assets.iter().zip(["text/css", "text/javascript"]) {
            let answer = get(Some(asset), &[]).await.unwrap();
            assert_eq!(
                header(&answer, "content-type"),
                format!("{content_type}; charset=utf-8")
            );
            assert_eq!(
                header(&answer, "cache-control"),
                "public, max-age=31536000, immutable"
            );
        }
    }

    #[tokio::test]
    async fn a_response_that_the_browser_has_is_not_sent_again() {
        let page = get(None, &[]).await.unwrap();
        let etag = header(&page, "etag");
        for known in [etag.to_owned(), format!("\"other\", {etag}")] {
            let again = get(None, &[("if-none-match", &known)]).await.unwrap();
            assert_eq!(
                (again.status(), again.body().len()),
                (StatusCode::NOT_MODIFIED, 0)
            );
            assert_eq!(
                (header(&again, "etag"), header(&again, "cache-control")),
                (etag, "no-cache")
            );
        }
        assert_eq!(
            get(None, &[("if-none-match", "\"other\"")])
                .await
                .unwrap()
                .status(),
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn gzip_is_sent_only_to_clients_that_accept_it() {
        let plain = get(None, &[]).await.unwrap();
        assert_eq!(header(&plain, "content-encoding"), "");
        let zipped = get(None, &[("accept-encoding", "br, GZIP;q=0.5")])
            .await
            .unwrap();
        assert_eq!(header(&zipped, "content-encoding"), "gzip");
        let mut unzipped = Vec::new();
        GzDecoder::new(&zipped.body()[..])
            .read_to_end(&mut unzipped)
            .unwrap();
        assert_eq!(unzipped, &plain.body()[..]);
        let refused = get(None, &[("accept-encoding", "gzip;q=0")]).await.unwrap();
        assert_eq!(header(&refused, "content-encoding"), "");
    }

    #[tokio::test]
    async fn every_response_has_security_headers() {
        for file in [None, Some("config.json")] {
            let answer = get(file, &[]).await.unwrap();
            let policy = header(&answer, "content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "),
                "{policy}"
            );
            assert!(
                policy.contains("connect-src 'self' https://idp.example https://login.example;"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
            assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
            assert_eq!(header(&answer, "cross-origin-opener-policy"), "same-origin");
        }
    }

    #[tokio::test]
    async fn the_settings_name_the_identity_provider() {
        let answer = get(Some("config.json"), &[]).await.unwrap();
        let settings: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(settings["issuer"], "https://idp.example/pool");
    }

    #[test]
    fn the_settings_contain_audience_and_resource_only_if_they_are_set() {
        let settings = |audience: &str, resource: &str| {
            let lookup = |name: &str| {
                let value = match name {
                    "OIDC_ISSUER" => "https://idp.example",
                    "CONSOLE_CLIENT_ID" => "console",
                    "CONSOLE_SCOPE" => "openid",
                    "CONSOLE_AUDIENCE" => audience,
                    "CONSOLE_RESOURCE" => resource,
                    _ => return None,
                };
                Some(value.to_owned())
            };
            config::read_from(&lookup, App::read).unwrap().settings
        };
        let mut expected =
            json!({ "issuer": "https://idp.example", "client_id": "console", "scope": "openid" });
        assert_eq!(settings("", ""), expected);
        expected["audience"] = json!("keys-api");
        assert_eq!(settings("keys-api", ""), expected);
        expected["resource"] = json!("https://keys.example/api");
        assert_eq!(settings("keys-api", "https://keys.example/api"), expected);
    }

    #[tokio::test]
    async fn an_unknown_file_is_not_found() {
        for file in ["app.js", "../Cargo.toml", "index.html.gz"] {
            assert!(
                matches!(
                    get(Some(file), &[]).await,
                    Err(Error::Service(access_keys::service::Error::NotFound))
                ),
                "{file}"
            );
        }
    }
}
