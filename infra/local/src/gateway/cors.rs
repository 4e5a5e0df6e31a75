//! Cross-origin requests (CORS): which origins the API allows, and the headers that the gateway sets.

use anyhow::{Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use crate::template::{Api, CorsConfiguration, Template};

/// The methods that API Gateway accepts in `AllowMethods`.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
/// The prefix of the headers that an integration cannot set.
const PREFIX: &str = "access-control-";

/// The CORS configuration of an API.
pub(super) struct Cors {
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    max_age: Option<u64>,
}

impl Cors {
    /// Returns `None` if the template's API has no CORS configuration.
    pub(super) fn read(template: &Template) -> Result<Option<Self>> {
        let api = template.of_type::<Api>()?.into_iter().next();
        let configuration = api.and_then(|api| api.properties.cors_configuration);
        configuration.map(Self::new).transpose()
    }

    fn new(configuration: CorsConfiguration) -> Result<Self> {
        for origin in &configuration.allow_origins {
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            ensure!(
                host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*'])),
                "the local stack does not support the AllowOrigins {origin}"
            );
        }
        for method in &configuration.allow_methods {
            ensure!(
                METHODS.contains(&method.as_str()),
                "the local stack does not support the AllowMethods {method}"
            );
        }
        Ok(Self {
            origins: configuration.allow_origins,
            methods: configuration.allow_methods,
            headers: configuration.allow_headers,
            exposed: configuration.expose_headers,
            max_age: configuration.max_age.map(|seconds| seconds.0),
        })
    }

    /// Replaces the CORS headers of a response. Only a response to an allowed origin gets CORS headers.
    pub(super) fn apply(&self, request: &Parts, response: &mut HeaderMap) {
        let names = response
            .keys()
            .filter(|name| name.as_str().starts_with(PREFIX));
        for name in names.cloned().collect::<Vec<_>>() {
            response.remove(name);
        }
        let Some(origin) = self.allowed_origin(&request.headers) else {
            return;
        };
        if request.method != Method::OPTIONS {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            set_list(
                response,
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                &self.exposed,
            );
        } else if self.allows_preflight(&request.headers) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            set_list(
                response,
                header::ACCESS_CONTROL_ALLOW_METHODS,
                &self.methods,
            );
            set_list(
                response,
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                &self.headers,
            );
            if let Some(seconds) = self.max_age {
                response.insert(header::ACCESS_CONTROL_MAX_AGE, seconds.into());
            }
        }
    }

    fn allowed_origin<'request>(
        &self,
        request: &'request HeaderMap,
    ) -> Option<&'request HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        let mut allowed = self.origins.iter();
        allowed.any(|allowed| origin == allowed).then_some(origin)
    }

    /// Whether the method and all headers named in a preflight request are allowed.
    fn allows_preflight(&self, request: &HeaderMap) -> bool {
        let Some(method) = request.get(header::ACCESS_CONTROL_REQUEST_METHOD) else {
            return false;
        };
        let is_allowed = |name: &str| {
            let mut allowed = self.headers.iter();
            name.is_empty() || allowed.any(|allowed| allowed.eq_ignore_ascii_case(name))
        };
        let mut headers = request
            .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .iter();
        self.methods.iter().any(|allowed| method == allowed)
            && headers.all(|names| {
                let names = names.to_str();
                names.is_ok_and(|names| names.split(',').map(str::trim).all(is_allowed))
            })
    }
}

/// Sets a header to `items`, separated by commas. Does nothing if there are no items.
fn set_list(headers: &mut HeaderMap, name: HeaderName, items: &[String]) {
    if let Ok(list) = HeaderValue::try_from(items.join(","))
        && !list.is_empty()
    {
        headers.insert(name, list);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::Request;
    use serde_json::json;

    use super::*;

    const APP: (&str, &str) = ("origin", "https://app.example");
    const POST: (&str, &str) = ("access-control-request-method", "POST");

    /// Returns the CORS headers of the response to a request. The integration's own response allows every origin and
    /// allows credentials.
    fn answer(method: &str, request: &[(&str, &str)]) -> BTreeMap<String, String> {
        let cors = Cors::new(
            serde_json::from_value(json!({
                "AllowOrigins": ["https://app.example", "http://localhost:5173"],
                "AllowMethods": ["GET", "POST"],
                "AllowHeaders": ["authorization", "content-type"],
                "ExposeHeaders": ["etag", "location"],
                "MaxAge": "60",
            }))
            .unwrap(),
        );
        let request = request.iter().fold(
            Request::builder().method(method),
            |request, (name, value)| request.header(*name, *value),
        );
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut response = HeaderMap::new();
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-secret"),
            ("content-type", "text/plain"),
        ] {
            response.insert(name, HeaderValue::from_static(value));
        }
        cors.unwrap().apply(&parts, &mut response);
        assert_eq!(response.remove("content-type").unwrap(), "text/plain");
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let headers = response.iter();
        headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn owned(headers: &[(&str, &str)]) -> BTreeMap<String, String> {
        let headers = headers.iter();
        headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_headers_of_the_configuration_replace_those_of_the_integration() {
        for (name, origin) in [APP, ("origin", "http://localhost:5173")] {
            let expected = owned(&[
                ("access-control-allow-origin", origin),
                ("access-control-expose-headers", "etag,location"),
            ]);
            assert_eq!(answer("GET", &[(name, origin)]), expected);
        }
    }

    #[test]
    fn a_request_that_is_not_from_an_allowed_origin_gets_no_headers() {
        assert_eq!(answer("GET", &[]), owned(&[]));
        for origin in [
            "https://app.example:8443",
            "http://app.example",
            "https://app.example.com",
            "https://x.app.example",
            "https://app.example/",
            "null",
            "*",
            "",
        ] {
            assert_eq!(answer("GET", &[("origin", origin)]), owned(&[]), "{origin}");
            assert_eq!(
                answer("OPTIONS", &[("origin", origin), POST]),
                owned(&[]),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_preflight_gets_what_the_configuration_allows() {
        let asks_for = |names| ("access-control-request-headers", names);
        let expected = owned(&[
            ("access-control-allow-origin", APP.1),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "60"),
        ]);
        assert_eq!(answer("OPTIONS", &[APP, POST]), expected);
        for names in ["authorization", "Content-Type, authorization", ""] {
            let allowed = answer("OPTIONS", &[APP, POST, asks_for(names)]);
            assert_eq!(allowed, expected, "{names}");
        }
        assert_eq!(answer("OPTIONS", &[APP]), owned(&[]));
        let delete = ("access-control-request-method", "DELETE");
        assert_eq!(answer("OPTIONS", &[APP, delete]), owned(&[]));
        for names in ["x-other", "authorization,x-other"] {
            assert_eq!(
                answer("OPTIONS", &[APP, POST, asks_for(names)]),
                owned(&[]),
                "{names}"
            );
        }
    }
}
