//! Sealing by the kernel (kTLS): the key goes to the socket, and from then on the socket takes plain bytes.
//!
//! Only TLS 1.3. The kernels that this was written on have no kTLS, so a test holds the way back alone: where the kernel
//! refuses, the sealer is returned and goes on.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use ktls_core::ffi::send_tls_control_message;
use ktls_core::{AeadKey, ConnectionTrafficSecrets, ContentType, ProtocolVersion, TlsCryptoInfoTx, setup_ulp};
use socket2::{Domain, Socket, Type};

use super::{CLOSE_NOTIFY, TlsCipher, TlsSealer, TlsVersion};

/// Whether this kernel can seal. A socket that is not connected is refused either way, but for another reason.
pub fn kernel_seals() -> bool {
    let refused = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address((Ipv4Addr::LOCALHOST, 0).into()), Type::STREAM, None)?;
        setup_ulp(&socket).map_err(io::Error::from)
    };
    refused().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
}

impl TlsSealer {
    /// Hands the key to the kernel. The sealer comes back if the kernel does not take it.
    pub(crate) fn give_to_kernel(self, socket: &TcpStream) -> Result<(), Self> {
        let give = || -> Option<()> {
            let info = TlsCryptoInfoTx::new(ProtocolVersion::TLSv1_3, self.secrets()?, self.0.sequence).ok()?;
            setup_ulp(socket).ok()?;
            info.set(&socket.as_fd()).ok()
        };
        give().ok_or(self)
    }

    fn secrets(&self) -> Option<ConnectionTrafficSecrets> {
        if self.0.version != TlsVersion::V1_3 {
            return None;
        }
        // With AES the kernel calls the first four bytes of the iv the salt.
        let (salt, iv) = self.0.iv.split_first_chunk().expect("the iv has 12 bytes");
        let iv = iv.try_into().expect("8 bytes are left");
        Some(match self.0.cipher {
            TlsCipher::Aes128Gcm => {
                let key = AeadKey::new(*self.0.key.first_chunk().expect("32 bytes"));
                ConnectionTrafficSecrets::Aes128Gcm { key, iv, salt: *salt }
            }
            TlsCipher::Aes256Gcm => {
                ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::new(self.0.key), iv, salt: *salt }
            }
            TlsCipher::ChaCha20Poly1305 => {
                ConnectionTrafficSecrets::Chacha20Poly1305 { key: AeadKey::new(self.0.key), iv: self.0.iv, salt: [] }
            }
        })
    }
}

/// Ends the connection of a socket to which the kernel has the key.
pub(crate) fn send_close_notify(socket: &impl AsRawFd) -> io::Result<()> {
    send_tls_control_message(socket.as_raw_fd(), ContentType::Alert, &mut CLOSE_NOTIFY.clone()).map(drop)
}
