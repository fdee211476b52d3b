//! The rows of one block in memory, as messages.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampNanosecondType, UInt8Type};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};

use super::grid::Grid;
use super::schema::{
    ASK, BID, BOOK, BUY, EXCHANGE_TS, IS_FIRST, IS_SNAPSHOT, KIND, KINDS, LOCAL_TS, NONE, PRICE, QTY, SELL, SIDE,
    SIDES, TEXT, TRADE, names,
};
use crate::event::{EventKind, Level};
use crate::types::{Ns, Side};

/// What prices and quantities of a table are multiples of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grids {
    pub(super) price: Grid,
    pub(super) qty: Grid,
}

impl Grids {
    /// The numbers that doubles stand for.
    ///
    /// # Errors
    /// The row with one that stands for none.
    fn numbers(self, prices: &[f64], qtys: &[f64]) -> Result<Numbers, usize> {
        let rows = prices.iter().zip(qtys);
        // Every one is looked at: that needs no branch.
        let plain = rows
            .clone()
            .fold(true, |plain, (price, qty)| plain & self.price.is_plain(*price) & self.qty.is_plain(*qty));
        if plain {
            let digits = |(price, qty): (&f64, &f64)| [self.price.plain(*price), self.qty.plain(*qty)];
            return Ok(Numbers::Plain(rows.map(digits).collect()));
        }
        let level = |(row, (price, qty)): (usize, (&f64, &f64))| {
            let level = self.price.decimal(*price).zip(self.qty.decimal(*qty));
            level.map(|(price, qty)| Level { price, qty }).ok_or(row)
        };
        rows.enumerate().map(level).collect::<Result<_, _>>().map(Numbers::Any)
    }

    #[inline]
    fn level(self, [price, qty]: [i64; 2]) -> Level {
        Level { price: self.price.number(price), qty: self.qty.number(qty) }
    }
}

/// Price and quantity of every row.
enum Numbers {
    /// Digits on the grids of the table. Half the bytes to hand from one processor to another.
    Plain(Vec<[i64; 2]>),
    Any(Vec<Level>),
}

/// A book change as a table holds it.
pub(in crate::replay) struct Change<'a> {
    pub(in crate::replay) is_snapshot: bool,
    grids: Grids,
    bids: &'a [[i64; 2]],
    asks: &'a [[i64; 2]],
}

impl Change<'_> {
    /// Bids and asks.
    #[inline]
    pub(in crate::replay) fn levels(&self) -> [impl Iterator<Item = Level> + Clone; 2] {
        [self.bids, self.asks].map(|digits| levels(self.grids, digits))
    }
}

#[inline]
fn levels(grids: Grids, digits: &[[i64; 2]]) -> impl Iterator<Item = Level> + Clone {
    digits.iter().map(move |digits| grids.level(*digits))
}

/// Where a message lies in its block: a book change has one row a level, bids first.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    /// First row of an ask.
    asks: usize,
    /// Row after the last level; the first row when it has none.
    end: usize,
}

/// One block, and the message that is current in it.
pub(super) struct Rows {
    local_ts: ScalarBuffer<i64>,
    exchange_ts: ScalarBuffer<i64>,
    kind: ScalarBuffer<u8>,
    side: ScalarBuffer<u8>,
    is_snapshot: BooleanBuffer,
    text: StringArray,
    grids: Grids,
    numbers: Numbers,
    messages: Vec<Place>,
    /// Index of the current message; beyond all of them before the first.
    at: usize,
}

