//! Rotation of a key in AWS Secrets Manager: every call of every step can fail, either before or after it takes effect.

use std::{
    collections::BTreeSet,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{
    Fault, InvokeError, Relay, RuntimeApi, SecretsManager, Tenant, code, events, eventually, now,
    rfc3339, run, secrets, send, stack,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];
const TEMPLATE: &str = include_str!("../../infra/secret-rotation.yaml");
const RUNBOOK: &str = include_str!("../../infra/README.md");
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:rotate-secret";

/// The function, the secret, and a relay between the function and the services that it calls.
struct Rotator {
    aws: SecretsManager,
    relay: Relay,
    api: RuntimeApi,
    logs: Arc<Mutex<String>>,
    _process: Child,
}

impl Rotator {
    async fn start(overlap_seconds: u32) -> Self {
        let aws = SecretsManager::start().await;
        let relay = Relay::start(stack().url(), &aws.url).await;
        let api = RuntimeApi::start(ARN).await.unwrap();
        let here = std::env::current_exe().unwrap();
        let binary = here.ancestors().nth(2).unwrap().join("rotate-secret");
        let mut process = Command::new(binary)
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", "rotate-secret")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &relay.url)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_NAME", "rotate-secret")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .env("SERVICE_URL", &relay.url)
            .env("OVERLAP_SECONDS", overlap_seconds.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let logs = Arc::<Mutex<String>>::default();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let collected = logs.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                *collected.lock().unwrap() += &line;
            }
        });
        api.next_requested().await.unwrap();
        Self {
            aws,
            relay,
            api,
            logs,
            _process: process,
        }
    }

    async fn step(&self, step: &str, token: &str) -> Result<Value, InvokeError> {
        let event = self.aws.event(step, token).to_string();
        self.api.invoke(event.into(), Duration::from_secs(60)).await
    }

    /// Runs the steps in order, as Secrets Manager does. Stops at the first failure.
    async fn steps(&self, token: &str) -> Result<(), InvokeError> {
        for step in STEPS {
            self.step(step, token).await?;
        }
        Ok(())
    }

    fn rotate(&self) -> String {
        self.aws.secret().rotate().unwrap()
    }

    fn value(&self, stage: &str) -> String {
        self.aws.secret().value(stage).unwrap()
    }

    async fn fails(&self, step: &str, token: &str, message: &str) {
        let failure = self.step(step, token).await.unwrap_err().to_string();
        assert!(failure.contains(message), "{failure}");
        self.assert_secrecy(&failure).await;
    }

    /// Asserts that neither the log nor `more` contains a secret.
    async fn assert_secrecy(&self, more: &str) {
        let text = eventually("the log arrives", || async {
            let text = self.logs.lock().unwrap().clone();
            text.contains("of a rotation").then_some(text)
        });
        let text = format!("{}{more}", text.await);
        // Every access key begins with these characters.
        assert!(!text.contains("eyJ"), "{text}");
        for secret in secrets() {
            let signature = secret.rsplit('.').next().unwrap();
            assert!(!text.contains(signature), "{text}");
        }
    }
}

/// Creates a key, and a secret in Secrets Manager that contains the key.
async fn new_secret(rotator: &Rotator, tenant: &Tenant<'_>) -> (String, String) {
    let body = json!({ "name": "agent", "role": "viewer", "self_rotate": true });
    let (id, key) = tenant.key_of("admin", body).await;
    // Appends a line feed, because a file usually ends with one.
    rotator.aws.secret().reset(&format!("{key}\n"));
    (id, key)
}

/// Asserts that `AWSCURRENT` is the newest secret of the key, after exactly one rotation, and that `old` still works.
async fn assert_rotated(rotator: &Rotator, tenant: &Tenant<'_>, id: &str, old: &str) {
    let current = rotator.value("AWSCURRENT");
    assert_ne!(current, old);
    assert_eq!(rotator.value("AWSPREVIOUS").trim_end(), old);
    let (of_current, of_old) = (tenant.validate(&current).await, tenant.validate(old).await);
    let state = |verdict: &Value| (code(verdict).to_owned(), verdict["superseded"] == true);
    assert_eq!(state(&of_current), ("active".into(), false));
    assert_eq!(state(&of_old), ("active".into(), true));
    assert_eq!(tenant.record(id).await["generation"], 1);
    rotator.assert_secrecy("").await;
}

