//! TLS on both sides: what clients are shown, and whom among workers we believe. rustls with ring.
//!
//! Files are read when settings are checked, so a mistake in them is a mistake in the settings, and a reload that meets one changes nothing.

mod files;
mod socket;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use self::files::BadTls;
pub(crate) use self::socket::Socket;
use crate::config::{FilePath, GatewayConfig};

/// What clients may speak, the best first.
const FOR_CLIENTS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What workers are offered: the client that we have.
const FOR_WORKERS: &[u8] = b"http/1.1";

/// What clients are shown from now on; nothing if they speak without TLS.
#[derive(Default)]
pub(crate) struct Shown(ArcSwapOption<ServerConfig>);

impl Shown {
    /// As the settings have it.
    ///
    /// # Errors
    /// On a file that is missing or wrong.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, BadTls> {
        Ok(Self(ArcSwapOption::new(for_clients(config)?)))
    }

    /// New connections are shown this; those that are open stay as they are.
    pub(crate) fn replace(&self, shown: Option<Arc<ServerConfig>>) {
        self.0.store(shown);
    }

    /// What a connection that begins now is shown.
    pub(crate) fn now(&self) -> Option<Arc<ServerConfig>> {
        self.0.load_full()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// How the settings want to meet clients.
///
/// # Errors
/// On a file that is missing or wrong.
pub(crate) fn for_clients(config: &GatewayConfig) -> Result<Option<Arc<ServerConfig>>, BadTls> {
    let (cert, key) = match (&config.tls_cert.0, &config.tls_key.0) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(BadTls::Half { set: "tls_cert", missing: "tls_key" }),
        (None, Some(_)) => return Err(BadTls::Half { set: "tls_key", missing: "tls_cert" }),
    };
    let (chain, secret) = (files::certificates("tls_cert", cert)?, files::key("tls_key", key)?);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of both versions");
    let mut shown = builder
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|why| BadTls::Unfit { cert: cert.to_string(), key: key.to_string(), why })?;
    shown.alpn_protocols = FOR_CLIENTS.map(<[u8]>::to_vec).to_vec();
    Ok(Some(Arc::new(shown)))
}

/// How the settings want to meet workers: Mozilla's roots are believed, and those of the file beside them.
///
/// # Errors
/// On a file that is missing or wrong.
pub(crate) fn for_workers(ca: Option<&FilePath>) -> Result<Arc<ClientConfig>, BadTls> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca {
        for certificate in files::certificates("tls_ca", path)? {
            roots.add(certificate).map_err(|why| BadTls::NoRoot { path: path.to_string(), why })?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![FOR_WORKERS.to_vec()];
    Ok(Arc::new(config))
}
