//! Ports of 127.0.0.1, each for one user at a time.

use std::{
    hash::{BuildHasher, RandomState},
    iter,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::Range,
};

/// Below those that Linux gives to outgoing connections: no client gets a stopped server's port.
const RANGE: Range<u16> = 20_000..32_000;

/// A port that nobody else gets from here while it is held, in this process or another one, not
/// even while nobody listens on it.
pub struct Port {
    number: u16,
    /// UDP's port of the same number is the mark that it is taken. It leaves no file behind.
    _mark: UdpSocket,
}

impl Port {
    /// One on which nobody listens.
    pub fn free() -> Self {
        // Tests that seed the thread's generator would all try the same ones.
        let random = || RandomState::new().hash_one(0) % RANGE.len() as u64;
        let mut tried = iter::repeat_with(|| RANGE.start + random() as u16).take(1_000);
        tried.find_map(Self::take).expect("one of a thousand ports is free")
    }

    fn take(number: u16) -> Option<Self> {
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        // Those who know nothing of marks.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _mark: mark })
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The number of a port that nobody else gets from here before this process ends.
pub fn free_port() -> u16 {
    let port = Port::free();
    let number = port.number;
    std::mem::forget(port);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_nobody_elses_while_it_is_held() {
        let port = Port::free();
        assert!(Port::take(port.number()).is_none());
        let number = port.number();
        drop(port);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).expect("free again");
        assert!(Port::take(number).is_none(), "somebody listens");
    }
}
