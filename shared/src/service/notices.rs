//! Writes notices about keys that will expire soon, have expired or are no longer used. Each notice is an entry of the
//! audit trail and becomes an event. This module can also revoke keys that stay unused.
//!
//! Each key has a time at which this module checks it next (`due_at`). A new key is due immediately. Each check writes
//! the notices that are due and the time of the next check in one transaction, so that two runs never write the same
//! notice.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    model::{
        Action, AuditEntry, KeyRecord, KeyStatus, Origin, Principal, Revocation, Target, Timestamp,
        User,
    },
    process::{
        clock,
        config::NoticeSettings,
        events,
        metrics::{self, Metric},
        telemetry,
    },
    store::{DueKey, Store, StoreError},
};

/// How late a notice may be: the maximum time between the moment when the notice becomes due and the scheduled time of
/// the run that writes it. Notices that would be later than this are left out. The documentation of `GET /v1/audit`
/// promises that an entry is written at most 25 hours late. The template therefore ensures that a run ends within an
/// hour of its scheduled time.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// The maximum time between two checks of a key. A change to the settings can therefore take this long to take effect
/// for a key.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);
/// How many days a run looks back for keys that earlier runs have missed.
const DAYS: u32 = 8;

/// Whether a live key has dropped out of the schedule, so that no run will ever check it.
pub(super) fn is_lost(key: &KeyRecord, now: Timestamp) -> bool {
    key.due_at.is_none_or(|at| at + LONGEST_WAIT < now)
}

