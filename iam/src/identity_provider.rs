//! Identity providers: whose tokens begin sessions, and the public keys that verify these tokens.

/// An OpenID Connect provider of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// Its URL without `https://`, as IAM has it.
    pub(crate) url: String,
    /// Its account, where the document says it: AWS does not.
    pub(crate) account: Option<String>,
    /// The audiences that its tokens may be for.
    pub(crate) client_ids: Vec<String>,
}

impl OidcProvider {
    /// The `iss` of the provider's tokens.
    pub(crate) fn issuer(&self) -> String {
        format!("https://{}", self.url)
    }
}

/// An algorithm that signs tokens, by the names of RFC 7518. None with a secret is among them, nor `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1, with SHA-256.
    Rs256,
    /// RSA, PKCS #1, with SHA-384.
    Rs384,
    /// RSA, PKCS #1, with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// The algorithm of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            _ => return None,
        })
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA: big-endian, without leading zeros.
    Rsa {
        /// The modulus, of 2,048 to 8,192 bits.
        modulus: Vec<u8>,
        /// The exponent.
        exponent: Vec<u8>,
    },
    /// A point of P-256: `04`, then both coordinates.
    P256(Vec<u8>),
    /// A point of P-384: `04`, then both coordinates.
    P384(Vec<u8>),
}

impl PublicKey {
    /// Whether signatures of the algorithm are made with such a key.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{Es256, Es384, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512),
            Self::P256(_) => algorithm == Es256,
            Self::P384(_) => algorithm == Es384,
        }
    }
}

/// A key that verifies signatures, with what its document says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerificationKey {
    pub(crate) id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) key: PublicKey,
}

impl VerificationKey {
    /// Whether the key may verify signatures of the algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

/// The keys of an issuer, of which there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// As tokens have it in `iss`.
    pub(crate) issuer: String,
    pub(crate) keys: Vec<VerificationKey>,
}

impl KeySet {
    /// The key that a token with this `kid` names; without one, the only key that there is.
    pub(crate) fn key(&self, id: Option<&str>) -> Option<&VerificationKey> {
        match (id, &self.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}
