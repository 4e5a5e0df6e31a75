//! `infra/examples/rotate-key`: an agent can run the script again after any failure, and never loses its key.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Output, Stdio},
};

use harness::{Fault, Relay, Tenant, code, now, run, secrets, send, stack};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// The programs that the script runs, apart from the builtin commands of bash.
const PROGRAMS: [&str; 10] = [
    "curl", "date", "dirname", "flock", "jq", "mv", "realpath", "rm", "stat", "sync",
];

/// An agent that keeps its key in a file.
struct Agent<'a> {
    tenant: &'a Tenant<'static>,
    relay: Relay,
    folder: TempDir,
    id: String,
    old: String,
}

impl<'a> Agent<'a> {
    async fn new(tenant: &'a Tenant<'static>) -> Self {
        let body = json!({ "name": "agent", "role": "viewer", "self_rotate": true });
        let (id, old) = tenant.key_of("admin", body).await;
        let agent = Self {
            tenant,
            relay: Relay::start(stack().url(), "").await,
            folder: tempfile::tempdir().unwrap(),
            id,
            old,
        };
        agent.write(&agent.old);
        agent
    }

    fn write(&self, key: &str) {
        let file = self.folder.path().join("key");
        fs::write(&file, format!("{key}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    fn key(&self) -> String {
        let key = fs::read_to_string(self.folder.path().join("key")).unwrap();
        key.trim_end().to_owned()
    }

    /// Runs the script with this overlap, and with the folder `programs` first in `PATH`.
    async fn run_with(&self, overlap: &str, programs: &Path) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/examples/rotate-key");
        let path = std::env::var("PATH").unwrap();
        Command::new(script)
            .args([&self.relay.url, "key", overlap])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("no_proxy", "127.0.0.1")
            .env("RUNS", self.folder.path().join("runs"))
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .await
            .unwrap()
    }

    /// Runs the script and asserts that it prints no key. Returns whether the script succeeded, and what it printed.
    async fn run(&self, overlap: &str) -> (bool, String) {
        let output = self.run_with(overlap, Path::new("")).await;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(secrets().iter().all(|secret| !text.contains(secret)));
        assert!(!text.contains("eyJ"), "{text}");
        (output.status.success(), text)
    }

    async fn fails(&self, message: &str) {
        let (succeeded, text) = self.run("60").await;
        assert!(!succeeded && text.contains(message), "{text}");
    }

    /// Asserts that the file contains the newest secret of the key, after exactly one rotation, and that the old secret
    /// still works.
    async fn assert_rotated(&self, case: &str) {
        let new = self.key();
        let (of_new, of_old) = (
            self.tenant.validate(&new).await,
            self.tenant.validate(&self.old).await,
        );
        assert_eq!(code(&of_new), "active", "{case}");
        assert!(of_new.get("superseded").is_none(), "{case}");
        assert_eq!(of_old["superseded"], true, "{case}");
        assert_eq!(
            self.tenant.record(&self.id).await["generation"],
            1,
            "{case}"
        );
        let files = fs::read_dir(self.folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| name != "runs" && name != "key.lock")
            .collect();
        names.sort();
        assert_eq!(names, ["key"], "{case}");
        let mode = fs::metadata(self.folder.path().join("key")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{case}");
    }
}

#[test]
fn the_script_rotates_the_key_in_a_file() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let (succeeded, text) = agent.run("60").await;
        assert!(
            succeeded && text.starts_with("rotated the key in"),
            "{text}"
        );
        agent.assert_rotated("once").await;
        let second = agent.key();
        let (succeeded, text) = agent.run("60").await;
        assert!(succeeded && text.contains("already rotated"), "{text}");
        assert_eq!(agent.key(), second);
        assert!(agent.run("0").await.0);
        assert_eq!(tenant.verdict(&second).await, "superseded");
        assert_eq!(tenant.verdict(&agent.key()).await, "active");
        assert_eq!(tenant.record(&agent.id).await["generation"], 2);
    });
}

#[test]
fn the_script_can_be_run_again_after_a_request_or_its_response_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        for call in [
            "/v1/access-keys/self",
            "/v1/access-keys/rotate",
            "/v1/access-keys/validate",
        ] {
            for fault in [Fault::DropBefore, Fault::DropAfter] {
                let case = format!("{call}: {fault:?}");
                let agent = Agent::new(&tenant).await;
                agent.relay.set_fault(Some((call, fault)));
                for _ in 0..2 {
                    agent.fails("run the script again").await;
                    assert_eq!(agent.key(), agent.old, "{case}");
                }
                agent.relay.set_fault(None);
                let (succeeded, text) = agent.run("60").await;
                assert!(succeeded, "{case}: {text}");
                agent.assert_rotated(&case).await;
            }
        }
    });
}