/// Sets the time of the key's last rotation to `age` seconds ago. Returns that time.
async fn backdate_rotation(tenant: &Tenant<'_>, id: &str, age: i64) -> i64 {
    let at = now() - age;
    let values = json!({ ":at": { "N": at.to_string() } });
    let update = "SET rotated_at = :at";
    tenant.edit_key("admin", id, update, values).await;
    at
}

/// Performs a rotation that succeeds, and returns the calls of each step.
async fn calls(rotator: &Rotator, tenant: &Tenant<'_>) -> Vec<(&'static str, String)> {
    let (id, old) = new_secret(rotator, tenant).await;
    let token = rotator.rotate();
    let mut calls = Vec::new();
    rotator.relay.take_calls();
    for step in STEPS {
        rotator.step(step, &token).await.unwrap();
        let made = rotator.relay.take_calls();
        calls.extend(made.into_iter().map(|call| (step, call)));
    }
    assert_rotated(rotator, tenant, &id, &old).await;
    calls
}

/// Returns the Secrets Manager actions among these calls.
fn actions<'a>(calls: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let of_aws = calls.iter().filter(|call| !call.starts_with('/'));
    of_aws.filter_map(|call| call.split(' ').next()).collect()
}

/// Returns the Secrets Manager actions that the template allows.
fn allowed_actions() -> BTreeSet<&'static str> {
    let lines = TEMPLATE.lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix("- secretsmanager:"))
        .collect()
}

#[test]
fn a_rotation_survives_the_failure_of_any_call_before_or_after_it_takes_effect() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let calls = calls(&rotator, &tenant).await;
        let names: BTreeSet<&str> = calls.iter().map(|(_, call)| call.as_str()).collect();
        let expected = BTreeSet::from([
            "/v1/access-keys/rotate",
            "/v1/access-keys/self",
            "/v1/access-keys/validate",
            "DescribeSecret",
            "GetSecretValue AWSCURRENT",
            "GetSecretValue AWSPENDING",
            "PutSecretValue",
            "UpdateSecretVersionStage AWSCURRENT",
        ]);
        assert_eq!(names, expected);
        assert_eq!(actions(&names), allowed_actions());
        for (failing, call) in calls {
            for fault in [Fault::DropBefore, Fault::DropAfter] {
                let case = format!("{failing}: {call}: {fault:?}");
                let (id, old) = new_secret(&rotator, &tenant).await;
                let token = rotator.rotate();
                for step in STEPS.into_iter().take_while(|step| *step != failing) {
                    rotator.step(step, &token).await.expect(&case);
                }
                rotator.relay.set_fault(Some((&call, fault)));
                assert!(rotator.step(failing, &token).await.is_err(), "{case}");
                rotator.relay.set_fault(None);
                // Secrets Manager starts over with the same token.
                assert_eq!(tenant.verdict(&old).await, "active", "{case}");
                rotator.steps(&token).await.expect(&case);
                assert_rotated(&rotator, &tenant, &id, &old).await;
            }
        }
    });
}

#[test]
fn a_call_without_a_response_times_out_before_the_function_does() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        for (call, message) in [
            ("/v1/access-keys/rotate", "SERVICE_URL"),
            ("DescribeSecret", "DescribeSecret"),
        ] {
            rotator.relay.set_fault(Some((call, Fault::Hold)));
            let started = Instant::now();
            rotator.fails("createSecret", &token, message).await;
            assert!(started.elapsed() < Duration::from_secs(15), "{call}");
        }
        rotator.relay.set_fault(None);
        rotator.steps(&token).await.unwrap();
    });
}

#[test]
fn a_finished_rotation_can_be_repeated_and_the_next_one_succeeds() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        for _ in 0..2 {
            rotator.steps(&token).await.unwrap();
            assert_rotated(&rotator, &tenant, &id, &old).await;
            // After a rotation, Secrets Manager may remove the label `AWSPENDING`.
            rotator.aws.secret().cancel();
        }
        let second = rotator.value("AWSCURRENT");
        backdate_rotation(&tenant, &id, 60).await;
        let token = rotator.rotate();
        rotator.steps(&token).await.unwrap();
        assert_eq!(rotator.value("AWSPREVIOUS"), second);
        assert_eq!(tenant.record(&id).await["generation"], 2);
        assert_eq!(tenant.verdict(&rotator.value("AWSCURRENT")).await, "active");
    });
}

