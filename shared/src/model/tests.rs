//! Tests that involve several types: epochs, revocations and the status of keys.

use std::time::Duration;

use super::{
    Epoch, KeyHash, KeyRecord, KeyStatus, Principal, Revocation, Role, Timestamp, User, UserId,
    fixtures::{self, NOW, at},
};

fn revoked_at(at: Timestamp) -> Revocation {
    Revocation::new(at, &"admin".parse::<UserId>().unwrap(), None)
}

fn revoked_for(reason: &str) -> Revocation {
    let reason = Some(reason.into());
    Revocation {
        reason,
        ..revoked_at(NOW)
    }
}

fn ended_by(user: &User, epoch: Epoch) -> Option<String> {
    user.revocation_of(epoch)?.reason
}

#[test]
fn epoch_numbers_increase_even_if_the_clock_is_set_back() {
    let first = Epoch::first(NOW);
    let second = first.next(at(-100));
    assert!(first < second && second < second.next(at(-200)));
    assert_eq!(first.next(at(100)), Epoch::first(at(100)));
    assert!(first.to_string() < second.to_string());
    assert_eq!(first.to_string().parse(), Ok(first));
    assert!(Epoch::try_from(u64::MAX).is_err());
}

#[test]
fn each_key_is_ended_by_the_first_revocation_after_its_creation() {
    let user = fixtures::user("editor", Role::Editor);
    let first = user.epoch;
    let user = user.in_next_epoch(revoked_for("one"), NOW);
    let second = user.epoch;
    let user = user.in_next_epoch(revoked_for("two"), NOW);
    assert_eq!(ended_by(&user, first).as_deref(), Some("one"));
    assert_eq!(ended_by(&user, second).as_deref(), Some("two"));
    assert_eq!(user.revocation_of(user.epoch), None);
    assert!(
        [first, second, user.epoch]
            .into_iter()
            .all(|epoch| user.knows_end_of(epoch))
    );
}

#[test]
fn a_revocation_that_is_no_longer_in_the_users_item_is_detected_as_missing() {
    let mut user = fixtures::user("editor", Role::Editor);
    let first = user.epoch;
    let mut epochs = vec![first];
    for n in 0..=16 {
        user = user.in_next_epoch(revoked_for(&n.to_string()), NOW);
        epochs.push(user.epoch);
    }
    assert!(!user.knows_end_of(first));
    assert!(epochs[1..].iter().all(|epoch| user.knows_end_of(*epoch)));
}

#[test]
fn creating_a_user_again_revokes_the_keys_of_the_earlier_user() {
    let before = fixtures::user("editor", Role::Editor);
    let user = User::new(&before.tenant_id, &before.user_id, Role::Editor, NOW);
    assert!(!user.knows_end_of(before.epoch));
    let end = user.revocation_of(before.epoch).unwrap();
    assert_eq!((end.at, end.by), (NOW, Principal::system()));
}

#[test]
fn a_key_is_shown_as_expired_or_revoked_whichever_happened_first() {
    let owner = fixtures::user("editor", Role::Editor);
    let key = fixtures::key(&owner, KeyHash::from([7; 32]));
    let end = key.expires_at;
    let (before, after) = (end - Duration::from_secs(1), end + Duration::from_secs(9));
    let revoked = |at| owner.clone().in_next_epoch(revoked_at(at), NOW);
    for (owner, now, status) in [
        (owner.clone(), before, KeyStatus::Active),
        (owner.clone(), end, KeyStatus::Expired),
        (revoked(before), before, KeyStatus::Revoked),
        (revoked(before), after, KeyStatus::Revoked),
        (revoked(end), after, KeyStatus::Expired),
        // The clock of the function that revoked the key was ahead.
        (revoked(after), before, KeyStatus::Revoked),
    ] {
        let snapshot = key.clone().snapshot(Some(&owner), now);
        assert_eq!(snapshot.status, status);
        let is_revoked = status == KeyStatus::Revoked;
        assert_eq!(snapshot.revocation.is_some(), is_revoked);
    }
}

#[test]
fn the_earlier_of_two_revocations_is_shown() {
    let owner = fixtures::user("editor", Role::Editor);
    let mut key = fixtures::key(&owner, KeyHash::from([7; 32]));
    key.revocation = Some(revoked_at(at(5)));
    let owner = owner.in_next_epoch(revoked_at(at(9)), NOW);
    let shown = |key: KeyRecord| key.snapshot(Some(&owner), at(10)).revocation.unwrap().at;
    assert_eq!(shown(key.clone()), at(5));
    key.revocation = Some(revoked_at(at(10)));
    assert_eq!(shown(key), at(9));
}
