//! Reading and checking the key in a certificate, and nothing else in it: no names, no dates, no
//! chain, no extensions.

use std::sync::Arc;

use offset_crypto::{PublicKey, Signature};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::{oid_registry::OID_SIG_ED25519, prelude::FromDer as _};

/// Accepts the server that proves one given key.
#[derive(Debug)]
pub(crate) struct ExpectedServer(pub(crate) PublicKey);

/// Accepts every client that proves a well-formed Ed25519 key; whether that key may do anything is
/// decided above.
#[derive(Debug)]
pub(crate) struct AnyClient;

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key_of(end_entity)? == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The Ed25519 key in a certificate as a peer shows it, nothing else of which is looked at. `None`
/// when it is not a certificate, too long for one, or not of such a key.
#[must_use]
pub fn certificate_key(der: &[u8]) -> Option<PublicKey> {
    key_of(&CertificateDer::from(der)).ok()
}

pub(crate) fn key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let bad = || Error::from(CertificateError::BadEncoding);
    if MAX_CERTIFICATE_BYTES < certificate.len() {
        return Err(bad());
    }
    let (rest, parsed) =
        x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let info = parsed.public_key();
    let well_formed = rest.is_empty()
        && info.algorithm.algorithm == OID_SIG_ED25519
        && info.algorithm.parameters.is_none()
        && info.subject_public_key.unused_bits == 0;
    if !well_formed {
        return Err(bad());
    }
    let bytes = info.subject_public_key.data.as_ref().try_into().map_err(|_| bad())?;
    PublicKey::from_bytes(bytes).map_err(|_| bad())
}

fn check_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::from(CertificateError::BadSignature);
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(bad());
    }
    let signature = Signature::from_bytes(dss.signature().try_into().map_err(|_| bad())?);
    if key_of(cert)?.verify(message, &signature) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(bad())
    }
}

/// The verifiers behind the pointers that rustls wants.
pub(crate) fn expecting(key: PublicKey) -> Arc<dyn ServerCertVerifier> {
    Arc::new(ExpectedServer(key))
}

/// A certificate that holds only a key has about 250 bytes; other TLS stacks add names and
/// extensions.
const MAX_CERTIFICATE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    use super::*;

    fn certificate(key: &impl rcgen::SigningKey) -> Vec<u8> {
        let params = CertificateParams::new(vec!["a name that nobody looks at".to_owned()]);
        params.unwrap().self_signed(key).unwrap().der().to_vec()
    }

    fn key_in(certificate: Vec<u8>) -> Result<PublicKey, Error> {
        key_of(&CertificateDer::from(certificate))
    }

    #[test]
    fn only_an_ed25519_key_counts() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let good = certificate(&key);
        assert_eq!(key_in(good.clone()).unwrap().as_bytes(), rcgen::PublicKeyData::der_bytes(&key));

        let other_kind = certificate(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        let followed = [&good[..], &[0]].concat();
        let long = CertificateParams::new(vec!["x".repeat(5000)]).unwrap();
        let long = long.self_signed(&key).unwrap().der().to_vec();
        let place =
            good.windows(32).position(|window| window == rcgen::PublicKeyData::der_bytes(&key));
        let mut weak = good;
        weak[place.unwrap()..][..32].fill(0);
        for bad in [other_kind, followed, long, weak, Vec::new(), vec![0x30; 100]] {
            assert!(key_in(bad).is_err());
        }
    }

    #[test]
    fn changed_certificates_never_panic() {
        let good = certificate(&KeyPair::generate_for(&PKCS_ED25519).unwrap());
        for place in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0x84, 0xff, good[place] ^ 1] {
                let mut changed = good.clone();
                changed[place] = value;
                let _whatever = key_in(changed);
            }
            let _cut = key_in(good[..place].to_vec());
        }
    }
}
