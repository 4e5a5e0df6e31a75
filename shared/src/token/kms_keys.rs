//! Signs with the KMS keys of the deployment. Every process caches their public keys and refreshes them.

use std::{ops::Range, sync::Arc, time::Duration};

use aws_sdk_kms::Client;
use tokio::{sync::watch, task::JoinSet};

use super::{
    jws::{AccessKey, Claims, SigningInput},
    key_ring::KeyRing,
    kms::{Kms, KmsError, KmsKey},
    public_keys::PublicKeys,
};
use crate::{
    model::{Timestamp, TokenIssuer},
    process::{
        aws::warmed_up,
        clock,
        metrics::{self, Metric},
        telemetry,
    },
};

/// The longest time that a request for the key set waits for a refresh to end.
const LONGEST_REFRESH: Duration = Duration::from_secs(1);

/// The KMS keys of the deployment.
///
/// Once the latest refresh of the public keys is five minutes old, the next request starts another one, whatever that
/// request contains. The rate of requests to KMS therefore depends on the clock and not on callers. The refresh runs in
/// a task of its own, and requests meanwhile use the keys that the process already has. A request waits only if it
/// needs a key that the process does not have. Until the process needs the keys of the other names, it asks KMS only
/// about the first name in `SIGNING_KEYS`, and afterwards about all names.
pub struct KmsKeys(Arc<Shared>);

struct Shared {
    kms: Kms,
    names: Vec<String>,
    ring: watch::Sender<KeyRing>,
}

impl KmsKeys {
    /// `names` are key ids, ARNs or aliases. The first key signs access keys, and all keys verify them.
    #[must_use]
    pub fn new(client: Client, names: Vec<String>) -> Self {
        let (ring, _) = watch::channel(KeyRing::new(names.len()));
        let kms = Kms::new(client);
        Self(Arc::new(Shared { kms, names, ring }))
    }

    /// Fetches the public keys in the init phase, so that the first request does not have to wait for them. If KMS does
    /// not respond within a second, the fetch continues while the function starts.
    pub async fn warm_up(&self) {
        self.refresh_if_due(clock::now());
        warmed_up("KMS", async { self.refreshed().await.is_ok() }).await;
    }

    /// Makes the process ask KMS about all names from now on.
    pub fn need_all(&self) {
        if !self.0.ring.borrow().needs_all() {
            self.0.ring.send_modify(KeyRing::need_all);
        }
    }

    /// Starts a refresh if one is due, without waiting for it.
    pub fn refresh_if_due(&self, now: Timestamp) {
        self.start_if_due(now, |ring| ring.public_keys().is_some());
    }

    /// Returns the public keys. Waits only if the process does not have any yet.
    ///
    /// # Errors
    /// Fails if no key can be read. The failure is remembered for a second, during which KMS is not asked again.
    pub async fn public_keys(&self, now: Timestamp) -> Result<Arc<PublicKeys>, KmsError> {
        self.get(now, KeyRing::public_keys).await
    }

    /// Returns all public keys. If a refresh is due or running, waits until it has ended.
    ///
    /// # Errors
    /// Fails if KMS gave no usable answer about one or more keys. In that case, an unknown key may still be one of
    /// ours.
    pub async fn all_public_keys(&self, now: Timestamp) -> Result<Arc<PublicKeys>, KmsError> {
        self.need_all();
        self.refresh_if_due(now);
        self.refreshed().await
    }

    /// Returns the public keys. If a refresh is running, waits until it has ended.
    async fn refreshed(&self) -> Result<Arc<PublicKeys>, KmsError> {
        let mut ring = self.0.ring.subscribe();
        match ring.wait_for(|ring| !ring.is_refreshing()).await {
            Ok(ring) if ring.is_answered() => {
                let public_keys = ring.public_keys();
                public_keys.ok_or_else(|| KmsError::NoKey(ring.failure()))
            }
            Ok(ring) => Err(KmsError::Incomplete(ring.failure())),
            Err(_) => Err(KmsError::NoKey(None)),
        }
    }

