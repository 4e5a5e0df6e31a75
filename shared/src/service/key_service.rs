//! The dependencies of the use cases: the table and, where keys are signed or verified, KMS.

use super::error::Error;
use crate::{
    model::{Timestamp, TokenIssuer},
    policy::RefusalCode,
    process::{
        aws::AwsSettings,
        config::{Environment, KeySettings},
    },
    store::Store,
    token::{AccessKey, JwkSet, KmsKeys, Refusal, VerifiedKey},
};

/// Only the table, for functions that neither sign nor verify keys.
pub fn table(environment: &mut Environment<'_>) -> Store {
    let aws = AwsSettings::read(environment);
    Store::read(environment, &aws)
}

/// The table and the KMS keys. The IAM role of a function determines whether it can sign or only verify.
pub struct KeyService {
    pub store: Store,
    pub(crate) kms: KmsKeys,
    pub(crate) issuer: TokenIssuer,
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

    /// Verifies a key's signature, issuer, audience and expiry, without I/O once the public keys are cached.
    ///
    /// # Errors
    /// When the public keys are not available.
    pub async fn verify(
        &self,
        key: &AccessKey,
        now: Timestamp,
    ) -> Result<Result<VerifiedKey, RefusalCode>, Error> {
        let public_keys = self.kms.public_keys().await?;
        let key = key.verify(public_keys, &self.issuer, now);
        Ok(key.map_err(|refusal| match refusal {
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
        self.0.warm_up().await;
    }

    pub async fn jwks(&self) -> Result<JwkSet<'_>, Error> {
        Ok(self.0.public_keys().await?.jwks())
    }
}
