//! What those see and get who are not entitled to a channel.

use std::{
    mem::size_of_val,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use offset_proto::session::Purpose;
use offset_secure_channel::{Error, KNOCK_BYTES, accept, connect};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::pipe::{Tamper, Tampered, identity, knock, pipe};

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_a_valid_knock() {
    let you = identity(1);
    let key = you.public_key();
    let good = knock(&key, 3, [1; 32]);
    let mut wrong_tag = good.clone();
    wrong_tag[71] ^= 1;
    let cases = [
        Vec::new(),
        good[..71].to_vec(),
        wrong_tag,
        vec![0; 500],
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody who is curious about this port\r\n\r\n"
            .to_vec(),
        knock(&identity(3).public_key(), 3, [2; 32]),
        knock(&key, 1, [3; 32]),
        knock(&key, 6, [4; 32]),
    ];
    for bytes in cases {
        let (mut stranger, server) = pipe();
        let server = Tampered::new(server, Tamper::default(), Tamper::default());
        let (read, written) = (server.read.clone(), server.written.clone());
        stranger.write_all(&bytes).await.unwrap();
        let start = Instant::now();
        let result = accept(server, &you, &[Purpose::Relay, Purpose::Friend]).await;
        assert!(matches!(result, Err(Error::Knock | Error::TimedOut)), "{result:?}");
        assert!(start.elapsed() <= Duration::from_millis(3001));
        assert_eq!(written.load(Ordering::Relaxed), 0, "{bytes:?}");
        assert!(read.load(Ordering::Relaxed) <= KNOCK_BYTES);
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_knock_opens_nothing() {
    let you = identity(1);
    let recorded = knock(&you.public_key(), 3, [1; 32]);
    for attempt in 0..3 {
        let (mut client, server) = pipe();
        client.write_all(&recorded).await.unwrap();
        let result = accept(server, &you, &[Purpose::Relay]).await;
        if attempt == 0 {
            // Past the knock, but never a ClientHello.
            assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
        } else {
            assert!(matches!(result, Err(Error::Knock)), "{result:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_both_sides() {
    let (me, you) = (identity(2), identity(1));
    for (sent, seconds) in [(Vec::new(), 3), (knock(&you.public_key(), 3, [9; 32]), 10)] {
        let (mut client, server) = pipe();
        client.write_all(&sent).await.unwrap();
        let start = Instant::now();
        let result = accept(server, &you, &[Purpose::Relay]).await;
        assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
    let (client, _silent) = pipe();
    let result = connect(client, &me, you.public_key(), Purpose::Relay).await;
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_knock_is_small() {
    let you = identity(1);
    let (_client, server) = pipe();
    let waiting = accept(server, &you, &[Purpose::Relay]);
    assert!(size_of_val(&waiting) < 2048, "{}", size_of_val(&waiting));
}

#[tokio::test(start_paused = true)]
async fn a_man_in_the_middle_learns_nothing_and_gets_nowhere() {
    // He knows both keys' public halves, answers the knock and signs with a key of his own.
    let (me, you, middle) = (identity(2), identity(1), identity(66));
    let (client, mut to_client) = pipe();
    let (mut to_own, own) = pipe();
    let between = async {
        let mut first = [0; KNOCK_BYTES];
        to_client.read_exact(&mut first).await.unwrap();
        assert_eq!(first[..], knock(&you.public_key(), 3, first[8..40].try_into().unwrap()));
        to_own.write_all(&knock(&middle.public_key(), 3, [5; 32])).await.unwrap();
        let _ends = tokio::io::copy_bidirectional(&mut to_client, &mut to_own).await;
    };
    let (client, server, ()) = tokio::join!(
        connect(client, &me, you.public_key(), Purpose::Relay),
        accept(own, &middle, &Purpose::ALL),
        between
    );
    assert!(
        matches!(client, Err(Error::WrongKey { expected }) if expected == you.public_key()),
        "{client:?}"
    );
    assert!(matches!(server, Err(Error::Handshake(_))), "{server:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_speak_another_tls() {
    let good = || vec![b"offset/1/relay".to_vec()];
    let cases = [
        ("as it should be", Some(&rcgen::PKCS_ED25519), good(), true),
        ("no certificate", None, good(), false),
        ("a key of another kind", Some(&rcgen::PKCS_ECDSA_P256_SHA256), good(), false),
        ("no purpose", Some(&rcgen::PKCS_ED25519), Vec::new(), false),
        ("another purpose", Some(&rcgen::PKCS_ED25519), vec![b"offset/1/app".to_vec()], false),
    ];
    for (name, key, alpn, good) in cases {
        let you = identity(1);
        let (client, server) = pipe();
        let knock = knock(&you.public_key(), 3, [8; 32]);
        let (client, server) = tokio::join!(
            tls_client(client, &knock, config(key, alpn)),
            accept(server, &you, &[Purpose::Relay])
        );
        assert_eq!(server.is_ok(), good, "{name}: {server:?}");
        if !good {
            assert!(matches!(server, Err(Error::Handshake(_))), "{name}: {server:?}");
        }
        if let (true, Ok(client)) = (good, client) {
            assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"offset/1/relay"[..]));
            assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
        }
    }
}

async fn tls_client(
    mut stream: DuplexStream,
    knock: &[u8],
    config: ClientConfig,
) -> std::io::Result<TlsStream<DuplexStream>> {
    stream.write_all(knock).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A plain rustls client with a certificate of this kind of key.
fn config(key: Option<&'static rcgen::SignatureAlgorithm>, alpn: Vec<Vec<u8>>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some(algorithm) => {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.self_signed(&key).unwrap().der().clone();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = alpn;
    config
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