impl Rows {
    /// Checks the columns of a block that is to have `rows` rows.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(batch: &RecordBatch, rows: u64, grids: Grids) -> Result<Self, String> {
        if batch.num_rows() as u64 != rows {
            return Err(format!("{} rows instead of {rows}", batch.num_rows()));
        }
        let time = |column| batch.column(column).as_primitive::<TimestampNanosecondType>().values().clone();
        let number = |column| batch.column(column).as_primitive::<Float64Type>().values().clone();
        let codes = |column, wanted: &[&str]| {
            let column = batch.column(column).as_dictionary::<UInt8Type>();
            let known = column.values().as_string::<i32>() == names(wanted).as_string::<i32>();
            if known { Ok(column.keys().values().clone()) } else { Err("a column of codes has other names") }
        };
        let numbers = grids
            .numbers(&number(PRICE), &number(QTY))
            .map_err(|row| format!("price or qty of row {row} is no number"))?;
        let (kind, side) = (codes(KIND, &KINDS)?, codes(SIDE, &SIDES)?);
        let is_first = batch.column(IS_FIRST).as_boolean().values();
        let mut messages = Vec::with_capacity(is_first.count_set_bits());
        let mut starts = is_first.set_indices().peekable();
        if batch.num_rows() > 0 && starts.peek() != Some(&0) {
            return Err("it does not begin with a message".to_owned());
        }
        while let Some(row) = starts.next() {
            let end = starts.peek().copied().unwrap_or(batch.num_rows());
            let place =
                if kind[row] == BOOK { book_place(&side, row, end) } else { Some(Place { row, asks: row, end: row }) };
            messages.push(place.ok_or_else(|| format!("row {row} begins a message with levels out of order"))?);
        }
        Ok(Self {
            local_ts: time(LOCAL_TS),
            exchange_ts: time(EXCHANGE_TS),
            kind,
            side,
            is_snapshot: batch.column(IS_SNAPSHOT).as_boolean().values().clone(),
            text: batch.column(TEXT).as_string::<i32>().clone(),
            grids,
            numbers,
            messages,
            at: usize::MAX,
        })
    }

    /// Goes to the next message; `false` at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        self.at = self.at.wrapping_add(1);
        self.at < self.messages.len()
    }

    /// The row the message begins with.
    #[inline]
    pub(super) fn row(&self) -> usize {
        self.messages[self.at].row
    }

    /// Exchange and local time.
    #[inline]
    pub(super) fn times(&self) -> (Ns, Ns) {
        (self.exchange_ts[self.row()], self.local_ts[self.row()])
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind[self.row()]
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.is_valid(self.row()).then(|| self.text.value(self.row()))
    }

    /// The message, if it is a book change of plain numbers.
    #[inline]
    pub(super) fn change(&self) -> Option<Change<'_>> {
        let Place { row, asks, end } = self.messages[self.at];
        let Numbers::Plain(digits) = &self.numbers else { return None };
        (self.kind[row] == BOOK).then(|| Change {
            is_snapshot: self.is_snapshot.value(row),
            grids: self.grids,
            bids: &digits[row..asks],
            asks: &digits[asks..end],
        })
    }

    /// Puts the book change into `kind`, whose vectors are used again.
    pub(super) fn read_change(&self, kind: &mut EventKind) {
        let Place { row, asks, end } = self.messages[self.at];
        if !matches!(kind, EventKind::BookChange { .. }) {
            *kind = EventKind::BookChange { is_snapshot: false, bids: Vec::new(), asks: Vec::new() };
        }
        let EventKind::BookChange { is_snapshot, bids, asks: ask_levels } = kind else { return };
        *is_snapshot = self.is_snapshot.value(row);
        for (side, rows) in [(bids, row..asks), (ask_levels, asks..end)] {
            side.clear();
            match &self.numbers {
                Numbers::Plain(digits) => side.extend(levels(self.grids, &digits[rows])),
                Numbers::Any(levels) => side.extend_from_slice(&levels[rows]),
            }
        }
    }

    /// The trade or liquidation.
    pub(super) fn print(&self) -> EventKind {
        let Level { price, qty } = match &self.numbers {
            Numbers::Plain(digits) => self.grids.level(digits[self.row()]),
            Numbers::Any(levels) => levels[self.row()],
        };
        let id = self.text().map(Into::into);
        let side = match self.side[self.row()] {
            BUY => Some(Side::Buy),
            SELL => Some(Side::Sell),
            _ => None,
        };
        if self.kind() == TRADE {
            EventKind::Trade { id, price, qty, side }
        } else {
            EventKind::Liquidation { id, price, qty, side }
        }
    }
}

/// Where the book change in rows `row..end` has its levels; `None` when bids and asks are mixed.
fn book_place(sides: &[u8], row: usize, end: usize) -> Option<Place> {
    if sides[row] == NONE && end == row + 1 {
        return Some(Place { row, asks: row, end: row });
    }
    let asks = row + sides[row..end].iter().take_while(|side| **side == BID).count();
    sides[asks..end].iter().all(|side| *side == ASK).then_some(Place { row, asks, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_come_before_asks_and_a_change_without_levels_has_none() {
        let place = |sides: &[u8]| book_place(sides, 1, sides.len()).map(|place| (place.row, place.asks, place.end));
        assert_eq!(place(&[ASK, BID, BID, ASK]), Some((1, 3, 4)));
        assert_eq!(place(&[BID, BID]), Some((1, 2, 2)));
        assert_eq!(place(&[BID, ASK]), Some((1, 1, 2)));
        assert_eq!(place(&[BID, NONE]), Some((1, 1, 1)));
        for mixed in [&[BID, ASK, BID], &[BID, BID, NONE], &[BID, NONE, BID], &[BID, BUY, BID]] {
            assert_eq!(place(mixed), None);
        }
    }
}
