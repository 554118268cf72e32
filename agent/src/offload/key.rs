//! A key on its way into the kernel.

use ktls::CryptoInfo;
use ktls_sys::bindings as layout;
use rustls::{CipherSuite, SupportedCipherSuite};
use zeroize::Zeroize as _;

use super::InstallError;

/// `TLS_1_3_VERSION`.
const TLS13: u16 = 0x0304;

/// One half's key in the kernel's layout (include/uapi/linux/tls.h), wiped when dropped. What the stack held on the
/// way here is overwritten by what comes next.
pub struct Key {
    pub(super) info: CryptoInfo,
    /// Sequence number of the first record under it.
    pub(super) sequence: u64,
}

impl Key {
    /// A key of TLS 1.3: `sequence` is the number of the first record under it.
    ///
    /// # Errors
    /// For a suite that the kernel has no name for, and a key that is not of its length.
    pub fn new(
        suite: CipherSuite,
        sequence: u64,
        key: &[u8],
        iv: &[u8; 12],
    ) -> Result<Self, InstallError> {
        let unknown = || InstallError::Suite(suite);
        let [a, b, c, d, rest @ ..] = *iv;
        let (salt, short_iv) = ([a, b, c, d], rest);
        let rec_seq = sequence.to_be_bytes();
        let info = |cipher: u32| layout::tls_crypto_info {
            version: TLS13,
            cipher_type: u16::try_from(cipher).unwrap_or_default(),
        };
        let info = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => {
                CryptoInfo::AesGcm128(layout::tls12_crypto_info_aes_gcm_128 {
                    info: info(layout::TLS_CIPHER_AES_GCM_128),
                    iv: short_iv,
                    key: key.try_into().map_err(|_| unknown())?,
                    salt,
                    rec_seq,
                })
            }
            CipherSuite::TLS13_AES_256_GCM_SHA384 => {
                CryptoInfo::AesGcm256(layout::tls12_crypto_info_aes_gcm_256 {
                    info: info(layout::TLS_CIPHER_AES_GCM_256),
                    iv: short_iv,
                    key: key.try_into().map_err(|_| unknown())?,
                    salt,
                    rec_seq,
                })
            }
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => {
                CryptoInfo::Chacha20Poly1305(layout::tls12_crypto_info_chacha20_poly1305 {
                    info: info(layout::TLS_CIPHER_CHACHA20_POLY1305),
                    iv: *iv,
                    key: key.try_into().map_err(|_| unknown())?,
                    salt: layout::__IncompleteArrayField::new(),
                    rec_seq,
                })
            }
            _ => return Err(unknown()),
        };
        Ok(Self { info, sequence })
    }

    /// A key of TLS 1.3 that protects nothing, for the probe.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn known(suite: SupportedCipherSuite, byte: u8) -> Result<Self, InstallError> {
        let short = suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
        let key = [byte; 32];
        Self::new(
            suite.suite(),
            0,
            &key[..if short { 16 } else { 32 }],
            &[byte; 12],
        )
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        match &mut self.info {
            CryptoInfo::AesGcm128(info) => info.key.zeroize(),
            CryptoInfo::AesGcm256(info) => info.key.zeroize(),
            CryptoInfo::Chacha20Poly1305(info) => info.key.zeroize(),
            CryptoInfo::AesCcm128(info) => info.key.zeroize(),
            CryptoInfo::Sm4Gcm(info) => info.key.zeroize(),
            CryptoInfo::Sm4Ccm(info) => info.key.zeroize(),
        }
    }
}
