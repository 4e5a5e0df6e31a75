//! The public keys of a process: when the process requests them from KMS, and which keys it uses and publishes in the
//! meantime.
//!
//! Most tests run the service in the test process, against the KMS of the stack, because they set the service's clock.

use std::{collections::BTreeMap, time::Duration};

use access_keys::{
    model::{Actor, Identity, Labels, Origin, Person, Role, Timestamp},
    policy::RefusalCode,
    process::{
        clock,
        config::{self, Environment},
    },
    service::{
        Expiry, KeyRequest, KeyService, PublishedKeys, RotateRequest, create_key, rotate_key,
    },
    token::AccessKey,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{
    Answer, Fault, Rule, RuleGuard, Service, Tenant, eventually, run, send, stack, strings,
};
use p256::ecdsa::Signature;

use crate::{
    crashes::{process_of, signal},
    outages::SLOW,
    own_stack,
};

const FIVE_MINUTES: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

/// A process with two KMS keys of its own and with two access keys, each signed by one of the KMS keys.
struct Process {
    /// The function name that the stack sees in the requests of the process.
    name: &'static str,
    first: String,
    second: String,
    first_key: AccessKey,
    second_key: AccessKey,
}

impl Process {
    async fn new(name: &'static str) -> Self {
        let (_, key) = Tenant::fresh().key("admin", "viewer").await;
        let [first, second] = [kms_key().await, kms_key().await];
        Self {
            name,
            first_key: signed_by(&first, &key).await,
            second_key: signed_by(&second, &key).await,
            first,
            second,
        }
    }

    fn read<T>(&self, names: &str, read: impl FnOnce(&mut Environment<'_>) -> T) -> T {
        let mut environment = BTreeMap::from_iter(stack().environment("validate"));
        for (name, value) in [("AWS_ACCESS_KEY_ID", self.name), ("SIGNING_KEYS", names)] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        config::read_from(&|name| environment.get(name).cloned(), read).unwrap()
    }

    fn both(&self) -> String {
        format!("{},{}", self.first, self.second)
    }

    /// Returns a service that verifies access keys with the KMS keys in `names`.
    fn verifier(&self, names: &str) -> KeyService {
        self.read(names, KeyService::read)
    }

    /// Returns a service that publishes both public keys.
    fn publisher(&self) -> PublishedKeys {
        self.read(&self.both(), PublishedKeys::read)
    }

    /// Returns how many times the process has requested a public key.
    fn asked(&self) -> usize {
        stack().count(|r| r.function == self.name && r.action == "GetPublicKey")
    }

    /// Holds each `BatchGetItem` of `call` until the process has requested a public key.
    async fn asks_during_a_read<T>(&self, tenant: &Tenant<'_>, call: impl Future<Output = T>) -> T {
        let asked = self.asked();
        let rule = tenant.rule("BatchGetItem", Fault::Hold);
        let held = stack().inject(rule.function(self.name));
        let release = async {
            let is_asked = || async { (held.hits() > 0 && self.asked() > asked).then_some(()) };
            eventually("KMS is asked during the read", is_asked).await;
            drop(held);
        };
        tokio::join!(call, release).0
    }

    /// Makes requests for public keys fail if their body contains `text`.
    fn fail(&self, text: &str, fault: Fault) -> RuleGuard {
        let rule = Rule::new(fault).service(Service::Kms).function(self.name);
        stack().inject(rule.action("GetPublicKey").containing(text))
    }
}

async fn kms_key() -> String {
    stack().create_key("ECC_NIST_P256").await.unwrap()
}

/// Returns the published key ids, and whether the key set is complete. Returns `None` if the keys are unavailable.
async fn published(keys: &PublishedKeys, now: Timestamp) -> Option<(Vec<String>, bool)> {
    let (keys, is_complete) = keys.public_keys(now).await.ok()?;
    let set = serde_json::to_value(keys.jwks()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    let ids = strings(keys, "kid").into_iter();
    Some((ids.map(str::to_owned).collect(), is_complete))
}

/// Returns an access key with the claims of `key`, signed by a KMS key.
async fn signed_by(arn: &str, key: &str) -> AccessKey {
    let id = key_id(arn).await;
    let header = format!(r#"{{"typ":"access-key+jwt","alg":"ES256","kid":"{id}"}}"#);
    let payload = key.split('.').nth(1).unwrap();
    let signed = format!("{}.{payload}", BASE64URL.encode(header));
    let der = stack().sign(arn, signed.as_bytes()).await.unwrap();
    let signature = BASE64URL.encode(Signature::from_der(&der).unwrap().to_bytes());
    AccessKey::new(format!("{signed}.{signature}"))
}

/// Returns the id under which a KMS key is published.
async fn key_id(arn: &str) -> String {
    let variables = BTreeMap::from_iter(stack().environment("jwks"));
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("key id".to_owned()),
        "SIGNING_KEYS" => Some(arn.to_owned()),
        _ => variables.get(name).cloned(),
    };
    let keys = config::read_from(&lookup, PublishedKeys::read).unwrap();
    published(&keys, clock::now()).await.unwrap().0.remove(0)
}

/// Returns the code of the refusal, or `None` if the key is accepted.
async fn refusal(service: &KeyService, key: &AccessKey, now: Timestamp) -> Option<RefusalCode> {
    let verified = service.verify(key, now).await;
    verified.expect("the service is available").err()
}

const INVALID: Option<RefusalCode> = Some(RefusalCode::Invalid);

#[test]
fn an_access_key_from_a_new_signing_key_works_as_soon_as_a_refresh_is_due() {
    run(async {
        let process = Process::new("new signing key").await;
        let Process { first, second, .. } = &process;
        stack().set_alias("alias/moved", first).unwrap();
        let service = process.verifier(&format!("alias/moved,{first}"));
        service.warm_up().await;
        let unknown = signed_by(&kms_key().await, process.first_key.reveal()).await;
        assert_eq!(refusal(&service, &unknown, clock::now()).await, INVALID);
        assert_eq!(process.asked(), 3);
        let warm = clock::now();

        stack().set_alias("alias/moved", second).unwrap();
        for second in 0..50 {
            let now = warm + SECOND * second * 5;
            assert_eq!(refusal(&service, &process.second_key, now).await, INVALID);
            assert_eq!(refusal(&service, &process.first_key, now).await, None);
        }
        assert_eq!(process.asked(), 3);
        let due = warm + FIVE_MINUTES;
        assert_eq!(refusal(&service, &process.second_key, due).await, None);
        assert_eq!(refusal(&service, &process.first_key, due).await, None);
        // A public key can be used as soon as it has been read, even while the request for the other one is still in
        // progress.
        let both = || async { (process.asked() == 5).then_some(()) };
        eventually("both names are asked about", both).await;

        for second in 0..50 {
            let now = due + SECOND * second * 5;
            assert_eq!(refusal(&service, &unknown, now).await, INVALID);
        }
        assert_eq!(process.asked(), 5);
    });
}

#[test]
fn an_access_key_from_another_signing_key_causes_a_process_to_request_the_other_public_keys() {
    run(async {
        let process = Process::new("other signing keys").await;
        let service = process.verifier(&process.both());
        service.warm_up().await;
        let asked = |times| {
            let process = &process;
            let is_asked = move || async move { (process.asked() >= times).then_some(()) };
            eventually("KMS is asked", is_asked)
        };
        let due = clock::now() + FIVE_MINUTES;
        let nonsense = AccessKey::new("nonsense".into());
        for (key, expected) in [(&process.first_key, None), (&nonsense, INVALID)] {
            assert_eq!(refusal(&service, key, due).await, expected);
        }
        asked(2).await;
        assert_eq!(refusal(&service, &process.second_key, due).await, None);
        assert_eq!(process.asked(), 4);
        let later = due + FIVE_MINUTES;
        assert_eq!(refusal(&service, &process.first_key, later).await, None);
        asked(6).await;
    });
}

#[test]
fn a_request_that_needs_no_new_public_key_starts_a_refresh_but_does_not_wait_for_it() {
    run(async {
        let process = Process::new("no waiting").await;
        let nonsense = AccessKey::new("nonsense".into());
        for (key, expected) in [(&process.first_key, None), (&nonsense, INVALID)] {
            let service = process.verifier(&process.both());
            service.warm_up().await;
            let slow = process.fail("", SLOW);
            let due = clock::now() + FIVE_MINUTES;
            let refusal = tokio::time::timeout(SECOND, refusal(&service, key, due));
            assert_eq!(refusal.await, Ok(expected));
            let asked = || async { (slow.hits() > 0).then_some(()) };
            eventually("the refresh asks KMS", asked).await;
        }
    });
}

#[test]
fn an_outage_causes_one_round_of_requests_per_second_and_makes_no_genuine_key_invalid() {
    run(async {
        let process = Process::new("outage").await;
        stack().set_alias("alias/outage", &process.first).unwrap();
        let service = process.verifier("alias/outage");
        service.warm_up().await;
        stack().set_alias("alias/outage", &process.second).unwrap();
        let outage = process.fail("", Fault::DropBefore);
        let due = clock::now() + FIVE_MINUTES;
        let half = Duration::from_millis(500);
        let mut hits = Vec::new();
        for n in 0..4 {
            let now = due + half * n;
            assert_eq!(refusal(&service, &process.first_key, now).await, None);
            let new = service.verify(&process.second_key, now).await;
            assert!(new.is_err(), "{new:?}");
            hits.push(outage.hits());
        }
        let round = hits[0];
        assert!(round > 0);
        assert_eq!(hits, [round, round, 2 * round, 2 * round]);
        drop(outage);
        let next = due + half * 4;
        assert_eq!(refusal(&service, &process.second_key, next).await, None);
    });
}

#[test]
fn a_process_without_public_keys_is_unavailable_and_recovers_by_itself() {
    run(async {
        let process = Process::new("no keys").await;
        let service = process.verifier(&process.both());
        let outage = process.fail("", Fault::DropBefore);
        service.warm_up().await;
        let now = clock::now() + SECOND;
        for _ in 0..2 {
            let verified = service.verify(&process.first_key, now).await;
            assert!(verified.is_err(), "{verified:?}");
        }
        drop(outage);
        let next = clock::now() + SECOND * 3;
        assert_eq!(refusal(&service, &process.first_key, next).await, None);
    });
}

#[test]
fn a_key_is_refused_while_its_kms_key_is_disabled() {
    run(async {
        let process = Process::new("disabled").await;
        let warm = process.verifier(&process.both());
        warm.warm_up().await;
        stack().set_key_enabled(&process.first, false).unwrap();
        let cold = process.verifier(&process.both());
        cold.warm_up().await;
        let now = clock::now();
        assert_eq!(refusal(&cold, &process.second_key, now).await, None);
        assert_eq!(refusal(&cold, &process.first_key, now).await, INVALID);

        let due = now + FIVE_MINUTES;
        eventually("the disabled key is refused", || async {
            (refusal(&warm, &process.first_key, due).await == INVALID).then_some(())
        })
        .await;
        stack().set_key_enabled(&process.first, true).unwrap();
        let next = due + FIVE_MINUTES;
        for key in [&process.first_key, &process.second_key] {
            assert_eq!(refusal(&warm, key, next).await, None);
        }
    });
}

#[test]
fn an_idle_process_publishes_a_new_signing_key_in_its_first_response() {
    run(async {
        let process = Process::new("idle").await;
        let [first, second] = [key_id(&process.first).await, key_id(&process.second).await];
        stack().set_alias("alias/idle", &process.first).unwrap();
        let keys = process.read("alias/idle", PublishedKeys::read);
        let earlier = published(&keys, clock::now()).await;
        assert_eq!(earlier, Some((vec![first], true)));
        stack().set_alias("alias/idle", &process.second).unwrap();
        let later = published(&keys, clock::now() + FIVE_MINUTES).await;
        assert_eq!(later, Some((vec![second], true)));
    });
}

#[test]
fn publishing_the_key_set_waits_for_kms_for_at_most_a_second() {
    run(async {
        let process = Process::new("slow set").await;
        let keys = process.publisher();
        let earlier = published(&keys, clock::now()).await;
        let slow = process.fail("", SLOW);
        let due = clock::now() + FIVE_MINUTES;
        let later = tokio::time::timeout(SECOND * 2, published(&keys, due));
        assert_eq!(later.await, Ok(earlier));
        assert!(slow.hits() > 0);
    });
}

#[test]
fn a_published_key_stays_published_until_kms_reports_that_it_is_disabled() {
    run(async {
        let process = Process::new("published").await;
        let ids = [key_id(&process.first).await, key_id(&process.second).await];
        let both = Some((ids.to_vec(), true));
        let keys = process.publisher();
        let mut now = clock::now();
        assert_eq!(published(&keys, now).await, both);
        // Advances the clock until the next refresh is due, and returns the key set.
        let mut next = || {
            now = now + FIVE_MINUTES;
            published(&keys, now)
        };
        for fault in [Fault::DropBefore, Fault::Refuse] {
            let failing = process.fail(&process.second, fault);
            // One refresh sends at most three requests for a key, so a fourth request shows that a refresh has ended.
            eventually("a refresh has failed", || {
                let (set, both, failing) = (next(), &both, &failing);
                async move {
                    assert_eq!(set.await, *both);
                    (failing.hits() >= 4).then_some(())
                }
            })
            .await;
        }
        stack().set_key_enabled(&process.second, false).unwrap();
        let first = Some((vec![ids[0].clone()], true));
        eventually("the disabled key is not published", || {
            let (set, first) = (next(), &first);
            async move { (set.await == *first).then_some(()) }
        })
        .await;
    });
}

#[test]
fn a_process_publishes_the_keys_that_it_can_read_and_reports_whether_the_set_is_complete() {
    run(async {
        let process = Process::new("incomplete").await;
        let keys = process.publisher();
        let all = process.fail("", Fault::DropBefore);
        assert_eq!(published(&keys, clock::now()).await, None);
        drop(all);
        let unreachable = process.fail(&process.second, Fault::DropBefore);
        let first = key_id(&process.first).await;
        let incomplete = Some((vec![first.clone()], false));
        assert_eq!(
            published(&keys, clock::now() + FIVE_MINUTES).await,
            incomplete
        );
        drop(unreachable);
        let _refused = process.fail(&process.second, Fault::Refuse);
        let without_refused = Some((vec![first], true));
        eventually("KMS has answered about every key", || async {
            let set = published(&keys, clock::now()).await;
            (set == without_refused).then_some(())
        })
        .await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_an_incomplete_key_set_forbids_caching() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let next = stack.create_key("ECC_NIST_P256").await.unwrap();
    stack.set_alias("alias/local/next", &next).unwrap();
    let get = || send(tenant.call("GET", "/.well-known/jwks.json"));
    let cache_control = |answer: &Answer| {
        let value = answer.header("cache-control");
        value.map(str::to_owned)
    };
    let rule = Rule::new(Fault::DropBefore).service(Service::Kms);
    let failing = stack.inject(rule.containing("alias/local/next"));
    signal("-KILL", process_of(&stack, "jwks")).await;
    let answer = eventually("a new process answers", || async {
        let answer = get().await;
        (answer.status == 200 && failing.hits() > 0).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!(answer.array("keys").len(), 1);
    assert_eq!(cache_control(&answer).as_deref(), Some("no-store"));
    drop(failing);
    let answer = eventually("the set is complete", || async {
        let answer = get().await;
        (cache_control(&answer)? != "no-store").then_some(answer)
    });
    let answer = answer.await;
    assert_eq!(answer.array("keys").len(), 2);
    assert_eq!(
        cache_control(&answer).as_deref(),
        Some("public, max-age=300")
    );
    stack.stop().await;
}

/// Returns the administrator of a tenant as the actor that the functions would read from a token.
fn admin_of(tenant: &Tenant<'_>) -> Actor {
    let person = Person {
        user_id: "admin".parse().unwrap(),
        email: None,
        name: None,
        is_email_verified: false,
        is_bootstrap_admin: true,
    };
    Actor {
        tenant_id: tenant.id.parse().unwrap(),
        identity: Identity::Person(person),
        origin: Origin::default(),
    }
}

#[test]
fn a_call_that_signs_an_access_key_fetches_the_public_keys_while_it_reads_the_table() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let process = Process::new("signs").await;
        let service = process.verifier(&process.first);
        service.warm_up().await;
        let (actor, owner) = (admin_of(&tenant), "admin".parse().unwrap());
        let expiry = Expiry::In(Duration::from_secs(86_400));
        let creation = KeyRequest {
            name: "k".parse().unwrap(),
            labels: Labels::default(),
            role: Role::Viewer,
            max_clusters: 1,
            self_rotate: false,
            expiry,
            quota: 10,
            first_sign_ins: 1,
            too_early: None,
        };
        let rotation = RotateRequest {
            role: Role::Viewer,
            max_clusters: 1,
            self_rotate: false,
            expiry,
            overlap: Duration::ZERO,
            too_early: None,
        };
        let later = clock::now() + FIVE_MINUTES;
        let key = (&owner, id.parse().unwrap());
        let create = async { create_key(&actor, &service, &owner, &creation, None, later).await };
        let rotate = async {
            let (later, history) = (later + FIVE_MINUTES, Duration::ZERO);
            rotate_key(&actor, &service, key, &rotation, None, history, later).await
        };
        process.asks_during_a_read(&tenant, create).await.unwrap();
        process.asks_during_a_read(&tenant, rotate).await.unwrap();
    });
}
