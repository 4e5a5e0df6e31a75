//! What a process remembers of the keys it has read, for callers who accept an answer of some age.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

use super::Reading;
use crate::{
    clock::{self, Seconds},
    config::{self, Environment},
    key::KeyHash,
};

/// The most keys that are remembered. One costs about 1 KB, and 4 KB if every id, name and reason in it is of the
/// greatest length: 4 MB in all, and never more than 16 of the function's 256.
const CAPACITY: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(capacity) => capacity,
    None => NonZeroUsize::MIN,
};

type Readings = LruCache<KeyHash, (u64, Arc<Reading>)>;

/// The latest reading of each key, with the time at which it began; the least used make room.
///
/// Its clock is that of the wall: the monotonic one may stand still while Lambda has frozen the process.
pub struct Memory {
    bound: Seconds,
    // Never held across an await, so it need not be Tokio's.
    readings: Mutex<Readings>,
}

impl Memory {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self::new(config::max_staleness(environment))
    }

    /// A memory that answers with nothing older than `bound`.
    fn new(bound: Seconds) -> Self {
        Self {
            bound,
            readings: Mutex::new(LruCache::new(CAPACITY)),
        }
    }

    /// What was read of a key, and the second in which the reading began, if that is less than `max_staleness` ago.
    /// `now` is in milliseconds.
    pub(super) fn recall(
        &self,
        hash: &KeyHash,
        max_staleness: Seconds,
        now: u64,
    ) -> Option<(Seconds, Arc<Reading>)> {
        let oldest = u64::try_from(max_staleness.min(self.bound)).ok()? * 1000;
        let mut readings = self.readings();
        let (began, reading) = readings.get(hash)?;
        // A reading from the future was made before the clock was set back: its age is unknown. Both times are whole
        // milliseconds, so only an age below the limit is surely within it.
        let age = now.checked_sub(*began)?;
        // What was signed expires without a reading, and before all else that is wrong with the key.
        let is_over = clock::seconds(now) >= reading.claims.expires_at;
        (age < oldest && !is_over).then(|| (clock::seconds(*began), Arc::clone(reading)))
    }

    /// Replaces what is known of a key by a reading that began at `began`, in milliseconds. A key that the table does
    /// not have, or has another secret for, is forgotten.
    ///
    /// Lambda gives a process one request at a time, so what comes last was read last.
    pub(super) fn keep(&self, hash: KeyHash, reading: &Arc<Reading>, began: u64) {
        if self.bound == 0 {
            return;
        }
        if reading
            .record
            .as_ref()
            .is_some_and(|record| record.hash == Some(hash))
        {
            self.readings().put(hash, (began, Arc::clone(reading)));
        } else {
            self.readings().pop(&hash);
        }
    }

    fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::KeyId,
        key::{AccessKey, Claims},
        operations::validate::{Code, Grant},
        record::{KeyRecord, Revocation, User, UserStatus},
        role::{Permission, Role},
    };

    /// In milliseconds, and not at the beginning of a second.
    const NOW: u64 = 1_800_000_000_700;
    const AT: Seconds = 1_800_000_000;

    fn hash(text: &str) -> KeyHash {
        AccessKey::new(text.to_owned()).hash()
    }

    fn reading() -> Reading {
        let claims = Claims {
            tenant_id: "acme".parse().unwrap(),
            user_id: "editor".parse().unwrap(),
            key_id: KeyId::new().unwrap(),
            role: Role::Editor,
            max_clusters: 3,
            issued_at: AT - 60,
            expires_at: AT + 1000,
        };
        let record = KeyRecord {
            tenant_id: claims.tenant_id.clone(),
            user_id: claims.user_id.clone(),
            key_id: claims.key_id,
            name: "ci".into(),
            role: claims.role,
            max_clusters: 3,
            signed_max_clusters: 3,
            clusters_used: 0,
            created_at: claims.issued_at,
            created_by: claims.user_id.clone(),
            expires_at: claims.expires_at,
            epoch: 0,
            revocation: None,
            last_used_at: None,
            hash: Some(hash("key")),
        };
        let owner = User {
            tenant_id: claims.tenant_id.clone(),
            user_id: claims.user_id.clone(),
            role: Role::Editor,
            status: UserStatus::Active,
            email: None,
            name: None,
            created_at: claims.issued_at,
            last_sign_in_at: None,
            epoch: 0,
            revocations: Vec::new(),
        };
        Reading {
            claims,
            record: Some(record),
            owner: Some(owner),
        }
    }

    fn revoked() -> Reading {
        let mut reading = reading();
        let revocation = Revocation {
            at: AT,
            by: "editor".into(),
            reason: None,
        };
        reading.record.as_mut().unwrap().revocation = Some(revocation);
        reading
    }

    impl Memory {
        /// A memory with one reading, begun at `NOW`.
        fn with(bound: Seconds, reading: Reading) -> Self {
            let memory = Self::new(bound);
            memory.hear(reading, NOW);
            memory
        }

        fn hear(&self, reading: Reading, began: u64) {
            self.keep(hash("key"), &Arc::new(reading), began);
        }

        fn recalls(&self, max_staleness: Seconds, now: u64) -> bool {
            self.recall(&hash("key"), max_staleness, now).is_some()
        }

        /// The verdict at `now` of what is remembered for five minutes.
        fn verdict(&self, permission: Option<Permission>, now: u64) -> Option<Result<Grant, Code>> {
            let (_, reading) = self.recall(&hash("key"), 300, now)?;
            Some(reading.judge(hash("key"), permission, clock::seconds(now)))
        }
    }

    #[test]
    fn nothing_is_recalled_at_the_age_that_was_allowed_or_later() {
        let memory = Memory::with(300, reading());
        for (max_staleness, now, recalled) in [
            (10, NOW, true),
            (10, NOW + 9_999, true),
            (10, NOW + 10_000, false),
            (11, NOW + 10_000, true),
            (1, NOW + 999, true),
            (1, NOW + 1_000, false),
            (0, NOW, false),
            (-1, NOW, false),
        ] {
            assert_eq!(
                memory.recalls(max_staleness, now),
                recalled,
                "{max_staleness} {now}"
            );
        }
    }

    #[test]
    fn the_age_is_stated_from_the_second_in_which_the_reading_began() {
        let memory = Memory::with(300, reading());
        let (at, _) = memory.recall(&hash("key"), 10, NOW + 9_999).unwrap();
        assert_eq!(at, AT);
    }

    #[test]
    fn no_request_gets_past_the_bound() {
        let memory = Memory::with(2, reading());
        assert!(memory.recalls(Seconds::MAX, NOW + 1_999));
        assert!(!memory.recalls(Seconds::MAX, NOW + 2_000));
        assert!(!Memory::with(0, reading()).recalls(Seconds::MAX, NOW));
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_nothing() {
        let memory = Memory::with(300, reading());
        assert!(!memory.recalls(300, NOW - 1));
        memory.hear(revoked(), NOW - 5_000);
        assert_eq!(memory.verdict(None, NOW), Some(Err(Code::Revoked)));
    }

    #[test]
    fn a_later_reading_takes_the_place_of_an_earlier_one() {
        let memory = Memory::with(300, reading());
        memory.hear(reading(), NOW + 5_000);
        let (at, _) = memory.recall(&hash("key"), 10, NOW + 14_999).unwrap();
        assert_eq!(at, AT + 5);
    }

    #[test]
    fn what_was_seen_revoked_or_gone_never_comes_back() {
        let memory = Memory::with(300, reading());
        memory.hear(revoked(), NOW + 1);
        assert_eq!(memory.verdict(None, NOW + 1), Some(Err(Code::Revoked)));

        let without_hash = || {
            let mut reading = reading();
            reading.record.as_mut().unwrap().hash = None;
            reading
        };
        let with_another_secret = || {
            let mut reading = reading();
            reading.record.as_mut().unwrap().hash = Some(hash("another"));
            reading
        };
        let gone = || Reading {
            record: None,
            ..reading()
        };
        for later in [without_hash(), with_another_secret(), gone()] {
            let memory = Memory::with(300, reading());
            memory.hear(later, NOW + 1);
            assert!(!memory.recalls(300, NOW + 1));
        }
    }

    #[test]
    fn one_key_is_not_taken_for_another() {
        let memory = Memory::with(300, reading());
        assert!(memory.recall(&hash("kez"), 300, NOW).is_none());
    }

    #[test]
    fn a_remembered_key_expires_to_the_second() {
        let end = (AT + 10) as u64 * 1000;
        let mut shortened = reading();
        shortened.record.as_mut().unwrap().expires_at = AT + 10;
        let memory = Memory::with(300, shortened);
        assert!(memory.verdict(None, end - 1).unwrap().is_ok());
        assert_eq!(memory.verdict(None, end), Some(Err(Code::Expired)));

        // By its signature, which is what a reading would begin with: nothing is left to be recalled.
        let mut signed = reading();
        signed.claims.expires_at = AT + 10;
        let memory = Memory::with(300, signed);
        assert!(memory.verdict(None, end - 1).unwrap().is_ok());
        assert_eq!(memory.verdict(None, end), None);
    }

    #[test]
    fn what_is_asked_and_who_owns_it_is_judged_by_what_is_remembered() {
        let memory = Memory::with(300, reading());
        assert!(
            memory
                .verdict(Some(Permission::ClustersManage), NOW)
                .unwrap()
                .is_ok()
        );
        assert_eq!(
            memory.verdict(Some(Permission::UsersManage), NOW),
            Some(Err(Code::Forbidden))
        );

        let mut demoted = reading();
        demoted.owner.as_mut().unwrap().role = Role::Viewer;
        let memory = Memory::with(300, demoted);
        assert_eq!(
            memory.verdict(Some(Permission::ClustersManage), NOW),
            Some(Err(Code::Forbidden))
        );

        let mut epoch = reading();
        epoch.owner.as_mut().unwrap().epoch = 1;
        assert_eq!(
            Memory::with(300, epoch).verdict(None, NOW),
            Some(Err(Code::Revoked))
        );
    }

    #[test]
    fn the_least_used_make_room() {
        let memory = Memory::new(300);
        let key = |n: usize| hash(&n.to_string());
        for n in 0..=CAPACITY.get() {
            let mut reading = reading();
            reading.record.as_mut().unwrap().hash = Some(key(n));
            memory.keep(key(n), &Arc::new(reading), NOW);
            assert!(memory.recall(&key(0), 300, NOW).is_some());
        }
        assert_eq!(memory.readings().len(), CAPACITY.get());
        assert!(memory.recall(&key(1), 300, NOW).is_none());
    }
}
