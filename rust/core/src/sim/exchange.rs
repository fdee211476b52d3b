//! The matching engine: own orders of one symbol against the prints and the book of a market that ignores them.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::sim::displayed::Displayed;
use crate::sim::grid::Grid;
use crate::sim::orders::{Orders, Resting};
use crate::sim::queue::{QueueModel, RiskAverse};
use crate::types::{Decimal, Ns, Side};

/// One fill of one own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The order.
    pub order_id: Arc<str>,
    /// Its direction.
    pub side: Side,
    /// Price of the fill: the order's own as maker, the level's as taker.
    pub price: Decimal,
    /// Quantity of the fill.
    pub qty: Decimal,
    /// Whether the order rested.
    pub is_maker: bool,
    /// The feed's id of the print that filled a maker.
    pub print_id: Option<Box<str>>,
    /// Price of that print; `None` for a taker.
    pub print_price: Option<Decimal>,
    /// Exchange time of the print; for a taker the time of the request.
    pub exchange_ts_ns: Ns,
    /// Local time of the print; for a taker the time of the request.
    pub local_ts_ns: Ns,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The order rests, whole or in part.
    Open,
    /// Nothing of it is left to fill.
    Filled,
    /// It ended unfilled or partly filled: post-only would have taken, or the rest of an immediate order.
    Canceled,
    /// Refused: there is no book to match it against. The request changed nothing.
    Unsynced,
    /// No such order rests.
    Unknown,
}

impl Status {
    /// The word the Python side uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Filled => "filled",
            Self::Canceled => "canceled",
            Self::Unsynced => "unsynced",
            Self::Unknown => "unknown",
        }
    }
}

/// A new order.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Unique among resting orders.
    pub id: Arc<str>,
    /// Direction.
    pub side: Side,
    /// Limit; `None` is a market order, which never rests.
    pub price: Option<Decimal>,
    /// Quantity.
    pub qty: Decimal,
    /// Cancel instead of taking.
    pub post_only: bool,
    /// Cancel instead of resting.
    pub ioc: bool,
}

/// Matches own orders of one symbol.
///
/// A resting order joins behind the quantity displayed at its price. Prints at its price use that quantity up first;
/// a print through its price fills it at once, at its own price. All own orders together take at most the size of
/// one print, in price-time order. A taking order meets the displayed book, which it does not change. Only prints
/// fill a resting order: a book that moves through it does not.
#[derive(Debug)]
pub struct SimExchange<Q: QueueModel = RiskAverse> {
    exchange: Arc<str>,
    symbol: Arc<str>,
    price: Grid,
    qty: Grid,
    queue: Q,
    book: Displayed,
    orders: Orders,
}

impl SimExchange {
    /// An empty exchange for one symbol with the default queue model.
    ///
    /// # Errors
    /// [`Error::Domain`] when tick or lot size is not positive.
    pub fn new(exchange: &str, symbol: &str, tick_size: Decimal, lot_size: Decimal) -> Result<Self> {
        Self::with_queue(exchange, symbol, tick_size, lot_size, RiskAverse)
    }
}

impl<Q: QueueModel> SimExchange<Q> {
    /// An empty exchange for one symbol.
    ///
    /// # Errors
    /// [`Error::Domain`] when tick or lot size is not positive.
    pub fn with_queue(exchange: &str, symbol: &str, tick_size: Decimal, lot_size: Decimal, queue: Q) -> Result<Self> {
        let (price, qty) = (Grid::new("price", tick_size)?, Grid::new("qty", lot_size)?);
        Ok(Self {
            exchange: exchange.into(),
            symbol: symbol.into(),
            price,
            qty,
            queue,
            book: Displayed::new(price, qty),
            orders: Orders::default(),
        })
    }

    /// The grid of prices.
    pub fn price_grid(&self) -> &Grid {
        &self.price
    }

    /// The grid of quantities.
    pub fn qty_grid(&self) -> &Grid {
        &self.qty
    }

    /// The market's book.
    pub fn book(&self) -> &Displayed {
        &self.book
    }

