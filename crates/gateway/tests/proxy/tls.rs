//! TLS on all sides, with certificates that are made here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;
use warmroute_gateway::{GatewayConfig, RunningGateway};

use crate::client::{PROMPT, complete, complete_coming, post, request};
use crate::fleet::{gateway_with, settings, within};
use crate::worker::{Act, End, Worker};

/// A certificate and its key, in files that go with it.
struct Identity {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("warmroute-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = Self::write(&folder);
        Self { folder, certificate, key }
    }

    /// Another in the same files.
    fn renew(&mut self) {
        (self.certificate, self.key) = Self::write(&self.folder);
    }

    fn write(folder: &std::path::Path) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
        (cert.der().clone(), key)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn show(&self, config: &mut GatewayConfig) {
        config.set("tls_cert", &self.file("cert.pem")).unwrap();
        config.set("tls_key", &self.file("key.pem")).unwrap();
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A connection of a client that believes this certificate and offers these protocols.
async fn connect(
    gateway: &RunningGateway,
    believed: &Identity,
    offers: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_to(gateway.address(), believed, offers).await
}

async fn connect_to(
    to: SocketAddr,
    believed: &Identity,
    offers: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Asks over HTTP/1.1 on an open connection.
async fn ask(sender: &mut hyper::client::conn::http1::SendRequest<Full<Bytes>>) -> u16 {
    let answer = within(sender.send_request(request("POST", "/v1/completions", PROMPT))).await.unwrap();
    let status = answer.status().as_u16();
    within(answer.into_body().collect()).await.unwrap();
    status
}

async fn http1(stream: TlsStream<TcpStream>) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    TaskTracker::new().spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_choose_between_http_2_and_1_over_tls() {
    let (worker, identity) = (Worker::start(Act::json("{}")).await, Identity::new("choose"));
    let gateway = gateway_with(&[&worker], |config| identity.show(config)).await;
    for (offers, chosen) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = connect(&gateway, &identity, offers).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
        if chosen != "h2" {
            assert_eq!(ask(&mut http1(stream).await).await, 200);
            continue;
        }
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        TaskTracker::new().spawn(connection);
        let mut asked = request("POST", "/", PROMPT);
        *asked.uri_mut() = "https://localhost/v1/completions".parse().unwrap();
        asked.headers_mut().remove("host");
        assert_eq!(within(sender.send_request(asked)).await.unwrap().status(), 200);
    }
    assert_eq!(worker.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_is_closed_and_the_next_is_served() {
    let (worker, identity) = (Worker::start(Act::json("{}")).await, Identity::new("plain"));
    let gateway = gateway_with(&[&worker], |config| identity.show(config)).await;
    let mut stream = crate::client::bare_request(gateway.address()).await;
    let mut read = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut read)).await;
    assert!(!read.starts_with(b"HTTP"));
    assert_eq!(ask(&mut http1(connect(&gateway, &identity, &[]).await.unwrap()).await).await, 200);
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_after_a_reload_and_open_connections_go_on() {
    let (worker, mut identity) = (Worker::start(Act::json("{}")).await, Identity::new("renew"));
    let gateway = gateway_with(&[&worker], |config| identity.show(config)).await;
    let mut open = http1(connect(&gateway, &identity, &[]).await.unwrap()).await;
    assert_eq!(ask(&mut open).await, 200);

    identity.renew();
    assert!(connect(&gateway, &identity, &[]).await.is_err(), "nothing changes before the reload");
    gateway.reload().unwrap();
    assert_eq!(ask(&mut http1(connect(&gateway, &identity, &[]).await.unwrap()).await).await, 200);
    assert_eq!(ask(&mut open).await, 200, "what was open goes on");

    std::fs::write(identity.folder.join("key.pem"), "half a file").unwrap();
    let error = gateway.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("hint:"), "{error}");
    assert_eq!(ask(&mut http1(connect(&gateway, &identity, &[]).await.unwrap()).await).await, 200);
}

/// Asks the admin API for the workers.
async fn ask_admin(stream: TlsStream<TcpStream>) -> u16 {
    let asked = request("GET", "/workers", "");
    within(http1(stream).await.send_request(asked)).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_has_a_certificate_of_its_own_which_a_reload_renews() {
    let (worker, mut identity) = (Worker::start(Act::json("{}")).await, Identity::new("admin"));
    let gateway = gateway_with(&[&worker], |config| {
        config.set("admin_listen", "127.0.0.1:0").unwrap();
        config.set("admin_tls_cert", &identity.file("cert.pem")).unwrap();
        config.set("admin_tls_key", &identity.file("key.pem")).unwrap();
    })
    .await;
    let admin = gateway.admin_address().unwrap();
    let connect = async |identity: &Identity| connect_to(admin, identity, &["http/1.1"]).await;
    assert_eq!(ask_admin(connect(&identity).await.unwrap()).await, 200);

    let mut plain = crate::client::bare_request(admin).await;
    let mut read = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut read)).await;
    assert!(!read.starts_with(b"HTTP"), "nobody is answered without TLS");

    identity.renew();
    assert!(connect(&identity).await.is_err(), "nothing changes before the reload");
    gateway.reload().unwrap();
    assert_eq!(ask_admin(connect(&identity).await.unwrap()).await, 200);
    assert_eq!(complete(gateway.address()).await.status, 200, "clients go on without TLS");
}

/// Puts TLS before a worker; returns where it listens.
async fn terminate(worker: SocketAddr, identity: &Identity) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![identity.certificate.clone()];
    let config = builder.with_no_client_auth().with_single_cert(chain, identity.key.clone_key()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut worker = TcpStream::connect(worker).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut worker).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_tls_is_asked_like_any_other() {
    let (worker, identity) = (Worker::start(Act::json("{\"choices\":[]}")).await, Identity::new("worker"));
    let address = terminate(worker.address, &identity).await;
    let gateway = gateway_with(&[&worker], |config| {
        config.workers = vec![format!("https://{address}").parse().unwrap()];
        config.threads = 1;
        config.set("tls_ca", &identity.file("cert.pem")).unwrap();
    })
    .await;
    let before = worker.connections();
    for _ in 0..20 {
        let answer = complete(gateway.address()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "{\"choices\":[]}"));
    }
    assert_eq!(worker.connections(), before + 1, "a connection is used again");

