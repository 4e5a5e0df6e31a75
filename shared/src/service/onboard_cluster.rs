//! Onboarding: within its cluster limit, a key registers a cluster or a node and gets a join token that works only
//! once.
//!
//! 1. Read an [`OnboardingState`]: the key, its owner, the cluster, and whether the key holds a slot for the cluster.
//! 2. Call [`decide`], which does no I/O.
//! 3. Write an [`Onboarding`] in one transaction. The transaction takes a new slot only if the key, its owner and the
//!    cluster still allow it.
//! 4. If the transaction fails because the node is new, count the node against the quota of the cluster and repeat the
//!    transaction.
//!
//! If a concurrent request has changed the same items, start again at step 1.

use std::collections::BTreeSet;

use super::{
    clusters,
    error::Error,
    key_service::KeyService,
    validate_key::{is_use_due, report_superseded},
};
use crate::{
    model::{
        Action, AuditEntry, Cluster, ClusterName, ClusterNumber, ClusterType, JoinToken,
        JoinTokenRecord, KeyRecord, Node, NodeName, NodeNumber, NodeQuota, Origin, Permission,
        Principal, Secret, Target, Timestamp,
    },
    policy::{self, Grant, RefusalCode},
    process::{
        events,
        metrics::{self, Metric},
    },
    store::{Attempts, Onboarded, Onboarding, OnboardingState, Slot, Store, StoreError},
    token::VerifiedKey,
};

/// The limit of a query for a key's slots. It is higher than the number of slots that a key can hold.
const MOST_SLOTS: i32 = 200;
/// The maximum number of keys that can hold a slot for the same cluster. This bounds the size of the cluster's item.
const MOST_HOLDERS: usize = 400;

/// What a successful onboarding returns.
pub struct Joined {
    pub token: JoinToken,
    /// The first second in which the presented key is no longer valid.
    pub key_expires_at: Timestamp,
    /// Whether a rotation has replaced the presented key. If so, it is valid only until the overlap ends.
    pub is_superseded: bool,
}

impl Joined {
    fn new(token: JoinToken, key: &VerifiedKey, onboarding: &Onboarding) -> Self {
        let superseded_until = onboarding.secret.superseded_until();
        let expires_at = key.claims().expires_at.min(onboarding.key.expires_at);
        Self {
            token,
            key_expires_at: superseded_until.unwrap_or(expires_at),
            is_superseded: superseded_until.is_some(),
        }
    }
}

/// The cluster or node that joins.
#[derive(Debug, Clone)]
pub enum Joining {
    /// A cluster, and the calling node if the request names one.
    Cluster {
        name: ClusterName,
        kind: ClusterType,
        node: Option<NodeName>,
    },
    /// A node of an onboarded cluster. If `cluster` is absent, the node joins the only cluster that the key has
    /// onboarded.
    Node {
        cluster: Option<ClusterName>,
        node: NodeName,
    },
}

/// Onboards a cluster or a node. Onboarding the same cluster again succeeds without taking another slot.
///
/// Costs one read and one transaction, and for a new slot, a second read. Refusals, conflicts, new nodes of an existing
/// cluster, and nodes that do not name their cluster may cost more.
///
/// # Errors
/// Fails if the key is refused or has no free slot, if the cluster has too many keys or nodes, or if the cluster of a
/// node is unknown. If the table fails, either nothing was written, or repeating the call finds what was written.
pub async fn onboard_cluster(
    service: &KeyService,
    key: &VerifiedKey,
    joining: &Joining,
    node_quota: &NodeQuota,
    origin: &Origin,
    now: Timestamp,
) -> Result<Joined, Error> {
    let store = &service.store;
    let mut request = Request::new(store, key, joining, node_quota, now).await?;
    let token = JoinToken::generate()?;
    let (tenant, user, key_id) = key.claims().ids();
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let state = store
            .onboarding_state(tenant, user, key_id, &request.cluster)
            .await?;
        let slots = match state.has_slot {
            true => None,
            false => Some(store.slots(tenant, key_id, MOST_SLOTS).await?),
        };
        let onboarding = match decide(state, slots, &request, attempts.are_many(), now) {
            Decision::ReadAgain => continue,
            Decision::Refuse(refusal) => {
                report(key, refusal);
                return Err(refusal.into());
            }
            Decision::FinishDeletion(cluster) => {
                finish_deletion(store, *cluster, origin, now).await?;
                continue;
            }
            Decision::CorrectCount { key, held } => {
                store.correct_count(&key, held).await?;
                continue;
            }
            Decision::Onboard(onboarding) => onboarding,
        };
        let mut onboarding = *onboarding;
        let entry = entry(&onboarding, origin);
        let entry = entry.as_ref();
        let mut outcome = store.onboard(&onboarding, &token, entry).await?;
        if let (Onboarded::NewNode, Some(node)) = (outcome, &onboarding.node) {
            if !store.count_node(tenant, node, node_quota, now).await? {
                return Err(Refusal::TooManyNodes.into());
            }
            onboarding.may_add_node = true;
            request.counted_in = Some(node.cluster);
            outcome = store.onboard(&onboarding, &token, entry).await?;
        }
        if outcome == Onboarded::Done {
            log(&onboarding);
            return Ok(Joined::new(token, key, &onboarding));
        }
    }
    // Nothing is wrong with the request: 503 tells the caller to repeat it.
    Err(StoreError::Busy.into())
}