    /// The resting orders.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Best bid or ask price; `Side::Buy` is the bid side.
    pub fn best(&self, side: Side) -> Option<Decimal> {
        self.book.best(side).map(|ticks| self.price.value(ticks))
    }

    /// Takes one event of any symbol and appends the fills it causes. Events of other symbols change nothing; a
    /// disconnect of this exchange makes the book unsynced.
    pub fn apply(&mut self, event: &Event, fills: &mut Vec<Execution>) {
        if event.exchange != self.exchange {
            return;
        }
        match &event.kind {
            EventKind::Disconnect if event.disconnects(&self.exchange, &self.symbol) => self.book.unsync(),
            _ if event.symbol != self.symbol => {}
            EventKind::BookChange { is_snapshot, bids, asks } => {
                let before: Vec<i64> = self.orders.iter().map(|order| self.displayed_at(order)).collect();
                self.book.apply(*is_snapshot, bids, asks);
                self.requeue(&before);
            }
            EventKind::Trade { id, price, qty, side } => {
                let print = Print { event, id: id.as_deref(), price: *price };
                let size = self.qty.floor(*qty);
                match side {
                    Some(Side::Sell) => self.fill_side(Side::Buy, &print, size, fills),
                    Some(Side::Buy) => self.fill_side(Side::Sell, &print, size, fills),
                    None => {
                        let left = self.fill_side(Side::Buy, &print, size, fills);
                        self.fill_side(Side::Sell, &print, left, fills)
                    }
                };
            }
            _ => {}
        }
    }

    /// Sends a new order.
    ///
    /// # Errors
    /// [`Error::Domain`] when the id is taken, the price or quantity is off its grid, or a market order is post-only.
    pub fn place(&mut self, order: &NewOrder, now_ns: Ns, fills: &mut Vec<Execution>) -> Result<Status> {
        if self.orders.get(&order.id).is_some() {
            return Err(Error::Domain { name: "order_id", reason: format!("{:?} already rests", order.id) });
        }
        if order.price.is_none() && order.post_only {
            return Err(Error::Domain { name: "post_only", reason: "a market order cannot be post-only".into() });
        }
        let price_ticks = order.price.map(|price| self.price.exact(price)).transpose()?;
        let open_lots = self.qty.exact(order.qty)?;
        if !self.book.is_synced() {
            return Ok(Status::Unsynced);
        }
        let resting = Resting {
            id: Arc::clone(&order.id),
            side: order.side,
            price_ticks: price_ticks.unwrap_or(if order.side == Side::Buy { i64::MAX } else { i64::MIN }),
            open_lots,
            filled_lots: 0,
            ahead_lots: 0,
            post_only: order.post_only,
        };
        Ok(self.enter(resting, order.ioc || price_ticks.is_none(), now_ns, fills))
    }

    /// Changes price or total quantity (what is filled already included) of a resting order.
    ///
    /// Less quantity at the same price keeps the place in the queue; a new price or more quantity goes to the back. A
    /// new price that takes is treated as a new order would be.
    ///
    /// # Errors
    /// [`Error::Domain`] when price or quantity is off its grid or the quantity is not above what is filled.
    pub fn amend(
        &mut self,
        id: &str,
        price: Option<Decimal>,
        qty: Option<Decimal>,
        now_ns: Ns,
        fills: &mut Vec<Execution>,
    ) -> Result<Status> {
        let price_ticks = price.map(|price| self.price.exact(price)).transpose()?;
        let total_lots = qty.map(|qty| self.qty.exact(qty)).transpose()?;
        let Some(order) = self.orders.get_mut(id) else {
            return Ok(Status::Unknown);
        };
        let price_ticks = price_ticks.unwrap_or(order.price_ticks);
        let open_lots = total_lots.map_or(order.open_lots, |total| total - order.filled_lots);
        if open_lots <= 0 {
            let filled = self.qty.value(order.filled_lots);
            return Err(Error::Domain { name: "qty", reason: format!("not above the {filled} filled already") });
        }
        if price_ticks == order.price_ticks && open_lots <= order.open_lots {
            order.open_lots = open_lots;
            return Ok(Status::Open);
        }
        if !self.book.is_synced() {
            return Ok(Status::Unsynced);
        }
        let Some(order) = self.orders.remove(id) else {
            return Ok(Status::Unknown);
        };
        Ok(self.enter(Resting { price_ticks, open_lots, ..order }, false, now_ns, fills))
    }

