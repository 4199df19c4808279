//! How every TCP connection is set up, whichever side opened it.
//!
//! Small frames leave at once, and a peer that vanished without a word is noticed by keepalive probes even when
//! nobody sends anything and no heartbeat was negotiated.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the peer's host is probed, in seconds.
pub const TCP_KEEPALIVE_SEC: u64 = 60;

/// Time between two probes, in seconds.
pub const TCP_KEEPALIVE_INTERVAL_SEC: u64 = 15;

/// Unanswered probes after which the connection is broken.
pub const TCP_KEEPALIVE_PROBES: u32 = 4;

/// Turns Nagle's algorithm off and keepalive on.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(TCP_KEEPALIVE_SEC))
        .with_interval(Duration::from_secs(TCP_KEEPALIVE_INTERVAL_SEC))
        .with_retries(TCP_KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_tuned_socket_is_immediate_and_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