/// Wraps programs that the script runs. The runs of all wrapped programs are counted together. In run number `number`,
/// the wrapper performs `action` before it starts the program.
fn faulty_programs(folder: &Path, programs: &[&str], number: usize, action: &str) {
    for program in programs {
        let real = std::env::var("PATH").unwrap();
        let real = real
            .split(':')
            .map(|folder| Path::new(folder).join(program));
        let real = real.into_iter().find(|path| path.exists());
        let real = real.unwrap_or_else(|| panic!("the script needs {program}"));
        let shim = format!(
            "#!/bin/bash\necho x >>\"$RUNS\"\n(($(wc -l <\"$RUNS\") != {number})) || {action}\nexec {} \"$@\"\n",
            real.display()
        );
        let path = folder.join(program);
        fs::write(&path, shim).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_script_can_be_run_again_after_it_is_killed_at_any_step() {
    run(async {
        let tenant = Tenant::fresh();
        let mut killed = 0;
        loop {
            let agent = Agent::new(&tenant).await;
            let programs = tempfile::tempdir().unwrap();
            faulty_programs(programs.path(), &PROGRAMS, killed + 1, "kill -KILL 0");
            let output = agent.run_with("60", programs.path()).await;
            if output.status.success() {
                break;
            }
            killed += 1;
            let case = format!("killed before program {killed}");
            // The file always contains a key that works.
            assert_eq!(tenant.verdict(&agent.key()).await, "active", "{case}");
            let (succeeded, text) = agent.run("60").await;
            assert!(succeeded, "{case}: {text}");
            agent.assert_rotated(&case).await;
        }
        assert!(killed >= 15, "{killed}");
    });
}

#[test]
fn the_script_keeps_the_new_key_if_a_program_fails() {
    run(async {
        let tenant = Tenant::fresh();
        // A program that is not installed, one that fails, and one that fails after it has written half of its output.
        let faults = ["exit 127", "exit 5", "{ echo eyJ; exit 5; }"];
        for (program, fewest) in [("curl", 4), ("jq", 4), ("flock", 2)] {
            for fault in faults {
                let mut failures = 0;
                loop {
                    let agent = Agent::new(&tenant).await;
                    let programs = tempfile::tempdir().unwrap();
                    faulty_programs(programs.path(), &[program], failures + 1, fault);
                    let output = agent.run_with("60", programs.path()).await;
                    let case = format!("{program}: {fault}: run {}", failures + 1);
                    if output.status.success() {
                        agent.assert_rotated(&case).await;
                        break;
                    }
                    failures += 1;
                    assert_eq!(tenant.verdict(&agent.key()).await, "active", "{case}");
                    let (succeeded, text) = agent.run("60").await;
                    assert!(succeeded, "{case}: {text}");
                    agent.assert_rotated(&case).await;
                }
                assert!(failures >= fewest, "{program}: {failures}");
            }
        }
    });
}

#[test]
fn the_script_checks_that_its_programs_work_before_it_sends_a_request() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        for program in ["curl", "jq", "flock"] {
            let programs = tempfile::tempdir().unwrap();
            faulty_programs(programs.path(), &[program], 1, "exit 127");
            let output = agent.run_with("60", programs.path()).await;
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && text.contains(program), "{text}");
            assert!(agent.relay.take_calls().is_empty(), "{program}");
            fs::remove_file(agent.folder.path().join("runs")).unwrap();
        }
    });
}

#[test]
fn the_script_keeps_a_new_key_that_it_cannot_validate_yet() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let unavailable = ("/v1/access-keys/validate", Fault::InternalError);
        agent.relay.set_fault(Some(unavailable));
        agent.fails("500 not an answer of access-keys").await;
        let new = fs::read_to_string(agent.folder.path().join("key.new")).unwrap();
        agent.relay.set_fault(None);
        assert!(agent.run("60").await.0);
        assert_eq!(agent.key(), new.trim_end());
        agent.assert_rotated("validated later").await;
    });
}

#[test]
fn the_script_checks_the_overlap_before_it_stores_a_request() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        for overlap in [
            "700000", "604801", "0900", "010", "00", "-1", "1.5", "1e3", "x",
        ] {
            let (succeeded, text) = agent.run(overlap).await;
            assert!(!succeeded && text.contains("0 to 604800"), "{text}");
            assert!(!agent.folder.path().join("key.request").exists());
        }
        let (succeeded, text) = agent.run("604800").await;
        assert!(succeeded, "{text}");
        agent.assert_rotated("longest overlap").await;
    });
}

#[test]
fn the_script_discards_a_saved_request_that_is_not_valid() {
    run(async {
        let tenant = Tenant::fresh();
        for overlap in ["700000", "010"] {
            let agent = Agent::new(&tenant).await;
            let request = format!("00000000-0000-4000-8000-000000000000 {overlap}\n");
            fs::write(agent.folder.path().join("key.request"), request).unwrap();
            agent.fails("the key was not rotated: 400").await;
            let (succeeded, text) = agent.run("60").await;
            assert!(succeeded, "{overlap}: {text}");
            agent.assert_rotated(overlap).await;
        }
    });
}

