//! The KMS keys that a process has read, and the rules for when it asks KMS for them again. Does no I/O.

use std::{collections::HashSet, ops::Range, sync::Arc, time::Duration};

use super::{
    kms::{KmsError, KmsKey},
    public_keys::PublicKeys,
};
use crate::model::Timestamp;

/// The age at which the keys are refreshed.
const REFRESH_AFTER: Duration = Duration::from_secs(300);
/// How long a failure is remembered. During a KMS outage, a process therefore starts at most one refresh per second.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The latest answer from KMS about one of the configured names.
#[derive(Debug, Clone)]
enum Answer {
    Found(Arc<KmsKey>),
    /// The key is disabled, deleted or about to be deleted.
    Gone,
    /// The key cannot be read or used, but KMS did not report it as gone.
    Refused,
    /// KMS gave no usable answer.
    Missing,
}

/// The KMS keys that the configured names refer to. Each name is a key id, an ARN or an alias. The key of the first
/// name signs access keys, and the keys of all names verify them.
///
/// Usually, all names refer to the same key. A process therefore asks KMS only about the first name until it needs the
/// others.
#[derive(Debug)]
pub(super) struct KeyRing {
    answers: Vec<Answer>,
    needs_all: bool,
    /// Each key with the index of its name, in the order of the names. If a name now points to a different key, the new
    /// key precedes the old one, which is kept until a refresh has received an answer for every name.
    keys: Vec<(usize, Arc<KmsKey>)>,
    public_keys: Arc<PublicKeys>,
    /// The reason why a key could not be read in the latest refresh, if any.
    failure: Option<Arc<KmsError>>,
    is_refreshing: bool,
    refreshed_at: Option<Timestamp>,
}

impl KeyRing {
    pub(super) fn new(names: usize) -> Self {
        Self {
            answers: vec![Answer::Missing; names],
            needs_all: false,
            keys: Vec::new(),
            public_keys: Arc::default(),
            failure: None,
            is_refreshing: false,
            refreshed_at: None,
        }
    }

    /// Whether it is time to ask KMS again. `has_key` states whether the process already has the key that the request
    /// needs.
    pub(super) fn is_due(&self, now: Timestamp, has_key: bool) -> bool {
        let wait = if has_key && self.is_answered() {
            REFRESH_AFTER
        } else {
            RETRY_AFTER
        };
        // `now` may be slightly earlier than `at` if the request read the clock shortly before the refresh ended. A
        // larger difference means that the clock was set back.
        let is_old = |at: Timestamp| match now.since(at) {
            Some(age) => age >= wait,
            None => at.since(now).is_some_and(|ahead| ahead >= RETRY_AFTER),
        };
        !self.is_refreshing && self.refreshed_at.is_none_or(is_old)
    }

    pub(super) const fn needs_all(&self) -> bool {
        self.needs_all
    }

    /// Records that the keys behind all names are needed from now on. If a refresh is already running, it then asks
    /// about all names. Otherwise, a refresh becomes due.
    pub(super) const fn need_all(&mut self) {
        if !self.needs_all {
            self.needs_all = true;
            self.refreshed_at = None;
        }
    }

    pub(super) fn start(&mut self) {
        self.is_refreshing = true;
        self.failure = None;
    }

    /// Returns the names that remain for a refresh that has already asked KMS about the first `asked` names. If none
    /// remain, ends the refresh and, if KMS has answered about every needed name, drops the keys that no name refers to
    /// any more.
    pub(super) fn next_names(&mut self, asked: usize, now: Timestamp) -> Range<usize> {
        let needed = self.needed();
        if asked >= needed {
            self.finish(now);
        }
        asked..needed
    }

    /// Returns the number of names that a refresh asks KMS about: all of them, or only the first.
    fn needed(&self) -> usize {
        if self.needs_all {
            self.answers.len()
        } else {
            self.answers.len().min(1)
        }
    }

    /// Records KMS's answer about a name. Afterwards, the keys of all names are needed if the first name has no key, or
    /// if the recorded name refers to a different key than before.
    pub(super) fn record(&mut self, name: usize, answer: Result<KmsKey, KmsError>) {
        let answer = match answer {
            Ok(key) => {
                let key = Arc::new(key);
                let is_other =
                    |(n, known): &(usize, Arc<KmsKey>)| *n == name && known.arn != key.arn;
                self.needs_all |= self.keys.iter().any(is_other);
                self.keys
                    .retain(|(n, known)| *n != name || known.arn != key.arn);
                self.keys.insert(0, (name, key.clone()));
                self.keys.sort_by_key(|(n, _)| *n);
                Answer::Found(key)
            }
            Err(error) => {
                let is_gone = error.is_gone();
                let is_refusal = error.is_refusal();
                self.failure = Some(Arc::new(error));
                if is_gone {
                    self.keys.retain(|(n, _)| *n != name);
                    Answer::Gone
                } else if is_refusal {
                    Answer::Refused
                } else {
                    Answer::Missing
                }
            }
        };
        if let Some(known) = self.answers.get_mut(name) {
            *known = answer;
        }
        self.needs_all |= self.signing().is_none();
        self.update_public_keys();
    }