/// Returns the `due_at` of a key whose notices must be planned again. This time is 24 hours in the past, so that the
/// next run also writes the notices of the last 24 hours.
pub(super) fn due_again(now: Timestamp) -> Timestamp {
    now - PATIENCE
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct NoticeReport {
    pub keys_checked: usize,
    pub notices: usize,
    pub revoked: usize,
    /// Keys that the index lists as due, but that are damaged or no longer exist.
    pub unreadable: usize,
    /// Keys and parts of the index that are left for the next run, because a request to the table failed.
    pub failed: usize,
}

impl NoticeReport {
    fn add(&mut self, other: Self) {
        self.keys_checked += other.keys_checked;
        self.notices += other.notices;
        self.revoked += other.revoked;
        self.unreadable += other.unreadable;
        self.failed += other.failed;
    }
}

/// Checks all keys that are due at `now`, the scheduled time of the run. A failure affects only one key or one part of
/// the index, and the run continues with the others. It is safe to repeat runs, to let them overlap, or to miss them
/// for up to a day.
pub async fn write_notices(
    store: &Store,
    settings: &NoticeSettings,
    now: Timestamp,
) -> NoticeReport {
    let mut shards = JoinSet::new();
    for shard in 0..Target::SHARDS {
        let run = Run {
            store: store.clone(),
            settings: settings.clone(),
            now,
        };
        shards.spawn(async move { run.shard(shard).await });
    }
    let mut report = NoticeReport::default();
    while let Some(finished) = shards.join_next().await {
        // An error means that a dependency panicked.
        let failed = NoticeReport {
            failed: 1,
            ..NoticeReport::default()
        };
        report.add(finished.unwrap_or(failed));
    }
    report
}

struct Run {
    store: Store,
    settings: NoticeSettings,
    now: Timestamp,
}

impl Run {
    async fn shard(&self, shard: u8) -> NoticeReport {
        let mut report = NoticeReport::default();
        for days in (0..DAYS).rev() {
            let day = (self.now - Duration::from_secs(86_400) * days).day();
            if let Err(error) = self.day((&day, shard), &mut report).await {
                report.failed += 1;
                tracing::error!(
                    due.day = day,
                    due.shard = shard,
                    error.cause = telemetry::chain(&error),
                    "could not read which keys are due"
                );
            }
        }
        report
    }

    async fn day(&self, part: (&str, u8), report: &mut NoticeReport) -> Result<(), StoreError> {
        let mut due = self.store.due_keys(part, None, self.now).await?;
        while let Some(last) = due.last() {
            let (keys, owners) = self.store.keys_and_owners(&due).await?;
            report.unreadable += due.len() - keys.len();
            for key in keys.into_iter().filter(|key| is_listed(key, &due)) {
                let mut owners = owners.iter();
                let owner = owners.find(|owner| {
                    (&owner.tenant_id, &owner.user_id) == (&key.tenant_id, &key.user_id)
                });
                self.key(key, owner, report).await;
            }
            due = self.store.due_keys(part, Some(last), self.now).await?;
        }
        Ok(())
    }

    /// Checks a key. Logs a failure instead of returning it.
    async fn key(&self, key: KeyRecord, owner: Option<&User>, report: &mut NoticeReport) {
        report.keys_checked += 1;
        let plan = plan(&key, owner, &self.settings, self.now);
        let done = if plan.revoke {
            self.revoke(&key, report).await
        } else {
            self.write(&key, &plan, report).await
        };
        if let Err(error) = done {
            report.failed += 1;
            tracing::error!(
                tenant.id = %key.tenant_id,
                user.id = %key.user_id,
                key.id = %key.key_id,
                error.cause = telemetry::chain(&error),
                "could not write the notices about the access key"
            );
        }
    }

    async fn write(
        &self,
        key: &KeyRecord,
        plan: &Plan,
        report: &mut NoticeReport,
    ) -> Result<(), StoreError> {
        let notices = plan.notices.iter();
        let notices: Vec<_> = notices
            .map(|(action, at)| notice(key, *action, *at))
            .collect();
        let next = KeyRecord {
            due_at: plan.next,
            unused_reported_at: plan.reported_at,
            ..key.clone()
        };
        if self.store.write_notices(key, &next, &notices).await? {
            report.notices += notices.len();
            for notice in notices {
                metrics::count(Metric::Notice(notice.action.as_str()));
            }
        }
        Ok(())
    }

    /// Revokes a key that is still unused. The key stays due, and the next run finds that it was either revoked or
    /// used.
    async fn revoke(&self, key: &KeyRecord, report: &mut NoticeReport) -> Result<(), StoreError> {
        let idle = self.now.since(key.idle_since()).unwrap_or_default();
        let reason = Some(format!("not used for {} days", idle.as_secs() / 86_400));
        // A revocation is recorded at the actual time, not the scheduled one, because the run may be late and the key
        // was valid until now.
        let now = clock::now();
        let revocation = Revocation::new(now, Principal::system(), reason);
        let about = (
            Action::AccessKeyRevoked,
            Target::key(key.key_id, &key.user_id),
        );
        let by = revocation.by.clone();
        let entry = AuditEntry::new(&key.tenant_id, by, &Origin::default(), about, now)
            .because(revocation.reason.clone());
        let store = &self.store;
        if store
            .revoke_unused_key(key, &revocation, now, &entry)
            .await?
        {
            report.revoked += 1;
            tracing::info!(
                event.name = events::ACCESS_KEY_REVOKED,
                actor = %revocation.by,
                tenant.id = %key.tenant_id,
                user.id = %key.user_id,
                key.id = %key.key_id,
                "revoked the unused access key"
            );
            metrics::count(Metric::Revoked("unused"));
        }
        Ok(())
    }
}

/// Whether the key is still due at the time in the index, which may lag behind the table.
fn is_listed(key: &KeyRecord, due: &[DueKey]) -> bool {
    due.iter().any(|entry| {
        let (tenant, user) = (&entry.tenant_id, &entry.user_id);
        (tenant, user, entry.key_id) == (&key.tenant_id, &key.user_id, key.key_id)
            && key.due_at == Some(entry.at)
    })
}

/// Returns a notice that became due at `at`.
fn notice(key: &KeyRecord, action: Action, at: Timestamp) -> AuditEntry {
    let (by, origin) = (Principal::system(), Origin::default());
    let about = (action, Target::key(key.key_id, &key.user_id));
    let entry = AuditEntry::new(&key.tenant_id, by, &origin, about, at)
        .with_detail("name", Some(key.name.as_str()))
        .with_detail("expires_at", Some(key.expires_at))
        .with_detail("last_used_at", key.last_used_at);
    AuditEntry {
        recorded_at: Some(clock::now()),
        ..entry
    }
}

/// What to do about a key now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The notices that are due, and when each of them became due.
    notices: Vec<(Action, Timestamp)>,
    /// When the key was reported as unused. Absent if there is no such report or the report no longer applies.
    reported_at: Option<Timestamp>,
    /// Whether to revoke the key. If true, `notices` is empty.
    revoke: bool,
    /// When to check the key next.
    next: Option<Timestamp>,
}

