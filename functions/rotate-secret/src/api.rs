//! Calls the access-keys API. This module does not retry failed calls, because Secrets Manager repeats a failed
//! rotation.

use std::{error::Error as StdError, time::Duration};

use access_keys::process::{client, clock, config::Environment};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, request::Builder};
use serde_json::{Value, json};

use crate::{Error, key::Key};

/// The time limit for a call. The access-keys functions respond within five seconds.
const PATIENCE: Duration = Duration::from_secs(8);
const LONGEST_RESPONSE: usize = 64 << 10;
/// The longest overlap that a rotation can have, in seconds.
const LONGEST_OVERLAP: u32 = 7 * 86_400;

/// The period after a rotation during which the service accepts both secrets.
#[derive(Debug)]
pub(crate) struct Overlap {
    pub since: String,
    pub until: String,
}

type Cause = Box<dyn StdError + Send + Sync>;

pub(crate) struct Api {
    url: String,
    overlap_seconds: u32,
}

impl Api {
    /// Reads `SERVICE_URL` and `OVERLAP_SECONDS`.
    pub(crate) fn read(environment: &mut Environment<'_>) -> Self {
        let rule = "an https URL without a query. http is allowed only for 127.0.0.1 and localhost";
        let url: String = environment.parsed("SERVICE_URL", rule, |url: &String| is_safe(url));
        let rule = "a whole number of seconds, 0 to 604800";
        Self {
            url: url.trim_end_matches('/').to_owned(),
            overlap_seconds: environment.parsed("OVERLAP_SECONDS", rule, |seconds| {
                *seconds <= LONGEST_OVERLAP
            }),
        }
    }

    /// Returns the overlap of the last rotation if that overlap has not ended and `key` is the newest secret. During
    /// this overlap, another rotation would immediately invalidate the secret that the last rotation replaced. Returns
    /// `None` if the service refuses the key. The caller then tries to rotate the key, and the response to that attempt
    /// contains the reason for the refusal.
    pub(crate) async fn overlap(&self, key: &Key) -> Result<Option<Overlap>, Error> {
        let request = Request::get(format!("{}/v1/access-keys/self", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", key.reveal()));
        let (status, answer) = call(request, &Value::Null).await?;
        if status != StatusCode::OK {
            return refusal(status, &answer).map(|_| None);
        }
        let is_newest = answer["superseded"].is_null();
        let Some(since) = answer["rotated_at"].as_str().filter(|_| is_newest) else {
            return Ok(None);
        };
        let rotated_at = since.parse().map_err(|_| Error::Response(status))?;
        let age = clock::now().since(rotated_at);
        let overlap = Duration::from_secs(self.overlap_seconds.into());
        let has_ended = age.is_some_and(|age| age >= overlap);
        Ok((!has_ended).then(|| Overlap {
            since: rotated_at.to_string(),
            until: (rotated_at + overlap).to_string(),
        }))
    }

    /// Rotates a key. The call can be repeated with the same `idempotency_key` for 24 hours, as long as the new secret
    /// has not been used. Each repeated call returns a different new secret. If the service refuses to rotate the key,
    /// returns the code of the refusal.
    pub(crate) async fn rotate(
        &self,
        key: &Key,
        idempotency_key: &str,
    ) -> Result<Result<Key, String>, Error> {
        let request = Request::post(format!("{}/v1/access-keys/rotate", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", key.reveal()))
            .header("idempotency-key", idempotency_key);
        let body = json!({ "overlap_seconds": self.overlap_seconds });
        let (status, answer) = call(request, &body).await?;
        if status == StatusCode::OK {
            let key = answer["access_key"].as_str().and_then(Key::parse);
            return key.ok_or(Error::Response(status)).map(Ok);
        }
        refusal(status, &answer).map(Err)
    }

    /// Validates a key. Returns the code of the refusal if the service refuses the key, or `superseded` if the service
    /// accepts the key although it is not the newest secret.
    pub(crate) async fn validate(&self, key: &Key) -> Result<Result<(), String>, Error> {
        let request = Request::post(format!("{}/v1/access-keys/validate", self.url));
        let (status, answer) = call(request, &json!({ "access_key": key.reveal() })).await?;
        match (status, &answer["active"], &answer["superseded"]) {
            (StatusCode::OK, Value::Bool(true), Value::Null) => Ok(Ok(())),
            (StatusCode::OK, Value::Bool(true), _) => Ok(Err("superseded".to_owned())),
            _ => refusal(status, &answer).map(Err),
        }
    }
}

/// Whether keys may be sent to the URL.
fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let is_local = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
    let is_encrypted = uri.scheme_str() == Some("https");
    uri.host().is_some() && uri.query().is_none() && (is_encrypted || is_local)
}

/// Returns the code from a problem document (RFC 9457), or from a validation response in which `active` is false. All
/// other text in the response is ignored, because a service other than access-keys could echo the key there.
fn refusal(status: StatusCode, answer: &Value) -> Result<String, Error> {
    let is_temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let code = answer["code"].as_str().filter(|code| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        code.len() <= 40 && code.bytes().all(is_plain)
    });
    match code {
        Some(code) if !is_temporary => Ok(code.to_owned()),
        _ => Err(Error::Response(status)),
    }
}

async fn call(request: Builder, body: &Value) -> Result<(StatusCode, Value), Error> {
    let answer = tokio::time::timeout(PATIENCE, send(request, body)).await;
    let answer = answer.unwrap_or_else(|elapsed| Err(elapsed.into()));
    answer.map_err(Error::Unreachable)
}

async fn send(request: Builder, body: &Value) -> Result<(StatusCode, Value), Cause> {
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let body = match body {
        Value::Null => Bytes::new(),
        body => Bytes::from(body.to_string()),
    };
    let response = client::send(request.body(body)?, LONGEST_RESPONSE).await?;
    let answer = serde_json::from_slice(response.body()).unwrap_or_default();
    Ok((response.status(), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_only_over_tls_or_to_this_machine() {
        for url in [
            "https://keys.example.com",
            "https://keys.example.com/base/",
            "http://127.0.0.1:3000",
        ] {
            assert!(is_safe(url), "{url}");
        }
        for url in [
            "",
            "keys.example.com",
            "http://keys.example.com",
            "https://keys.example.com?a=b",
            "http://127.0.0.1.example.com",
        ] {
            assert!(!is_safe(url), "{url}");
        }
    }

    #[test]
    fn only_the_code_of_a_refusal_is_used_and_failures_are_temporary() {
        let code = |status: u16, code: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            refusal(status, &json!({ "code": code, "detail": "x" })).ok()
        };
        assert_eq!(code(409, "key_superseded"), Some("key_superseded".into()));
        for (status, text) in [(409, "e30.e30.c2ln"), (503, "unavailable"), (429, "x")] {
            assert_eq!(code(status, text), None);
        }
    }
}
