//! The deployments that tests run against.

use std::{env, sync::LazyLock};

use local_stack::{Options, Stack};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::deployed::Deployed;

/// The number of tenants that tests can use in addition to `acme`. The bootstrap administrator of each tenant is
/// `admin`.
pub(crate) const TENANTS: usize = 300;

/// A running deployment.
pub trait Target: Send + Sync {
    /// Returns the base URL of the API.
    fn url(&self) -> &str;

    fn table(&self) -> &str;

    /// Returns the URL of DynamoDB. Requests to this URL bypass the functions and their permissions.
    fn dynamodb_endpoint(&self) -> &str;

    /// Returns a token from the identity provider with these claims.
    fn token(&self, claims: Value) -> String;

    /// Returns the local stack, for tests that need its recorded requests, logs, injected faults or table stream.
    fn local(&self) -> &Stack {
        panic!("this test runs only on the local stack")
    }
}

impl Target for Stack {
    fn url(&self) -> &str {
        self.url()
    }

    fn table(&self) -> &str {
        self.table()
    }

    fn dynamodb_endpoint(&self) -> &str {
        self.dynamodb_endpoint()
    }

    fn token(&self, claims: Value) -> String {
        self.token(claims)
    }

    fn local(&self) -> &Stack {
        self
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static SHARED: LazyLock<Box<dyn Target>> = LazyLock::new(|| match env::var("EMULATOR_URL") {
    Ok(emulator) => Box::new(Deployed::start(emulator)),
    Err(_) => {
        let stack = block_on(Stack::start(options(&[])));
        Box::new(stack.expect("the local stack starts"))
    }
});

/// Returns the target that all tests of a binary share: the deployment in the emulator at `EMULATOR_URL` if that
/// variable is set, and otherwise the local stack.
pub(crate) fn shared() -> &'static dyn Target {
    &**SHARED
}

/// Returns the local stack that all tests of a binary share.
pub fn stack() -> &'static Stack {
    shared().local()
}

/// Runs a test on the shared target.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    LazyLock::force(&SHARED);
    block_on(test)
}

/// Runs a future on the shared target's runtime, because the target's connections outlive a single test.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Returns the template parameters that tests use, followed by the additional parameters in `more`.
pub(crate) fn parameters(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let tenants = (0..TENANTS).map(|n| format!("t{n}x/admin"));
    let admins: Vec<_> = tenants.chain(["acme/admin".into()]).collect();
    let mut parameters = vec![
        ("BootstrapAdmins".to_owned(), admins.join(",")),
        (
            "PlatformClients".to_owned(),
            "spire-server, platform".to_owned(),
        ),
        ("OperatorClients".to_owned(), "backend".to_owned()),
        ("MinExpirySeconds".to_owned(), "1".to_owned()),
        ("MaxKeysPerUser".to_owned(), "1000".to_owned()),
    ];
    parameters.extend(more.iter().map(|(k, v)| ((*k).into(), (*v).into())));
    parameters
}

/// Returns the options for a test's local stack, with the additional template parameters in `more`.
pub fn options(more: &[(&str, &str)]) -> Options {
    Options {
        parameters: parameters(more),
        ..Options::default()
    }
}
