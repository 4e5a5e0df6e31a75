//! Access keys as tokens: their format, the public keys that verify them, and the KMS keys that sign them.

mod jws;
mod key_ring;
mod kms;
mod kms_keys;
mod public_keys;

pub use jws::{AccessKey, Claims, LONGEST, PREFIX, Refusal, SigningInput, VerifiedKey};
pub use kms::KmsError;
pub use kms_keys::KmsKeys;
pub use public_keys::{Algorithm, JwkSet, PublicKey, PublicKeys, UnsupportedKey};