    fn finish(&mut self, ended: Timestamp) {
        if self.is_answered() {
            let answers = &self.answers;
            self.keys.retain(|(n, key)| match answers.get(*n) {
                Some(Answer::Found(found)) => found.arn == key.arn,
                answer => matches!(answer, Some(Answer::Refused)),
            });
            self.update_public_keys();
        }
        self.is_refreshing = false;
        self.refreshed_at = Some(ended);
    }

    /// Updates the public keys. A key that several names refer to appears only once.
    fn update_public_keys(&mut self) {
        let mut arns = HashSet::new();
        let keys = self.keys.iter().map(|(_, key)| key);
        let keys = keys.filter(|key| arns.insert(key.arn.as_str()));
        let keys = keys.map(|key| key.public_key.clone()).collect();
        self.public_keys = Arc::new(PublicKeys::new(keys));
    }

    pub(super) const fn is_refreshing(&self) -> bool {
        self.is_refreshing
    }

    /// Whether KMS has answered about every name that is needed. A refusal counts as an answer.
    pub(super) fn is_answered(&self) -> bool {
        let is_missing = |answer: &Answer| matches!(answer, Answer::Missing);
        !self.answers.iter().take(self.needed()).any(is_missing)
    }

    /// Whether, for every name, KMS has answered or a key was read earlier.
    fn is_complete(&self) -> bool {
        let is_known = |name| self.keys.iter().any(|(n, _)| *n == name);
        let mut answers = self.answers.iter().enumerate();
        answers.all(|(name, answer)| !matches!(answer, Answer::Missing) || is_known(name))
    }

    /// Returns the public keys, if there are any.
    pub(super) fn public_keys(&self) -> Option<Arc<PublicKeys>> {
        (!self.keys.is_empty()).then(|| Arc::clone(&self.public_keys))
    }

    /// Returns the public keys to publish, and whether they are complete. Returns `None` if there are no keys, or while
    /// a running refresh can still complete them.
    pub(super) fn published(&self) -> Option<(Arc<PublicKeys>, bool)> {
        let is_complete = self.is_complete();
        let keys = self.public_keys()?;
        (is_complete || !self.is_refreshing).then_some((keys, is_complete))
    }

    /// Returns the signing key, which is always the key of the first name.
    pub(super) fn signing(&self) -> Option<Arc<KmsKey>> {
        let (name, key) = self.keys.first()?;
        (*name == 0).then(|| Arc::clone(key))
    }

