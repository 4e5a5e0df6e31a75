//! Caches the records and owners of keys for callers who accept data of a limited age.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;

use crate::{
    model::{KeyHash, KeyRecord, Required, Timestamp, User},
    policy::{self, Grant, RefusalCode},
    process::config::{self, Environment},
    token::{AccessKey, VerifiedKey},
};

/// A verified key with its record and owner, as read from the table.
#[derive(Debug)]
pub(super) struct Lookup {
    pub key: VerifiedKey,
    pub record: Option<KeyRecord>,
    pub owner: Option<User>,
}

impl Lookup {
    /// Evaluates what the key permits at `now`.
    pub fn evaluate(&self, required: Required, now: Timestamp) -> Result<Grant, RefusalCode> {
        let (record, owner) = (self.record.as_ref(), self.owner.as_ref());
        policy::evaluate(&self.key, record, owner, required, now)
    }
}

/// The maximum number of keys in the cache. A key needs about 1 KB, or 4 KB if all its ids, names and reasons have
/// their maximum length. A full cache therefore needs about 4 MB, and never more than 16 MB, of the function's 256 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

type Lookups = LruCache<KeyHash, (Timestamp, Arc<Lookup>)>;

/// The latest lookup of each key, and the time at which the lookup began. A full cache evicts the least recently used
/// lookup.
///
/// Uses wall-clock time, because the monotonic clock may stop while Lambda freezes the process.
pub struct ValidationCache {
    bound: Duration,
    // A standard mutex, because it is never held across an await.
    lookups: Mutex<Lookups>,
}