fn report(key: &VerifiedKey, refusal: Refusal) {
    match refusal {
        Refusal::Key(code) => report_superseded(key, code),
        Refusal::LimitReached => metrics::count(Metric::Onboarding("limit_reached")),
        _ => {}
    }
}

async fn finish_deletion(
    store: &Store,
    cluster: Cluster,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    let by = (&Principal::system(), origin);
    let finished = clusters::delete(store, cluster, by, now).await;
    finished.map_err(|error| match error {
        Error::Conflict(..) => Error::TryAgain,
        error => error,
    })
}

/// Returns the audit entry, or `None` if the key takes no new slot.
fn entry(onboarding: &Onboarding, origin: &Origin) -> Option<AuditEntry> {
    let Onboarding { key, cluster, .. } = onboarding;
    let about = (Action::ClusterOnboarded, Target::cluster(&cluster.name));
    let entry = AuditEntry::new(
        &key.tenant_id,
        key.key_id.into(),
        origin,
        about,
        onboarding.now,
    );
    onboarding.slot.is_new().then_some(entry)
}

fn log(onboarding: &Onboarding) {
    let is_new = onboarding.slot.is_new();
    tracing::info!(
        event.name = events::CLUSTER_ONBOARDED,
        actor = %Principal::from(onboarding.key.key_id),
        key.id = %onboarding.key.key_id,
        tenant.id = %onboarding.key.tenant_id,
        cluster.name = %onboarding.cluster.name,
        slot.is_new = is_new,
        "onboarded the cluster"
    );
    let code = if is_new { "onboarded" } else { "repeated" };
    metrics::count(Metric::Onboarding(code));
}

/// Returns the cluster of a node that did not name one: the only cluster that the node's key has onboarded.
async fn only_cluster(
    store: &Store,
    key: &VerifiedKey,
    now: Timestamp,
) -> Result<ClusterName, Error> {
    let (tenant, _, key_id) = key.claims().ids();
    let read = store.key_and_owner(key.claims());
    let (read, names) = tokio::join!(read, store.slots(tenant, key_id, 2));
    let (record, owner) = read?;
    let required = Permission::ClustersOnboard.into();
    // A refused key must not reveal anything about its slots.
    policy::evaluate(key, record.as_ref(), owner.as_ref(), required, now)
        .inspect_err(|code| report_superseded(key, *code))?;
    let mut names = names?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(Refusal::NotOnboarded.into()),
        (Some(_), false) => Err(Error::field(
            "cluster_name",
            "is required, because the access key has onboarded more than one cluster",
        )),
    }
}

/// The input of [`decide`] apart from the state.
struct Request<'a> {
    key: &'a VerifiedKey,
    cluster: ClusterName,
    /// Absent for a node, because a node can join only a cluster that is already onboarded.
    kind: Option<ClusterType>,
    node: Option<NodeName>,
    node_quota: &'a NodeQuota,
    /// The cluster against whose quota the node was counted.
    counted_in: Option<ClusterNumber>,
    /// The number to assign to the cluster if it is new.
    new_cluster: ClusterNumber,
    /// The number to assign to the node if it is new.
    new_node: NodeNumber,
}

