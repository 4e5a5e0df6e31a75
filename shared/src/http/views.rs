//! The response bodies of our own API. Times are RFC 3339 in UTC, except in validation results and the authorizer
//! context, which use NumericDates (RFC 7519) as RFC 7662 does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{cursor, query::ListQuery};
use crate::{
    model::{
        Action, AuditEntry, Change, Cluster, ClusterName, ClusterNumber, ClusterType, EntryId,
        FieldValue, JoinTokenRecord, KeyId, KeySnapshot, KeyStatus, Labels, Liveness,
        MOST_CLUSTERS, Node, NodeName, NodeNumber, Permissions, Principal, Revocation, Role,
        SupersededUse, Target, TenantId, Timestamp, TokenIssuer, User, UserId, UserStatus,
    },
    policy::Grant,
    process::config::KeyLimits,
    service::{Listing, RevokeMatchingReport, Validation},
    token::AccessKey,
};

#[derive(Serialize)]
pub struct PageView<T> {
    items: Vec<T>,
    examined: usize,
    skipped: usize,
    next_cursor: Option<String>,
}

impl<T> PageView<T> {
    /// Renders the response to `query`. `view` renders each item.
    pub fn new<I>(listing: Listing<I>, query: &ListQuery, view: impl Fn(I) -> T) -> Self {
        Self {
            items: listing.items.into_iter().map(view).collect(),
            examined: listing.examined,
            skipped: listing.skipped,
            next_cursor: listing.next.map(|position| query.cursor(&position)),
        }
    }
}

#[derive(Serialize)]
pub struct RevokeMatchingView {
    dry_run: bool,
    matched: usize,
    revoked: usize,
    failed: usize,
    examined: usize,
    skipped: usize,
    next_cursor: Option<String>,
}

impl RevokeMatchingView {
    /// `name` is the name of the list for which the cursor is valid.
    #[must_use]
    pub fn new(report: &RevokeMatchingReport, dry_run: bool, name: &str) -> Self {
        let next = report.next.as_ref();
        Self {
            dry_run,
            matched: report.matched,
            revoked: report.revoked,
            failed: report.failed,
            examined: report.examined,
            skipped: report.skipped,
            next_cursor: next.map(|position| cursor::encode(position, name)),
        }
    }
}

#[derive(Serialize)]
pub struct KeyView {
    id: KeyId,
    name: String,
    labels: Labels,
    tenant_id: TenantId,
    user_id: UserId,
    role: Role,
    effective_role: Option<Role>,
    status: KeyStatus,
    owner_status: Option<UserStatus>,
    owner_name: Option<String>,
    owner_email: Option<String>,
    created_at: String,
    created_by: Principal,
    expires_at: String,
    revoked_at: Option<String>,
    revoked_by: Option<Principal>,
    revoked_reason: Option<String>,
    last_used_at: Option<String>,
    max_clusters: u32,
    signed_max_clusters: u32,
    clusters_used: u32,
    self_rotate: bool,
    generation: u32,
    rotated_at: Option<String>,
    /// Present only in responses to the holder of a previous secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded: Option<bool>,
    /// The time until which the previous secret is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_used_at: Option<String>,
}

impl KeyView {
    /// Renders the record for the holder of the key. `superseded_until` is the time until which the presented secret is
    /// valid; `None` if no rotation has replaced that secret.
    #[must_use]
    pub fn for_holder(key: KeySnapshot, superseded_until: Option<Timestamp>) -> Self {
        Self {
            superseded: superseded_until.map(|_| true),
            superseded_until: superseded_until.map(|end| end.to_string()),
            ..key.into()
        }
    }
}

impl From<KeySnapshot> for KeyView {
    fn from(key: KeySnapshot) -> Self {
        let record = key.record;
        let previous = record.previous.as_ref();
        let (revoked_at, revoked_by, revoked_reason) = match key.revocation {
            Some(Revocation { at, by, reason }) => (Some(at.to_string()), Some(by), reason),
            None => (None, None, None),
        };
        Self {
            id: record.key_id,
            name: record.name,
            labels: record.labels,
            tenant_id: record.tenant_id,
            user_id: record.user_id,
            superseded: None,
            superseded_until: previous.map(|previous| previous.ends_at.to_string()),
            previous_used_at: previous
                .and_then(|previous| previous.used_at)
                .map(|at| at.to_string()),
            role: record.role,
            effective_role: key.effective_role,
            status: key.status,
            owner_status: key.owner_status,
            owner_name: key.owner_name,
            owner_email: key.owner_email,
            created_at: record.created_at.to_string(),
            created_by: record.created_by,
            expires_at: record.expires_at.to_string(),
            revoked_at,
            revoked_by,
            revoked_reason,
            last_used_at: record.last_used_at.map(|at| at.to_string()),
            max_clusters: record.max_clusters,
            signed_max_clusters: record.signed_max_clusters,
            clusters_used: record.clusters_used,
            self_rotate: record.self_rotate,
            generation: record.generation,
            rotated_at: record.rotated_at.map(|at| at.to_string()),
        }
    }
}