#[test]
fn a_rotation_fails_until_the_overlap_of_the_previous_one_has_ended() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        rotator.steps(&token).await.unwrap();
        rotator.aws.secret().cancel();
        let second = rotator.value("AWSCURRENT");
        let token = rotator.rotate();
        for age in [0, 30, 55, -3600] {
            let at = backdate_rotation(&tenant, &id, age).await;
            let (since, until) = (rfc3339(at), rfc3339(at + 60));
            let expected = format!("rotated at {since}, so wait until {until}");
            rotator.fails("createSecret", &token, &expected).await;
        }
        rotator.fails("createSecret", &token, "revoke it").await;
        // Nothing has changed, so agents can still use both secrets.
        assert_rotated(&rotator, &tenant, &id, &old).await;
        assert!(rotator.aws.secret().value("AWSPENDING").is_none());
        backdate_rotation(&tenant, &id, 60).await;
        rotator.steps(&token).await.unwrap();
        assert_eq!(rotator.value("AWSPREVIOUS"), second);
        assert_eq!(tenant.record(&id).await["generation"], 2);
    });
}

#[test]
fn a_rotation_can_be_finished_even_after_the_overlap_has_ended() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(0).await);
        let (_, old) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        let lost = ("/v1/access-keys/rotate", Fault::DropAfter);
        rotator.relay.set_fault(Some(lost));
        rotator.fails("createSecret", &token, "SERVICE_URL").await;
        rotator.relay.set_fault(None);
        assert_eq!(tenant.verdict(&old).await, "superseded");
        rotator.steps(&token).await.unwrap();
        assert_eq!(tenant.verdict(&rotator.value("AWSCURRENT")).await, "active");
    });
}

#[test]
fn a_rotation_adopts_the_secret_of_a_cancelled_one_even_after_the_overlap_has_ended() {
    run(async {
        for overlap in [60, 0] {
            let (tenant, rotator) = (Tenant::fresh(), Rotator::start(overlap).await);
            let (id, old) = new_secret(&rotator, &tenant).await;
            let cancelled = rotator.rotate();
            rotator.step("createSecret", &cancelled).await.unwrap();
            let newest = rotator.value("AWSPENDING");
            rotator.aws.secret().cancel();
            rotator
                .fails("testSecret", &cancelled, "not AWSPENDING")
                .await;
            let token = rotator.rotate();
            assert_ne!(token, cancelled);
            rotator.steps(&token).await.unwrap();
            assert_eq!(rotator.value("AWSCURRENT"), newest);
            assert_eq!(tenant.record(&id).await["generation"], 1);
            let expected = if overlap == 0 { "superseded" } else { "active" };
            assert_eq!(tenant.verdict(&old).await, expected);
        }
    });
}

#[test]
fn a_new_rotation_begins_only_after_the_unfinished_one_is_finished_or_cancelled() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        for step in ["createSecret", "testSecret"] {
            rotator.step(step, &token).await.unwrap();
            let (code, message) = rotator.aws.secret().rotate().unwrap_err();
            assert_eq!(code, "InvalidRequestException");
            assert!(RUNBOOK.contains(message), "{message}");
        }
        // The operator runs the steps of the unfinished rotation with the commands of the runbook.
        rotator.steps(&token).await.unwrap();
        assert_rotated(&rotator, &tenant, &id, &old).await;
        let token = rotator.rotate();
        rotator.aws.secret().rotate().unwrap_err();
        rotator.aws.secret().cancel();
        assert_ne!(rotator.rotate(), token);
    });
}

#[test]
fn a_rotation_does_not_adopt_a_secret_that_is_no_longer_the_newest() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, _) = new_secret(&rotator, &tenant).await;
        let cancelled = rotator.rotate();
        rotator.step("createSecret", &cancelled).await.unwrap();
        rotator.aws.secret().cancel();
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        tenant.rotate(&id, body).await;
        let token = rotator.rotate();
        rotator.fails("createSecret", &token, "invalid_key").await;
        assert!(rotator.aws.secret().value("AWSPENDING").is_none());
    });
}

/// Rotates the key as another run of `createSecret` would. Returns the new secret.
async fn rotate_in_another_run(tenant: &Tenant<'_>, old: &str, token: &str) -> String {
    let request = tenant.self_rotation(old, &json!({ "overlap_seconds": 60 }));
    let rotated = send(request.header("idempotency-key", token)).await;
    rotated.expect(200).string("access_key").to_owned()
}