impl ValidationCache {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self::new(config::max_staleness(environment))
    }

    /// Creates a cache that returns only data younger than `bound`.
    fn new(bound: Duration) -> Self {
        Self {
            bound,
            lookups: Mutex::new(LruCache::new(CAPACITY)),
        }
    }

    /// Returns the lookup of a key and the time at which the lookup began, if the lookup is younger than both
    /// `max_staleness` and the bound.
    pub(super) fn get(
        &self,
        key: &AccessKey,
        max_staleness: Duration,
        now: Timestamp,
    ) -> Option<(Timestamp, Arc<Lookup>)> {
        let max_age = max_staleness.min(self.bound);
        if max_age.is_zero() {
            return None;
        }
        let mut lookups = self.lookups();
        let (began, lookup) = lookups.get(&key.hash())?;
        // If a lookup began in the future, the clock was set back, and the age of the lookup is unknown. Both times are
        // rounded down to milliseconds, so the actual age is certain to be within the limit only if the computed age is
        // below the limit.
        let age = now.since(*began)?;
        // A validation that reads the table checks the signed expiry before any other reason for refusal, so the cache
        // must not return anything after that expiry.
        let is_expired = now >= lookup.key.claims().expires_at;
        (age < max_age && !is_expired).then(|| (*began, Arc::clone(lookup)))
    }

    /// Stores a lookup that began at `began`, replacing any earlier lookup of the key. If the table has no record of
    /// the key, or if no hash in the record matches the key, removes the key from the cache instead.
    ///
    /// A Lambda process handles one request at a time, so the lookup that is inserted last was also read last.
    pub(super) fn insert(&self, lookup: &Arc<Lookup>, began: Timestamp) {
        if self.bound.is_zero() {
            return;
        }
        let record = lookup.record.as_ref();
        let hash = lookup.key.hash();
        let generation = lookup.key.claims().generation;
        if record.is_some_and(|record| record.secret(hash, generation).is_some()) {
            self.lookups().put(hash, (began, Arc::clone(lookup)));
        } else {
            self.lookups().pop(&hash);
        }
    }

    fn lookups(&self) -> MutexGuard<'_, Lookups> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Permission, Principal, Revocation, Role,
        fixtures::{self, NOW, at},
    };
    use crate::token::Claims;

    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn key(text: &str) -> AccessKey {
        AccessKey::new(text.to_owned())
    }

    fn lookup() -> Lookup {
        let owner = fixtures::user("editor", Role::Editor);
        let record = fixtures::key(&owner, key("key").hash());
        Lookup {
            key: VerifiedKey::new(key("key").hash(), Claims::of(&record)),
            record: Some(record),
            owner: Some(owner),
        }
    }

    fn changed(change: impl FnOnce(&mut Lookup)) -> Lookup {
        let mut lookup = lookup();
        change(&mut lookup);
        lookup
    }

    fn revoked() -> Lookup {
        changed(|lookup| {
            lookup.record.as_mut().unwrap().revocation = Some(Revocation {
                at: at(0),
                by: Principal::system(),
                reason: None,
            });
        })
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    impl ValidationCache {
        /// Creates a cache with one lookup, which began at `NOW`.
        fn with(bound: Duration, lookup: Lookup) -> Self {
            let cache = Self::new(bound);
            cache.insert(&Arc::new(lookup), NOW);
            cache
        }

        fn has(&self, max_staleness: Duration, now: Timestamp) -> bool {
            self.get(&key("key"), max_staleness, now).is_some()
        }

        /// Returns the result at `now` for a caller who accepts data up to five minutes old.
        fn result(&self, required: Required, now: Timestamp) -> Option<Result<Grant, RefusalCode>> {
            let (_, lookup) = self.get(&key("key"), FIVE_MINUTES, now)?;
            Some(lookup.evaluate(required, now))
        }
    }

    #[test]
    fn cached_data_is_used_only_while_it_is_younger_than_allowed() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        for (max_staleness, age, is_used) in [
            (10, 0, true),
            (10, 9_999, true),
            (10, 10_000, false),
            (11, 10_000, true),
            (1, 999, true),
            (1, 1_000, false),
            (0, 0, false),
        ] {
            assert_eq!(
                cache.has(Duration::from_secs(max_staleness), NOW + millis(age)),
                is_used,
                "{max_staleness} {age}"
            );
        }
    }

    #[test]
    fn checked_at_is_the_second_in_which_the_read_began() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        let (checked_at, _) = cache
            .get(&key("key"), Duration::from_secs(10), NOW + millis(9_999))
            .unwrap();
        assert_eq!(checked_at.to_second(), at(0));
    }

    #[test]
    fn no_request_can_exceed_the_bound() {
        let cache = ValidationCache::with(Duration::from_secs(2), lookup());
        assert!(cache.has(Duration::MAX, NOW + millis(1_999)));
        assert!(!cache.has(Duration::MAX, NOW + millis(2_000)));
        assert!(!ValidationCache::with(Duration::ZERO, lookup()).has(Duration::MAX, NOW));
    }

    #[test]
    fn cached_data_from_the_future_is_not_used() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        assert!(!cache.has(FIVE_MINUTES, NOW - millis(1)));
        cache.insert(&Arc::new(revoked()), NOW - millis(5_000));
        assert_eq!(
            cache.result(Required::default(), NOW),
            Some(Err(RefusalCode::Revoked))
        );
    }

    #[test]
    fn a_later_read_replaces_an_earlier_one() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        cache.insert(&Arc::new(lookup()), NOW + millis(5_000));
        let (checked_at, _) = cache
            .get(&key("key"), Duration::from_secs(10), NOW + millis(14_999))
            .unwrap();
        assert_eq!(checked_at.to_second(), at(5));
    }

    #[test]
    fn a_key_that_was_read_as_revoked_or_gone_never_becomes_valid_again() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        cache.insert(&Arc::new(revoked()), NOW + millis(1));
        assert_eq!(
            cache.result(Required::default(), NOW + millis(1)),
            Some(Err(RefusalCode::Revoked))
        );

        for later in [
            changed(|lookup| lookup.record.as_mut().unwrap().hash = None),
            changed(|lookup| lookup.record.as_mut().unwrap().hash = Some(key("other").hash())),
            changed(|lookup| lookup.record = None),
        ] {
            let cache = ValidationCache::with(FIVE_MINUTES, lookup());
            cache.insert(&Arc::new(later), NOW + millis(1));
            assert!(!cache.has(FIVE_MINUTES, NOW + millis(1)));
        }
    }

    #[test]
    fn one_key_is_not_mistaken_for_another() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        assert!(cache.get(&key("kez"), FIVE_MINUTES, NOW).is_none());
    }

    #[test]
    fn a_cached_key_expires_on_time() {
        let end = at(10);
        let shortened = changed(|lookup| lookup.record.as_mut().unwrap().expires_at = end);
        let cache = ValidationCache::with(FIVE_MINUTES, shortened);
        assert!(
            cache
                .result(Required::default(), end - millis(1))
                .unwrap()
                .is_ok()
        );
        assert_eq!(
            cache.result(Required::default(), end),
            Some(Err(RefusalCode::Expired))
        );

        // A validation that reads the table checks the signed expiry first, so the cache returns nothing after that
        // expiry.
        let signed = changed(|lookup| {
            let mut claims = lookup.key.claims().clone();
            claims.expires_at = end;
            lookup.key = VerifiedKey::new(lookup.key.hash(), claims);
        });
        let cache = ValidationCache::with(FIVE_MINUTES, signed);
        assert!(
            cache
                .result(Required::default(), end - millis(1))
                .unwrap()
                .is_ok()
        );
        assert_eq!(cache.result(Required::default(), end), None);
    }

    #[test]
    fn permission_and_owner_are_evaluated_from_cached_data() {
        let cache = ValidationCache::with(FIVE_MINUTES, lookup());
        let result = cache.result(Permission::ClustersManage.into(), NOW);
        assert!(result.unwrap().is_ok());
        assert_eq!(
            cache.result(Permission::UsersManage.into(), NOW),
            Some(Err(RefusalCode::Forbidden))
        );

        let demoted = changed(|lookup| lookup.owner.as_mut().unwrap().role = Role::Viewer);
        let cache = ValidationCache::with(FIVE_MINUTES, demoted);
        assert_eq!(
            cache.result(Permission::ClustersManage.into(), NOW),
            Some(Err(RefusalCode::Forbidden))
        );

        let next_epoch = changed(|lookup| {
            let owner = lookup.owner.as_mut().unwrap();
            owner.epoch = owner.epoch.next(NOW);
        });
        let cache = ValidationCache::with(FIVE_MINUTES, next_epoch);
        assert_eq!(
            cache.result(Required::default(), NOW),
            Some(Err(RefusalCode::Revoked))
        );
    }

    #[test]
    fn the_least_recently_used_lookup_is_evicted() {
        let cache = ValidationCache::new(FIVE_MINUTES);
        let numbered = |n: usize| key(&n.to_string());
        for n in 0..=CAPACITY.get() {
            let lookup = changed(|lookup| {
                let claims = lookup.key.claims().clone();
                lookup.key = VerifiedKey::new(numbered(n).hash(), claims);
                lookup.record.as_mut().unwrap().hash = Some(numbered(n).hash());
            });
            cache.insert(&Arc::new(lookup), NOW);
            assert!(cache.get(&numbered(0), FIVE_MINUTES, NOW).is_some());
        }
        assert_eq!(cache.lookups().len(), CAPACITY.get());
        assert!(cache.get(&numbered(1), FIVE_MINUTES, NOW).is_none());
    }
}