#[test]
fn the_script_refuses_an_exposed_file_or_folder_and_anything_but_a_key_with_self_rotate() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let file = agent.folder.path().join("key");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        agent.fails("chmod 600").await;
        let folder = agent.folder.path();
        for mode in [0o720, 0o702, 0o1777] {
            agent.write(&agent.key());
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
            agent.fails("chmod go-w").await;
        }
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        agent.write("hunter2");
        agent.fails("does not contain an access key").await;
        let (_, key) = tenant.key("admin", "viewer").await;
        agent.write(&key);
        agent.fails("409 self_rotate_required").await;
        assert_eq!(agent.key(), key);
    });
}

#[test]
fn the_script_starts_a_new_request_after_a_user_has_rotated_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        agent
            .relay
            .set_fault(Some(("/v1/access-keys/rotate", Fault::DropAfter)));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        let newest = tenant.rotate(&agent.id, body).await;
        agent.write(&newest);
        // The overlap of the user's rotation has not ended yet.
        let (succeeded, text) = agent.run("60").await;
        assert!(succeeded && text.contains("already rotated"), "{text}");
        assert_eq!(tenant.verdict(&newest).await, "active");
        assert!(agent.run("0").await.0);
        assert_eq!(tenant.verdict(&agent.key()).await, "active");
        assert_eq!(tenant.record(&agent.id).await["generation"], 3);
    });
}

#[test]
fn the_script_does_not_end_an_overlap_by_repeating_a_request_that_never_arrived() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let lost = ("/v1/access-keys/rotate", Fault::DropBefore);
        agent.relay.set_fault(Some(lost));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        let newest = tenant.rotate(&agent.id, body).await;
        agent.write(&newest);
        let (succeeded, text) = agent.run("60").await;
        assert!(succeeded && text.contains("already rotated"), "{text}");
        assert_eq!(agent.key(), newest);
        assert_eq!(tenant.verdict(&agent.old).await, "active");
    });
}

#[test]
fn the_script_does_not_overwrite_another_key() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let unanswered = ("/v1/access-keys/validate", Fault::DropBefore);
        agent.relay.set_fault(Some(unanswered));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        let (_, other) = tenant.key("admin", "viewer").await;
        agent.write(&other);
        agent.fails("of another key").await;
        assert_eq!(agent.key(), other);
    });
}

#[test]
fn the_script_fails_if_the_file_contains_a_replaced_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        let newest = tenant.rotate(&agent.id, body).await;
        for _ in 0..2 {
            agent.fails("store the newest secret").await;
            assert_eq!(agent.key(), agent.old);
        }
        agent.write(&newest);
        let (succeeded, text) = agent.run("60").await;
        assert!(succeeded && text.contains("already rotated"), "{text}");
    });
}

#[test]
fn the_script_discards_a_saved_request_that_another_rotation_has_overtaken() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let lost = ("/v1/access-keys/rotate", Fault::DropBefore);
        agent.relay.set_fault(Some(lost));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        let body = json!({ "role": "viewer", "max_clusters": 1, "self_rotate": true });
        tenant.rotate(&agent.id, body).await;
        agent.fails("409 key_superseded").await;
        agent.fails("store the newest secret").await;
    });
}

#[test]
fn the_script_fails_if_another_program_has_used_the_new_key() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let lost = ("/v1/access-keys/rotate", Fault::DropAfter);
        agent.relay.set_fault(Some(lost));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        // Another program repeats the request and uses the new key.
        let request = fs::read_to_string(agent.folder.path().join("key.request")).unwrap();
        let (idempotency_key, _) = request.split_once(' ').unwrap();
        let body = json!({ "overlap_seconds": 60 });
        let repeated = tenant.self_rotation(&agent.old, &body);
        let repeated = repeated.header("idempotency-key", idempotency_key);
        let taken = send(repeated).await.expect(200);
        assert_eq!(tenant.verdict(taken.string("access_key")).await, "active");
        agent.fails("idempotency_key_completed").await;
        agent.fails("store the newest secret").await;
    });
}

#[test]
fn the_script_fails_if_the_clock_is_behind_the_last_rotation() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        assert!(agent.run("60").await.0);
        let rotated = json!({ ":at": { "N": (now() + 3600).to_string() } });
        let update = "SET rotated_at = :at";
        tenant.edit_key("admin", &agent.id, update, rotated).await;
        agent.fails("set the clock").await;
    });
}

#[test]
fn the_script_keeps_the_old_key_if_the_new_one_is_no_longer_the_newest() {
    run(async {
        let tenant = Tenant::fresh();
        let agent = Agent::new(&tenant).await;
        let lost = ("/v1/access-keys/validate", Fault::DropBefore);
        agent.relay.set_fault(Some(lost));
        agent.fails("run the script again").await;
        agent.relay.set_fault(None);
        tenant
            .rotate(&agent.id, json!({ "role": "viewer", "max_clusters": 1 }))
            .await;
        agent.fails("not the newest secret").await;
        assert_eq!(agent.key(), agent.old);
    });
}
