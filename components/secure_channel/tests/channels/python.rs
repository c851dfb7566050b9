//! A peer that shares no code with this crate: Python's `ssl`, which is OpenSSL.

use std::{future::Future, path::Path, process::Stdio, time::Duration};

use offset_proto::session::Purpose;
use offset_secure_channel::{Error, accept, connect};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

use crate::pipe::identity;

#[tokio::test]
async fn a_python_client_is_served() {
    let Some(files) = files() else { return };
    let (you, listener) = (identity(1), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port().to_string();
    let key = hex(you.public_key().as_bytes());
    for mode in ["good", "no-alpn", "other-alpn", "no-certificate", "tls12"] {
        let mut python = python(files.path(), &["client", mode, &port, &key]);
        let (stream, _from) = soon(listener.accept()).await.unwrap();
        let channel = accept(stream, &you, &[Purpose::Friend]).await;
        if mode == "good" {
            let (mut out, mut received) = channel.unwrap().split();
            let question = soon(received.recv()).await.unwrap();
            assert_eq!(question, vec![b'q'; 300]);
            out.send(b"the answer").await.unwrap();
            assert!(matches!(soon(received.recv()).await, Err(Error::Closed)));
            out.close().await.unwrap();
        } else {
            assert!(matches!(channel, Err(Error::Handshake(_))), "{mode}: {channel:?}");
        }
        assert!(soon(python.wait()).await.unwrap().success(), "{mode}");
    }
}

#[tokio::test]
async fn a_python_server_is_found() {
    let Some(files) = files() else { return };
    let mut python = python(files.path(), &["server"]);
    let mut said = python.stdout.take().unwrap();
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(soon(said.read_u8()).await.unwrap()));
    }
    let (port, key) = line.trim().split_once(' ').unwrap();
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let expected = offset_crypto::PublicKey::from_bytes(bytes.try_into().unwrap()).unwrap();

    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    let channel = connect(stream, &identity(2), expected, Purpose::App).await.unwrap();
    let (mut out, mut received) = channel.split();
    out.send(b"ping").await.unwrap();
    assert_eq!(soon(received.recv()).await.unwrap(), &b"pong"[..]);
    out.close().await.unwrap();
    assert!(soon(python.wait()).await.unwrap().success());
}

/// No wait is longer than this.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("done in time")
}

/// A directory with a key and a certificate for Python, or none without a Python.
fn files() -> Option<tempfile::TempDir> {
    let found = std::process::Command::new("python3").args(["-c", "import ssl"]).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("skipped: there is no python3 with its ssl module here");
        return None;
    }
    let files = tempfile::tempdir().unwrap();
    // The first form of PKCS#8, which OpenSSL reads; the keys that rcgen makes are in the second.
    let pkcs8 = [PKCS8_PREFIX, &offset_crypto::hash(b"a seed").as_bytes()[..]].concat();
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
        &pkcs8.as_slice().into(),
        &rcgen::PKCS_ED25519,
    )
    .unwrap();
    let params = rcgen::CertificateParams::new(vec!["an app".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(files.path().join("key.der"), pkcs8).unwrap();
    std::fs::write(files.path().join("key.raw"), rcgen::PublicKeyData::der_bytes(&key)).unwrap();
    std::fs::write(files.path().join("cert.der"), certificate.der()).unwrap();
    Some(files)
}

fn python(files: &Path, arguments: &[&str]) -> tokio::process::Child {
    Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(files)
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PKCS8_PREFIX: &[u8] =
    &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

const SCRIPT: &str = r#"
import base64, hashlib, hmac, os, socket, ssl, struct, sys

def pem(name, what):
    body = base64.encodebytes(open(os.path.join(files, name + ".der"), "rb").read()).decode()
    path = os.path.join(files, name + ".pem")
    with open(path, "w") as out:
        out.write(f"-----BEGIN {what}-----\n{body}-----END {what}-----\n")
    return path

def tag(key, head):
    secret = hashlib.sha256(b"offset-knock-v1\0" + key).digest()
    return hmac.new(secret, head, hashlib.sha256).digest()

def exactly(tls, count):
    data = b""
    while len(data) < count:
        more = tls.recv(count - len(data))
        assert more, "ended early"
        data += more
    return data

def frame(tls):
    return exactly(tls, struct.unpack(">I", exactly(tls, 4))[0])

def client(mode, port, key):
    key = bytes.fromhex(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if mode != "no-certificate":
        context.load_cert_chain(pem("cert", "CERTIFICATE"), pem("key", "PRIVATE KEY"))
    if mode == "tls12":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if mode != "no-alpn":
        context.set_alpn_protocols(["offset/1/app" if mode == "other-alpn" else "offset/1/friend"])
    raw = socket.create_connection(("127.0.0.1", int(port)))
    head = b"OFST" + bytes([1, 2, 0, 0]) + os.urandom(32)
    raw.sendall(head + tag(key, head))
    try:
        tls = context.wrap_socket(raw)
        assert tls.version() == "TLSv1.3"
        assert tls.selected_alpn_protocol() == "offset/1/friend"
        assert key in tls.getpeercert(binary_form=True)
        content = struct.pack(">I", 300) + b"q" * 300
        tls.sendall(struct.pack(">I", 512) + content.ljust(512, b"\0"))
        answer = frame(tls)
    except (ssl.SSLError, AssertionError, ConnectionError):
        assert mode != "good"
        return
    assert mode == "good"
    assert len(answer) == 256 and answer == (struct.pack(">I", 10) + b"the answer").ljust(256, b"\0")
    tls.unwrap()

def server():
    key = open(os.path.join(files, "key.raw"), "rb").read()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem("cert", "CERTIFICATE"), pem("key", "PRIVATE KEY"))
    context.set_alpn_protocols(["offset/1/app"])
    context.num_tickets = 0
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], key.hex(), flush=True)
    raw, _ = listener.accept()
    knock = exactly(raw, 72)
    assert knock[:8] == b"OFST" + bytes([1, 1, 0, 0])
    assert hmac.compare_digest(knock[40:], tag(key, knock[:40]))
    tls = context.wrap_socket(raw, server_side=True)
    assert frame(tls) == b"ping"
    tls.sendall(struct.pack(">I", 4) + b"pong")
    assert tls.recv(1) == b""
    tls.unwrap()

files = sys.argv[1]
{"client": client, "server": server}[sys.argv[2]](*sys.argv[3:])
"#;
