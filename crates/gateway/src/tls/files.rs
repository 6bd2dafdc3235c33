//! Certificates and keys in PEM files, and what may be wrong with them.

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::FilePath;

/// What is wrong with the files that TLS needs.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// One of two that belong together.
    #[error("{set} is set and {missing} is not; hint: set both, or neither to listen without TLS")]
    Half {
        /// That one.
        set: &'static str,
        /// The other.
        missing: &'static str,
    },
    /// A file that cannot be read as PEM.
    #[error("{setting} {path} cannot be read: {why}; hint: give it a PEM file that the gateway may read")]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// What the system or the parser said.
        why: String,
    },
    /// A file with something else in it.
    #[error("{setting} {path} has no {wanted} in it; hint: it has to be PEM, with a block BEGIN {block}")]
    Missing {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// What was looked for.
        wanted: &'static str,
        /// How PEM calls it.
        block: &'static str,
    },
    /// A certificate and a key that do not go together, or cannot be used.
    #[error(
        "{settings} {cert} and {key} cannot be used together: {why}; hint: the key has to be that of the first certificate in the file"
    )]
    Unfit {
        /// The settings that name them.
        settings: &'static str,
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What rustls said.
        why: Box<rustls::Error>,
    },
    /// A certificate that is nobody's root.
    #[error(
        "tls_ca {path} has a certificate that cannot be believed in: {why}; hint: give it CA certificates"
    )]
    NoRoot {
        /// The file.
        path: String,
        /// What rustls said.
        why: rustls::Error,
    },
}

/// All certificates of a file, at least one.
pub(super) fn certificates(
    setting: &'static str,
    path: &FilePath,
) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let unreadable = |why| unreadable(setting, path, &why);
    let found = CertificateDer::pem_file_iter(&path.0).map_err(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(BadTls::Missing {
            setting,
            path: path.to_string(),
            wanted: "certificate",
            block: "CERTIFICATE",
        }),
        false => Ok(found),
    }
}

/// The first private key of a file.
pub(super) fn key(setting: &'static str, path: &FilePath) -> Result<PrivateKeyDer<'static>, BadTls> {
    PrivateKeyDer::from_pem_file(&path.0).map_err(|why| match why {
        PemError::NoItemsFound => {
            BadTls::Missing { setting, path: path.to_string(), wanted: "private key", block: "PRIVATE KEY" }
        }
        why => unreadable(setting, path, &why),
    })
}

fn unreadable(setting: &'static str, path: &FilePath, why: &PemError) -> BadTls {
    let why = match why {
        PemError::Io(error) => error.to_string(),
        other => format!("{other:?}"),
    };
    BadTls::Unreadable { setting, path: path.to_string(), why }
}