/// Begins a rotation in which two runs overlap: the first run rotates the key, the second run rotates it again, and
/// only then does the first run store its secret, which is already out of date. Returns the id, the old secret and the
/// token.
async fn overlapping_runs(rotator: &Rotator, tenant: &Tenant<'_>) -> (String, String, String) {
    let (id, old) = new_secret(rotator, tenant).await;
    let token = rotator.rotate();
    let first = rotate_in_another_run(tenant, &old, &token).await;
    rotate_in_another_run(tenant, &old, &token).await;
    let stages = ["AWSPENDING", "ACCESSKEYNEWEST"];
    rotator.aws.secret().store(&token, &first, &stages).unwrap();
    rotator.step("createSecret", &token).await.unwrap();
    (id, old, token)
}

#[test]
fn a_secret_replaced_by_overlapping_runs_does_not_become_current() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old, token) = overlapping_runs(&rotator, &tenant).await;
        let replaced = rotator.value("AWSPENDING");
        rotator.fails("testSecret", &token, "overlapped").await;
        assert_ne!(rotator.value("AWSCURRENT"), replaced);
        assert_eq!(
            rotator.value("ACCESSKEYNEWEST"),
            rotator.value("AWSCURRENT")
        );
        assert_rotated(&rotator, &tenant, &id, &old).await;
        for step in STEPS {
            rotator.fails(step, &token, "not AWSPENDING").await;
        }
        let second = rotator.value("AWSCURRENT");
        backdate_rotation(&tenant, &id, 60).await;
        let token = rotator.rotate();
        rotator.steps(&token).await.unwrap();
        assert_eq!(rotator.value("AWSPREVIOUS"), second);
        assert_eq!(tenant.record(&id).await["generation"], 2);
    });
}

#[test]
fn overlapping_runs_end_correctly_despite_an_interruption_before_or_after_any_call() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (_, _, token) = overlapping_runs(&rotator, &tenant).await;
        rotator.relay.take_calls();
        rotator.fails("testSecret", &token, "overlapped").await;
        let calls = rotator.relay.take_calls();
        assert!(calls.len() >= 10, "{calls:?}");
        for (index, call) in calls.iter().enumerate() {
            for fault in [Fault::DropBefore, Fault::DropAfter] {
                let case = format!("{call} ({index}): {fault:?}");
                let (id, old, token) = overlapping_runs(&rotator, &tenant).await;
                rotator.relay.interrupt(Some((index + 1, fault)));
                rotator.step("testSecret", &token).await.expect_err(&case);
                rotator.relay.interrupt(None);
                rotator.steps(&token).await.expect_err(&case);
                assert!(rotator.aws.secret().value("AWSPENDING").is_none(), "{case}");
                let current = rotator.value("AWSCURRENT");
                assert_eq!(code(&tenant.validate(&current).await), "active", "{case}");
                assert_rotated(&rotator, &tenant, &id, &old).await;
            }
        }
    });
}

#[test]
fn an_overtaken_run_stores_its_own_secret_if_the_stored_one_is_invalid() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        let other = rotate_in_another_run(&tenant, &old, &token).await;
        rotator.aws.secret().overtaken_by = Some(other.clone());
        rotator.step("createSecret", &token).await.unwrap();
        assert_eq!(rotator.value("AWSPENDING"), other);
        assert_eq!(tenant.verdict(&other).await, "invalid");
        let saved = rotator.value("ACCESSKEYNEWEST");
        assert_eq!(tenant.verdict(&saved).await, "active");
        rotator.fails("testSecret", &token, "overlapped").await;
        assert_eq!(rotator.value("AWSCURRENT"), saved);
        assert_rotated(&rotator, &tenant, &id, &old).await;
    });
}

#[test]
fn an_overtaken_run_keeps_the_stored_secret_if_it_is_valid() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        new_secret(&rotator, &tenant).await;
        let (_, valid) = tenant.key("admin", "viewer").await;
        let token = rotator.rotate();
        rotator.aws.secret().overtaken_by = Some(valid.clone());
        rotator.step("createSecret", &token).await.unwrap();
        assert_eq!(rotator.value("AWSPENDING"), valid);
        assert_eq!(rotator.value("ACCESSKEYNEWEST"), valid);
    });
}

#[test]
fn the_test_step_without_a_rotation_validates_the_current_secret() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        // Secrets Manager runs this step when a schedule is changed without an immediate rotation.
        let token = rotator.rotate();
        rotator.step("testSecret", &token).await.unwrap();
        assert!(!tenant.record(&id).await["last_used_at"].is_null());
        rotator.fails("finishSecret", &token, "no value").await;
        assert_eq!(rotator.value("AWSCURRENT").trim_end(), old);
        tenant.revoke(&old).await;
        rotator.fails("testSecret", &token, "revoked").await;
    });
}

