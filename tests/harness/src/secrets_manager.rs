//! An emulation of AWS Secrets Manager that contains one secret. It supports the calls that a rotation function makes
//! and enforces the rules for versions and staging labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

const ID: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:agent-AbCdEf";
const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const UNFINISHED: &str = "A previous rotation isn't complete. That rotation will be reattempted.";

/// Dropping this value stops the service.
pub struct SecretsManager {
    pub url: String,
    secret: Arc<Mutex<Secret>>,
    task: AbortHandle,
}

#[derive(Default)]
pub struct Secret {
    pub is_rotation_enabled: bool,
    /// If set, another run of `createSecret` stores this value in the pending version, just before the current run
    /// tries to store its own value.
    pub overtaken_by: Option<String>,
    versions: BTreeMap<String, Version>,
    next: u32,
}

/// A version of the secret. A version that [`Secret::rotate`] creates has no value until the first step of the rotation
/// stores one.
#[derive(Default)]
struct Version {
    value: Option<String>,
    stages: BTreeSet<String>,
}

type Refusal = (&'static str, &'static str);

impl Drop for SecretsManager {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecretsManager {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let secret = Arc::<Mutex<Secret>>::default();
        let router = Router::new().fallback(answer).with_state(secret.clone());
        let task = tokio::spawn(async { axum::serve(listener, router).await });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            secret,
            task: task.abort_handle(),
        }
    }

    pub fn secret(&self) -> MutexGuard<'_, Secret> {
        self.secret.lock().unwrap()
    }

    /// Returns the event for a step of a rotation.
    pub fn event(&self, step: &str, token: &str) -> Value {
        json!({ "Step": step, "SecretId": ID, "ClientRequestToken": token })
    }
}

impl Secret {
    /// Replaces the secret with a new one that has this value.
    pub fn reset(&mut self, value: &str) {
        self.is_rotation_enabled = true;
        self.versions.clear();
        self.put_current(value);
    }

    /// Stores a value as `AWSCURRENT`, as an operator would.
    pub fn put_current(&mut self, value: &str) {
        let token = self.token();
        self.store(&token, value, &[CURRENT]).unwrap();
    }

    fn token(&mut self) -> String {
        self.next += 1;
        format!("{:08}-0000-4000-8000-000000000000", self.next)
    }

    /// Begins a rotation as `RotateSecret` does, and returns the rotation's token. While `AWSPENDING` and `AWSCURRENT`
    /// are on different versions, an earlier rotation is unfinished. Secrets Manager then returns an error, and later
    /// repeats the earlier rotation with that rotation's own token.
    pub fn rotate(&mut self) -> Result<String, Refusal> {
        let pending = self.with_stage(PENDING);
        if pending.is_some_and(|token| !self.versions[&token].stages.contains(CURRENT)) {
            return Err(("InvalidRequestException", UNFINISHED));
        }
        let token = self.token();
        self.versions.insert(token.clone(), Version::default());
        self.attach(PENDING, &token);
        Ok(token)
    }

    /// Removes `AWSPENDING`, as an operator would to cancel a rotation.
    pub fn cancel(&mut self) {
        for version in self.versions.values_mut() {
            version.stages.remove(PENDING);
        }
    }

    /// Returns the value of the version that has the label `stage`.
    pub fn value(&self, stage: &str) -> Option<String> {
        self.versions[&self.with_stage(stage)?].value.clone()
    }

    /// Stores a value in a version and attaches labels to that version.
    pub fn store(&mut self, token: &str, value: &str, stages: &[&str]) -> Result<(), Refusal> {
        if !(32..=64).contains(&token.len()) {
            return Err(("InvalidParameterException", "ClientRequestToken"));
        }
        let version = self.versions.entry(token.to_owned()).or_default();
        match &version.value {
            Some(stored) if stored == value => return Ok(()),
            Some(_) => return Err(("ResourceExistsException", "a version cannot change")),
            None => version.value = Some(value.to_owned()),
        }
        for stage in stages {
            self.attach(stage, token);
        }
        Ok(())
    }

    fn with_stage(&self, stage: &str) -> Option<String> {
        let mut versions = self.versions.iter();
        let found = versions.find(|(_, version)| version.stages.contains(stage));
        found.map(|(token, _)| token.clone())
    }