/// A new or rotated key: its record, and the key itself, which no other response contains.
#[derive(Serialize)]
pub struct CreatedKeyView<'a> {
    #[serde(flatten)]
    record: KeyView,
    access_key: &'a str,
}

impl<'a> CreatedKeyView<'a> {
    #[must_use]
    pub fn new(record: KeySnapshot, key: &'a AccessKey) -> Self {
        Self {
            record: record.into(),
            access_key: key.reveal(),
        }
    }
}

/// An entry in the audit trail. Its time includes milliseconds, because entries are sorted by time to the millisecond.
#[derive(Serialize)]
pub struct AuditEntryView {
    id: EntryId,
    time: String,
    tenant_id: TenantId,
    actor: Principal,
    action: Action,
    target: Target,
    changes: BTreeMap<String, Change>,
    details: BTreeMap<String, FieldValue>,
    reason: Option<String>,
    source_ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    recorded_at: Option<String>,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            time: entry.at.to_millis_text(),
            tenant_id: entry.tenant_id,
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            changes: entry.changes,
            details: entry.details,
            reason: entry.reason,
            source_ip: entry.origin.source_ip,
            user_agent: entry.origin.user_agent,
            request_id: entry.origin.request_id,
            recorded_at: entry.recorded_at.map(|at| at.to_string()),
        }
    }
}

/// The `detail` of the event that reports the first use of a replaced secret.
#[derive(Serialize)]
pub struct SupersededUseView {
    id: EntryId,
    time: String,
    tenant_id: TenantId,
    target: Target,
    generation: u32,
    superseded_until: String,
}

impl From<SupersededUse> for SupersededUseView {
    fn from(used: SupersededUse) -> Self {
        Self {
            id: used.id,
            time: used.at.to_millis_text(),
            tenant_id: used.tenant_id,
            target: used.target,
            generation: used.generation,
            superseded_until: used.superseded_until.to_string(),
        }
    }
}

/// The response to a validation (RFC 7662).
#[derive(Serialize)]
pub struct ValidationView {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(flatten)]
    grant: Option<Grant>,
    #[serde(flatten)]
    introspection: Option<IntrospectionMembers>,
    /// Why the key is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// When the data was read.
    checked_at: Timestamp,
}

/// Members that RFC 7662 defines and clients expect, in addition to those that come from the key's claims.
#[derive(Serialize)]
struct IntrospectionMembers {
    iss: String,
    aud: String,
    /// The key's id.
    client_id: KeyId,
    /// The owner.
    username: UserId,
}

impl ValidationView {
    #[must_use]
    pub fn new(validation: Validation, issuer: &TokenIssuer) -> Self {
        let (grant, code) = match validation.result {
            Ok(grant) => (Some(grant), None),
            Err(code) => (None, Some(code.as_str())),
        };
        Self {
            active: grant.is_some(),
            token_type: grant.as_ref().map(|_| "Bearer"),
            introspection: grant.as_ref().map(|grant| IntrospectionMembers {
                iss: issuer.issuer.clone(),
                aud: issuer.audience.clone(),
                client_id: grant.key_id,
                username: grant.user_id.clone(),
            }),
            grant,
            code,
            checked_at: validation.checked_at,
        }
    }
}

/// The response of a Lambda authorizer (payload 2.0, simple response).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerView {
    is_authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<AuthorizerContext>,
}

/// The data about a key that the authorizer passes on to the protected API.
#[derive(Serialize)]
struct AuthorizerContext {
    tenant_id: TenantId,
    user_id: UserId,
    key_id: KeyId,
    role: Role,
    scope: Permissions,
    exp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_until: Option<Timestamp>,
}

