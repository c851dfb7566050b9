//! What an identity needs to speak TLS, made once.

use std::{fmt, sync::Arc};

use offset_crypto::{Identity, PublicKey};
use offset_proto::session::Purpose;
use rcgen::{CertificateParams, DistinguishedName, PKCS_ED25519};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::{
    ClientConfig, ServerConfig, SignatureAlgorithm, SignatureScheme,
    client::Resumption,
    crypto::{CryptoProvider, ring as provider},
    pki_types::CertificateDer,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
    version::TLS13,
};

use crate::{
    knock::{Doorkeeper, Knocker},
    verify::{AnyClient, expecting},
};

/// An identity prepared for channels: certificate, TLS settings, the secret of the knock and the
/// memory of used knocks. Make one at start and share it in an `Arc`; it is used by any number of
/// channels at once, as initiator and as responder.
///
/// Holds the key pair for as long as it lives; the seed itself is not copied.
pub struct ChannelIdentity {
    public_key: PublicKey,
    client: ClientConfig,
    servers: [Arc<ServerConfig>; Purpose::ALL.len()],
    doorkeeper: Doorkeeper,
}

impl ChannelIdentity {
    /// Prepares an identity: one signature, well under a millisecond.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self::preferring(identity, has_aes_instructions())
    }

    /// AES is used when both sides prefer it.
    pub(crate) fn preferring(identity: &Identity, aes: bool) -> Self {
        let public_key = identity.public_key();
        let key_pair = Ed25519KeyPair::from_seed_unchecked(identity.seed().expose())
            .expect("a seed of 32 bytes is always accepted");
        let key = Arc::new(TlsKey(Arc::new(key_pair)));
        let certified = Arc::new(CertifiedKey::new(vec![certificate(&key)], key));
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let provider = Arc::new(crypto_provider(aes));

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the suites are those of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(expecting(public_key))
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        client.resumption = Resumption::disabled();
        client.enable_sni = false;

        let server = |purpose: Purpose| {
            let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13])
                .expect("the suites are those of TLS 1.3")
                .with_client_cert_verifier(Arc::new(AnyClient))
                .with_cert_resolver(Arc::clone(&resolver) as _);
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            server.alpn_protocols = vec![purpose.alpn().to_vec()];
            // Otherwise the client's order decides.
            server.ignore_client_order = !aes;
            Arc::new(server)
        };
        let servers = Purpose::ALL.map(server);
        let doorkeeper = Doorkeeper::new(Knocker::new(&public_key));
        Self { public_key, client, servers, doorkeeper }
    }

    /// The public key that channels of this identity prove.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// TLS settings of an initiator that accepts `expected` alone.
    pub(crate) fn client_config(&self, expected: PublicKey, purpose: Purpose) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.dangerous().set_certificate_verifier(expecting(expected));
        config.alpn_protocols = vec![purpose.alpn().to_vec()];
        Arc::new(config)
    }

    /// TLS settings of a responder after a knock for `purpose`.
    pub(crate) fn server_config(&self, purpose: Purpose) -> Arc<ServerConfig> {
        let index = Purpose::ALL.iter().position(|each| *each == purpose);
        Arc::clone(&self.servers[index.expect("every purpose is among all of them")])
    }

    /// Who looks at knocks.
    pub(crate) const fn doorkeeper(&self) -> &Doorkeeper {
        &self.doorkeeper
    }
}

impl fmt::Debug for ChannelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelIdentity({:?})", self.public_key)
    }
}

/// The key pair as rustls and rcgen want it, so that the seed never has to be written as PKCS#8.
struct TlsKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsKey(..)")
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl rcgen::PublicKeyData for TlsKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

/// A certificate with a key and nothing else: no names, a fixed serial number, rcgen's fixed dates.
fn certificate(key: &TlsKey) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(1u64.into());
    params.self_signed(key).expect("the parameters are constant and the key signs").der().clone()
}

fn crypto_provider(aes: bool) -> CryptoProvider {
    // The preferred one first.
    let mut cipher_suites = vec![
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    if aes {
        cipher_suites.reverse();
    }
    CryptoProvider {
        cipher_suites,
        kx_groups: vec![provider::kx_group::X25519],
        ..provider::default_provider()
    }
}

/// Whether AES-GCM is fast here. Without instructions it is several times slower than ChaCha20.
fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = false;
    found
}
