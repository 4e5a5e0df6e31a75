//! An API that accepts access keys through the Lambda authorizer.

use std::path::Path;

use local_stack::{Api, Stack};
use reqwest::RequestBuilder;

use crate::{tenant::client, upstream::Upstream};

/// The value of the `X-Gateway-Secret` header, by which the protected service recognizes the API.
pub const GATEWAY_SECRET: &str = "the-secret-of-the-gateway-in-tests";

/// The API from `infra/integrate/api-gateway.yaml` and the service that it protects.
pub struct ProtectedApi {
    api: Api,
    pub service: Upstream,
    client: reqwest::Client,
}

impl ProtectedApi {
    pub async fn start(stack: &Stack) -> Self {
        let service = Upstream::start().await;
        let function = stack.function_arn("authorize").unwrap().to_owned();
        let parameters = [
            ("AuthorizeFunctionArn".to_owned(), function),
            (
                "ServiceUrl".to_owned(),
                format!("http://127.0.0.1:{}", service.port),
            ),
            ("GatewaySecret".to_owned(), GATEWAY_SECRET.to_owned()),
        ];
        let template =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/integrate/api-gateway.yaml");
        Self {
            api: stack.serve_api(&template, &parameters).await.unwrap(),
            service,
            client: client(),
        }
    }

    /// Returns a request to the service, without a key.
    pub fn request(&self) -> RequestBuilder {
        self.client.get(format!("{}/orders/1", self.api.url()))
    }

    pub fn get(&self, key: &str) -> RequestBuilder {
        self.request().bearer_auth(key)
    }
}
