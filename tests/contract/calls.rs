//! API calls built from the examples in `infra/openapi.yaml`. Every response is checked against that document and
//! recorded.

use std::{cell::RefCell, collections::BTreeSet};

use harness::{Answer, Stack, Tenant};
use serde_json::{Value, json};

use crate::document::{Document, Operation, examples};

/// The document, and a tenant of the stack under test.
pub struct Contract<'a> {
    pub stack: &'a Stack,
    pub tenant: Tenant<'a>,
    pub operations: Vec<Operation>,
    document: Document,
    /// The operation, status and label of every response so far.
    seen: RefCell<BTreeSet<(String, String, String)>>,
}

/// A request that starts from the examples in the document. The methods replace parts of the request.
#[derive(Debug, Clone)]
pub struct Call {
    operation: Operation,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl<'a> Contract<'a> {
    pub fn new(stack: &'a Stack) -> Self {
        let document = Document::read();
        Self {
            stack,
            tenant: Tenant::acme(stack),
            operations: document.operations(),
            document,
            seen: RefCell::default(),
        }
    }

    /// Returns a token for a user of the tenant acme. The token can also be used to redeem join tokens.
    pub fn token(&self, user: &str) -> String {
        let claims = json!({ "sub": user, "tenant_id": "acme", "scope": "join-tokens:redeem" });
        self.stack.token(claims)
    }

    /// Returns a call to an operation, with the documented examples of its path parameters and body.
    pub fn call(&self, operation: &str) -> Call {
        let mut operations = self.operations.iter();
        let found = operations.find(|found| found.id == operation);
        let operation = found.expect(operation).clone();
        let mut path = operation.path.clone();
        let parameters = operation.parameters.iter();
        for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            path = path.replace(&name, parameter["example"].as_str().unwrap());
        }
        let body = self.document.resolve(&operation.definition["requestBody"]);
        let example = examples(&body["content"]["application/json"]).next();
        let body = example.map(|example| example.to_string().into_bytes());
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

    /// Returns a call with the administrator's token.
    pub fn admin(&self, operation: &str) -> Call {
        self.call(operation).bearer(&self.token("admin"))
    }

    /// Sends a call and expects this status and code. `code` is empty for a response without a code.
    pub async fn expect(&self, status: u16, code: &str, call: Call) -> Answer {
        let operation = call.operation.id.clone();
        let answer = self.send(call).await;
        let found = (answer.status, answer.code());
        assert_eq!(found, (status, code), "{operation}: {}", answer.text);
        answer
    }

    /// Sends a call and expects status 200.
    pub async fn ok(&self, call: Call) -> Answer {
        self.expect(200, "", call).await
    }

    /// Sends a call, asserts that the document allows the response, and records it.
    pub async fn send(&self, call: Call) -> Answer {
        let request = self.tenant.call(&call.operation.method, &call.path);
        let mut request = request.query(&call.query);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let answer = harness::send(request).await;
        self.document.check(&call.operation, &answer);
        let status = answer.status.to_string();
        let outcome = (call.operation.id, status, answer.code().to_owned());
        self.seen.borrow_mut().insert(outcome);
        answer
    }

    /// Returns the documented responses that no call has received.
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

    /// Replaces the example of a path parameter with `value`.
    pub fn with(mut self, parameter: &str, value: &str) -> Self {
        let name = format!("{{{parameter}}}");
        let mut template = self.operation.path.split('/');
        let position = template.position(|segment| segment == name);
        let mut segments: Vec<_> = self.path.split('/').collect();
        segments[position.expect(parameter)] = value;
        self.path = segments.join("/");
        self
    }

    /// Appends an escaped `%` to a path that has parameters. The gateway decodes the path twice. The second time, it
    /// finds a `%` that does not start an escape.
    pub fn with_invalid_path(mut self) -> Self {
        if self.operation.path.contains('{') {
            self.path.push_str("%25");
        }
        self
    }

    /// Appends segments to a path that has parameters, so that it matches no route.
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