#[derive(Debug)]
enum Decision {
    /// The parts of the state contradict each other, because another call is changing them.
    ReadAgain,
    /// A deletion of the cluster stopped halfway.
    FinishDeletion(Box<Cluster>),
    /// The slot counter of the key is wrong: the key actually holds `held` slots. The counter must be corrected before
    /// the key takes another slot, because only a correct counter limits concurrent calls.
    CorrectCount {
        key: Box<KeyRecord>,
        held: u32,
    },
    Refuse(Refusal),
    Onboard(Box<Onboarding>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Key(RefusalCode),
    NotOnboarded,
    LimitReached,
    TooManyHolders,
    TooManyNodes,
    /// The cluster is being deleted.
    Deleting,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Key(code) => code.into(),
            Refusal::NotOnboarded => Self::Conflict(
                "cluster_not_onboarded",
                "a node can only join an onboarded cluster: onboard the cluster first",
            ),
            Refusal::LimitReached => Self::Conflict(
                "cluster_limit_reached",
                "the access key has reached its max_clusters: delete a cluster, raise max_clusters, or use another key",
            ),
            Refusal::Deleting => Self::TryAgain,
            Refusal::TooManyHolders => Self::Conflict(
                "cluster_key_limit_reached",
                "400 access keys already hold a slot for this cluster: use one of them, or wait until some have expired",
            ),
            Refusal::TooManyNodes => Self::Conflict(
                "node_quota_reached",
                "the cluster has as many active nodes as MaxNodesPerCluster allows, or 10,000 listed nodes: use another \
                 cluster, or, if unknown nodes fill this one, delete it and onboard it again",
            ),
        }
    }
}

/// Decides how to handle an onboarding. `slots` lists the clusters for which the key holds slots, and is read after the
/// state. The list is needed only if the key holds no slot for this cluster.
///
/// The key's counter, the key's slots and the cluster's holders always change together. If they contradict each other,
/// another call is changing them. If the contradiction lasts, one of them is wrong, and the slots are assumed to be
/// correct.
fn decide(
    state: OnboardingState,
    slots: Option<Vec<ClusterName>>,
    request: &Request<'_>,
    is_lasting: bool,
    now: Timestamp,
) -> Decision {
    let (record, owner) = (state.key.as_ref(), state.owner.as_ref());
    let required = Permission::ClustersOnboard.into();
    let grant = match policy::evaluate(request.key, record, owner, required, now) {
        Ok(grant) => grant,
        Err(code) => return Decision::Refuse(Refusal::Key(code)),
    };
    let (Some(key), Some(owner)) = (state.key, state.owner) else {
        return Decision::ReadAgain;
    };
    let secret = Secret::from(grant.superseded_until);
    let is_holder = |cluster: &Cluster| cluster.holders.contains(&key.key_id);
    let is_holder = state.cluster.as_ref().is_some_and(is_holder);
    let is_new_cluster = state.cluster.is_none();
    let cluster = match (state.cluster, request.kind) {
        (Some(cluster), _) => cluster,
        (None, Some(kind)) => request.new_cluster(kind, now),
        (None, None) => return Decision::Refuse(Refusal::NotOnboarded),
    };
    match cluster.deleting {
        Some(began) if now < began + clusters::DELETION_PATIENCE => {
            return Decision::Refuse(Refusal::Deleting);
        }
        Some(_) => return Decision::FinishDeletion(Box::new(cluster)),
        None if is_holder != state.has_slot && !is_lasting => return Decision::ReadAgain,
        None => {}
    }
    if !is_new_cluster && !is_holder && cluster.holders.len() >= MOST_HOLDERS {
        return Decision::Refuse(Refusal::TooManyHolders);
    }
    let slot = match slots {
        None => Slot::Held {
            record_use: is_use_due(&key, secret, now),
            is_holder,
        },
        // Another call with the same key has just taken the slot.
        Some(slots) if slots.contains(&cluster.name) => return Decision::ReadAgain,
        Some(slots) => match new_slot(slots.len(), &key, &grant, is_lasting) {
            Ok(slot) => slot,
            Err(decision) => return decision,
        },
    };
    Decision::Onboard(Box::new(Onboarding {
        node: request.node(cluster.number, now),
        may_add_node: request.counted_in == Some(cluster.number),
        join_token: request.join_token(cluster.number, now),
        key,
        secret,
        owner,
        slot,
        cluster,
        is_new_cluster,
        now,
    }))
}

