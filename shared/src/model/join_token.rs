//! Join tokens. An onboarded cluster or node uses its token to prove its identity. A token can be used once, within ten
//! minutes.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rand::{TryRng, rngs::SysRng};
use ring::digest;
use zeroize::Zeroizing;

use super::{
    id::{ClusterName, ClusterNumber, KeyId, NodeName, TenantId, UserId},
    time::Timestamp,
};

/// A join token in plain text: a UUID, like SPIRE's join tokens. The table contains only its hash.
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// How long a token is valid.
    pub const LIFETIME: Duration = Duration::from_secs(600);

    /// Generates a token: a UUIDv4 (RFC 9562) with 122 random bits from the operating system.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let mut random = Zeroizing::new([0; 16]);
        SysRng.try_fill_bytes(random.as_mut_slice())?;
        let uuid = uuid::Builder::from_random_bytes(*random).into_uuid();
        Ok(Self(Zeroizing::new(uuid.to_string())))
    }

    /// Wraps a string that was presented as a token. Leading and trailing white space is not part of the token.
    #[must_use]
    pub fn presented(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// Returns the text of the token, for the only response that contains it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the token in base64url, as stored in the table.
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

#[derive(Debug, Clone)]
pub struct JoinTokenRecord {
    pub tenant_id: TenantId,
    /// The owner of the key.
    pub user_id: UserId,
    /// The key that the token was issued to.
    pub key_id: KeyId,
    pub cluster: ClusterName,
    /// Deleting the cluster invalidates the token, even if a new cluster gets the same name, because each new cluster
    /// gets a new number.
    pub cluster_number: ClusterNumber,
    /// The node that joins with this token, if any.
    pub node: Option<NodeName>,
    /// The first second in which the token is no longer valid.
    pub expires_at: Timestamp,
    pub redeemed_at: Option<Timestamp>,
    /// When the token was first presented after its redemption.
    pub replayed_at: Option<Timestamp>,
}
