//! The dependencies of the use cases: the table and, where keys are signed or verified, KMS.

use std::sync::Arc;

use super::error::Error;
use crate::{
    model::{Timestamp, TokenIssuer},
    policy::RefusalCode,
    process::{
        aws::AwsSettings,
        config::{Environment, KeySettings},
    },
    store::Store,
    token::{AccessKey, KmsKeys, PublicKeys, Refusal, VerifiedKey},
};

/// Returns only the table, for functions that neither sign nor verify keys.
pub fn table(environment: &mut Environment<'_>) -> Store {
    let aws = AwsSettings::read(environment);
    Store::read(environment, &aws)
}

/// The table and the KMS keys. The IAM role of a function determines whether it can sign or only verify.
pub struct KeyService {
    pub store: Store,
    pub(crate) kms: KmsKeys,
    pub issuer: TokenIssuer,
}

impl KeyService {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        let keys = KeySettings::read(environment);
        Self {
            store: Store::read(environment, &aws),
            kms: KmsKeys::new(aws.kms(), keys.signing_keys),
            issuer: keys.issuer,
        }
    }

    /// Fetches the public keys and connects to DynamoDB in parallel, during the init phase.
    pub async fn warm_up(&self) {
        tokio::join!(self.kms.warm_up(), self.store.warm_up());
    }

    /// Starts a refresh of the public keys if one is due. Meant for requests that do not verify a signature or that
    /// need KMS only later.
    pub(crate) fn refresh_if_due(&self, now: Timestamp) {
        self.kms.refresh_if_due(now);
    }

    /// Verifies the signature, issuer, audience and expiry of an access key. Does no I/O once the public keys are
    /// cached. If no known public key belongs to the access key, a new KMS key may have signed it. In that case, waits
    /// until the process has queried KMS for all keys and any running refresh has ended.
    ///
    /// # Errors
    /// Fails if no public key is available, or if no known public key belongs to the access key and KMS could not be
    /// queried for all keys.
    pub async fn verify(
        &self,
        key: &AccessKey,
        now: Timestamp,
    ) -> Result<Result<VerifiedKey, RefusalCode>, Error> {
        let public_keys = self.kms.public_keys(now).await?;
        let mut verified = key.verify(&public_keys, &self.issuer, now);
        if verified == Err(Refusal::UnknownKey) {
            let public_keys = self.kms.all_public_keys(now).await?;
            verified = key.verify(&public_keys, &self.issuer, now);
        }
        Ok(verified.map_err(|refusal| match refusal {
            Refusal::Expired => RefusalCode::Expired,
            _ => RefusalCode::Invalid,
        }))
    }
}

/// Only the public keys, for the function that publishes them.
pub struct PublishedKeys(KmsKeys);

impl PublishedKeys {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        let keys = KeySettings::read(environment);
        Self(KmsKeys::new(aws.kms(), keys.signing_keys))
    }

    /// Fetches the public keys during the init phase.
    pub async fn warm_up(&self) {
        self.0.need_all();
        self.0.warm_up().await;
    }

    /// Returns the public keys and whether the set is complete. Do not let clients cache an incomplete set.
    ///
    /// If an outage on our side removed a public key from the set, verifiers would refuse genuine access keys. A
    /// process therefore keeps publishing every key that it has read until KMS reports that the key is disabled or
    /// deleted, or that its alias points to another key. If KMS cannot be queried for a key that the process has never
    /// read, the set is incomplete. The other keys are still published, so that one unreadable key cannot make all of
    /// them unavailable.
    ///
    /// # Errors
    /// Fails if no key can be read.
    pub async fn public_keys(&self, now: Timestamp) -> Result<(Arc<PublicKeys>, bool), Error> {
        Ok(self.0.published(now).await?)
    }
}
