//! The template, deployed to an AWS emulator with CloudFormation. A local stack is the identity provider of this
//! deployment.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use local_stack::{Options, Stack};
use serde_json::Value;

use crate::target::{Target, block_on, parameters};

pub struct Deployed {
    issuer: Stack,
    emulator: String,
    url: String,
    table: String,
}

impl Deployed {
    /// Runs `tests/deployed/deploy.py` with the Python interpreter that the environment variable `PYTHON` names.
    pub fn start(emulator: String) -> Self {
        let options = Options {
            processes_per_function: 1,
            ..Options::default()
        };
        let issuer = block_on(Stack::start(options)).expect("the local stack starts");
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let executable = env::current_exe().unwrap();
        let binaries = executable.ancestors().nth(2).unwrap();
        let mut deploy = Command::new(env::var("PYTHON").expect("tests/deployed/run sets PYTHON"));
        deploy.arg(tests.join("deployed/deploy.py"));
        deploy.args(["--endpoint", &emulator]);
        deploy.arg("--binaries").arg(binaries);
        deploy
            .arg("--template")
            .arg(tests.join("../infra/template.yaml"));
        if let Ok(spec) = env::var("SIGNING_KEY_SPEC") {
            deploy.args(["--signing-key-spec", &spec]);
        }
        let oidc = [
            ("OidcIssuer", issuer.issuer()),
            ("KeyIssuer", "https://access-keys.local"),
        ];
        let parameters = parameters(&oidc).into_iter();
        deploy.args(parameters.map(|(name, value)| format!("{name}={value}")));
        let deployed = deploy.stderr(Stdio::inherit()).output().unwrap();
        assert!(deployed.status.success(), "the template was not deployed");
        let outputs: Value = serde_json::from_slice(&deployed.stdout).unwrap();
        // The API's id is in the path, because some resolvers do not resolve subdomains of `localhost`.
        let url = outputs["Url"].as_str().unwrap();
        let id = url.trim_start_matches("http://").split('.').next().unwrap();
        Self {
            url: format!("{emulator}/_aws/execute-api/{id}/$default"),
            table: outputs["TableName"].as_str().unwrap().to_owned(),
            issuer,
            emulator,
        }
    }
}

impl Target for Deployed {
    fn url(&self) -> &str {
        &self.url
    }

    fn table(&self) -> &str {
        &self.table
    }

    fn dynamodb_endpoint(&self) -> &str {
        &self.emulator
    }

    fn token(&self, claims: Value) -> String {
        self.issuer.token(claims)
    }
}
