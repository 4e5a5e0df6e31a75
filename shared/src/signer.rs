//! AWS KMS: signs keys, and gives the public halves once per process.

use aws_sdk_kms::{
    Client,
    error::SdkError,
    operation::{get_public_key::GetPublicKeyError, sign::SignError},
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use ring::digest;
use tokio::sync::OnceCell;

use crate::{
    aws::warmed_up,
    key::{AccessKey, Unsigned},
    keyring::{Algorithm, Keyring, PublicKey, UnsupportedKey, ecdsa_fixed},
    metrics::{self, Metric},
};

/// The KMS keys of the deployment. Nothing on the path of a validation calls KMS: the public keys are cached.
pub struct Signer {
    client: Client,
    key_ids: Vec<String>,
    keyring: OnceCell<Keyring>,
}

/// Why KMS did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// `GetPublicKey` failed, and may succeed later.
    #[error("KMS GetPublicKey of {0}")]
    PublicKey(String, #[source] Box<SdkError<GetPublicKeyError>>),
    /// The public key is of a type that we do not use.
    #[error("public key of {0}")]
    Unsupported(String, #[source] UnsupportedKey),
    /// No configured key can be used.
    #[error("no usable key in SIGNING_KEYS")]
    NoKey,
    /// `Sign` failed.
    #[error("KMS Sign")]
    Sign(#[from] Box<SdkError<SignError>>),
    /// `Sign` answered something that is not a signature.
    #[error("KMS Sign answered no signature that can be read")]
    Signature,
}

impl Signer {
    /// Keys by id or ARN: the first signs, all verify.
    #[must_use]
    pub fn new(client: Client, key_ids: Vec<String>) -> Self {
        Self {
            client,
            key_ids,
            keyring: OnceCell::new(),
        }
    }

    /// The public keys: fetched on the first call, kept for the life of the process.
    ///
    /// # Errors
    /// When KMS does not answer: nothing is cached then, and the next call asks again.
    pub async fn keyring(&self) -> Result<&Keyring, SignerError> {
        self.keyring.get_or_try_init(|| self.fetch()).await
    }

    /// Fetches the public keys in the init phase, so that the first request need not. If KMS does not answer at
    /// once, the first request tries again.
    pub async fn warm_up(&self) {
        warmed_up("KMS", async { self.keyring().await.is_ok() }).await;
    }

    /// A key that is disabled or gone no longer verifies; that must not stop those that are left. But the first is
    /// the one that signs: the next must not take its place unasked.
    async fn fetch(&self) -> Result<Keyring, SignerError> {
        let mut keys = Vec::with_capacity(self.key_ids.len());
        for key_id in &self.key_ids {
            let answer = match self.client.get_public_key().key_id(key_id).send().await {
                Ok(answer) => answer,
                Err(error) if !keys.is_empty() && is_final(&error) => {
                    tracing::warn!(
                        kms.key = key_id,
                        "the key no longer verifies: it is disabled or gone"
                    );
                    continue;
                }
                Err(error) => {
                    metrics::count(Metric::KmsFailed);
                    return Err(SignerError::PublicKey(key_id.clone(), Box::new(error)));
                }
            };
            let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
            let key = PublicKey::from_spki(&spki)
                .map_err(|e| SignerError::Unsupported(key_id.clone(), e))?;
            keys.push(key);
        }
        Ok(Keyring::new(keys))
    }

    /// Has KMS sign.
    ///
    /// # Errors
    /// When KMS does not, in time.
    pub async fn sign(&self, unsigned: Unsigned) -> Result<AccessKey, SignerError> {
        let algorithm = self
            .keyring()
            .await?
            .signing()
            .ok_or(SignerError::NoKey)?
            .algorithm();
        let key_id = self.key_ids.first().ok_or(SignerError::NoKey)?;
        let message = unsigned.as_bytes();
        // A digest keeps the secret out of KMS, and the message below its limit of 4,096 bytes. Ed25519 signs only
        // the message itself (RFC 8032).
        let (message, message_type, spec) = match algorithm {
            Algorithm::Es256 => (
                sha256(message),
                MessageType::Digest,
                SigningAlgorithmSpec::EcdsaSha256,
            ),
            Algorithm::Rs256 => (
                sha256(message),
                MessageType::Digest,
                SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
            ),
            Algorithm::EdDsa => (
                Blob::new(message),
                MessageType::Raw,
                SigningAlgorithmSpec::Ed25519Sha512,
            ),
        };
        let request = self
            .client
            .sign()
            .key_id(key_id)
            .message(message)
            .message_type(message_type);
        let answer = request.signing_algorithm(spec).send().await;
        let answer = answer
            .inspect_err(|_| metrics::count(Metric::KmsFailed))
            .map_err(Box::new)?;
        let signature = answer.signature.ok_or(SignerError::Signature)?.into_inner();
        match algorithm {
            Algorithm::Es256 => {
                let fixed = ecdsa_fixed(&signature).map_err(|_| SignerError::Signature)?;
                Ok(unsigned.signed(&fixed))
            }
            Algorithm::Rs256 | Algorithm::EdDsa => Ok(unsigned.signed(&signature)),
        }
    }
}

fn sha256(message: &[u8]) -> Blob {
    Blob::new(digest::digest(&digest::SHA256, message).as_ref())
}

fn is_final(error: &SdkError<GetPublicKeyError>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_disabled_exception()
            || error.is_kms_invalid_state_exception()
            || error.is_not_found_exception()
    })
}
