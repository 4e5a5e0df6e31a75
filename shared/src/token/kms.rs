//! The requests to AWS KMS: reading a public key and signing.

use std::sync::Arc;

use aws_sdk_kms::{
    Client,
    error::SdkError,
    operation::{get_public_key::GetPublicKeyError, sign::SignError},
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use ring::digest;

use super::public_keys::{Algorithm, PublicKey, UnsupportedKey, ecdsa_fixed};
use crate::process::{
    aws::is_permanent,
    metrics::{self, Metric},
};

/// A KMS key, as `GetPublicKey` returned it.
#[derive(Debug)]
pub(super) struct KmsKey {
    pub arn: String,
    pub public_key: PublicKey,
}

/// Why a request to KMS failed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    #[error("KMS GetPublicKey for {0}")]
    PublicKey(String, #[source] Box<SdkError<GetPublicKeyError>>),
    #[error("KMS GetPublicKey for {0} returned no ARN")]
    NoArn(String),
    #[error("the public key of KMS key {0} cannot be used")]
    Unsupported(String, #[source] UnsupportedKey),
    /// Contains the latest reason why a key could not be read.
    #[error("no usable key in SIGNING_KEYS")]
    NoKey(#[source] Option<Arc<Self>>),
    /// Contains the latest reason why a key could not be read.
    #[error("KMS did not return all public keys")]
    Incomplete(#[source] Option<Arc<Self>>),
    #[error("KMS Sign")]
    Sign(#[from] Box<SdkError<SignError>>),
    #[error("the random number generator failed")]
    Random(#[from] rand::rngs::SysError),
    #[error("KMS Sign returned no valid signature")]
    Signature,
}

impl KmsError {
    /// Whether KMS reported that the key is disabled, deleted or about to be deleted.
    pub(super) fn is_gone(&self) -> bool {
        let Self::PublicKey(_, error) = self else {
            return false;
        };
        error.as_service_error().is_some_and(|error| {
            error.is_disabled_exception()
                || error.is_kms_invalid_state_exception()
                || error.is_not_found_exception()
        })
    }

    /// Whether KMS refused to return a public key because of a policy, the configuration or the key's type.
    pub(super) fn is_refusal(&self) -> bool {
        self.is_permanent() && !self.is_gone()
    }

    /// Whether the same request would fail again, in which case the caller should not repeat it. For [`Self::NoKey`]
    /// and [`Self::Incomplete`], the result depends on the latest reason why a key could not be read.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::PublicKey(_, error) => is_permanent(error),
            Self::Sign(error) => is_permanent(error),
            Self::Unsupported(..) | Self::NoArn(_) => true,
            Self::NoKey(cause) | Self::Incomplete(cause) => {
                cause.as_ref().is_some_and(|cause| cause.is_refusal())
            }
            Self::Random(_) | Self::Signature => false,
        }
    }
}

pub(super) struct Kms(Client);

impl Kms {
    pub(super) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Reads the public key that `name` (a key id, an ARN or an alias) refers to.
    pub(super) async fn public_key(&self, name: &str) -> Result<KmsKey, KmsError> {
        let answer = self.0.get_public_key().key_id(name).send().await;
        let answer = answer.map_err(|e| KmsError::PublicKey(name.to_owned(), Box::new(e)))?;
        let spki = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        let public_key =
            PublicKey::from_spki(&spki).map_err(|e| KmsError::Unsupported(name.to_owned(), e))?;
        let arn = answer.key_id.ok_or(KmsError::NoArn(name.to_owned()))?;
        Ok(KmsKey { arn, public_key })
    }

    /// Returns a signature of `message`, encoded as RFC 7518 specifies. The request contains the ARN that
    /// `GetPublicKey` returned, because an alias may refer to another key by now.
    pub(super) async fn sign(&self, key: &KmsKey, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let KmsKey { arn, public_key } = key;
        let algorithm = public_key.algorithm();
        let spec = match algorithm {
            Algorithm::Es256 => SigningAlgorithmSpec::EcdsaSha256,
            Algorithm::Rs256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
            Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
        };
        let request = self.0.sign().key_id(arn).signing_algorithm(spec);
        // Sends a digest, which hides the secret from KMS and stays below KMS's limit of 4,096 bytes. Ed25519 is an
        // exception, because it can sign only whole messages (RFC 8032).
        let request = if algorithm == Algorithm::EdDsa {
            let message = Blob::new(message);
            request.message(message).message_type(MessageType::Raw)
        } else {
            let digest = digest::digest(&digest::SHA256, message);
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
        Ok(signature)
    }
}
