//! The stack that CloudFormation made in the emulator. Its identity provider is that of a local stack.

use std::{env, path::Path, process::Command, sync::LazyLock};

use local_stack::{Options, Stack};
use serde_json::Value;

use crate::world;

pub struct Deployed {
    issuer: Stack,
    emulator: String,
    url: String,
    table: String,
}

pub static STACK: LazyLock<Deployed> = LazyLock::new(|| {
    let options = Options {
        processes_per_function: 1,
        ..Options::default()
    };
    let issuer = world::block_on(Stack::start(options)).expect("the local stack starts");
    let emulator = env::var("EMULATOR_URL").expect("tests/deployed/run sets EMULATOR_URL");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binaries = env::current_exe().unwrap();
    let binaries = binaries.ancestors().nth(2).unwrap();
    let mut deploy = Command::new(env::var("PYTHON").expect("tests/deployed/run sets PYTHON"));
    deploy
        .arg(tests.join("deployed/deploy.py"))
        .args(["--endpoint", &emulator, "--binaries"])
        .arg(binaries);
    deploy
        .arg("--template")
        .arg(tests.join("../infra/template.yaml"));
    if let Ok(spec) = env::var("SIGNING_KEY_SPEC") {
        deploy.args(["--signing-key-spec", &spec]);
    }
    deploy
        .arg(format!("OidcIssuer={}", issuer.issuer()))
        .arg("KeyIssuer=https://access-keys.local");
    deploy.args(world::parameters().map(|(name, value)| format!("{name}={value}")));
    let deployed = deploy
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(deployed.status.success(), "the template is not deployed");
    let outputs: Value = serde_json::from_slice(&deployed.stdout).unwrap();
    let output = |name: &str| outputs[name].as_str().unwrap().to_owned();
    // Not every resolver knows names below localhost, so the API's id goes into the path.
    let url = output("Url");
    let id = url.trim_start_matches("http://").split('.').next().unwrap();
    let url = format!("{emulator}/_aws/execute-api/{id}/$default");
    Deployed {
        issuer,
        emulator,
        url,
        table: output("TableName"),
    }
});

pub fn stack() -> &'static Deployed {
    &STACK
}

impl Deployed {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn token(&self, claims: Value) -> String {
        self.issuer.token(claims)
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn dynamodb_endpoint(&self) -> &str {
        &self.emulator
    }
}