    /// Returns the reason why a key could not be read in the latest refresh, if any.
    pub(super) fn failure(&self) -> Option<Arc<KmsError>> {
        self.failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::error::SdkError;
    use p256::{ecdsa::SigningKey, pkcs8::EncodePublicKey};

    use super::*;
    use crate::{
        model::fixtures::{NOW, at},
        token::public_keys::PublicKey,
    };

    /// Returns a key whose ARN and public key are derived from `number`.
    fn found(number: u8) -> Result<KmsKey, KmsError> {
        let key = SigningKey::from_slice(&[number; 32]).unwrap();
        let spki = key.verifying_key().to_public_key_der().unwrap();
        Ok(KmsKey {
            arn: number.to_string(),
            public_key: PublicKey::from_spki(spki.as_bytes()).unwrap(),
        })
    }

    fn unreachable() -> Result<KmsKey, KmsError> {
        let timeout = SdkError::timeout_error("timeout");
        Err(KmsError::PublicKey("name".into(), Box::new(timeout)))
    }

    fn refused() -> Result<KmsKey, KmsError> {
        Err(KmsError::NoArn("name".into()))
    }

    type Answers = Vec<Result<KmsKey, KmsError>>;

    fn refresh(ring: &mut KeyRing, second: i64, answers: Answers) {
        let names = answers.len();
        ring.need_all();
        ring.start();
        for (name, answer) in answers.into_iter().enumerate() {
            ring.record(name, answer);
        }
        assert!(ring.next_names(names, at(second)).is_empty());
    }

    fn refreshed(answers: Answers) -> KeyRing {
        let mut ring = KeyRing::new(answers.len());
        refresh(&mut ring, 0, answers);
        ring
    }

    fn arns(ring: &KeyRing) -> Vec<&str> {
        let keys = ring.keys.iter();
        keys.map(|(_, key)| key.arn.as_str()).collect()
    }

    /// Returns the number of published keys.
    fn published(ring: &KeyRing) -> usize {
        let (keys, _) = ring.published().unwrap();
        let set = serde_json::to_string(&keys.jwks()).unwrap();
        set.matches("kid").count()
    }

    #[test]
    fn a_refresh_is_due_at_the_start_and_then_after_five_minutes() {
        let mut ring = KeyRing::new(1);
        assert!(ring.is_due(NOW, false));
        ring.start();
        assert!(!ring.is_due(NOW, false));
        ring.record(0, found(1));
        assert!(ring.next_names(1, at(0)).is_empty());
        for (second, is_due) in [(0, false), (299, false), (300, true), (-1, true)] {
            assert_eq!(ring.is_due(at(second), true), is_due, "{second}");
        }
        let before = at(-1) + Duration::from_millis(1);
        assert!(!ring.is_due(before, true));
    }

    #[test]
    fn a_failure_is_remembered_for_a_second() {
        let unreachable = refreshed(vec![found(1), unreachable()]);
        let without_key = refreshed(vec![refused()]);
        for (ring, has_key) in [(unreachable, true), (without_key, false)] {
            assert!(!ring.is_due(at(0) + Duration::from_millis(999), has_key));
            assert!(ring.is_due(at(1), has_key));
        }
        // After a refusal, KMS would only refuse again, so the refresh is not repeated early.
        let ring = refreshed(vec![found(1), refused()]);
        assert!(!ring.is_due(at(299), true));
    }

    /// Returns the number of names that the next refresh asks KMS about when KMS answers `first` for the first name.
    fn names(ring: &mut KeyRing, now: Timestamp, first: Result<KmsKey, KmsError>) -> usize {
        ring.start();
        assert_eq!(ring.next_names(0, now).start, 0);
        ring.record(0, first);
        ring.next_names(1, now).end
    }

    #[test]
    fn only_the_first_name_is_asked_about_until_the_others_are_needed() {
        let mut ring = KeyRing::new(5);
        assert_eq!(names(&mut ring, at(0), found(1)), 1);
        assert!(!ring.is_refreshing() && ring.is_answered());
        assert_eq!(names(&mut ring, at(300), found(1)), 1);
        assert!(!ring.is_due(at(300), true));
        ring.need_all();
        assert!(ring.is_due(at(300), true));
        assert_eq!(names(&mut ring, at(300), found(1)), 5);
        assert!(ring.is_refreshing() && !ring.is_answered());
    }

    #[test]
    fn a_new_or_missing_signing_key_makes_the_other_keys_needed() {
        // Once the first key has been read, a failure to read it again does not make the other keys needed.
        for (second, expected) in [(found(2), 5), (unreachable(), 1), (refused(), 1)] {
            let mut ring = KeyRing::new(5);
            assert_eq!(names(&mut ring, at(0), found(1)), 1);
            assert_eq!(names(&mut ring, at(300), second), expected);
        }
        for first in [unreachable(), refused()] {
            assert_eq!(names(&mut KeyRing::new(5), at(0), first), 5);
        }
    }

    #[test]
    fn a_refresh_that_is_running_asks_about_all_names_when_they_are_needed() {
        let mut ring = KeyRing::new(5);
        ring.start();
        assert_eq!(ring.next_names(0, NOW), 0..1);
        ring.need_all();
        assert!(!ring.is_due(NOW, true));
        ring.record(0, found(1));
        assert_eq!(ring.next_names(1, NOW), 1..5);
    }

    #[test]
    fn two_names_of_one_key_count_once() {
        let ring = refreshed(vec![found(1), found(2), found(1)]);
        assert_eq!(published(&ring), 2);
    }

    #[test]
    fn a_key_that_was_read_stays_until_kms_says_that_it_is_gone() {
        let mut ring = refreshed(vec![found(1), found(2)]);
        refresh(&mut ring, 300, vec![unreachable(), refused()]);
        assert_eq!(arns(&ring), ["1", "2"]);
        let is_complete = ring.published().map(|(_, is_complete)| is_complete);
        assert_eq!(is_complete, Some(true));
    }

    #[test]
    fn the_old_key_of_an_alias_stays_until_every_alias_is_known() {
        // A rotation moves both aliases, but the key of the second alias cannot be read.
        let mut ring = refreshed(vec![found(1), found(9)]);
        for second in [300, 301] {
            refresh(&mut ring, second, vec![found(2), unreachable()]);
            assert_eq!(arns(&ring), ["2", "1", "9"]);
        }
        refresh(&mut ring, 302, vec![found(2), found(1)]);
        assert_eq!(arns(&ring), ["2", "1"]);
        // A refusal counts as an answer, so the keys that no name refers to, which may be disabled by now, are dropped.
        refresh(&mut ring, 602, vec![found(3), refused()]);
        assert_eq!(arns(&ring), ["3", "1"]);
    }

    #[test]
    fn only_the_first_name_signs() {
        let signing = |answers| refreshed(answers).signing().map(|key| key.arn.clone());
        let first = signing(vec![found(1), found(2)]);
        assert_eq!(first.as_deref(), Some("1"));
        assert_eq!(signing(vec![refused(), found(2)]), None);
        assert_eq!(signing(vec![unreachable(), found(2)]), None);
    }

    #[test]
    fn keys_can_be_used_as_soon_as_they_are_read_but_are_published_together() {
        let mut ring = KeyRing::new(2);
        ring.need_all();
        ring.start();
        ring.record(0, found(1));
        assert!(ring.public_keys().is_some() && ring.signing().is_some());
        assert!(ring.published().is_none());
        ring.record(1, unreachable());
        assert!(ring.published().is_none());
        assert!(ring.next_names(2, NOW).is_empty());
        let published = ring.published();
        assert_eq!(published.map(|(_, is_complete)| is_complete), Some(false));
    }
}
