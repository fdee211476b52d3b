//! What files hold, symbol by symbol, and the grid its prices and quantities lie on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::replay::convert::Progress;
use crate::replay::files::expand;
use crate::replay::merge::Merge;
use crate::replay::notices::Notices;
use crate::types::{Decimal, Ns};

/// One symbol of a set of files.
#[derive(Debug, Clone)]
pub struct MarketScan {
    /// Tardis exchange id.
    pub exchange: Arc<str>,
    /// Symbol as the exchange writes it.
    pub symbol: Arc<str>,
    /// Book changes and trades together.
    pub messages: u64,
    /// Book changes.
    pub book_changes: u64,
    /// Trades.
    pub trades: u64,
    /// Local time of the first message.
    pub first_local_ts_ns: Ns,
    /// Local time of the last message.
    pub last_local_ts_ns: Ns,
    /// Greatest step of which every price is a multiple; 0 while no price was seen.
    pub tick_size: Decimal,
    /// Greatest step of which every quantity is a multiple; 0 while no quantity was seen.
    pub lot_size: Decimal,
}

/// Reads files to their end and describes each symbol, the one with most messages first.
///
/// `go_on` is asked now and then; `false` ends the scan early with what was seen so far.
///
/// # Errors
/// A file that cannot be read; a line that cannot be understood, named as `path:line`.
pub fn scan<P: AsRef<str>>(
    paths: &[P],
    notices: &Notices,
    mut go_on: impl FnMut(Progress) -> bool,
) -> Result<Vec<MarketScan>> {
    let mut merge = Merge::open_files(expand(paths)?, false, notices)?;
    let mut markets: BTreeMap<(Arc<str>, Arc<str>), Measured> = BTreeMap::new();
    let mut seen = 0u64;
    let mut lines = 0;
    while let Some(item) = merge.next_item()? {
        seen += 1;
        lines += item.lines;
        if seen % 4096 == 0 {
            let (done_bytes, total_bytes) = merge.progress();
            if !go_on(Progress { done_bytes, total_bytes, lines }) {
                break;
            }
        }
        let Some(event) = item.event else { continue };
        if !matches!(event.kind, EventKind::BookChange { .. } | EventKind::Trade { .. }) {
            continue;
        }
        let key = (Arc::clone(&event.exchange), Arc::clone(&event.symbol));
        markets.entry(key).or_insert_with(|| Measured::new(&event)).take(&event);
    }
    let mut scans: Vec<_> = markets.into_values().map(Measured::finish).collect();
    scans.sort_by_key(|scan| std::cmp::Reverse(scan.messages));
    Ok(scans)
}

struct Measured {
    scan: MarketScan,
    prices: CommonStep,
    quantities: CommonStep,
}

impl Measured {
    fn new(first: &Event) -> Self {
        let scan = MarketScan {
            exchange: Arc::clone(&first.exchange),
            symbol: Arc::clone(&first.symbol),
            messages: 0,
            book_changes: 0,
            trades: 0,
            first_local_ts_ns: first.local_ts_ns,
            last_local_ts_ns: first.local_ts_ns,
            tick_size: Decimal::default(),
            lot_size: Decimal::default(),
        };
        Self { scan, prices: CommonStep::default(), quantities: CommonStep::default() }
    }

    fn take(&mut self, event: &Event) {
        self.scan.messages += 1;
        self.scan.last_local_ts_ns = event.local_ts_ns;
        match &event.kind {
            EventKind::BookChange { bids, asks, .. } => {
                self.scan.book_changes += 1;
                for level in bids.iter().chain(asks) {
                    self.prices.take(level.price);
                    self.quantities.take(level.qty);
                }
            }
            EventKind::Trade { price, qty, .. } => {
                self.scan.trades += 1;
                self.prices.take(*price);
                self.quantities.take(*qty);
            }
            _ => {}
        }
    }

    fn finish(self) -> MarketScan {
        MarketScan { tick_size: self.prices.step(), lot_size: self.quantities.step(), ..self.scan }
    }
}

/// Greatest common divisor of decimal numbers.
#[derive(Default)]
struct CommonStep {
    units: i128,
    decimals: u8,
}

impl CommonStep {
    fn take(&mut self, value: Decimal) {
        let decimals = value.decimals.max(self.decimals);
        let scaled = |units: i128, from: u8| units * 10i128.pow(u32::from(decimals - from));
        let units = scaled(i128::from(value.mantissa), value.decimals);
        self.units = gcd(scaled(self.units, self.decimals), units);
        self.decimals = decimals;
    }

    fn step(&self) -> Decimal {
        let (mut units, mut decimals) = (self.units, self.decimals);
        while decimals > 0 && units % 10 == 0 {
            units /= 10;
            decimals -= 1;
        }
        Decimal::new(i64::try_from(units).unwrap_or(0), decimals)
    }
}

fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(numbers: &[&str]) -> String {
        let mut common = CommonStep::default();
        for text in numbers {
            common.take(Decimal::parse(text.as_bytes()).expect("a number"));
        }
        common.step().to_string()
    }

    #[test]
    fn the_common_step_is_exact() {
        assert_eq!(step(&["100.5", "101", "99.5"]), "0.5");
        assert_eq!(step(&["0.00003505", "0.000035"]), "0.00000005");
        assert_eq!(step(&["1000", "250"]), "250");
        assert_eq!(step(&["0.3", "0"]), "0.3");
        assert_eq!(step(&[]), "0");
    }
}
