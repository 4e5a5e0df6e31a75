//! Join tokens: what an onboarded cluster or node proves itself with, once, within ten minutes.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rand::{TryRng, rngs::SysRng};
use ring::digest;
use zeroize::Zeroizing;

use crate::{
    clock::Seconds,
    id::{ClusterName, KeyId, NodeName, Number, TenantId, UserId},
    key::KeyHash,
};

/// How long a join token is good.
pub const LIFETIME: Seconds = 600;

/// A join token in plain text, a UUID as SPIRE's are. The table keeps only its hash.
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// A fresh token: a UUIDv4 (RFC 9562), 122 random bits from the operating system.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new() -> Result<Self, rand::rngs::SysError> {
        let mut random = Zeroizing::new([0; 16]);
        SysRng.try_fill_bytes(random.as_mut_slice())?;
        Ok(Self(Zeroizing::new(
            uuid::Builder::from_random_bytes(*random)
                .into_uuid()
                .to_string(),
        )))
    }

    /// Takes a text that claims to be a token.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one answer that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the table keeps of it: SHA-256, in base64url.
    #[must_use]
    pub fn hash(&self) -> String {
        BASE64URL.encode(digest::digest(&digest::SHA256, self.0.as_bytes()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

/// What a join token is bound to.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The owner of the key that it was issued to.
    pub user_id: UserId,
    /// That key.
    pub key_id: KeyId,
    /// The key's hash: a key that was re-issued is another.
    pub key_hash: KeyHash,
    /// The cluster.
    pub cluster: ClusterName,
    /// The cluster's number: one that is onboarded again under the same name is another.
    pub number: Number,
    /// The node, if one joins.
    pub node: Option<NodeName>,
    /// The first second in which it is no longer good.
    pub expires_at: Seconds,
}
