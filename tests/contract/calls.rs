//! Calls built from the document's examples; every answer is held against the document and noted.

use std::{cell::RefCell, collections::BTreeSet};

use local_stack::{Options, Stack};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::document::{Document, GATEWAY, Operation};

/// The stack under test, the document, and what was seen: operation, status, label.
pub struct World {
    pub stack: Stack,
    pub document: Document,
    pub operations: Vec<Operation>,
    client: Client,
    seen: RefCell<BTreeSet<(String, String, String)>>,
}

/// A request to be, as the document's examples have it until something is changed.
#[derive(Debug, Clone)]
pub struct Call {
    operation: Operation,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub label: String,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16, label: &str) -> Value {
        assert_eq!(
            (self.status, self.label.as_str()),
            (status, label),
            "{}",
            self.body
        );
        self.body
    }
}

impl World {
    pub async fn start() -> Self {
        let parameters = vec![("BootstrapAdmins".to_owned(), "acme/admin".to_owned())];
        let options = Options {
            parameters,
            ..Options::default()
        };
        let stack = Stack::start(options).await.unwrap();
        let document = Document::read();
        let operations = document.operations();
        let client = Client::builder().no_proxy().build().unwrap();
        Self {
            stack,
            document,
            operations,
            client,
            seen: RefCell::default(),
        }
    }

    /// A token of a user of the tenant acme, with which join tokens may be redeemed too.
    pub fn token(&self, user: &str) -> String {
        self.stack
            .token(json!({ "sub": user, "tenant_id": "acme", "scope": "join-tokens:redeem" }))
    }

    /// A call of an operation, with the example of its path parameters and of its body.
    pub fn call(&self, operation: &str) -> Call {
        let operation = self
            .operations
            .iter()
            .find(|o| o.id == operation)
            .expect(operation)
            .clone();
        let mut path = operation.path.clone();
        for parameter in operation
            .parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
        {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            path = path.replace(&name, parameter["example"].as_str().unwrap());
        }
        let media = &self.document.resolve(&operation.definition["requestBody"])["content"]["application/json"];
        let example = self.document.example(media);
        let body = (!example.is_null()).then(|| example.to_string().into_bytes());
        let mut headers = Vec::new();
        if body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Call {
            path,
            operation,
            query: Vec::new(),
            headers,
            body,
        }
    }

    /// Sends a call, insists that the document allows the answer, and notes it.
    pub async fn send(&self, call: Call) -> Answer {
        let method = Method::from_bytes(call.operation.method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}{}", self.stack.url(), call.path));
        request = request.query(&call.query);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let documented = self
            .document
            .check(&call.operation, status, &headers, &text);
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = body["code"].as_str().or(body["error_code"].as_str());
        let is_gateway = status >= 400 && body.get("message").is_some();
        let label = code
            .unwrap_or(if is_gateway { GATEWAY } else { "" })
            .to_owned();
        self.seen
            .borrow_mut()
            .insert((call.operation.id, documented, label.clone()));
        Answer {
            status,
            label,
            body,
        }
    }

    /// The documented answers that no call has had.
    pub fn unseen(&self) -> Vec<(String, String, String)> {
        let seen = self.seen.borrow();
        let mut unseen = Vec::new();
        for operation in &self.operations {
            for (status, label) in self.document.outcomes(operation) {
                let outcome = (operation.id.clone(), status, label);
                if !seen.contains(&outcome) {
                    unseen.push(outcome);
                }
            }
        }
        unseen
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts another value where the example of a path parameter stands.
    pub fn with(mut self, parameter: &str, value: &str) -> Self {
        let name = format!("{{{parameter}}}");
        let known = self
            .operation
            .path
            .split('/')
            .position(|segment| segment == name)
            .expect(parameter);
        let mut segments: Vec<_> = self.path.split('/').collect();
        segments[known] = value;
        self.path = segments.join("/");
        self
    }

    /// One segment more than the last parameter of the path takes.
    pub fn in_no_route(mut self) -> Self {
        if self.operation.path.contains('{') {
            self.path.push_str("/and/more");
        }
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    pub fn without_body(mut self) -> Self {
        self.body = None;
        self
    }
}
