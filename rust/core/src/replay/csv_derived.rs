//! Rows of the datasets beside book changes and trades: tickers, quotes, sampled books, liquidations.
//!
//! Source: Tardis documentation, downloadable CSV files, section of each data type. Columns are found by name: their
//! order differs between datasets and from that of the JSON messages.

use std::collections::HashMap;

use crate::event::{BookSample, BookTicker, DerivativeTicker, EventKind, Level};
use crate::replay::csv::{amount as qty, level_price, microseconds, price as exact};
use crate::types::{Decimal, Side};

/// Where the fields of one dataset stand.
pub(super) enum Derived {
    Liquidations { id: usize, side: usize, price: usize, amount: usize },
    Touch { columns: [usize; 4], is_quote: bool },
    DerivativeTicker { columns: [usize; 7] },
    BookSample { name: String, asks: Vec<(usize, usize)>, bids: Vec<(usize, usize)> },
}

impl Derived {
    /// The dataset with these columns; `file_name` tells apart what the columns do not. `None` for an unknown one.
    pub(super) fn of(names: &HashMap<&str, usize>, file_name: &str) -> Option<Self> {
        let at = |name: &str| names.get(name).copied();
        let level = |side: &str, i: usize| at(&format!("{side}[{i}].price")).zip(at(&format!("{side}[{i}].amount")));
        let levels = |side: &str| (0..).map_while(|i| level(side, i)).collect::<Vec<_>>();
        let touch = [at("bid_price"), at("bid_amount"), at("ask_price"), at("ask_amount")];
        if let [Some(a), Some(b), Some(c), Some(d)] = touch {
            return Some(Self::Touch { columns: [a, b, c, d], is_quote: !file_name.contains("book_ticker") });
        }
        if let Some(funding) = at("funding_rate") {
            let others = ["last_price", "open_interest", "predicted_funding_rate", "index_price", "mark_price"];
            let [last, interest, predicted, index, mark] = others.map(|name| at(name).unwrap_or(usize::MAX));
            let time = at("funding_timestamp").unwrap_or(usize::MAX);
            return Some(Self::DerivativeTicker { columns: [last, interest, funding, time, predicted, index, mark] });
        }
        let (asks, bids) = (levels("asks"), levels("bids"));
        if !asks.is_empty() || !bids.is_empty() {
            let name = format!("book_snapshot_{}", asks.len().max(bids.len()));
            return Some(Self::BookSample { name, asks, bids });
        }
        let print = (at("id"), at("side"), at("price"), at("amount"));
        if let (Some(id), Some(side), Some(price), Some(amount)) = print {
            return Some(Self::Liquidations { id, side, price, amount });
        }
        None
    }

    /// The kind of a row; an empty field has no value.
    pub(super) fn kind(&self, fields: &[&str]) -> Result<EventKind, String> {
        let field = |at: usize| fields.get(at).copied().filter(|text| !text.is_empty());
        let price_of = |at: usize, name: &str| field(at).map(|text| exact(text, name)).transpose();
        let qty_of = |at: usize, name: &str| field(at).map(|text| qty(text, name)).transpose();
        Ok(match self {
            Self::Liquidations { id, side, price, amount } => EventKind::Liquidation {
                id: field(*id).map(Into::into),
                price: price_of(*price, "price")?.ok_or("`price` is empty")?,
                qty: qty_of(*amount, "amount")?.ok_or("`amount` is empty")?,
                side: match field(*side) {
                    Some("buy") => Some(Side::Buy),
                    Some("sell") => Some(Side::Sell),
                    _ => None,
                },
            },
            Self::Touch { columns: [bid, bid_qty, ask, ask_qty], is_quote } => {
                let ticker = BookTicker {
                    bid_price: price_of(*bid, "bid_price")?,
                    bid_qty: qty_of(*bid_qty, "bid_amount")?,
                    ask_price: price_of(*ask, "ask_price")?,
                    ask_qty: qty_of(*ask_qty, "ask_amount")?,
                };
                if *is_quote { quote(&ticker) } else { EventKind::BookTicker(Box::new(ticker)) }
            }
            Self::DerivativeTicker { columns: [last, interest, funding, time, predicted, index, mark] } => {
                let rounded = |at: usize, name: &str| {
                    let read = |text: &str| {
                        Decimal::parse_rounded(text.as_bytes())
                            .ok_or_else(|| format!("`{name}` is {text:?}, no number"))
                    };
                    field(at).map(read).transpose()
                };
                EventKind::DerivativeTicker(Box::new(DerivativeTicker {
                    last_price: rounded(*last, "last_price")?,
                    open_interest: rounded(*interest, "open_interest")?,
                    funding_rate: rounded(*funding, "funding_rate")?,
                    funding_ts_ns: field(*time).map(|text| microseconds(text, "funding_timestamp")).transpose()?,
                    predicted_funding_rate: rounded(*predicted, "predicted_funding_rate")?,
                    index_price: rounded(*index, "index_price")?,
                    mark_price: rounded(*mark, "mark_price")?,
                }))
            }
            Self::BookSample { name, asks, bids } => {
                let side = |columns: &[(usize, usize)], side: &str| {
                    let level = |(price, amount): &(usize, usize)| {
                        let price = field(*price).map(|text| level_price(text, side)).transpose()?;
                        let both = price.zip(qty_of(*amount, side)?);
                        Ok(both.map(|(price, qty)| Level { price, qty }))
                    };
                    columns.iter().map(level).filter_map(Result::transpose).collect::<Result<Vec<_>, String>>()
                };
                EventKind::BookSample(Box::new(BookSample {
                    name: name.as_str().into(),
                    depth: asks.len().max(bids.len()) as u32,
                    interval_ms: 0,
                    grouping: None,
                    bids: side(bids, "bids")?,
                    asks: side(asks, "asks")?,
                }))
            }
        })
    }
}

/// A row of the dataset `quotes`, which Tardis computes from its book: a sample of depth 1 at every change.
fn quote(ticker: &BookTicker) -> EventKind {
    let level = |price: Option<Decimal>, qty: Option<Decimal>| {
        price.zip(qty).map(|(price, qty)| Level { price, qty }).into_iter().collect()
    };
    EventKind::BookSample(Box::new(BookSample {
        name: "quote".into(),
        depth: 1,
        interval_ms: 0,
        grouping: None,
        bids: level(ticker.bid_price, ticker.bid_qty),
        asks: level(ticker.ask_price, ticker.ask_qty),
    }))
}
