//! A file descriptor that becomes readable when there is news, for event loops of any language.

use std::io::{Read, Result, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// One-bit doorbell. Ringing never blocks, and rings between two [`Wake::clear`] calls count as one.
#[derive(Debug)]
pub struct Wake {
    reader: UnixStream,
    writer: UnixStream,
    rung: AtomicBool,
}

impl Wake {
    /// A silent bell.
    ///
    /// # Errors
    /// The operating system's, when it has no descriptors left.
    pub fn new() -> Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer, rung: AtomicBool::new(false) })
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A full pipe is readable already.
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Makes the descriptor unreadable until the next ring. Look at the news after this call, not before it: a ring
    /// during the call may not be seen again.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        // Last, so that a ring in between finds the bell rung rather than its byte eaten.
        self.rung.store(false, Ordering::Release);
    }

    /// The descriptor to wait on. It lives as long as `self`.
    pub fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(wake: &Wake) -> bool {
        let mut byte = [0; 1];
        // Peeking is not stable in std: read, and put back what was taken.
        match (&wake.reader).read(&mut byte) {
            Ok(n) if n > 0 => (&wake.writer).write(&byte).unwrap() == 1,
            _ => false,
        }
    }

    #[test]
    fn a_ring_is_heard_once_and_again_after_clear() {
        let wake = Wake::new().unwrap();
        assert!(!readable(&wake));
        wake.ring();
        wake.ring();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
        wake.ring();
        assert!(readable(&wake));
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        let wake = Wake::new().unwrap();
        let count = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    count.fetch_add(1, Ordering::SeqCst);
                    wake.ring();
                }
            });
            let mut seen = 0;
            while seen < 20_000 {
                while !readable(&wake) {
                    std::thread::yield_now();
                }
                wake.clear();
                seen = count.load(Ordering::SeqCst);
            }
        });
    }
}
