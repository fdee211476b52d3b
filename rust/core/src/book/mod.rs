//! Order books: one ladder per side, the rules that keep them right, and the state that says whether they are.

mod l2;
mod map;
mod side;
mod symbol;
mod window;

pub use l2::{BookState, L2Book};
pub use map::BookMap;
pub use side::{BandSums, Ladder};
pub use symbol::{BookSnapshot, SymbolBook};
