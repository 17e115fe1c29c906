//! Handshakes that fail: counted by their cause, and now and then a line.
//!
//! On the open network such handshakes are normal life, and a flood of them must not fill the log. So each cause has one line in a
//! while at the usual level, and the others are for those who debug.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fantail_telemetry::{Admitted, HandshakeFailure, Sampled};
use parking_lot::Mutex;
use rustls::{CertificateError, Error};
use tokio::task::JoinError;
use tracing::{debug, info};

/// The shortest time between two lines of the usual level about one cause.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The failed handshakes of a thread with one kind of listener.
pub(crate) struct FailedHandshakes {
    listener: &'static str,
    count: Box<dyn Fn(HandshakeFailure) + Send + Sync>,
    log: Mutex<Sampled<HandshakeFailure>>,
}

impl FailedHandshakes {
    pub(crate) fn new(listener: &'static str, count: impl Fn(HandshakeFailure) + Send + Sync + 'static) -> Self {
        Self { listener, count: Box::new(count), log: Mutex::new(Sampled::new(1, LOG_INTERVAL)) }
    }

    /// One more, of this client. A handshake that was ended for a newer one is none.
    pub(crate) fn add(&self, peer: SocketAddr, error: &io::Error) {
        if !was_ended_here(error) {
            self.tell(cause(error), peer, &in_words(error));
        }
    }

    /// One that never began, since the client speaks HTTP in the clear.
    pub(crate) fn add_plain_http(&self, peer: SocketAddr) {
        self.tell(HandshakeFailure::PlainHttp, peer, "plain HTTP was sent to an encrypted port");
    }

    fn tell(&self, failure: HandshakeFailure, peer: SocketAddr, cause: &str) {
        (self.count)(failure);
        let (listener, reason) = (self.listener, failure.as_str());
        let admitted = self.log.lock().admit(failure, Instant::now());
        if let Some(Admitted { suppressed }) = admitted {
            info!(listener, %peer, reason, cause, suppressed, "a TLS handshake failed");
        } else {
            debug!(listener, %peer, reason, cause, "a TLS handshake failed");
        }
    }
}

/// An error of the library in words that name the remedy, where they are known. It may be about a certificate of either side.
pub(super) fn explain(error: &Error) -> String {
    match error {
        // `openssl x509 -req` makes such a certificate if it is given no extensions.
        Error::InvalidCertificate(CertificateError::Other(inner)) if inner.to_string() == "UnsupportedCertVersion" => {
            "the certificate has version 1 of X.509 and only version 3 is taken; sign it again with openssl req -x509 \
             -CA, or give openssl x509 -req an -extfile"
                .to_owned()
        }
        Error::NoCertificatesPresented => "the client has shown no certificate".to_owned(),
        Error::AlertReceived(alert) => {
            format!("the client refuses the handshake ({alert:?}); does it trust the authority of this certificate")
        }
        error => error.to_string(),
    }
}

fn was_ended_here(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<JoinError>()).is_some_and(JoinError::is_cancelled)
}

fn of_library(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn cause(error: &io::Error) -> HandshakeFailure {
    match of_library(error) {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => HandshakeFailure::ClientCertificate,
        Some(Error::AlertReceived(_)) => HandshakeFailure::Refused,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => HandshakeFailure::NothingInCommon,
        Some(_) => HandshakeFailure::Malformed,
        None => match error.kind() {
            io::ErrorKind::TimedOut => HandshakeFailure::Late,
            io::ErrorKind::PermissionDenied => HandshakeFailure::ClientCertificate,
            _ => HandshakeFailure::Gone,
        },
    }
}

fn in_words(error: &io::Error) -> String {
    match (of_library(error), error.kind()) {
        (Some(error), _) => explain(error),
        (None, io::ErrorKind::TimedOut) => "it was not done in time".to_owned(),
        (None, io::ErrorKind::UnexpectedEof) => "the client closed the connection".to_owned(),
        (None, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, InvalidMessage, OtherError, PeerIncompatible};

    use super::*;

    #[test]
    fn each_failure_has_its_cause() {
        use HandshakeFailure::{ClientCertificate, Gone, Late, Malformed, NothingInCommon, Refused};
        let of_library = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (of_library(Error::NoCertificatesPresented), ClientCertificate),
            (of_library(CertificateError::Expired.into()), ClientCertificate),
            (io::Error::new(io::ErrorKind::PermissionDenied, "the client has shown no certificate"), ClientCertificate),
            (of_library(Error::AlertReceived(AlertDescription::UnknownCA)), Refused),
            (of_library(PeerIncompatible::NoCipherSuitesInCommon.into()), NothingInCommon),
            (of_library(InvalidMessage::InvalidContentType.into()), Malformed),
            (io::ErrorKind::TimedOut.into(), Late),
            (io::ErrorKind::UnexpectedEof.into(), Gone),
            (io::ErrorKind::ConnectionReset.into(), Gone),
        ] {
            assert_eq!(cause(&error), expected, "{error}");
        }
    }

    #[test]
    fn an_old_certificate_is_told_with_its_remedy() {
        #[derive(Debug)]
        struct Inner;
        impl std::fmt::Display for Inner {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("UnsupportedCertVersion")
            }
        }
        impl std::error::Error for Inner {}
        let error = CertificateError::Other(OtherError(Arc::new(Inner)));
        assert!(explain(&error.into()).contains("version 3"));
    }
}