impl From<Option<Grant>> for AuthorizerView {
    fn from(grant: Option<Grant>) -> Self {
        Self {
            is_authorized: grant.is_some(),
            context: grant.map(|grant| AuthorizerContext {
                tenant_id: grant.tenant_id,
                user_id: grant.user_id,
                key_id: grant.key_id,
                role: grant.role,
                scope: grant.scope,
                exp: grant.expires_at,
                superseded_until: grant.superseded_until,
            }),
        }
    }
}

#[derive(Serialize)]
pub struct UserView {
    id: UserId,
    tenant_id: TenantId,
    role: Role,
    scope: Permissions,
    status: UserStatus,
    email: Option<String>,
    name: Option<String>,
    created_at: String,
    last_sign_in_at: Option<String>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.user_id,
            tenant_id: user.tenant_id,
            role: user.role,
            scope: user.role.permissions(),
            status: user.status,
            email: user.email,
            name: user.name,
            created_at: user.created_at.to_string(),
            last_sign_in_at: user.last_sign_in_at.map(|at| at.to_string()),
        }
    }
}

/// The caller, and the limits of the deployment.
#[derive(Serialize)]
pub struct MeView {
    #[serde(flatten)]
    user: UserView,
    limits: LimitsView,
}

#[derive(Serialize)]
struct LimitsView {
    min_expiry_seconds: u64,
    max_expiry_seconds: u64,
    default_expiry_seconds: u64,
    max_clusters: u32,
    max_keys: usize,
}

impl MeView {
    #[must_use]
    pub fn new(user: User, limits: &KeyLimits) -> Self {
        let limits = LimitsView {
            min_expiry_seconds: limits.shortest.as_secs(),
            max_expiry_seconds: limits.longest.as_secs(),
            default_expiry_seconds: limits.default.as_secs(),
            max_clusters: MOST_CLUSTERS,
            max_keys: limits.per_user,
        };
        let user = user.into();
        Self { user, limits }
    }
}

#[derive(Serialize)]
pub struct ClusterView {
    id: ClusterNumber,
    name: ClusterName,
    tenant_id: TenantId,
    r#type: ClusterType,
    status: Liveness,
    key_id: KeyId,
    key_ids: BTreeSet<KeyId>,
    created_at: String,
    last_seen_at: String,
}

impl ClusterView {
    #[must_use]
    pub fn new(cluster: Cluster, inactive_after: Duration, now: Timestamp) -> Self {
        Self {
            id: cluster.number,
            name: cluster.name,
            tenant_id: cluster.tenant_id,
            r#type: cluster.kind,
            status: Liveness::at(now, cluster.last_seen_at, inactive_after),
            key_id: cluster.key_id,
            key_ids: cluster.holders,
            created_at: cluster.created_at.to_string(),
            last_seen_at: cluster.last_seen_at.to_string(),
        }
    }
}

/// A cluster and its first nodes.
#[derive(Serialize)]
pub struct ClusterWithNodesView {
    #[serde(flatten)]
    cluster: ClusterView,
    nodes_total: usize,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    id: NodeNumber,
    name: NodeName,
    status: Liveness,
    created_at: String,
    last_seen_at: String,
}

impl ClusterWithNodesView {
    /// The maximum number of nodes in the response.
    const NODES: usize = 1000;

    #[must_use]
    pub fn new(
        cluster: Cluster,
        nodes: Vec<Node>,
        inactive_after: Duration,
        now: Timestamp,
    ) -> Self {
        let view = |node: Node| NodeView {
            id: node.number,
            name: node.name,
            status: Liveness::at(now, node.last_seen_at, inactive_after),
            created_at: node.created_at.to_string(),
            last_seen_at: node.last_seen_at.to_string(),
        };
        Self {
            cluster: ClusterView::new(cluster, inactive_after, now),
            nodes_total: nodes.len(),
            nodes: nodes.into_iter().take(Self::NODES).map(view).collect(),
        }
    }
}

/// The response to the redemption of a join token.
#[derive(Serialize)]
pub struct RedeemedView {
    tenant_id: TenantId,
    cluster_name: ClusterName,
    cluster_id: ClusterNumber,
    node_name: Option<NodeName>,
    key_id: KeyId,
}

impl From<JoinTokenRecord> for RedeemedView {
    fn from(token: JoinTokenRecord) -> Self {
        Self {
            tenant_id: token.tenant_id,
            cluster_name: token.cluster,
            cluster_id: token.cluster_number,
            node_name: token.node,
            key_id: token.key_id,
        }
    }
}
