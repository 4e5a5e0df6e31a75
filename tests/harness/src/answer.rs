//! An HTTP response, and the assertions that tests make about it.

use std::{ops::Index, sync::Mutex};

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;
use tokio::task::JoinSet;

/// All access keys and join tokens that responses have contained. Tests search the logs and the table for these
/// secrets.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub fn secrets() -> Vec<String> {
    SECRETS.lock().unwrap().clone()
}

/// [`Answer::code`] returns this value for an error from API Gateway itself, because such an error contains no code.
pub const GATEWAY: &str = "message";

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body as JSON, or null if it is not JSON.
    pub body: Value,
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the target answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let found = ["access_key", "join_token"].map(|name| body[name].as_str().map(str::to_owned));
    SECRETS.lock().unwrap().extend(found.into_iter().flatten());
    Answer {
        status,
        headers,
        text,
        body,
    }
}

/// Sends all requests concurrently.
pub async fn all_at_once(requests: impl IntoIterator<Item = RequestBuilder>) -> Vec<Answer> {
    let set: JoinSet<Answer> = requests.into_iter().map(send).collect();
    set.join_all().await
}

impl Answer {
    /// Returns the code from problem JSON, a validation result or an AccuKnox error. Returns [`GATEWAY`] if the gateway
    /// itself returned the error.
    pub fn code(&self) -> &str {
        let code = self["code"].as_str().or(self["error_code"].as_str());
        let is_gateway = self.status >= 400 && !self["message"].is_null();
        code.unwrap_or(if is_gateway { GATEWAY } else { "" })
    }

    /// Returns the string in the field `name` of the body.
    #[track_caller]
    pub fn string(&self, name: &str) -> &str {
        let string = self[name].as_str();
        string.unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    /// Returns the array in the field `name` of the body.
    #[track_caller]
    pub fn array(&self, name: &str) -> &[Value] {
        let array = self[name].as_array();
        array.unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn expect_code(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        self
    }

    /// Expects an AccuKnox error, whose body contains only the strings `error_code` and `error_message`.
    #[track_caller]
    pub fn expect_accuknox(self, status: u16, code: &str) -> Self {
        let found = self["error_code"].as_str().unwrap_or_default();
        assert_eq!((self.status, found), (status, code), "{}", self.text);
        assert!(!self.string("error_message").is_empty());
        assert_eq!(self.body.as_object().unwrap().len(), 2, "{}", self.text);
        self
    }

    /// Expects problem JSON (RFC 9457) with a detail and a request id.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let found = self["code"].as_str().unwrap_or_default();
        assert_eq!((self.status, found), (status, code), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self["status"], status);
        assert!(!self.string("detail").is_empty());
        assert!(!self.string("request_id").is_empty());
        self
    }

    /// Expects problem JSON that reports exactly these fields as invalid.
    #[track_caller]
    pub fn expect_fields(self, fields: &[&str]) -> Self {
        let answer = self.expect_problem(400, "invalid_request");
        assert_eq!(
            strings(answer.array("errors"), "field"),
            fields,
            "{}",
            answer.text
        );
        answer
    }
}

/// Returns the string in the field `name` of each item.
#[track_caller]
pub fn strings<'a>(items: &'a [Value], name: &str) -> Vec<&'a str> {
    let string = |item: &'a Value| item[name].as_str().unwrap();
    items.iter().map(string).collect()
}

/// Returns a field of the body, or null if the field is missing.
impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.body[name]
    }
}

/// Returns an element of the body, or null if the element is missing.
impl Index<usize> for Answer {
    type Output = Value;

    fn index(&self, number: usize) -> &Value {
        &self.body[number]
    }
}
