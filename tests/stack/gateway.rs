//! Responses from the gateway itself.

use harness::{Tenant, run, send};

#[test]
fn a_request_without_a_token_returns_a_bearer_challenge() {
    run(async {
        let request = Tenant::fresh().call("GET", "/v1/users");
        let answer = send(request).await.expect(401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"));
    });
}