    /// Returns the public keys to publish, and whether they are complete. A key stays in the set until KMS reports that
    /// it is disabled or deleted, or that its alias refers to another key. The set is incomplete if KMS gave no usable
    /// answer about a key that this process has never read.
    ///
    /// Because callers cache the set, waits up to a second for a refresh that is due. If KMS has not responded by then,
    /// the earlier set is published.
    ///
    /// # Errors
    /// Fails if no key can be read.
    pub async fn published(&self, now: Timestamp) -> Result<(Arc<PublicKeys>, bool), KmsError> {
        let _late = tokio::time::timeout(LONGEST_REFRESH, self.all_public_keys(now)).await;
        self.get(now, KeyRing::published).await
    }

    /// Signs `claims` with the first KMS key. Signing does not need the other keys and never falls back to them.
    pub async fn sign(&self, claims: Claims, issuer: &TokenIssuer) -> Result<AccessKey, KmsError> {
        let key = self.get(clock::now(), KeyRing::signing).await;
        let key = key.inspect_err(|_| metrics::count(Metric::KmsFailed))?;
        let input = SigningInput::new(claims, issuer, &key.public_key)?;
        let signature = self.0.kms.sign(&key, input.as_bytes()).await?;
        input.signed(&signature, &key.public_key).map_err(|_| {
            metrics::count(Metric::KmsFailed);
            KmsError::Signature
        })
    }

    /// Returns the result of `find`. If `find` has no result, waits until a refresh provides one or ends.
    async fn get<T>(
        &self,
        now: Timestamp,
        find: impl Fn(&KeyRing) -> Option<T>,
    ) -> Result<T, KmsError> {
        self.start_if_due(now, |ring| find(ring).is_some());
        if let Some(found) = find(&self.0.ring.borrow()) {
            return Ok(found);
        }
        let mut ring = self.0.ring.subscribe();
        let is_over = |ring: &KeyRing| find(ring).is_some() || !ring.is_refreshing();
        match ring.wait_for(is_over).await {
            Ok(ring) => find(&ring).ok_or_else(|| KmsError::NoKey(ring.failure())),
            Err(_) => Err(KmsError::NoKey(None)),
        }
    }

    fn start_if_due(&self, now: Timestamp, has_key: impl Fn(&KeyRing) -> bool) {
        let is_due = |ring: &KeyRing| ring.is_due(now, has_key(ring));
        // Checks without the write lock first, because almost no request starts a refresh.
        if !is_due(&self.0.ring.borrow()) {
            return;
        }
        let starts = self.0.ring.send_if_modified(|ring| {
            let starts = is_due(ring);
            if starts {
                ring.start();
            }
            starts
        });
        if starts {
            // The refresh runs in a task of its own. If Lambda freezes the process after the response, the task
            // continues later.
            tokio::spawn(Arc::clone(&self.0).refresh(now));
        }
    }
}

impl Shared {
    /// Asks KMS about the names that are needed.
    async fn refresh(self: Arc<Self>, started: Timestamp) {
        let mut asked = 0;
        loop {
            let now = clock::now().max(started);
            let mut names = 0..0;
            self.ring
                .send_modify(|ring| names = ring.next_names(asked, now));
            if names.is_empty() {
                return;
            }
            asked = names.end;
            self.ask(names).await;
        }
    }

    /// Asks KMS about all of `names` concurrently, so that a slow response does not delay the others.
    async fn ask(self: &Arc<Self>, names: Range<usize>) {
        let mut requests = JoinSet::new();
        let all = self.names.iter().cloned().enumerate();
        for (index, name) in all.take(names.end).skip(names.start) {
            let shared = Arc::clone(self);
            requests.spawn(async move { (index, shared.public_key(&name).await) });
        }
        while let Some(finished) = requests.join_next().await {
            // An error means that a dependency panicked. In that case, the earlier answer is kept.
            if let Ok((index, answer)) = finished {
                self.ring.send_modify(|ring| ring.record(index, answer));
            }
        }
    }

    async fn public_key(&self, name: &str) -> Result<KmsKey, KmsError> {
        let answer = self.kms.public_key(name).await;
        if let Err(error) = &answer {
            tracing::warn!(
                kms.key = name,
                error.cause = telemetry::chain(error),
                "skipped a KMS key that cannot be read"
            );
            // A key that is gone does not count as a failure, because disabling a replaced key is part of rotation.
            if !error.is_gone() {
                metrics::count(Metric::KmsFailed);
            }
        }
        answer
    }
}