    /// Moves a label to a version. The version that loses `AWSCURRENT` gets `AWSPREVIOUS`.
    fn attach(&mut self, stage: &str, token: &str) {
        let before = self.with_stage(stage).filter(|before| before != token);
        if let Some(before) = &before {
            self.versions.get_mut(before).unwrap().stages.remove(stage);
        }
        let version = self.versions.get_mut(token).unwrap();
        version.stages.insert(stage.to_owned());
        if let Some(before) = before.filter(|_| stage == CURRENT) {
            self.attach("AWSPREVIOUS", &before);
        }
    }

    fn describe(&self) -> Value {
        let versions = self.versions.iter();
        let labelled = versions.filter(|(_, version)| !version.stages.is_empty());
        let stages = labelled.map(|(token, version)| (token.clone(), json!(version.stages)));
        json!({
            "ARN": ID, "Name": "agent", "RotationEnabled": self.is_rotation_enabled,
            "VersionIdsToStages": Value::Object(stages.collect()),
        })
    }

    fn get(&self, request: &Value) -> Result<Value, Refusal> {
        const MISSING: Refusal = ("ResourceNotFoundException", "there is no such value");
        let stage = request["VersionStage"].as_str();
        let token = match request["VersionId"].as_str() {
            Some(token) => token.to_owned(),
            None => self.with_stage(stage.unwrap_or(CURRENT)).ok_or(MISSING)?,
        };
        let version = self.versions.get(&token).ok_or(MISSING)?;
        if stage.is_some_and(|stage| !version.stages.contains(stage)) {
            return Err(("InvalidRequestException", "the version lacks the label"));
        }
        let value = version.value.as_ref().ok_or(MISSING)?;
        let stages = json!(version.stages);
        Ok(
            json!({ "ARN": ID, "Name": "agent", "VersionId": token, "SecretString": value, "VersionStages": stages }),
        )
    }

    fn put(&mut self, request: &Value) -> Result<Value, Refusal> {
        let (token, value) = (
            request["ClientRequestToken"].as_str(),
            request["SecretString"].as_str(),
        );
        let (token, value) = token
            .zip(value)
            .ok_or(("InvalidParameterException", "missing"))?;
        let stages = request["VersionStages"].as_array();
        let stages =
            stages.map(|stages| stages.iter().map(|stage| stage.as_str().unwrap()).collect());
        let stages = stages.unwrap_or(vec![CURRENT]);
        if stages.contains(&PENDING)
            && let Some(other) = self.overtaken_by.take()
        {
            self.store(token, &other, &stages)?;
        }
        self.store(token, value, &stages)?;
        Ok(json!({ "ARN": ID, "Name": "agent", "VersionId": token }))
    }

    fn move_stage(&mut self, request: &Value) -> Result<Value, Refusal> {
        let stage = request["VersionStage"].as_str().unwrap();
        let from = request["RemoveFromVersionId"].as_str();
        let to = request["MoveToVersionId"].as_str();
        let holder = self.with_stage(stage);
        if holder.as_deref() != from && holder.as_deref() != to {
            return Err(("InvalidParameterException", "another version has the label"));
        }
        match to {
            Some(to)
                if self
                    .versions
                    .get(to)
                    .is_some_and(|version| version.value.is_some()) =>
            {
                self.attach(stage, to);
            }
            None if stage != CURRENT => {
                let holder =
                    holder.ok_or(("InvalidParameterException", "no version has the label"))?;
                self.versions.get_mut(&holder).unwrap().stages.remove(stage);
            }
            _ => {
                return Err((
                    "InvalidRequestException",
                    "AWSCURRENT needs a version with a value",
                ));
            }
        }
        Ok(json!({ "ARN": ID, "Name": "agent" }))
    }
}

async fn answer(
    State(secret): State<Arc<Mutex<Secret>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let mut secret = secret.lock().unwrap();
    let done = match target.trim_start_matches("secretsmanager.") {
        _ if request["SecretId"] != ID => {
            Err(("ResourceNotFoundException", "there is no such secret"))
        }
        "DescribeSecret" => Ok(secret.describe()),
        "GetSecretValue" => secret.get(&request),
        "PutSecretValue" => secret.put(&request),
        "UpdateSecretVersionStage" => secret.move_stage(&request),
        _ => Err(("UnknownOperationException", "not supported")),
    };
    let (status, body) = match done {
        Ok(answer) => (StatusCode::OK, answer),
        Err((code, message)) => (
            StatusCode::BAD_REQUEST,
            json!({ "__type": code, "message": message }),
        ),
    };
    let headers = [("content-type", "application/x-amz-json-1.1")];
    (status, headers, Json(body).into_response().into_body()).into_response()
}