fn plan(key: &KeyRecord, owner: Option<&User>, settings: &NoticeSettings, now: Timestamp) -> Plan {
    if key.status(owner, now) == KeyStatus::Revoked {
        return Plan::default();
    }
    let is_over = now >= key.expires_at;
    let is_due = |at: Timestamp| at <= now && now <= at + PATIENCE;
    let mut times = expiry_notices(key, settings);
    // The previous check handled everything before `due_at`, which is the time that it set for this check.
    times.retain(|(_, at)| key.due_at.is_none_or(|due| *at >= due));
    // The keys of an inactive owner cannot be used, so they are not treated as unused. After the owner is reactivated,
    // a key is reported again before it is revoked.
    let is_usable = owner.is_some_and(User::is_active);
    let unused_after = settings.unused_after.filter(|_| is_usable);
    let unused_at = unused_after.map(|after| key.idle_since() + after);
    let mut reported_at = key
        .unused_reported_at
        .filter(|at| unused_at.is_some() && *at > key.idle_since());
    if reported_at.is_none()
        && let Some(at) = unused_at
    {
        // If the settings are new, this time may be long past.
        let at = if at + PATIENCE < now { now } else { at };
        times.push((Action::AccessKeyUnused, at));
        reported_at = Some(now).filter(|_| is_due(at));
    }
    let revoke_at = reported_at
        .zip(unused_at)
        .map(|(reported_at, unused_at)| reported_at.max(unused_at))
        .zip(settings.revoke_unused_after)
        .map(|(at, after)| at + after);
    if !is_over && revoke_at.is_some_and(|at| at <= now) {
        return Plan {
            revoke: true,
            ..Plan::default()
        };
    }
    let later = times.iter().map(|(_, at)| *at).chain(revoke_at);
    let later = later.filter(|at| *at > now).chain([now + LONGEST_WAIT]);
    let next = later.min().filter(|_| !is_over);
    times.retain(|(action, at)| is_due(*at) && is_over == (*action == Action::AccessKeyExpired));
    Plan {
        notices: times,
        reported_at,
        revoke: false,
        next,
    }
}

