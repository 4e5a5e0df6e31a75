//! Signs keys with AWS KMS, and fetches the public keys from it once per process.

use aws_sdk_kms::{
    Client,
    error::SdkError,
    operation::{get_public_key::GetPublicKeyError, sign::SignError},
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use ring::digest;
use tokio::sync::OnceCell;

use super::{
    jws::{AccessKey, Claims, SigningInput},
    public_keys::{Algorithm, PublicKey, PublicKeys, UnsupportedKey, ecdsa_fixed},
};
use crate::{
    model::TokenIssuer,
    process::{
        aws::{is_permanent, warmed_up},
        metrics::{self, Metric},
    },
};

/// The KMS keys of the deployment. The public keys are cached, so validations do not call KMS.
pub struct KmsKeys {
    client: Client,
    key_ids: Vec<String>,
    public_keys: OnceCell<PublicKeys>,
}

/// Why a request to KMS failed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    #[error("KMS GetPublicKey for {0}")]
    PublicKey(String, #[source] Box<SdkError<GetPublicKeyError>>),
    #[error("the public key of KMS key {0} cannot be used")]
    Unsupported(String, #[source] UnsupportedKey),
    #[error("no usable key in SIGNING_KEYS")]
    NoKey,
    #[error("KMS Sign")]
    Sign(#[from] Box<SdkError<SignError>>),
    #[error("the random number generator failed")]
    Random(#[from] rand::rngs::SysError),
    #[error("KMS Sign returned no valid signature")]
    Signature,
}

impl KmsError {
    /// Whether the same request would fail again, so that the caller should not repeat it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::PublicKey(_, error) => is_permanent(error),
            Self::Sign(error) => is_permanent(error),
            Self::Unsupported(..) | Self::NoKey => true,
            Self::Random(_) | Self::Signature => false,
        }
    }
}

impl KmsKeys {
    /// Takes key ids or ARNs. The first key signs; all verify.
    #[must_use]
    pub fn new(client: Client, key_ids: Vec<String>) -> Self {
        Self {
            client,
            key_ids,
            public_keys: OnceCell::new(),
        }
    }

    /// The public keys, fetched by the first call and kept for the life of the process.
    ///
    /// # Errors
    /// When KMS fails or a key is unsupported. Failures are not cached: the next call tries again.
    pub async fn public_keys(&self) -> Result<&PublicKeys, KmsError> {
        self.public_keys.get_or_try_init(|| self.fetch()).await
    }

    /// Fetches the public keys in the init phase, so that the first request does not have to. If KMS does not respond
    /// within a second, the first request tries again.
    pub async fn warm_up(&self) {
        warmed_up("KMS", async { self.public_keys().await.is_ok() }).await;
    }

    /// Skips keys that are disabled or deleted, so that the others still verify. The first key signs and is never
    /// skipped, so that the second cannot silently replace it.
    async fn fetch(&self) -> Result<PublicKeys, KmsError> {
        let mut keys = Vec::with_capacity(self.key_ids.len());
        for key_id in &self.key_ids {
            let answer = match self.client.get_public_key().key_id(key_id).send().await {
                Ok(answer) => answer,
                Err(error) if !keys.is_empty() && is_final(&error) => {
                    tracing::warn!(
                        kms.key = key_id,
                        "skipped a KMS key that is disabled or deleted; access keys that it signed are refused"
                    );
                    continue;
                }
                Err(error) => {
                    metrics::count(Metric::KmsFailed);
                    return Err(KmsError::PublicKey(key_id.clone(), Box::new(error)));
                }
            };
            let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
            let key = PublicKey::from_spki(&spki)
                .map_err(|e| KmsError::Unsupported(key_id.clone(), e))?;
            keys.push(key);
        }
        Ok(PublicKeys::new(keys))
    }

    /// Signs `claims` with the first KMS key.
    pub async fn sign(&self, claims: Claims, issuer: &TokenIssuer) -> Result<AccessKey, KmsError> {
        let key_id = self.key_ids.first().ok_or(KmsError::NoKey)?;
        let public_key = self.public_keys().await?.signing().ok_or(KmsError::NoKey)?;
        let input = SigningInput::new(claims, issuer, public_key)?;
        let algorithm = public_key.algorithm();
        let spec = match algorithm {
            Algorithm::Es256 => SigningAlgorithmSpec::EcdsaSha256,
            Algorithm::Rs256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
            Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
        };
        let request = self.client.sign().key_id(key_id).signing_algorithm(spec);
        // A digest hides the secret from KMS, and stays below the 4,096 bytes that KMS accepts. Ed25519 can sign only
        // whole messages (RFC 8032).
        let request = if algorithm == Algorithm::EdDsa {
            let message = Blob::new(input.as_bytes());
            request.message(message).message_type(MessageType::Raw)
        } else {
            let digest = digest::digest(&digest::SHA256, input.as_bytes());
            let digest = Blob::new(digest.as_ref());
            request.message(digest).message_type(MessageType::Digest)
        };
        let answer = request.send().await;
        let answer = answer.inspect_err(|_| metrics::count(Metric::KmsFailed));
        let signature = answer.map_err(Box::new)?.signature;
        let mut signature = signature.ok_or(KmsError::Signature)?.into_inner();
        if algorithm == Algorithm::Es256 {
            let fixed = ecdsa_fixed(&signature).map_err(|_| KmsError::Signature)?;
            signature = fixed.to_vec();
        }
        Ok(input.signed(&signature))
    }
}

fn is_final(error: &SdkError<GetPublicKeyError>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_disabled_exception()
            || error.is_kms_invalid_state_exception()
            || error.is_not_found_exception()
    })
}
