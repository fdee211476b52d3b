//! A file descriptor that becomes readable when there is news, for event loops of any language.

use std::io::Result;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bell::Bell;

/// An event counter of Linux: quicker to ring and to read than anything that carries bytes.
#[cfg(target_os = "linux")]
mod bell {
    use std::io::Result;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{read, write};

    #[derive(Debug)]
    pub(super) struct Bell(OwnedFd);

    impl Bell {
        pub(super) fn new() -> Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
        }

        /// Makes the descriptor readable.
        pub(super) fn ring(&self) {
            // It refuses only near 2^64 rings, when it is readable already.
            let _ = write(&self.0, &1_u64.to_ne_bytes());
        }

        /// Makes it unreadable and returns whether it was readable.
        pub(super) fn silence(&self) -> bool {
            read(&self.0, &mut [0; 8]).is_ok()
        }

        pub(super) fn fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }
}

/// A pair of sockets.
#[cfg(not(target_os = "linux"))]
mod bell {
    use std::io::{Read, Result, Write};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;

    #[derive(Debug)]
    pub(super) struct Bell {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl Bell {
        pub(super) fn new() -> Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        /// Makes the descriptor readable.
        pub(super) fn ring(&self) {
            // What is full is readable already.
            let _ = (&self.writer).write(&[1]);
        }

        /// Makes it unreadable and returns whether it was readable.
        pub(super) fn silence(&self) -> bool {
            let mut bytes = [0; 64];
            let mut readable = false;
            while let Ok(n) = (&self.reader).read(&mut bytes) {
                readable |= n > 0;
                if n < bytes.len() {
                    break;
                }
            }
            readable
        }

        pub(super) fn fd(&self) -> RawFd {
            self.reader.as_raw_fd()
        }
    }
}

/// One-bit doorbell. Ringing never blocks, and rings between two [`Wake::clear`] calls count as one.
#[derive(Debug)]
pub struct Wake {
    bell: Bell,
    rung: AtomicBool,
    /// Whether the bell itself may have rung since it was silenced.
    sounded: AtomicBool,
    /// Somebody is about to look at `rung`; the descriptor can stay as it is.
    watched: AtomicBool,
    /// Rings while the bell had rung already.
    merged: AtomicU64,
}

impl Wake {
    /// A silent bell.
    ///
    /// # Errors
    /// The operating system's, when it has no descriptors left.
    pub fn new() -> Result<Self> {
        let [rung, sounded, watched] = [(); 3].map(|()| AtomicBool::new(false));
        Ok(Self { bell: Bell::new()?, rung, sounded, watched, merged: AtomicU64::new(0) })
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        if self.rung.swap(true, Ordering::SeqCst) {
            self.merged.fetch_add(1, Ordering::Relaxed);
        } else if !self.watched.load(Ordering::SeqCst) {
            self.sounded.store(true, Ordering::SeqCst);
            self.bell.ring();
        }
    }

    /// Rings that were one with an earlier ring, because nobody had cleared the bell in between.
    pub fn merged(&self) -> u64 {
        self.merged.load(Ordering::Relaxed)
    }

    /// Makes the descriptor unreadable until the next ring. Look at the news after this call, not before it: a ring
    /// during the call may not be seen again.
    pub fn clear(&self) {
        self.sounded.store(false, Ordering::SeqCst);
        self.bell.silence();
        // Last, so that a ring in between finds the bell rung rather than silenced.
        self.rung.store(false, Ordering::SeqCst);
    }

    /// Watches the bell for at most `patience` without sleeping, clears it and returns whether it rang.
    ///
    /// Quicker than waiting on the descriptor by two changes of thread, at the price of a busy processor. The processor
    /// is offered to other threads all the while. For one watcher at a time.
    pub fn watch(&self, patience: Duration) -> bool {
        self.heard(|| {
            let start = Instant::now();
            while !self.rung.load(Ordering::Acquire) && start.elapsed() < patience {
                std::thread::yield_now();
            }
        })
    }

    /// Does `work`, and returns whether the bell rang by its end; clears it if so.
    ///
    /// Rings of the work do not go through the descriptor.
    pub fn heard(&self, work: impl FnOnce()) -> bool {
        self.watched.store(true, Ordering::SeqCst);
        work();
        // In this order: a ring that saw a listener is seen below.
        self.watched.store(false, Ordering::SeqCst);
        let rang = self.rung.load(Ordering::SeqCst);
        if rang && self.sounded.load(Ordering::SeqCst) {
            // A ring that is just under way sounds after this, and is heard once more for nothing.
            self.clear();
        } else if rang {
            self.rung.store(false, Ordering::SeqCst);
        }
        rang
    }

    /// The descriptor to wait on. It lives as long as `self`.
    pub fn fd(&self) -> RawFd {
        self.bell.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(wake: &Wake) -> bool {
        // Looking takes: what was there is put back.
        let readable = wake.bell.silence();
        if readable {
            wake.bell.ring();
        }
        readable
    }

    #[test]
    fn a_ring_is_heard_once_and_again_after_clear() {
        let wake = Wake::new().unwrap();
        assert!(!readable(&wake));
        wake.ring();
        assert_eq!(wake.merged(), 0);
        wake.ring();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
        wake.ring();
        assert!(readable(&wake));
        assert_eq!(wake.merged(), 1);
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

    #[test]
    fn a_watcher_hears_every_ring_and_the_descriptor_takes_over_when_it_is_gone() {
        let wake = Wake::new().unwrap();
        assert!(!wake.watch(Duration::ZERO));
        wake.ring();
        assert!(readable(&wake), "nobody watched");
        assert!(wake.watch(Duration::ZERO) && !readable(&wake));
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
                assert!(wake.watch(Duration::from_secs(10)), "a ring was lost");
                seen = count.load(Ordering::SeqCst);
            }
        });
    }
}