#[test]
fn a_step_outside_of_a_rotation_changes_nothing() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, old) = new_secret(&rotator, &tenant).await;
        let unknown = "00000000-0000-4000-8000-000000000000";
        for step in STEPS {
            rotator.fails(step, unknown, "not AWSPENDING").await;
        }
        let token = rotator.rotate();
        rotator.aws.secret().is_rotation_enabled = false;
        for step in STEPS {
            rotator.fails(step, &token, "turn it on").await;
        }
        let event = json!({ "Step": "deleteSecret", "SecretId": old, "ClientRequestToken": token });
        let limit = Duration::from_secs(60);
        let failure = rotator.api.invoke(event.to_string().into(), limit).await;
        rotator
            .assert_secrecy(&failure.unwrap_err().to_string())
            .await;
        for event in events::foreign(&old) {
            let failure = rotator.api.invoke(event.to_string().into(), limit).await;
            rotator
                .assert_secrecy(&failure.unwrap_err().to_string())
                .await;
        }
        assert_eq!(tenant.record(&id).await["generation"], 0);
        assert_eq!(rotator.value("AWSCURRENT").trim_end(), old);
    });
}

#[test]
fn a_key_that_cannot_rotate_itself_stays_current() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (_, without) = tenant.key("admin", "viewer").await;
        let (revoked_id, revoked) = new_secret(&rotator, &tenant).await;
        tenant.revoke_by_id(&revoked_id).await;
        // A user has rotated this key without Secrets Manager.
        let (rotated_id, rotated) = new_secret(&rotator, &tenant).await;
        tenant
            .rotate(
                &rotated_id,
                json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true }),
            )
            .await;
        for (key, code) in [
            (&without, "self_rotate_required"),
            (&revoked, "key_revoked"),
            (&rotated, "key_superseded"),
        ] {
            rotator.aws.secret().reset(key);
            let token = rotator.rotate();
            rotator.fails("createSecret", &token, code).await;
            assert_eq!(&rotator.value("AWSCURRENT"), key);
            assert!(rotator.aws.secret().value("AWSPENDING").is_none());
        }
    });
}

#[test]
fn the_next_rotation_replaces_a_secret_that_a_user_has_stored() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        let (id, _) = new_secret(&rotator, &tenant).await;
        let token = rotator.rotate();
        rotator.steps(&token).await.unwrap();
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        let newest = tenant.rotate(&id, body).await;
        let token = rotator.rotate();
        rotator
            .fails("createSecret", &token, "key_superseded")
            .await;
        // Runs the commands of the runbook.
        rotator.aws.secret().cancel();
        rotator.aws.secret().put_current(&newest);
        let token = rotator.rotate();
        rotator.fails("createSecret", &token, "wait until").await;
        backdate_rotation(&tenant, &id, 60).await;
        rotator.steps(&token).await.unwrap();
        assert_eq!(tenant.record(&id).await["generation"], 3);
        assert_eq!(tenant.validate(&newest).await["superseded"], true);
        assert_eq!(tenant.verdict(&rotator.value("AWSCURRENT")).await, "active");
    });
}

#[test]
fn a_new_secret_that_was_revoked_or_rotated_does_not_become_current() {
    run(async {
        let (tenant, rotator) = (Tenant::fresh(), Rotator::start(60).await);
        for code in ["revoked", "superseded"] {
            let (id, old) = new_secret(&rotator, &tenant).await;
            let token = rotator.rotate();
            rotator.step("createSecret", &token).await.unwrap();
            match code {
                "revoked" => tenant.revoke_by_id(&id).await,
                _ => drop(
                    tenant
                        .rotate(&id, json!({ "role": "viewer", "max_clusters": 1 }))
                        .await,
                ),
            }
            rotator.fails("testSecret", &token, code).await;
            assert_eq!(rotator.value("AWSCURRENT").trim_end(), old);
        }
    });
}

#[test]
fn a_value_that_is_not_an_access_key_is_not_sent_to_the_service() {
    run(async {
        let rotator = Rotator::start(60).await;
        for value in [r#"{"access_key":"x"}"#, "hunter2"] {
            rotator.aws.secret().reset(value);
            let token = rotator.rotate();
            rotator.relay.take_calls();
            rotator.fails("createSecret", &token, "plain text").await;
            let calls = rotator.relay.take_calls();
            assert!(calls.iter().all(|call| !call.starts_with('/')), "{calls:?}");
        }
    });
}