    let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(4 << 20));
    assert_eq!(post(gateway.address(), "/v1/completions", long.clone()).await.status, 200);
    assert!(worker.seen().pop().unwrap().body == long);
    let speech = vec![b'x'; 4 << 20];
    assert_eq!(post(gateway.address(), "/v1/audio/transcriptions", speech.clone()).await.status, 200);
    assert!(worker.seen().pop().unwrap().body == speech);

    worker.act(Act::stream(&["data: 1\n\n", "data: 2\n\n"], End::Wait));
    let mut stream = complete_coming(gateway.address()).await;
    assert!(stream.piece().await.starts_with(b"data: 1\n\n"));
    drop(stream);
    within(worker.cancelled()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_nobody_believes_is_down() {
    let (worker, identity) = (Worker::start(Act::json("{}")).await, Identity::new("unknown"));
    let address = terminate(worker.address, &identity).await;
    let gateway = warmroute_gateway::start(settings(&[format!("https://{address}")])).await.unwrap();
    within(gateway.workers_down_to(0)).await;
    assert_eq!(complete(gateway.address()).await.status, 503);
    assert_eq!(worker.seen().len(), 0);
}

#[test]
fn mistakes_in_files_are_mistakes_in_the_settings() {
    let (identity, other) = (Identity::new("mistakes"), Identity::new("other"));
    let (cert, key) = (identity.file("cert.pem"), identity.file("key.pem"));
    for (settings, says) in [
        (vec![("tls_cert", cert.clone())], "tls_cert is set and tls_key is not"),
        (vec![("tls_key", key.clone())], "tls_key is set and tls_cert is not"),
        (vec![("tls_cert", "/no/such.pem".into()), ("tls_key", key.clone())], "/no/such.pem cannot be read"),
        (vec![("tls_cert", key.clone()), ("tls_key", key)], "has no certificate in it"),
        (vec![("tls_cert", cert.clone()), ("tls_key", cert.clone())], "has no private key in it"),
        (vec![("tls_cert", cert), ("tls_key", other.file("key.pem"))], "cannot be used together"),
        (vec![("tls_ca", "/no/such.pem".into())], "tls_ca /no/such.pem cannot be read"),
        (vec![("admin_tls_cert", other.file("cert.pem"))], "admin_tls_cert is set and admin_tls_key is not"),
        (
            vec![("admin_tls_cert", other.file("cert.pem")), ("admin_tls_key", identity.file("key.pem"))],
            "admin_tls_cert and admin_tls_key",
        ),
    ] {
        let mut config = crate::fleet::settings(&["http://127.0.0.1:1".to_owned()]);
        for (name, value) in &settings {
            config.set(name, value).unwrap();
        }
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("hint:"), "{settings:?}: {error}");
    }
}
