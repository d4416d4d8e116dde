//! The operating system's information about a TCP connection: how much the other end has
//! acknowledged, and how long it has not answered.
//!
//! Only Linux reports this. `TCP_USER_TIMEOUT` is no substitute: it also ends a connection to a
//! live peer that does not read for a while, such as one that writes into a pager.

use std::net::TcpStream;
use std::time::Duration;

/// The state of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TcpInfo {
    /// Bytes that the other end has acknowledged since the connection was opened.
    pub(crate) acknowledged: u64,
    /// Time since the last sign of the other end, if an answer is outstanding.
    pub(crate) unanswered: Option<Duration>,
}

impl TcpInfo {
    /// Queries the system; `None` if it does not report this.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(stream: &TcpStream) -> Option<Self> {
        let info = system::tcp_info(stream)?;
        // The system regularly probes a peer whose buffer is full, and the peer answers. One probe
        // may be in transit and another one lost.
        let waits = info.tcpi_unacked > 0 || info.tcpi_probes > 2;
        let silence = Duration::from_millis(info.tcpi_last_ack_recv.into());
        Some(Self { acknowledged: info.tcpi_bytes_acked, unanswered: waits.then_some(silence) })
    }

    /// Queries the system; `None` if it does not report this.
    #[cfg(not(target_os = "linux"))]
    pub(crate) const fn of(_: &TcpStream) -> Option<Self> {
        None
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::mem::{MaybeUninit, size_of};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    /// Reads the socket option `TCP_INFO`.
    #[expect(unsafe_code, reason = "no safe interface reads this option")]
    pub(super) fn tcp_info(stream: &TcpStream) -> Option<libc::tcp_info> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
        // SAFETY: the descriptor is open while `stream` is borrowed. The system writes at most
        // `length` bytes, the size of `info`. All of `info` is integers, for which zeros, and
        // whatever the system writes, are values; an older system writes less of it.
        unsafe {
            let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
            let place = info.as_mut_ptr().cast();
            let status = libc::getsockopt(stream.as_raw_fd(), level, name, place, &raw mut length);
            (status == 0).then(|| info.assume_init())
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn what_the_other_end_acknowledged_is_counted() {
        let (mut one, mut other) = pair();
        let before = TcpInfo::of(&one).unwrap().acknowledged;
        one.write_all(&[7; 1000]).unwrap();
        other.read_exact(&mut [0; 1000]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpInfo::of(&one).unwrap().acknowledged < before + 1000 {
            assert!(Instant::now() < deadline, "never acknowledged");
        }
        assert_eq!(TcpInfo::of(&one).unwrap().unanswered, None);
    }

    #[test]
    fn a_peer_that_takes_nothing_has_answered_all_the_same() {
        let (mut one, _other) = pair();
        one.set_nonblocking(true).unwrap();
        while one.write(&[7; 65_536]).is_ok() {}
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpInfo::of(&one).unwrap().unanswered.is_some() {
            assert!(Instant::now() < deadline, "something stays unanswered");
        }
    }
}
