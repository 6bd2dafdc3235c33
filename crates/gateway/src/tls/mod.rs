//! TLS on both sides: what clients and operators are shown, and whom among workers we believe. rustls with ring.
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
use crate::config::{FilePath, GatewayConfig, Optional};

/// What may be spoken with us, the best first.
const SPOKEN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What workers are offered: the client that we have.
const FOR_WORKERS: &[u8] = b"http/1.1";

/// What those who connect to a listener are shown from now on; nothing if they speak without TLS.
#[derive(Default)]
pub(crate) struct Shown(ArcSwapOption<ServerConfig>);

impl Shown {
    /// This from the start.
    pub(crate) fn new(shown: Option<Arc<ServerConfig>>) -> Self {
        Self(ArcSwapOption::new(shown))
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

/// A certificate and its key, by the settings that name their files.
struct Pair<'c> {
    settings: &'static str,
    cert: (&'static str, &'c Optional<FilePath>),
    key: (&'static str, &'c Optional<FilePath>),
}

/// How the settings want to meet clients.
///
/// # Errors
/// On a file that is missing or wrong.
pub(crate) fn for_clients(config: &GatewayConfig) -> Result<Option<Arc<ServerConfig>>, BadTls> {
    let settings = "tls_cert and tls_key";
    Pair { settings, cert: ("tls_cert", &config.tls_cert), key: ("tls_key", &config.tls_key) }.shown()
}

/// How they want to meet operators.
///
/// # Errors
/// As [`for_clients`].
pub(crate) fn for_operators(config: &GatewayConfig) -> Result<Option<Arc<ServerConfig>>, BadTls> {
    let (cert, key) = (("admin_tls_cert", &config.admin_tls_cert), ("admin_tls_key", &config.admin_tls_key));
    Pair { settings: "admin_tls_cert and admin_tls_key", cert, key }.shown()
}

impl Pair<'_> {
    fn shown(&self) -> Result<Option<Arc<ServerConfig>>, BadTls> {
        let (cert, key) = match (&self.cert.1.0, &self.key.1.0) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => return Err(BadTls::Half { set: self.cert.0, missing: self.key.0 }),
            (None, Some(_)) => return Err(BadTls::Half { set: self.key.0, missing: self.cert.0 }),
        };
        let (chain, secret) = (files::certificates(self.cert.0, cert)?, files::key(self.key.0, key)?);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of both versions");
        let unfit = |why| {
            let (cert, key) = (cert.to_string(), key.to_string());
            BadTls::Unfit { settings: self.settings, cert, key, why: Box::new(why) }
        };
        let mut shown = builder.with_no_client_auth().with_single_cert(chain, secret).map_err(unfit)?;
        shown.alpn_protocols = SPOKEN.map(<[u8]>::to_vec).to_vec();
        Ok(Some(Arc::new(shown)))
    }
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