/// Returns the notices about the expiry of a key, each with the time at which it becomes due.
fn expiry_notices(key: &KeyRecord, settings: &NoticeSettings) -> Vec<(Action, Timestamp)> {
    let issued_at = key.rotated_at.unwrap_or(key.created_at);
    let lifetime = key.expires_at.since(issued_at).unwrap_or_default();
    let marks = settings.before_expiry.iter();
    marks
        .filter(|mark| **mark * 2 <= lifetime)
        .map(|mark| (Action::AccessKeyExpiring, key.expires_at - *mark))
        .chain([(Action::AccessKeyExpired, key.expires_at)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Role, UserStatus,
        fixtures::{self, at},
    };

    const DAY: i64 = 86_400;

    fn settings(unused_after: u64, revoke_after: u64) -> NoticeSettings {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        NoticeSettings {
            before_expiry: [5, 3, 1].map(days).into(),
            unused_after: Some(unused_after).filter(|days| *days > 0).map(days),
            revoke_unused_after: Some(revoke_after).filter(|days| *days > 0).map(days),
        }
    }

    /// Returns a key that was created at `at(0)`, and its owner.
    fn key(days: i64) -> (KeyRecord, User) {
        let owner = fixtures::user("ann", Role::Admin);
        let key = fixtures::key(&owner, [1; 32].into());
        let key = KeyRecord {
            created_at: at(0),
            expires_at: at(days * DAY),
            due_at: Some(at(0)),
            ..key
        };
        (key, owner)
    }

    fn days(plan: &Plan) -> Vec<(&'static str, i64)> {
        let notices = plan.notices.iter();
        let days = |at: &Timestamp| (at.as_seconds() - fixtures::at(0).as_seconds()) / DAY;
        notices
            .map(|(action, at)| (action.as_str(), days(at)))
            .collect()
    }

    #[test]
    fn notices_more_than_half_of_the_lifetime_before_expiry_are_left_out() {
        for (lifetime, expected) in [
            (1, vec![1]),
            (2, vec![1, 2]),
            (5, vec![4, 5]),
            (6, vec![3, 5, 6]),
            (10, vec![5, 7, 9, 10]),
        ] {
            let (key, _) = key(lifetime);
            let mut times: Vec<_> = expiry_notices(&key, &settings(0, 0));
            times.sort_by_key(|(_, at)| *at);
            let times = times
                .iter()
                .map(|(_, time)| (time.as_seconds() - at(0).as_seconds()) / DAY);
            assert_eq!(times.collect::<Vec<_>>(), expected, "{lifetime}");
        }
    }

    #[test]
    fn a_notice_is_written_up_to_a_day_late() {
        let (key, owner) = key(30);
        let settings = settings(0, 0);
        let plan = |seconds| plan(&key, Some(&owner), &settings, at(seconds));
        let expiring = vec![("access-key.expiring", 25)];
        for (seconds, expected) in [
            (25 * DAY - 1, vec![]),
            (25 * DAY, expiring.clone()),
            (26 * DAY, expiring),
            (26 * DAY + 1, vec![]),
            (30 * DAY - 1, vec![("access-key.expiring", 29)]),
            (30 * DAY, vec![("access-key.expired", 30)]),
            (31 * DAY, vec![("access-key.expired", 30)]),
            (31 * DAY + 1, vec![]),
        ] {
            assert_eq!(days(&plan(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn a_second_check_does_not_repeat_a_notice() {
        let (key, owner) = key(30);
        let settings = settings(25, 0);
        let first = plan(&key, Some(&owner), &settings, at(25 * DAY));
        let both = vec![("access-key.expiring", 25), ("access-key.unused", 25)];
        assert_eq!(days(&first), both);
        let later = KeyRecord {
            due_at: Some(at(25 * DAY + 1)),
            unused_reported_at: Some(at(25 * DAY)),
            ..key
        };
        let second = plan(&later, Some(&owner), &settings, at(25 * DAY + 1));
        assert_eq!(days(&second), []);
        assert_eq!(second.next, first.next);
    }

    #[test]
    fn the_next_check_is_due_at_the_next_notice_and_within_a_week() {
        let (key, owner) = key(30);
        let settings = settings(0, 0);
        let next = |seconds| plan(&key, Some(&owner), &settings, at(seconds)).next;
        assert_eq!(next(0), Some(at(7 * DAY)));
        assert_eq!(next(20 * DAY), Some(at(25 * DAY)));
        assert_eq!(next(25 * DAY), Some(at(27 * DAY)));
        assert_eq!(next(29 * DAY), Some(at(30 * DAY)));
        assert_eq!(next(30 * DAY), None);
    }

    #[test]
    fn no_notice_is_written_about_a_revoked_key_unless_it_expired_first() {
        let (key, owner) = key(30);
        let settings = settings(7, 1);
        let revoked = |seconds| {
            let revocation = Revocation::new(at(seconds), Principal::system(), None);
            KeyRecord {
                revocation: Some(revocation),
                ..key.clone()
            }
        };
        let now = at(30 * DAY);
        let before = plan(&revoked(30 * DAY - 1), Some(&owner), &settings, now);
        assert_eq!(before, Plan::default());
        let after = plan(&revoked(30 * DAY), Some(&owner), &settings, now);
        assert_eq!(days(&after), [("access-key.expired", 30)]);
    }

    #[test]
    fn an_unused_key_is_reported_once_for_each_period_without_use() {
        let (key, owner) = key(90);
        let settings = settings(10, 0);
        let plan = |key: &KeyRecord, day| plan(key, Some(&owner), &settings, at(day * DAY));
        let unused = |day| vec![("access-key.unused", day)];
        assert_eq!(plan(&key, 7).next, Some(at(10 * DAY)));
        assert_eq!(days(&plan(&key, 10)), unused(10));
        let reported = KeyRecord {
            unused_reported_at: Some(at(10 * DAY)),
            ..key.clone()
        };
        assert_eq!(days(&plan(&reported, 17)), []);
        let used = KeyRecord {
            last_used_at: Some(at(12 * DAY)),
            ..reported
        };
        assert_eq!(plan(&used, 17).next, Some(at(22 * DAY)));
        assert_eq!(days(&plan(&used, 22)), unused(22));
        let rotated = KeyRecord {
            rotated_at: Some(at(8 * DAY)),
            ..key.clone()
        };
        assert_eq!(plan(&rotated, 12).next, Some(at(18 * DAY)));
        // A late report: the setting is new, or the function has not run for a long time.
        assert_eq!(days(&plan(&key, 40)), unused(40));
    }

    #[test]
    fn only_a_key_that_was_reported_is_revoked() {
        let (key, owner) = key(90);
        let settings = settings(10, 5);
        let plan = |key: &KeyRecord, day| plan(key, Some(&owner), &settings, at(day * DAY));
        assert!(!plan(&key, 40).revoke);
        assert_eq!(plan(&key, 40).next, Some(at(45 * DAY)));
        let reported = KeyRecord {
            unused_reported_at: Some(at(40 * DAY)),
            ..key
        };
        assert_eq!(plan(&reported, 44).next, Some(at(45 * DAY)));
        let revoke = Plan {
            revoke: true,
            ..Plan::default()
        };
        assert_eq!(plan(&reported, 45), revoke);
        let inactive = User {
            status: UserStatus::Inactive,
            ..owner.clone()
        };
        assert!(!super::plan(&reported, Some(&inactive), &settings, at(45 * DAY)).revoke);
        let later = super::tests::settings(50, 5);
        assert!(!super::plan(&reported, Some(&owner), &later, at(54 * DAY)).revoke);
        let used = KeyRecord {
            last_used_at: Some(at(44 * DAY)),
            ..reported.clone()
        };
        assert!(!plan(&used, 45).revoke);
        assert!(!plan(&reported, 90).revoke);
    }
}
