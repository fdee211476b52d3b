//! Order books: one ladder per side, the rules that keep them right, and the state that says whether they are.

mod consolidated;
mod grid;
mod l2;
mod map;
mod side;
mod symbol;
mod window;

pub use consolidated::{Consolidated, ConsolidatedLevel, Excluded};
pub use l2::{BookState, GridTouch, GridUnits, L2Book};
pub use map::BookMap;
pub use side::Ladder;
pub use symbol::{BookSnapshot, SymbolBook};