/// Decides how a key that holds `held` slots takes another one.
fn new_slot(
    held: usize,
    key: &KeyRecord,
    grant: &Grant,
    is_lasting: bool,
) -> Result<Slot, Decision> {
    let (held, limit) = (u32::try_from(held).unwrap_or(u32::MAX), grant.max_clusters);
    let is_counted = held == key.clusters_used;
    if !is_counted && !is_lasting {
        Err(Decision::ReadAgain)
    } else if held >= limit {
        Err(Decision::Refuse(Refusal::LimitReached))
    } else if is_counted {
        Ok(Slot::Take { limit })
    } else {
        let key = Box::new(key.clone());
        Err(Decision::CorrectCount { key, held })
    }
}

impl<'a> Request<'a> {
    async fn new(
        store: &Store,
        key: &'a VerifiedKey,
        joining: &Joining,
        node_quota: &'a NodeQuota,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (cluster, kind, node) = match joining {
            Joining::Cluster { name, kind, node } => (name.clone(), Some(*kind), node.clone()),
            Joining::Node { cluster, node } => {
                let only = match cluster {
                    Some(name) => name.clone(),
                    None => only_cluster(store, key, now).await?,
                };
                (only, None, Some(node.clone()))
            }
        };
        Ok(Self {
            key,
            cluster,
            kind,
            node,
            node_quota,
            counted_in: None,
            new_cluster: ClusterNumber::generate()?,
            new_node: NodeNumber::generate()?,
        })
    }
}

