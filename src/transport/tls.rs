//! TLS for both sides: what the listener shows, and what the client trusts.
//!
//! The cryptography is always that of aws-lc-rs, named explicitly, so that nothing depends on a default that some
//! other part of the process may set. Errors name the file and what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};

/// The one application protocol spoken: WebSocket starts as HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";

/// Why a TLS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} file {}: {source}", path.display())]
    Unreadable {
        /// Which of the configured files.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds nothing of the kind that belongs there.
    #[error("no {what} in {}; expected a PEM file with a section `-----BEGIN {section}-----`", path.display())]
    Missing {
        /// Which of the configured files.
        what: &'static str,
        /// The section's usual name.
        section: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file is not well-formed PEM.
    #[error("the {what} file {} is not well-formed PEM: {problem}", path.display())]
    Malformed {
        /// Which of the configured files.
        what: &'static str,
        /// Where it was found.
        path: PathBuf,
        /// What the parser said.
        problem: String,
    },
    /// Certificate and key are readable, but cannot be used, or not together.
    #[error(
        "the certificate in {} and the private key in {} cannot be used together: {source}",
        certificate.display(),
        key.display()
    )]
    Unusable {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The roots to trust cannot be loaded.
    #[error("cannot load the trusted root certificates: {0}")]
    Roots(rustls::Error),
    /// The cryptographic provider refuses the protocol versions.
    #[error("cannot set TLS up: {0}")]
    Provider(rustls::Error),
}

/// What a listener shows its clients: the chain in `certificate`, proven with `key`; both PEM files.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    regular("TLS certificate", certificate)?;
    regular("TLS private key", key)?;
    let chain = certificates("TLS certificate", certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| pem_error("TLS private key", "PRIVATE KEY", key, error))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|source| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What a client trusts: the platform's roots and, if given, the certificates of a PEM file, such as a
/// self-signed one for development. Reads files; not for an async task.
pub fn client_config(extra_ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let extra = extra_ca.map_or_else(|| Ok(Vec::new()), |path| certificates("extra CA", path))?;
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider())
        .map_err(TlsError::Roots)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        // The platform's verifier is the strict one; rustls calls every verifier that is not its own dangerous.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A pipe would keep the daemon waiting for a writer.
fn regular(what: &'static str, path: &Path) -> Result<(), TlsError> {
    let source = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => io::Error::other("it is no regular file"),
        Err(source) => source,
    };
    Err(TlsError::Unreadable { what, path: path.to_owned(), source })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const SECTION: &str = "CERTIFICATE";
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(what, SECTION, path, error))?;
    if chain.is_empty() {
        return Err(TlsError::Missing { what, section: SECTION, path: path.to_owned() });
    }
    Ok(chain)
}

fn pem_error(what: &'static str, section: &'static str, path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    if let pem::Error::Io(source) = error {
        TlsError::Unreadable { what, path, source }
    } else if matches!(error, pem::Error::NoItemsFound) {
        TlsError::Missing { what, section, path }
    } else {
        TlsError::Malformed { what, path, problem: error.to_string() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A directory with `cert.pem` and `key.pem` for `localhost`, self-signed.
    pub(crate) fn self_signed() -> tempfile::TempDir {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        dir
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let (dir, other) = (self_signed(), self_signed());
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        assert!(server_config(&cert, &key).is_ok());

        let said = |cert: &Path, key: &Path| server_config(cert, key).unwrap_err().to_string();
        let absent = dir.path().join("absent.pem");
        let text = said(&absent, &key);
        assert!(
            text.starts_with(&format!("cannot read the TLS certificate file {}", absent.display())),
            "{text}"
        );
        assert_eq!(
            said(&cert, &cert),
            format!(
                "no TLS private key in {}; expected a PEM file with a section `-----BEGIN PRIVATE KEY-----`",
                cert.display()
            )
        );
        let text = said(&key, &key);
        assert!(text.starts_with("no TLS certificate in "), "{text}");
        let pipe = dir.path().join("pipe.pem");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for text in [said(&pipe, &key), said(&cert, &pipe)] {
            assert!(text.ends_with("pipe.pem: it is no regular file"), "{text}");
        }
        let text = said(&cert, &other.path().join("key.pem"));
        assert!(text.contains("cannot be used together"), "{text}");

        let broken = dir.path().join("broken.pem");
        fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
        let text = said(&cert, &broken);
        assert!(text.contains("is not well-formed PEM: missing section end"), "{text}");
    }

    #[test]
    fn a_client_may_trust_one_more_certificate() {
        let dir = self_signed();
        assert!(client_config(Some(&dir.path().join("cert.pem"))).is_ok());
        let text = client_config(Some(&dir.path().join("key.pem"))).unwrap_err().to_string();
        assert!(text.starts_with("no extra CA in "), "{text}");
    }
}
