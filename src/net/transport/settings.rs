//! Settings of connections, the same on both ends.

use std::net::IpAddr;
use std::time::Duration;

/// Times after which a connection without traffic is tried, and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time without traffic after which a ping is sent.
    pub interval: Duration,
    /// Time within which the ping must be answered.
    pub timeout: Duration,
}

/// Settings of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Keep-alive of connections within a machine.
    pub loopback: KeepAlive,
    /// Keep-alive of connections between machines.
    pub elsewhere: KeepAlive,
    /// Most bytes of an HTTP/2 frame, from 2¹⁴ to 2²⁴ - 1: above those of a payload, so that a payload is one frame.
    pub frame_size: u32,
    /// Bytes on their way that the receiver of a stream has not taken yet.
    pub stream_window: u32,
    /// Bytes on their way on a connection.
    pub connection_window: u32,
    /// Time within which a connection is made, without the stream on it.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let keep_alive = |interval, timeout| KeepAlive {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
        };
        Settings {
            loopback: keep_alive(1, 1),
            elsewhere: keep_alive(2, 3),
            frame_size: 1 << 20,
            stream_window: 16 << 20,
            connection_window: 64 << 20,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Keep-alive of connections with an address.
    pub fn keep_alive(&self, address: IpAddr) -> KeepAlive {
        match address.is_loopback() {
            true => self.loopback,
            false => self.elsewhere,
        }
    }
}