impl Request<'_> {
    fn new_cluster(&self, kind: ClusterType, now: Timestamp) -> Cluster {
        let (tenant_id, _, key_id) = self.key.claims().ids();
        Cluster {
            tenant_id: tenant_id.clone(),
            name: self.cluster.clone(),
            number: self.new_cluster,
            kind,
            key_id,
            holders: BTreeSet::from([key_id]),
            created_at: now,
            last_seen_at: now,
            deleting: None,
            deleting_by: None,
        }
    }

    fn node(&self, cluster: ClusterNumber, now: Timestamp) -> Option<Node> {
        Some(Node {
            cluster,
            name: self.node.clone()?,
            number: self.new_node,
            created_at: now,
            last_seen_at: now,
            forgotten_at: now + self.node_quota.history,
        })
    }

    fn join_token(&self, cluster: ClusterNumber, now: Timestamp) -> JoinTokenRecord {
        let (tenant_id, user_id, key_id) = self.key.claims().ids();
        JoinTokenRecord {
            tenant_id: tenant_id.clone(),
            user_id: user_id.clone(),
            key_id,
            cluster: self.cluster.clone(),
            cluster_number: cluster,
            node: self.node.clone(),
            expires_at: now + JoinToken::LIFETIME,
            redeemed_at: None,
            replayed_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        KeyId, KeyRecord, Role, User, UserStatus,
        fixtures::{self, NOW, at},
    };
    use crate::token::{AccessKey, Claims};

    struct Case {
        owner: User,
        key: KeyRecord,
        cluster: Option<Cluster>,
        has_slot: bool,
        /// The number of other clusters for which the key holds slots.
        other_slots: usize,
        is_lasting: bool,
        kind: Option<ClusterType>,
        node: Option<NodeName>,
    }

    /// Returns the case of a key that is about to onboard a new cluster.
    fn case() -> Case {
        let owner = fixtures::user("editor", Role::Editor);
        Case {
            key: fixtures::key(&owner, AccessKey::new("key".into()).hash()),
            owner,
            cluster: None,
            has_slot: false,
            other_slots: 0,
            is_lasting: false,
            kind: Some(ClusterType::K8s),
            node: None,
        }
    }

    impl Case {
        /// Adds the cluster to the case, with these keys as its holders.
        fn held_by(mut self, holders: impl IntoIterator<Item = KeyId>) -> Self {
            self.cluster = Some(Cluster {
                tenant_id: self.owner.tenant_id.clone(),
                name: "prod".parse().unwrap(),
                number: ClusterNumber::generate().unwrap(),
                kind: ClusterType::K8s,
                key_id: self.key.key_id,
                holders: holders.into_iter().collect(),
                created_at: at(-60),
                last_seen_at: at(-60),
                deleting: None,
                deleting_by: None,
            });
            self
        }

        /// Adds the cluster to the case, together with a slot that the key holds for it.
        fn onboarded(self) -> Self {
            let key = self.key.key_id;
            Self {
                has_slot: true,
                ..self.held_by([key])
            }
        }

        fn decide(self) -> Decision {
            let hash = AccessKey::new("key".into()).hash();
            let request = Request {
                key: &VerifiedKey::new(hash, Claims::of(&self.key)),
                cluster: "prod".parse().unwrap(),
                kind: self.kind,
                node: self.node,
                node_quota: &NodeQuota {
                    nodes: 1,
                    inactive_after: Duration::from_secs(50),
                    history: Duration::from_secs(100),
                },
                counted_in: None,
                new_cluster: ClusterNumber::generate().unwrap(),
                new_node: NodeNumber::generate().unwrap(),
            };
            let state = OnboardingState {
                key: Some(self.key),
                owner: Some(self.owner),
                cluster: self.cluster,
                has_slot: self.has_slot,
            };
            let slot = |n| format!("other-{n}").parse().unwrap();
            let slots = (0..self.other_slots).map(slot).collect();
            let slots = (!self.has_slot).then_some(slots);
            decide(state, slots, &request, self.is_lasting, NOW)
        }

        #[track_caller]
        fn onboarding(self) -> Onboarding {
            match self.decide() {
                Decision::Onboard(onboarding) => *onboarding,
                other => panic!("{other:?}"),
            }
        }
    }

    fn another_key() -> KeyId {
        KeyId::generate(NOW).unwrap()
    }

    #[test]
    fn a_new_cluster_takes_a_slot_of_its_key() {
        let case = case();
        let key = case.key.key_id;
        let onboarding = case.onboarding();
        assert_eq!(onboarding.slot, Slot::Take { limit: 3 });
        assert!(onboarding.is_new_cluster && onboarding.node.is_none());
        assert_eq!(onboarding.cluster.holders, BTreeSet::from([key]));
        assert_eq!(
            onboarding.join_token.cluster_number,
            onboarding.cluster.number
        );
        assert_eq!(onboarding.join_token.expires_at, NOW + JoinToken::LIFETIME);
    }

    #[test]
    fn a_known_cluster_takes_a_slot_of_each_additional_key() {
        let onboarding = case().held_by([another_key()]).onboarding();
        assert_eq!(onboarding.slot, Slot::Take { limit: 3 });
        assert!(!onboarding.is_new_cluster);
    }

    #[test]
    fn onboarding_again_takes_no_slot_and_records_the_use_once_an_hour() {
        for (last_used_at, record_use) in [
            (None, true),
            (Some(at(-3600)), true),
            (Some(at(-3599)), false),
        ] {
            let mut case = case().onboarded();
            case.key.last_used_at = last_used_at;
            case.key.clusters_used = 3;
            let onboarding = case.onboarding();
            assert_eq!(
                onboarding.slot,
                Slot::Held {
                    record_use,
                    is_holder: true
                },
                "{last_used_at:?}"
            );
        }
    }

    #[test]
    fn a_node_joins_an_onboarded_cluster_and_is_stored_for_the_configured_time() {
        let mut case = case().onboarded();
        (case.kind, case.node) = (None, Some("n1".parse().unwrap()));
        let onboarding = case.onboarding();
        let node = onboarding.node.unwrap();
        assert_eq!(node.cluster, onboarding.cluster.number);
        assert_eq!(node.forgotten_at, NOW + Duration::from_secs(100));
        assert_eq!(onboarding.join_token.node, Some(node.name));
    }

    #[test]
    fn a_node_cannot_onboard_a_cluster() {
        let mut case = case();
        (case.kind, case.node) = (None, Some("n1".parse().unwrap()));
        let decision = case.decide();
        assert!(
            matches!(decision, Decision::Refuse(Refusal::NotOnboarded)),
            "{decision:?}"
        );
    }

    #[test]
    fn a_key_without_a_free_slot_cannot_onboard_another_cluster() {
        let mut full = case();
        (full.key.clusters_used, full.other_slots) = (3, 3);
        let mut lowered = case();
        lowered.key.max_clusters = 1;
        (lowered.key.clusters_used, lowered.other_slots) = (2, 2);
        for case in [full, lowered] {
            let decision = case.decide();
            assert!(
                matches!(decision, Decision::Refuse(Refusal::LimitReached)),
                "{decision:?}"
            );
        }
    }

    #[test]
    fn a_cluster_has_a_maximum_number_of_holders() {
        let keys = |n| (0..n).map(|_| another_key()).collect::<Vec<_>>();
        let decision = case().held_by(keys(MOST_HOLDERS)).decide();
        assert!(
            matches!(decision, Decision::Refuse(Refusal::TooManyHolders)),
            "{decision:?}"
        );
        case().held_by(keys(MOST_HOLDERS - 1)).onboarding();
    }

    /// Returns inconsistent states that no completed call can have caused, each with the way in which it is resolved if
    /// it lasts. `Ok` means that the key onboards with this slot. `Err` means that the counter must first be corrected
    /// to this number.
    fn inconsistencies() -> [(Case, Result<Slot, u32>); 5] {
        let unknown_holder = Slot::Held {
            record_use: true,
            is_holder: false,
        };
        let slot_without_cluster = Case {
            has_slot: true,
            ..case()
        };
        let slot_without_holder = Case {
            has_slot: true,
            ..case().held_by([another_key()])
        };
        let mut holder_without_slot = case().onboarded();
        holder_without_slot.has_slot = false;
        holder_without_slot.key.clusters_used = 1;
        let mut counter_too_low = case();
        counter_too_low.other_slots = 2;
        let mut counter_too_high = case();
        counter_too_high.key.clusters_used = 3;
        counter_too_high.other_slots = 1;
        [
            (slot_without_cluster, Ok(unknown_holder)),
            (slot_without_holder, Ok(unknown_holder)),
            (holder_without_slot, Err(0)),
            (counter_too_low, Err(2)),
            (counter_too_high, Err(1)),
        ]
    }

    #[test]
    fn an_inconsistent_read_is_repeated_and_a_lasting_inconsistency_is_resolved() {
        for (case, _) in inconsistencies() {
            let decision = case.decide();
            assert!(matches!(decision, Decision::ReadAgain), "{decision:?}");
        }
        for (mut case, healed) in inconsistencies() {
            case.is_lasting = true;
            let found = match case.decide() {
                Decision::Onboard(onboarding) => Ok(onboarding.slot),
                Decision::CorrectCount { held, .. } => Err(held),
                other => panic!("{other:?}"),
            };
            assert_eq!(found, healed);
        }
    }

    #[test]
    fn a_wrong_counter_never_allows_a_slot_beyond_the_limit() {
        let mut case = case();
        (case.is_lasting, case.other_slots) = (true, 3);
        let decision = case.decide();
        assert!(
            matches!(decision, Decision::Refuse(Refusal::LimitReached)),
            "{decision:?}"
        );
    }

    #[test]
    fn a_cluster_that_is_being_deleted_cannot_be_joined_until_it_is_gone() {
        let deleting = |seconds| {
            let mut case = case().onboarded();
            case.cluster.as_mut().unwrap().deleting = Some(at(seconds));
            case.decide()
        };
        let decision = deleting(-29);
        assert!(
            matches!(decision, Decision::Refuse(Refusal::Deleting)),
            "{decision:?}"
        );
        let decision = deleting(-30);
        assert!(
            matches!(decision, Decision::FinishDeletion(_)),
            "{decision:?}"
        );
    }

    #[test]
    fn a_refused_key_onboards_nothing() {
        for code in [
            RefusalCode::Invalid,
            RefusalCode::Expired,
            RefusalCode::Revoked,
            RefusalCode::OwnerInactive,
            RefusalCode::Forbidden,
        ] {
            let mut case = case().onboarded();
            match code {
                RefusalCode::Invalid => case.key.hash = None,
                RefusalCode::Expired => case.key.expires_at = at(0),
                RefusalCode::Superseded => unreachable!("tested in rotate_key"),
                RefusalCode::Revoked => case.owner.epoch = case.owner.epoch.next(NOW),
                RefusalCode::OwnerInactive => case.owner.status = UserStatus::Inactive,
                RefusalCode::Forbidden => case.key.role = Role::Viewer,
            }
            let decision = case.decide();
            assert!(
                matches!(decision, Decision::Refuse(Refusal::Key(found)) if found == code),
                "{decision:?}"
            );
        }
    }
}
