//! The open sockets of a feed as one descriptor, which is readable while any of them has something to read.

#[cfg(target_os = "linux")]
mod set {
    use std::io::Result;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

    /// A set of sockets.
    #[derive(Debug)]
    pub struct Sockets(OwnedFd);

    impl Sockets {
        /// Whether the descriptor works here.
        pub const CAN_WAIT: bool = true;

        /// An empty set.
        ///
        /// # Errors
        /// The operating system's, when it has no descriptors left.
        pub fn new() -> Result<Self> {
            Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
        }

        /// Watches one more.
        ///
        /// # Errors
        /// The operating system's.
        pub fn add(&self, socket: &impl AsFd) -> Result<()> {
            Ok(epoll::add(&self.0, socket, EventData::new_u64(0), EventFlags::IN)?)
        }

        /// Watches it no more; to be called before it is closed, as a forked child keeps it open.
        pub fn remove(&self, socket: &impl AsFd) {
            // It is not there when it could not be added.
            let _ = epoll::delete(&self.0, socket);
        }

        /// The descriptor.
        pub fn fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }
}

/// Elsewhere no reader waits on sockets.
#[cfg(not(target_os = "linux"))]
mod set {
    use std::io::Result;
    use std::os::fd::{AsFd, RawFd};

    /// Nothing.
    #[derive(Debug)]
    pub struct Sockets;

    impl Sockets {
        /// Whether the descriptor works here.
        pub const CAN_WAIT: bool = false;

        /// Nothing.
        ///
        /// # Errors
        /// None.
        pub fn new() -> Result<Self> {
            Ok(Self)
        }

        /// Does nothing.
        ///
        /// # Errors
        /// None.
        #[expect(clippy::unused_self, reason = "the same shape everywhere")]
        pub fn add(&self, _: &impl AsFd) -> Result<()> {
            Ok(())
        }

        /// Does nothing.
        #[expect(clippy::unused_self, reason = "the same shape everywhere")]
        pub fn remove(&self, _: &impl AsFd) {}

        /// No descriptor.
        #[expect(clippy::unused_self, reason = "the same shape everywhere")]
        pub fn fd(&self) -> RawFd {
            -1
        }
    }
}

pub use set::Sockets;
