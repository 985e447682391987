//! Signatures of the tokens of identity providers, verified with the keys in the documents.

use dsql_iam_core::{Algorithm, PublicKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

/// Whether the key has made the `signature` of `signed` by the algorithm. An algorithm that is none of the key's has
/// made none.
pub fn is_signed(algorithm: Algorithm, key: &PublicKey, signed: &[u8], signature: &[u8]) -> bool {
    match key {
        PublicKey::Rsa { modulus, exponent } => {
            let parameters = match algorithm {
                Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
                Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
                Algorithm::Es256 | Algorithm::Es384 => return false,
            };
            let key = RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            };
            key.verify(parameters, signed, signature).is_ok()
        }
        PublicKey::P256(point) => {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            algorithm == Algorithm::Es256 && key.verify(signed, signature).is_ok()
        }
        PublicKey::P384(point) => {
            let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
            algorithm == Algorithm::Es384 && key.verify(signed, signature).is_ok()
        }
    }
}
