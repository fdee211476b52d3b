//! What a tardis-machine sends for a request: which messages, the sampled books it computes, and the bytes of both.
//!
//! Source: `tardis-machine`, `src/helpers.ts` (which types an option's own source produces, and the filter that is the
//! union of the types per exchange); `tardis-node`, `src/computable/booksnapshots.ts` (when a sample is sent).

mod outbox;
mod sampler;

pub use outbox::{Framing, Outbox, StreamOption};
