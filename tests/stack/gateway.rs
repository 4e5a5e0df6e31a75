//! What the gateway answers by itself.

use harness::{Tenant, run, send};

#[test]
fn a_request_without_a_token_is_challenged() {
    run(async {
        let request = Tenant::fresh().call("GET", "/v1/users");
        let answer = send(request).await.expect(401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"));
    });
}