    /// Takes an order out; `false` when no such order rests.
    pub fn cancel(&mut self, id: &str) -> bool {
        self.orders.remove(id).is_some()
    }

    fn displayed_at(&self, order: &Resting) -> i64 {
        self.book.qty_at(order.side, order.price_ticks)
    }

    fn requeue(&mut self, before: &[i64]) {
        let Self { orders, book, queue, .. } = self;
        let mut before = before.iter();
        for side in [Side::Buy, Side::Sell] {
            for (order, &before) in orders.side_mut(side).iter_mut().zip(&mut before) {
                order.ahead_lots = queue.resized(order.ahead_lots, before, book.qty_at(side, order.price_ticks));
            }
        }
    }

    /// Matches the order against the displayed book, then rests what is left.
    fn enter(&mut self, mut order: Resting, ioc: bool, now_ns: Ns, fills: &mut Vec<Execution>) -> Status {
        let reaches = |ticks: i64| match order.side {
            Side::Buy => ticks <= order.price_ticks,
            Side::Sell => ticks >= order.price_ticks,
        };
        for (ticks, lots) in self.book.opposite(order.side).take_while(|(ticks, _)| reaches(*ticks)) {
            if order.post_only {
                return Status::Canceled;
            }
            let taken = lots.min(order.open_lots);
            order.open_lots -= taken;
            order.filled_lots += taken;
            fills.push(Execution {
                order_id: Arc::clone(&order.id),
                side: order.side,
                price: self.price.value(ticks),
                qty: self.qty.value(taken),
                is_maker: false,
                print_id: None,
                print_price: None,
                exchange_ts_ns: now_ns,
                local_ts_ns: now_ns,
            });
            if order.open_lots == 0 {
                return Status::Filled;
            }
        }
        if ioc {
            return Status::Canceled;
        }
        order.ahead_lots = self.queue.joined(self.displayed_at(&order));
        self.orders.insert(order);
        Status::Open
    }

    /// Gives a print of `size` lots to the orders of one side and returns what they left of it.
    fn fill_side(&mut self, side: Side, print: &Print<'_>, size: i64, fills: &mut Vec<Execution>) -> i64 {
        let Self { orders, queue, price, qty, .. } = self;
        let (floor_ticks, ceil_ticks) = (price.floor(print.price), price.ceil(print.price));
        let mut left = size;
        for order in orders.side_mut(side) {
            let available = if order.is_through(floor_ticks, ceil_ticks) {
                order.ahead_lots = 0;
                left
            } else if order.is_at(floor_ticks, ceil_ticks) {
                let behind = left - order.ahead_lots;
                order.ahead_lots = queue.traded(order.ahead_lots, left);
                behind
            } else {
                break;
            };
            let taken = available.clamp(0, order.open_lots);
            if taken == 0 {
                continue;
            }
            order.open_lots -= taken;
            order.filled_lots += taken;
            left -= taken;
            fills.push(Execution {
                order_id: Arc::clone(&order.id),
                side,
                price: price.value(order.price_ticks),
                qty: qty.value(taken),
                is_maker: true,
                print_id: print.id.map(Into::into),
                print_price: Some(print.price),
                exchange_ts_ns: print.event.exchange_ts_ns,
                local_ts_ns: print.event.local_ts_ns,
            });
        }
        orders.side_mut(side).retain(|order| order.open_lots > 0);
        left
    }
}

/// A print on its way through the own orders.
struct Print<'a> {
    event: &'a Event,
    id: Option<&'a str>,
    price: Decimal,
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
