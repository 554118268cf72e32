//! A key on its way into the kernel.

use ktls::CryptoInfo;
use ktls_sys::bindings as layout;
use rustls::{CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite};
use zeroize::Zeroize as _;

use super::InstallError;

/// One half's key in the kernel's layout (include/uapi/linux/tls.h), wiped when dropped.
pub struct Key {
    pub(super) info: CryptoInfo,
    /// Sequence number of the first record under it.
    pub(super) sequence: u64,
}

impl Key {
    /// From what rustls gives up after the handshake, or for a key update.
    ///
    /// # Errors
    /// For a suite that the kernel has no name for.
    pub fn new(
        suite: SupportedCipherSuite,
        secret: (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, InstallError> {
        let sequence = secret.0;
        let info = CryptoInfo::from_rustls(suite, secret)
            .map_err(|_| InstallError::Suite(suite.suite()))?;
        Ok(Self { info, sequence })
    }

    /// A key of TLS 1.3 that protects nothing, for the probe.
    pub(super) fn known(suite: SupportedCipherSuite, byte: u8) -> Self {
        let info = |cipher: u32| layout::tls_crypto_info {
            version: 0x0304,
            cipher_type: u16::try_from(cipher).unwrap_or_default(),
        };
        let info = match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => {
                CryptoInfo::AesGcm128(layout::tls12_crypto_info_aes_gcm_128 {
                    info: info(layout::TLS_CIPHER_AES_GCM_128),
                    iv: [byte; 8],
                    key: [byte; 16],
                    salt: [byte; 4],
                    rec_seq: [0; 8],
                })
            }
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => {
                CryptoInfo::Chacha20Poly1305(layout::tls12_crypto_info_chacha20_poly1305 {
                    info: info(layout::TLS_CIPHER_CHACHA20_POLY1305),
                    iv: [byte; 12],
                    key: [byte; 32],
                    salt: layout::__IncompleteArrayField::new(),
                    rec_seq: [0; 8],
                })
            }
            _ => CryptoInfo::AesGcm256(layout::tls12_crypto_info_aes_gcm_256 {
                info: info(layout::TLS_CIPHER_AES_GCM_256),
                iv: [byte; 8],
                key: [byte; 32],
                salt: [byte; 4],
                rec_seq: [0; 8],
            }),
        };
        Self { info, sequence: 0 }
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
